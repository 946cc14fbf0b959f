"""The layer table read with arrays agrees with the table read with ints."""

import dataclasses

import numpy as np
import pytest

from deepmad_jax.arch import BLOCKS, Architecture, Stage, Stem, cost, layer_table
from deepmad_jax.arch.layers import se_width, stage_rows
from deepmad_jax.arch.rows import is_main_path

WIDTHS = [(8, 8), (8, 20), (20, 13)]  # (c_in, width): equal, growing, shrinking


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("count", [cost.params, cost.macs, cost.tinynas_params, cost.tinynas_flops])
def test_rows_of_arrays_count_like_rows_of_ints(block, count):
    strides = [1, 2, 2]
    numbers = {
        "c_in": [c for c, _ in WIDTHS],
        "width": [w for _, w in WIDTHS],
        "inner": [12, 31, 64],
        "kernel": [3, 5, 7],
        "depth": [1, 2, 5],
        "stride": strides,
        "groups": [1, 1, 1],
        "r_in": [32, 32, 15],
        "r_out": [32, 16, 8],
        "heads": [1, 2, 5],
        "head_width": [8, 8, 8],
    }
    arrays = {name: np.array(values, dtype=float) for name, values in numbers.items()}
    batched = count(stage_rows(block, **arrays))
    for i in range(3):
        one = count(stage_rows(block, **{name: values[i] for name, values in numbers.items()}))
        assert batched[i] == one


@pytest.mark.parametrize("block", BLOCKS)
def test_lower_mode_never_exceeds_the_exact_cost(block):
    rng = np.random.default_rng(0)
    shape = (500,)
    width = rng.integers(1, 300, shape).astype(float)
    arrays = {
        "c_in": np.where(rng.random(shape) < 0.3, width, rng.integers(1, 300, shape)),
        "width": width,
        "inner": rng.integers(1, 1500, shape).astype(float),
        "kernel": rng.choice([3.0, 5.0], shape),
        "depth": rng.integers(1, 9, shape).astype(float),
        "stride": rng.choice([1.0, 2.0], shape),
        "groups": np.ones(shape),
        "r_in": np.full(shape, 16.0),
        "r_out": np.full(shape, 8.0),
        "heads": rng.integers(1, 9, shape).astype(float),
        "head_width": np.full(shape, 8.0),
    }
    for count in (cost.params, cost.macs):
        lower = count(stage_rows(block, **arrays, mode="lower"))
        assert (lower <= count(stage_rows(block, **arrays)) + 1e-6).all()


def test_squeeze_width_rounds_half_to_even_and_down_to_eights():
    # By hand from SPEC's formula max(1, round(b / 4) // 8) * 8.
    expected = {1: 8, 32: 8, 58: 8, 62: 16, 63: 16, 64: 16, 90: 16, 94: 24, 240: 56, 1872: 464}
    assert {b: se_width(b) for b in expected} == expected
    assert [int(v) for v in se_width(np.array([*expected], dtype=float))] == [*expected.values()]


def test_one_block_by_hand():
    # 3x3 stem 1->4 on 8x8, then one basic block 4->6 of stride 2 with inner 5, then 6->2.
    arch = Architecture("hand", 8, 1, 2, Stem(4, 3, 1), (Stage("basic", 6, 5, 3, 1, 2),))
    rows = layer_table(arch)
    kernels = [4 * 9, 4 * 5 * 9, 5 * 6 * 9, 4 * 6]
    assert cost.params(rows) == sum(kernels) + 2 * (4 + 5 + 6 + 6) + 7 * 2
    assert cost.macs(rows) == kernels[0] * 64 + kernels[1] * 64 + kernels[2] * 16 + 24 * 16 + 12
    assert cost.activations(rows) == 4 * 64 + 5 * 64 + 6 * 16 + 6 * 16 + 2


def test_rows_hold_plain_ints():
    arch = Architecture("a", 33, 3, 10, Stem(8), (Stage("mbconv_se", 8, 48, 5, 3, 2),), 64)
    for row in layer_table(arch):
        for field in dataclasses.fields(row.layer):
            allowed = float | None if field.name in ("epsilon", "scale") else int | str | None
            assert isinstance(getattr(row.layer, field.name), allowed), field.name
        assert isinstance(row.repeat, int)


@pytest.mark.parametrize(
    ("block", "a_block"),
    [("basic", 2), ("k1kx", 2), ("bottleneck", 3), ("mbconv", 3), ("mbconv_se", 3)],
)
def test_main_path_is_stem_block_convs_and_final_conv_alone(block, a_block):
    # Widths differ and strides are 2, so projections, squeezes and a classifier are there too.
    stages = tuple(Stage(block, width, 16, 3, depth, 2) for width, depth in ((16, 2), (24, 3)))
    arch = Architecture("net", 32, 3, 10, Stem(8, 3, 1), stages, final_width=32)
    assert sum(r.repeat for r in layer_table(arch) if is_main_path(r)) == 1 + 5 * a_block + 1
