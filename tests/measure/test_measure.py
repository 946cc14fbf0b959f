"""Timing a space's rows and networks: what is timed, how, what is left, and what is predicted."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from deepmad_jax import cli
from deepmad_jax.arch import Architecture, cost, layers
from deepmad_jax.arch.layers import Layer, layer_table
from deepmad_jax.arch.stages import Stage, Stem
from deepmad_jax.config import MeasureConfig
from deepmad_jax.design.program.evaluate import data_of, evaluate, form_of
from deepmad_jax.design.program.latency_file import COLUMNS, read_grid, read_lines
from deepmad_jax.design.program.lattice import lattice_of, to_point
from deepmad_jax.design.program.levels import numbers_of
from deepmad_jax.design.program.limits import timed_as
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.spaces import DEFAULTS
from deepmad_jax.errors import InfeasibleProblem, InvalidConfig
from deepmad_jax.measure import clock, memory, whole
from deepmad_jax.measure.points import layer_of, points_of
from deepmad_jax.measure.programs import network_program, row_program
from tests.config_files import config_of
from tests.design.made_up_times import write_times
from tests.design.problems import TINY_SPACE

CONFIG = """
from deepmad_jax.config import default_config


def get_config():
    config = default_config()
    config.name = "tiny"
    config.jobs = ("design",)
    design = config.design
    design.block, design.strides, design.kernels = "basic", (1, 2), (3,)
    design.stem_width, design.stem_stride, design.min_width, design.max_width = (8,), 1, (8,), (16,)
    design.max_depth, design.inner_ratio, design.multiple_of = (2,), (1.0,), 8
    design.resolution, design.in_channels, design.classes = 8, 1, 10
    design.rho, design.params = 0.4, 2e4
    design.latency_table = "times.csv"
    config.measure.networks = 2
    return config
"""


@pytest.mark.parametrize("block", DEFAULTS)
def test_every_row_of_every_network_of_a_space_lies_between_points(block):
    space = {**DEFAULTS[block], "macs": 4e9, "max_width": (256,), "max_depth": (2,)}
    if block == "attention":
        space |= {"heads": (1, 2, 4), "macs": 1e10}
    problem = Problem(**space)
    places = {}
    for point in points_of(problem, MeasureConfig(growth=2.0)):
        place = (point.kind, point.kernel, point.stride, point.pixels)
        places.setdefault(place, set()).add((point.c_in, point.c_out))
    lattice = lattice_of(problem)
    rng, seen = np.random.default_rng(0), 0
    for _ in range(60):
        u = np.floor(rng.uniform(lattice.low, lattice.high + 1))
        arch = problem.architecture("drawn", to_point(lattice, u))
        if cost.macs(layer_table(arch)) > problem.macs:
            continue
        seen += 1
        for row in layer_table(arch):
            x, kind = row.layer, timed_as(row.layer)
            if kind in ("norm", "act", None):
                continue
            if kind in ("layer_scale", "position"):
                continue
            kernel = problem.head_width if kind == "attention" else x.kernel
            points = places[kind, kernel, x.stride, x.r_in]
            ins, outs = ([p[i] for p in points] for i in (0, 1))
            # The next point after the last one has more MACs than the whole network may have.
            assert min(ins) <= (x.c_out if kind == "attention" else x.c_in) <= 2 * max(ins)
            assert min(outs) <= x.c_out <= 2 * max(outs)
    assert seen > 5


@pytest.mark.parametrize("block", ["mbconv_se", "convnext", "attention"])
def test_one_row_of_each_kind_runs(block):
    space = dict(TINY_SPACE, block=block, multiple_of=8, min_width=(8,), max_width=(16,))
    space |= {"patch": 2, "head_width": 4} if block == "attention" else {"inner_ratio": (4.0,)}
    kinds = {point.kind: point for point in points_of(Problem(**space), MeasureConfig())}
    for kind, point in kinds.items():
        layer, program = layer_of(point), row_program(point, 2, "float32")
        made = program()
        assert np.isfinite(made).all(), kind
        if kind != "dense":
            assert made.shape == (2, layer.r_out, layer.r_out, layer.c_out), kind
    if block == "attention":
        assert kinds["attention"].row == ("attention", 4, 1, 4, 64, 64)
        assert kinds["add"].scaled
    assert {"layer_norm", "scale"} & set(kinds)


def test_no_point_has_more_macs_than_a_whole_network_may():
    few, many = (
        points_of(Problem(macs=macs, params=1e7, max_width=(512,)), MeasureConfig())
        for macs in (2e7, 1e9)
    )
    assert set(few) < set(many)


class _Fake:
    """A program that takes a known time on a clock of its own."""

    now = 0.0

    def __init__(self, name, seconds, log):
        self.name, self.seconds, self.log = name, list(seconds), log

    def __call__(self):
        _Fake.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        self.log.append(self.name)
        return np.zeros(1)


@pytest.fixture
def fake_clock(monkeypatch):
    monkeypatch.setitem(clock.CLOCKS, "wall", lambda: _Fake.now)


def test_runs_of_programs_take_turns_and_the_median_counts(fake_clock):
    log = []
    # Warm-up and calibration first, which are no runs; nor is the call before each run.
    a = clock.Stopwatch(_Fake("a", [9.0, 9.0, 9.0, 1.0, 9.0, 2.0, 9.0, 50.0], log), "wall")
    b = clock.Stopwatch(_Fake("b", [9.0, 9.0, 9.0, 4.0], log), "wall")
    log.clear()
    clock.time_in_turn([a, b], 3)
    assert log == ["a", "a", "b", "b"] * 3
    assert (a.median, b.median) == (2.0, 4.0)


def test_short_programs_are_called_often_enough_for_the_clock(fake_clock):
    log = []
    watch = clock.Stopwatch(_Fake("short", [1e-4], log), "wall")
    log.clear()
    watch.run()
    assert len(log) == 1 + 10
    assert watch.median == pytest.approx(1e-4)


def test_yardstick_takes_off_what_slows_all_programs_alike(fake_clock):
    # The machine is three times as slow from the second turn on.
    slow = [1.0, 1.0, 9.0, 2.0, 9.0, 6.0, 9.0, 6.0]
    yard = clock.Stopwatch(_Fake("yard", slow, []), "wall")
    one = clock.Stopwatch(_Fake("one", [1.0, 1.0, 9.0, 5.0, 9.0, 15.0, 9.0, 15.0], []), "wall")
    clock.time_in_turn([one], 3, clock.Yardstick(yard, 2.0))
    assert one.seconds == [5.0, 5.0, 5.0]


def test_cost_of_a_call_is_taken_off_but_never_all():
    assert clock.without_call(5e-3, 1e-3) == pytest.approx(4e-3)
    assert clock.without_call(1e-3, 2e-3) == pytest.approx(5e-5)


def test_peak_of_maps_is_what_a_block_holds_at_once():
    stages = (Stage("basic", 16, 8, 3, 2, 2), Stage("bottleneck", 32, 8, 3, 2, 2))
    arch = Architecture("small", 32, 3, 10, Stem(8, 3, 1), stages)
    # In the first block the second conv reads 8 x 32 x 32 and writes 16 x 16 x 16 beside the
    # shortcut's 8 x 32 x 32.
    held = 8 * 32**2 + 16 * 16**2 + 8 * 32**2
    assert memory.peak_bytes(arch, 1, "float32") == 4 * held
    assert memory.peak_bytes(arch, 3, "bfloat16") == 2 * 3 * held


def test_peak_of_maps_is_of_the_size_that_the_compiler_sets_aside():
    stages = (Stage("bottleneck", 32, 16, 3, 1, 2), Stage("bottleneck", 64, 16, 3, 1, 2))
    arch = Architecture("small", 32, 3, 10, Stem(16, 3, 1), stages)
    # The compiler may fuse maps away, or keep copies for its convs.
    program = network_program(arch, 4, "float32")
    compiled = memory.compiled_bytes(program, arch, 4, "float32")
    assert 0.4 < compiled.maps / memory.peak_bytes(arch, 4, "float32") < 2.0
    # Sixteen times the images, sixteen times the maps; what else is set aside stays.
    more = memory.compiled_bytes(network_program(arch, 64, "float32"), arch, 64, "float32")
    assert more.maps == pytest.approx(16 * compiled.maps, rel=0.1)
    assert more.fixed < 2 * compiled.fixed + compiled.maps


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(CONFIG)
    return tmp_path


@pytest.mark.slow
def test_space_is_measured_and_a_network_of_it_verified(tiny, capsys):
    arguments = ("tiny.py", "--workdir", "run")
    assert cli.main(["measure", *arguments]) == 0
    lines = read_lines("times.csv")
    *rows, factor = lines
    assert factor.kind == "network"
    assert {line.kind for line in rows} == {"conv", "add", "pool", "mean", "dense"}
    assert all(line.batch == 1 and line.ms > 0 for line in rows)
    assert not [line for line in lines if line.kind == "yardstick"]  # unless it is asked for
    with Path("run/additivity.csv").open() as file:
        networks = list(csv.DictReader(file))
    first, second, *designs = (one["network"] for one in networks)
    assert (first, second, designs[0]) == ("random-0", "random-1", "design-0")
    ratios = [float(one["measured_ms"]) / float(one["predicted_ms"]) for one in networks]
    assert np.median(ratios[2:]) == pytest.approx(factor.ms, rel=1e-3)  # five digits are written

    # Half of it is lost: only that half is timed again, and what is there stays.
    text = Path("times.csv").read_text().splitlines()
    half = text[: len(text) // 2]
    Path("times.csv").write_text("\n".join(half) + "\n")
    settings = ("--set", "measure.networks=0", "--set", "measure.designs=0")
    assert cli.main(["measure", *arguments, *settings]) == 0
    assert f"{len(rows) - len(half) + 1} rows are new" in capsys.readouterr().out
    again = Path("times.csv").read_text().splitlines()
    assert again[: len(half)] == half
    assert [line.row for line in _points(again)] == [line.row for line in _points(text)]

    problem = dataclasses.replace(config_of("tiny.py").design, latency=1e3)
    point = to_point(lattice_of(problem), np.array([1, 1, 2, 1, 1, 0, 0, 1, 2.0]))
    designed = evaluate(form_of(problem), data_of(problem), point)
    Path("run/architecture.json").write_text(problem.architecture("tiny", point).to_json())
    assert cli.main(["measure", *arguments, "--verify", "--set", "design.latency=1e3"]) == 0
    found = json.loads(Path("run/latency.json").read_text())
    # What the program limited is what the network is judged by.
    assert found["predicted_ms"] == pytest.approx(float(designed.extra[0][0]), rel=1e-9)
    assert found["measured_ms"] > 0
    assert found["predicted_bytes"] > 0
    assert found["compiled_bytes"] > 0
    assert "below" in capsys.readouterr().out

    assert cli.main(["measure", *arguments, "--batch", "2"]) == 2
    assert "name another latency_table" in capsys.readouterr().err


def _points(lines):
    rows = csv.DictReader(lines, COLUMNS)
    return [
        _Row(tuple(row[name] for name in COLUMNS[:6]))
        for row in list(rows)[1:]
        if row["kind"] != "network"
    ]


def test_designs_to_compare_are_within_parts_of_the_time_of_the_first(tmp_path):
    space = dict(TINY_SPACE, rho=0.5, params=2e4, latency=1e-9, latency_table="none.csv")
    problem, path = Problem(**space), tmp_path / "times.csv"
    write_times(path, problem)
    grid = read_grid(str(path))
    designs = whole.designs_of(problem, path, 3)
    first, second, third = (whole.predicted_ms(grid, arch) for arch in designs)
    assert second <= 0.75 * first
    assert third <= 0.5 * first
    # Asked for less than any network takes, it is content with those that there are.
    assert 3 <= len(whole.designs_of(problem, path, 40)) < 40
    assert whole.designs_of(problem, path, 0) == ()


@dataclasses.dataclass(frozen=True)
class _Row:
    row: tuple[str, ...]


def test_networks_to_compare_are_of_the_space_whatever_their_latency():
    space = dict(TINY_SPACE, rho=0.5, params=2e4, latency=1e-9, latency_table="none.csv")
    problem = Problem(**space)
    networks = whole.networks_of(problem, 3)
    assert len({arch.to_json() for arch in networks}) == 3
    for arch in networks:
        assert cost.params(layer_table(arch)) <= 2e4
        assert numbers_of(arch)["rho"] <= 0.5
        assert [s.width for s in arch.stages] == sorted(s.width for s in arch.stages)
    assert whole.networks_of(problem, 0) == ()
    assert whole.factor_of([]) == 1.0
    with pytest.raises(InfeasibleProblem, match=r"set measure\.networks to"):
        whole.networks_of(dataclasses.replace(problem, params=1.0), 3)


def test_space_with_rows_that_nothing_times_is_refused(monkeypatch):
    def windowed(b):
        layer = Layer("window_attention", "main", b.width, b.width, b.r_out, b.r_out, window=7)
        return [(1, layer)]

    monkeypatch.setitem(layers.BLOCK_LAYERS, "basic", windowed)
    with pytest.raises(InvalidConfig, match="layers of kind window_attention"):
        points_of(Problem(block="basic", macs=1e9, params=1e7), MeasureConfig())
