"""Every network of the zoo under a detector, or refused with what it lacks. Nothing is computed."""

import dataclasses

import jax
import pytest
from flax import nnx

from deepmad_jax.arch.compared_nets import COMPARED, swin
from deepmad_jax.arch.zoo import ARCHITECTURES, ZOO
from deepmad_jax.config import Config, DetectConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.tasks.detect.backbone import make_backbone

STRIDES = (4, 8, 16, 32)
CONFIG = dataclasses.replace(Config(), task="detect", detect=DetectConfig(batch_norm="affine"))
SMALL = {"resnet20", "resnet56", "resnet110"}
"""CIFAR's, which halve an image twice."""
ONE_MAP = {name for name in ZOO if name.startswith(("deit", "tnt", "t2t"))}
"""Those of one map."""
SWIN = swin("swin_t_backbone", 96, (2, 2, 6, 2), (3, 6, 12, 24), stage_norms=True)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [*ARCHITECTURES, *COMPARED, SWIN], ids=lambda arch: arch.name)
def test_networks_of_the_zoo_give_maps_of_the_detectors_strides(arch):
    if arch.name in SMALL | ONE_MAP:
        with pytest.raises(InvalidConfig, match="strides 4, 8, 16, 32"):
            nnx.eval_shape(lambda: make_backbone(arch, CONFIG, STRIDES, True))
        return
    net = nnx.eval_shape(lambda: make_backbone(arch, CONFIG, STRIDES, True))
    images = jax.ShapeDtypeStruct((1, 64, 96, 3), "float32")
    maps = nnx.eval_shape(lambda net, x: net(x, True, jax.random.key(0)), net, images)
    wanted = [(1, 64 // s, 96 // s, c) for s, c in zip(STRIDES, net.channels, strict=True)]
    assert [x.shape for x in maps] == wanted
