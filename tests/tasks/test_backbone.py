"""Weights of a classifier in a backbone, where the two differ in form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax import library
from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.arch.compared_nets import swin
from deepmad_jax.config import Config, SegmentConfig
from deepmad_jax.interop import from_network, write_weights
from deepmad_jax.nets import Network
from deepmad_jax.tasks.backbone import Backbone, as_backbone, take_pretrained
from deepmad_jax.tasks.segment.segmenter import make_segmenter

ATTENTION = Stage("attention", 8, 12, 1, 2, 1, heads=2, head_width=3)
ARCH = swin("tiny", 8, (1, 1, 1, 1), (1, 1, 2, 2), 4, resolution=128, classes=5)


@pytest.mark.slow
def test_swin_under_another_head_takes_a_classifiers_blocks_and_keeps_its_own_norms(tmp_path):
    net = Network(ARCH, rngs=nnx.Rngs(3))
    library.export(net, tmp_path, ["safetensors"])
    found = Network(as_backbone(ARCH), rngs=nnx.Rngs(4))
    take_pretrained(found, str(tmp_path / "tiny.safetensors"), "config.segment.pretrained")
    ours, theirs = (dict(nnx.to_flat_state(nnx.state(part))) for part in (found, net))
    shared = [path for path in ours if path in theirs]
    assert {path[0] for path in shared} == {"stem", "stages"}
    for path in shared:
        np.testing.assert_array_equal(ours[path][...], theirs[path][...], err_msg=str(path))
    assert {path[0] for path in ours} - {path[0] for path in shared} == {"norms"}
    maps = Backbone(found, (4, 8, 16, 32), "UPerNet")(jnp.ones((1, 40, 56, 3)))
    assert [x.shape[1:3] for x in maps] == [(10, 14), (5, 7), (3, 4), (2, 2)]
    for x in maps:  # fresh norms: mean 0 and deviation 1 over the channels
        np.testing.assert_allclose(x.mean(-1), 0.0, atol=1e-5)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
@pytest.mark.parametrize(
    "arch",
    [
        Architecture("tiny", 32, 3, 5, Stem(4), (Stage("basic", 4, 4, 3, 2, 2),)),
        Architecture("tiny", 32, 3, 5, Stem(4, 4, 4, "patch"), (ATTENTION,), head_norm=True),
    ],
    ids=["convs", "attention"],
)
def test_weights_of_any_number_of_classes_are_taken(arch, kind, tmp_path):
    net = Network(arch, rngs=nnx.Rngs(3))
    write_weights(tmp_path / f"tiny.{kind}", from_network(net), arch)
    found = Network(dataclasses.replace(arch, classes=9), rngs=nnx.Rngs(4))
    del found.head
    take_pretrained(found, str(tmp_path / f"tiny.{kind}"), "config.detect.pretrained")
    theirs = dict(nnx.to_flat_state(nnx.state(net)))
    for path, leaf in nnx.to_flat_state(nnx.state(found)):
        np.testing.assert_array_equal(leaf[...], theirs[path][...], err_msg=str(path))


def test_a_segmenter_on_swin_gives_a_class_to_every_pixel():
    segment = SegmentConfig(classes=3, width=8, aux_width=8)
    config = dataclasses.replace(Config(), task="segment", segment=segment)
    segmenter = nnx.eval_shape(lambda: make_segmenter(ARCH, config, True))
    assert segmenter.backbone.net.arch.stage_norms
    found = nnx.eval_shape(
        lambda net, x: net(x), segmenter, jax.ShapeDtypeStruct((2, 64, 96, 3), "float32")
    )
    assert found.shape == (2, 16, 24, 3)
