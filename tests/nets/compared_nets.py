"""The recorded small networks of the authors' code (`tests/fixtures/compared`)."""

import functools
import json
from pathlib import Path

import numpy as np
from flax import nnx

from deepmad_jax.arch import compared_nets as nets
from deepmad_jax.interop import load_into
from deepmad_jax.nets import Network

FIXTURES = Path(__file__).parent.parent / "fixtures" / "compared"

ARCHITECTURES = {
    "swin_a": nets.swin("swin_a", 12, (2, 2), (2, 3), 7, 56, 10),
    "swin_w4_a": nets.swin("swin_w4_a", 6, (2, 2, 2, 2), (1, 2, 3, 6), 4, 64, 7),
    "swin_features_a": nets.swin(
        "swin_features_a", 6, (2, 2, 2, 2), (1, 2, 3, 6), stage_norms=True
    ),
    "deit_a": nets.deit("deit_a", 32, 2, 2, resolution=64, classes=10),
    "pvt_a": nets.pvt("pvt_a", (1, 1, 2, 1), (16, 24, 40, 48), 64, 10),
    "t2t_t_a": nets.t2t("t2t_t_a", 36, 2, 3, 12, resolution=64, classes=10),
    "t2t_p_a": nets.t2t("t2t_p_a", 32, 1, 2, 12, performer=True, resolution=64, classes=10),
    "tnt_a": nets.tnt("tnt_a", 32, 8, 2, 2, 64, 10),
    "slak_a": nets.slak("slak_a", (10, 20, 31, 41), (1, 1, 2, 1), resolution=64, classes=10),
    "replknet_a": nets.replknet(
        "replknet_a", (8, 12, 16, 24), (1, 1, 2, 1), resolution=64, classes=10
    ),
}
"""Name of a fixture -> its network, from the constructor's arguments in the ``.json``."""

CLASSIFIERS = tuple(name for name in ARCHITECTURES if name != "swin_features_a")


@functools.cache
def recorded(name):
    """What was recorded: facts, weights by PyTorch's keys, images and logits by name."""
    facts = json.loads((FIXTURES / f"{name}.json").read_text())
    with np.load(FIXTURES / f"{name}.npz") as file:
        arrays = dict(file)
    checks = {key: arrays.pop(key) for key in list(arrays) if key.startswith("__")}
    return facts, arrays, checks


def loaded(name, scan=False, **settings):
    """The network with the recorded weights."""
    arch = ARCHITECTURES[name]
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0), scan=scan, **settings))
    load_into(net, recorded(name)[1])
    return net
