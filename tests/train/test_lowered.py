"""What the training step is for a GPU and a TPU, before XLA compiles it: none is needed to look.

The text is StableHLO of the whole step, mixing, erasing, averages and optimiser included, with the
stages scanned, as they are there.
"""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from jax import export

from deepmad_jax.arch import Architecture, Stage, Stem, layer_table
from deepmad_jax.config import DataConfig, TrainConfig
from deepmad_jax.data import open_dataset
from deepmad_jax.tasks.classify.functions import make_loss_fn
from deepmad_jax.tasks.classify.task import make_network
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train import (
    Plan,
    create_state,
    make_mesh,
    make_optimizer,
    make_schedule,
    make_train_step,
)

ARCH = Architecture(
    "mixed",
    32,
    3,
    10,
    Stem(8, 3, 2),
    (Stage("bottleneck", 16, 8, 3, 3, 1), Stage("mbconv_se", 24, 48, 3, 3, 2)),
)
DATA = DataConfig(
    source="fake", train_augment="none", mixup=0.8, cutmix=1.0, random_erasing=0.2, fake_images=64
)
TRAIN = TrainConfig(dtype="bfloat16", scan=True, batch_size=16, drop_path=0.1, ema_decay=0.99)


@pytest.fixture(scope="module", params=["cuda", "tpu"])
def program(request):
    graphs = []

    def variables():
        graphdef, *arrays = split_network(make_network(ARCH, TRAIN, cpu_convs=False))
        graphs.append(graphdef)
        return arrays

    params, stats = jax.eval_shape(variables)
    dataset = open_dataset(DATA, resolution_px=32, channels=3, classes=10)
    plan = Plan.of(TRAIN, 6400)
    schedule = make_schedule(TRAIN, plan)
    optimizer = make_optimizer(TRAIN, schedule)
    step = make_train_step(
        make_loss_fn(graphs[0], dataset, DATA, TRAIN),
        optimizer,
        schedule,
        make_mesh(),
        ema_decay=TRAIN.ema_decay,
    )
    state = jax.eval_shape(lambda p, s: create_state(p, s, optimizer, ema=True), params, stats)
    shapes = {
        "image": ((16, 32, 32, 3), jnp.uint8),
        "label": ((16,), jnp.int32),
        "key": ((16, 2), jnp.uint32),
    }
    batch = {name: jax.ShapeDtypeStruct(*value) for name, value in shapes.items()}
    return export.export(step, platforms=[request.param])(state, batch).mlir_module()


def types_of_convs(text):
    """Type of element of both operands and of the result of every conv, and how many there are."""
    convs = re.findall(r"stablehlo\.convolution.*: \((\S+), (\S+)\) -> (\S+)", text)
    return Counter(kind.rstrip(">").rpartition("x")[2] for conv in convs for kind in conv)


def test_every_conv_computes_in_bfloat16(program):
    found = types_of_convs(program)
    assert set(found) == {"bf16"}
    rows = [row for row in layer_table(ARCH) if row.layer.kind == "conv"]
    # Forward and two gradients, each with two operands and a result; the images have no gradient. A
    # scan keeps what its convs give, so computes none twice.
    assert found["bf16"] == 3 * (3 * len(rows) - 1)


def test_nothing_calls_back_to_the_host(program):
    # A callback, an infeed or a library's routine would stand there by name.
    assert re.findall(r"custom_call|infeed|outfeed|stablehlo\.(?:send|recv)", program) == []


def test_no_map_is_turned(program):
    """Convs take NHWC maps as they are; only gradients of kernels and the classifier are turned."""
    turned = re.findall(r"stablehlo\.transpose.*\((tensor<\S+>)\)", program)
    sizes = [[int(n) for n in re.findall(r"(\d+)x", kind)] for kind in turned]
    batch = 16
    assert turned
    assert not [size for size in sizes if batch in size]


def test_batch_norm_sums_over_its_maps_six_times_at_most(program):
    """Forward two, again two where a scan computes them anew, backward two, each once a block."""
    reduced = re.findall(r"stablehlo\.reduce\(.*dimensions = \[0, 1, 2\] : \((\S+),", program)
    of_maps = [kind for kind in reduced if re.match(r"tensor<16x\d+x\d+x\d+xf32>", kind)]
    norms = [row for row in layer_table(ARCH) if row.layer.kind == "norm"]
    assert 4 * len(norms) <= len(of_maps) <= 6 * len(norms)


def test_a_float32_conv_and_a_callback_would_be_seen():
    def step(x, kernel):
        jax.debug.callback(print, x.sum())
        return jax.lax.conv(x, kernel, (1, 1), "SAME")

    shapes = (jax.ShapeDtypeStruct((1, 1, 4, 4), jnp.float32),) * 2
    text = jax.jit(step).lower(*shapes).as_text()
    assert set(types_of_convs(text)) == {"f32"}
    assert "custom_call" in text
