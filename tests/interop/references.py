"""Networks to check against: PyTorch's recorded ones, and random ones of every block kind."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from deepmad_jax.arch import BLOCKS, Architecture, Stage, Stem
from deepmad_jax.arch.stages import BASELINE_BLOCKS
from deepmad_jax.arch.tinynas import from_structure
from deepmad_jax.interop import load_into
from deepmad_jax.interop.tinynas_weights import entries
from deepmad_jax.nets import Network
from tests.nets.net_examples import EXAMPLES

FIXTURES = Path(__file__).parent.parent / "fixtures"
NAMES = ("basic_a", "k1kx_a", "bottleneck_a", "mbconv_a", "mbv2se_a")
SEEDS = (0, 1)
BASELINES = tuple(
    name for name, arch in EXAMPLES.items() if arch.stages[0].block in BASELINE_BLOCKS
)
EVERY_KIND = "baselines, every kind, max pool"
CONVNEXT = "convnext, patches that do not fit, widths with and without stride"


def abstract(arch, scan=None):
    return nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0), scan=scan))


@functools.cache
def recorded(name):
    """A reference net: architecture, PyTorch weights by key, and inputs and logits by name."""
    meta = json.loads((FIXTURES / f"{name}.json").read_text())
    arch = from_structure(meta["structure"], name, resolution=64, classes=meta["num_classes"])
    with np.load(FIXTURES / f"{name}.npz") as file:
        arrays = dict(file)
    checks = {key: arrays.pop(key) for key in list(arrays) if key.startswith("__")}
    return arch, arrays, checks


@functools.cache
def random_architecture(seed, blocks=BLOCKS):
    """A stage of each kind, in random order, of random widths, kernels and strides."""
    rng = np.random.default_rng(seed)
    stages = []
    width = stem = int(rng.integers(4, 9)) * 2
    for block in rng.permutation(blocks):
        # Equal widths give identity shortcuts, pooled where the stride is 2.
        width = width if rng.random() < 0.5 else int(rng.integers(4, 13)) * 2
        groups = 2 if block == "basic" else 1
        inner = int(rng.integers(3, 10)) * 2
        kernel, depth, stride = (int(rng.choice(c)) for c in ((1, 3, 5, 7), (1, 2), (1, 2, 2)))
        more = {"heads": 3, "head_width": 4} if block == "attention" else {}
        stages.append(Stage(str(block), width, inner, kernel, depth, stride, groups, **more))
    final = 20 if rng.random() < 0.5 else None
    # 29 pixels: the maps are odd again and again.
    more = {"head_norm": seed % 2 == 0, "positions": seed % 2 == 1} if blocks == BLOCKS else {}
    return Architecture(f"random{seed}", 29, 3, 5, Stem(stem, 3, 1), tuple(stages), final, **more)


@functools.cache
def random_network(seed, blocks=BLOCKS):
    """A network with random weights and statistics, images, and its logits for them."""
    net, rng = with_random_weights(random_architecture(seed, blocks), 100 + seed)
    resolution = net.arch.resolution
    images = rng.normal(size=(2, resolution, resolution, 3)).astype(np.float32)
    return net, images, np.asarray(jax.jit(lambda x: net(x))(images))


@functools.cache
def baseline_network(name):
    """The same of baselines' kinds, with images of even and of odd size and the logits of each."""
    net, rng = with_random_weights(dataclasses.replace(EXAMPLES[name], resolution=32), 200)
    # Even maps stay so down to the last stage; 45 and 37 pixels are no whole patches either.
    sizes = ((32, 32), (45, 37))
    images = tuple(rng.normal(size=(2, *size, 3)).astype(np.float32) for size in sizes)
    logits = jax.jit(lambda even, odd: (net(even), net(odd)))(*images)
    return net, images, tuple(map(np.asarray, logits))


def with_random_weights(arch, seed):
    """A network of random weights and statistics, and the generator that drew them."""
    rng = np.random.default_rng(seed)
    net = abstract(arch, scan=False)
    shapes = {path: leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(net))}
    weights = {}
    for entry in entries(arch):
        shape = shapes[entry.path][1:] if entry.stacked else shapes[entry.path]
        for key in entry.keys:
            weights[key] = _draw(rng, entry.path[-1], shape).astype(np.float32)
            if entry.axes is not None:
                weights[key] = weights[key].transpose(entry.axes)
    load_into(net, weights)
    return net, rng


def _draw(rng, name, shape):
    if name == "kernel":
        return rng.normal(size=shape) * (2 / np.prod(shape[:-1])) ** 0.5
    if name in ("scale", "var"):
        return rng.uniform(0.5, 1.5, shape)
    return 0.1 * rng.normal(size=shape)


def channels_first(images):
    return images.transpose(0, 3, 1, 2)
