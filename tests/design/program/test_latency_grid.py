"""Latency by a measured grid: its interpolation, its forms for solver and proof, its file."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from deepmad_jax.arch.layers import layer_table
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program import limits
from deepmad_jax.design.program.evaluate import data_of, evaluate, form_of
from deepmad_jax.design.program.latency_file import COLUMNS, read_grid
from deepmad_jax.design.program.lattice import lattice_of, to_point
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.search.effort import QUICK
from deepmad_jax.errors import InvalidConfig
from tests.design.made_up_times import write_times
from tests.design.problems import TINY_SPACE

HEAD = ",".join(COLUMNS)
BASE = Problem(macs=1e8, params=1e6, rho=0.4, strides=(2, 2, 2), max_width=(256,), resolution=64)
# A stem of its own resolution, which shares its place in the grid with no other conv.
SPACE = dict(TINY_SPACE, resolution=32, stem_stride=2)
SPACES = {
    "basic": SPACE,
    "bottleneck": dict(SPACE, block="bottleneck", final_width=16),
    "mbconv_se": dict(
        SPACE,
        block="mbconv_se",
        inner_ratio=(1.5, 6.0),
        multiple_of=8,
        min_width=(8,),
        max_width=(24,),
        stem_width=(8, 16),
    ),
    "convnext": dict(SPACE, block="convnext", patch=4),
    "attention": dict(
        SPACE, block="attention", patch=4, strides=(1, 1), heads=(1, 2, 3), head_width=4
    ),
}


def line(*cells):
    return ",".join(map(str, (*cells[:6], 1, "float32", "cpu", cells[6])))


def table(tmp_path, *rows):
    path = tmp_path / "times.csv"
    path.write_text("\n".join([HEAD, *(line(*row) for row in rows)]) + "\n")
    return str(path)


def conv_ms(grid, c_in, c_out, kernel=1, stride=1, pixels=8):
    layer = limits.Layer("conv", "main", c_in, c_out, pixels, pixels, kernel, stride)
    return limits.grid_time(grid, "conv", layer, 1)


def latency_of(path, arch):
    """Row by row, from the file's own lines, by SciPy's interpolation."""
    points, total = {}, 0.0
    for row in Path(path).read_text().splitlines()[1:]:
        kind, *numbers, _, _, _, ms = row.split(",")
        kernel, stride, pixels, c_in, c_out = map(int, numbers)
        points.setdefault((kind, kernel, stride, pixels), {})[c_in, c_out] = float(ms)
    for row in layer_table(arch):
        x = row.layer
        kind = "depthwise" if x.kind == "conv" and 1 < x.groups == x.c_in else x.kind
        kernel, c_in = x.kernel, x.c_in
        if kind == "attention":
            kernel, c_in = x.c_out // x.heads, x.c_out
        place = points.get((kind, kernel, x.stride, x.r_in))
        if place is None:
            assert kind not in {key[0] for key in points}
            continue
        ins, outs = (sorted({p[i] for p in place}) for i in (0, 1))
        if all(a == b for a, b in place):
            ms = np.interp(c_in, ins, [place[c, c] for c in ins])
        elif len(ins) == 1 or len(outs) == 1:
            along, at = (outs, x.c_out) if len(ins) == 1 else (ins, c_in)
            ms = np.interp(at, along, [place[p] for p in sorted(place)])
        else:
            # No network of the space needs a pair that was not timed.
            values = [[place.get((a, b), 1e3) for b in outs] for a in ins]
            ms = RegularGridInterpolator((ins, outs), values)((c_in, x.c_out))
        total += row.repeat * float(ms)
    return total


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("times")
    return {
        name: write_times(folder / f"{name}.csv", Problem(**space), fine=0)
        for name, space in SPACES.items()
    }


def drawn(name, table, count, **changes):
    """A problem with that table, and points of its lattice."""
    problem = Problem(**SPACES[name] | changes, latency=1e9, latency_table=table)
    lattice = lattice_of(problem)
    rng = np.random.default_rng(0)
    u = np.floor(rng.uniform(lattice.low, lattice.high + 1, (count, len(lattice.low))))
    return problem, to_point(lattice, u)


@pytest.mark.parametrize("name", ["basic", "bottleneck", "convnext", "attention"])
def test_latency_of_networks_is_scipys_interpolation_of_the_file(name, tables):
    problem, points = drawn(name, tables[name], 40)
    found = evaluate(form_of(problem), data_of(problem), points).extra[0][..., 0]
    for i in range(40):
        one = type(points)(*(part[i] for part in points))
        arch = problem.architecture("drawn", one)
        assert found[i] == pytest.approx(latency_of(tables[name], arch), rel=1e-9)


def test_beyond_the_grid_time_grows_as_the_macs_and_below_it_stays(tmp_path):
    rows = [("conv", 1, 1, 8, a, b, 0.01 * (a + b)) for a in (8, 16) for b in (8, 32)]
    rows += [("conv", 3, 1, 8, c, c, 0.1 * c) for c in (8, 16)]
    grid = read_grid(table(tmp_path, *rows))
    assert conv_ms(grid, 12, 8) == pytest.approx(0.2)
    assert conv_ms(grid, 48, 64) == pytest.approx(0.48 * 3 * 2)
    assert conv_ms(grid, 4, 4) == pytest.approx(0.16)
    assert conv_ms(grid, 32, 32, kernel=3) == pytest.approx(1.6 * 4)


def test_missing_point_takes_its_smaller_neighbours_time_as_macs_grow(tmp_path):
    grid = read_grid(
        table(
            tmp_path,
            ("conv", 1, 1, 8, 8, 8, 1.0),
            ("conv", 1, 1, 8, 16, 8, 1.5),
            ("conv", 1, 1, 8, 8, 32, 3.0),
        )
    )
    # From 16 x 8 by four, or from 8 x 32 by two: the less of them.
    assert conv_ms(grid, 16, 32) == pytest.approx(6.0)


def test_point_with_nothing_smaller_takes_the_time_of_the_next_larger_one(tmp_path):
    # Two ends of a slanted strip: nothing is smaller than 16 x 16, and 16 x 32 is amid both.
    rows = ("conv", 1, 1, 8, 16, 64, 4.0), ("conv", 1, 1, 8, 32, 32, 3.0)
    grid = read_grid(table(tmp_path, *rows, ("conv", 1, 1, 8, 64, 16, 5.0)))
    assert conv_ms(grid, 16, 16) == pytest.approx(3.0)
    assert conv_ms(grid, 16, 32) == pytest.approx(3.0)
    assert conv_ms(grid, 32, 64) == pytest.approx(6.0)  # from 32 x 32, as MACs grow


@pytest.mark.parametrize("name", SPACES)
def test_bounding_form_exceeds_no_network_also_beyond_the_grid(name, tables):
    # Twice the widths that were timed.
    wide = {"max_width": (48,), "stem_width": (8, 32)}
    problem, points = drawn(name, tables[name], 120, **wide)
    form, data = form_of(problem), data_of(problem)
    exact = evaluate(form, data, points).extra[0][..., 0]
    grid = data.latency
    below, near = (_linear(form, data, points, part) for part in (grid.below, grid.near))
    assert (below <= exact * (1 + 1e-12)).all()
    # It is no empty bound: times differ from a linear function by a deviation of 40 %.
    assert np.median(below / exact) > 0.2
    # Nor is the other one far off, on the grid's own networks.
    inside = (points.width <= 16).all(-1) & (points.stem <= 8)
    assert abs(np.log(near / exact))[inside].max(initial=0.0) < 1.0


def _linear(form, data, points, coefficients):
    """The latency that the solver sees, which reads a grid's linear form."""
    with jax.enable_x64(True):
        traced = jax.tree.map(jnp.asarray, (data, points))
        data, points = traced
        data = data._replace(latency=data.latency._replace(near=jnp.asarray(coefficients)))
        return np.asarray(evaluate(form, data, points).extra[0])[..., 0]


@pytest.mark.slow
def test_design_meets_its_limit_by_the_interpolated_times_and_uses_it(tmp_path):
    path = write_times(tmp_path / "times.csv", BASE, fine=32, growth=1.5, rough=0.1)
    free = design_network(dataclasses.replace(BASE, latency=1e9, latency_table=path), effort=QUICK)
    limit = 0.7 * free.extra["latency"]
    held = dataclasses.replace(BASE, latency=limit, latency_table=path)
    design = design_network(held, effort=QUICK)
    assert latency_of(path, design.architecture) == pytest.approx(design.extra["latency"], rel=1e-9)
    counted = design.extra["latency"]
    # Rounding leaves some of a limit; a search that did not see it would leave far more.
    assert 0.97 * limit < counted <= limit * (1 + 1e-9)
    assert design.numbers.objective < free.numbers.objective


def test_place_that_was_not_measured_is_named(tmp_path, tables):
    text = Path(tables["basic"]).read_text().splitlines()
    path = tmp_path / "times.csv"
    path.write_text("\n".join(row for row in text if not row.startswith("conv,5,2,16,")) + "\n")
    problem, points = drawn("basic", str(path), 40)
    with pytest.raises(InvalidConfig, match=r"no conv of kernel 5, stride 2 at 16 pixels"):
        evaluate(form_of(problem), data_of(problem), points)


def test_table_of_a_space_whose_convs_keep_their_width_is_refused_for_another(tmp_path):
    grid = read_grid(table(tmp_path, ("conv", 3, 1, 8, 8, 8, 1.0), ("conv", 3, 1, 8, 16, 16, 2.0)))
    with pytest.raises(InvalidConfig, match="equal channels in and out only"):
        conv_ms(grid, 8, 16, kernel=3)


def test_factor_of_networks_multiplies_every_time(tmp_path):
    rows = [("conv", 1, 1, 8, 8, 8, 1.0), ("conv", 1, 1, 8, 16, 8, 2.0)]
    plain = read_grid(table(tmp_path, *rows))
    scaled = read_grid(table(tmp_path / "..", *rows, ("network", 0, 0, 0, 0, 0, 1.25)))
    assert conv_ms(scaled, 12, 8) == pytest.approx(1.25 * conv_ms(plain, 12, 8))
    np.testing.assert_allclose(scaled.below, 1.25 * plain.below)
    np.testing.assert_allclose(scaled.near, 1.25 * plain.near)


def test_file_that_grows_is_read_again(tmp_path):
    path = table(tmp_path, ("conv", 1, 1, 8, 8, 8, 1.0), ("conv", 1, 1, 8, 16, 8, 2.0))
    assert conv_ms(read_grid(path), 16, 8) == 2.0
    with open(path, "a") as file:
        file.write(line("conv", 1, 1, 8, 16, 8, 3.0) + "\n")
    assert conv_ms(read_grid(path), 16, 8) == 3.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no row that was timed"),
        ("cnv,1,1,8,8,8,1,float32,cpu,1", "line 2: no layer is called 'cnv'; did you mean 'conv'"),
        ("conv,1,1,8,8,8,1,float32,cpu,0", "line 2: expected kind,kernel"),
        ("conv,1,1,8,8,x,1,float32,cpu,1", "line 2: expected kind,kernel"),
        ("conv,1,1,8,8,8,1,float32,cpu", "line 2: expected kind,kernel"),
        (
            "conv,1,1,8,8,8,1,float32,cpu,1\nconv,1,1,8,8,8,2,float32,cpu,1",
            "times of batch 1 and 2",
        ),
    ],
)
def test_malformed_file_is_told_by_line(tmp_path, text, message):
    path = tmp_path / "times.csv"
    path.write_text(f"{HEAD}\n{text}\n")
    with pytest.raises(InvalidConfig, match=message):
        data_of(dataclasses.replace(BASE, latency=1.0, latency_table=str(path)))
