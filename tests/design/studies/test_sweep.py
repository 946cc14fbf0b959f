"""Sweeps: the budgets asked for, resuming, several processes, the tables."""

import csv
import json

import pyarrow.parquet
import pytest

from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.studies.settings import Sweep
from deepmad_jax.design.studies.sweep import problems_of, run_sweep, solve_row, write_tables
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.report.sweep import draw_sweep, frontier
from tests.design.problems import TINY_SPACE, Problem

BASE = Problem(**TINY_SPACE, macs=5e5, params=6e3, rho=0.5)
GRID = Sweep(macs=(3e5, 6e5), params=(4e3, 1e4), rho=(0.3,))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "sweep.jsonl"
    return path, run_sweep(problems_of(BASE, GRID), path, workers=1)


def test_random_budgets_need_finite_ends():
    with pytest.raises(InvalidConfig, match=r"macs is .*inf.*finite ends"):
        Sweep(random=3, macs=(1e6, float("inf")))
    assert len(problems_of(BASE, Sweep(macs=(float("inf"),)))) == 1  # a grid may lift a budget


def test_a_grid_holds_every_combination():
    problems = problems_of(BASE, GRID)
    assert [(p.macs, p.params, p.rho) for p in problems] == [
        (3e5, 4e3, 0.3), (3e5, 1e4, 0.3), (6e5, 4e3, 0.3), (6e5, 1e4, 0.3),
    ]  # fmt: skip
    assert {p.resolution for p in problems} == {BASE.resolution}


def test_random_budgets_lie_in_their_ranges_and_repeat_by_seed():
    sweep = Sweep(macs=(1e5, 1e6), resolution=(8, 32), random=50)
    problems = problems_of(BASE, sweep)
    assert problems == problems_of(BASE, sweep)
    assert all(1e5 <= p.macs <= 1e6 and 8 <= p.resolution <= 32 for p in problems)
    assert len({p.macs for p in problems}) == 50


def test_rows_hold_designs_within_their_budgets(swept):
    for row in swept[1]:
        rows = layer_table(Architecture.from_json(row["architecture"]))
        assert row["feasible"]
        assert cost.params(rows) == row["params"] <= row["params_budget"]
        assert cost.macs(rows) == row["macs"] <= row["macs_budget"]


def test_each_is_as_good_as_a_single_solve(swept):
    for problem, row in zip(problems_of(BASE, GRID), swept[1], strict=True):
        single = float(design_network(problem).numbers.objective)
        assert row["objective"] >= single - 0.002 * abs(single)


def test_an_interrupted_sweep_goes_on_where_it_was(swept, tmp_path):
    path, rows = swept
    lines = path.read_text().splitlines()
    again = tmp_path / "sweep.jsonl"
    again.write_text("\n".join(lines[:2]) + "\n" + lines[2][:40])  # the third was being written
    solved = []

    def solve(problem):
        solved.append(problem)
        return solve_row(problem)

    resumed = run_sweep(problems_of(BASE, GRID), again, workers=1, solve=solve)
    assert len(solved) == 2
    assert [r["architecture"] for r in resumed] == [r["architecture"] for r in rows]


def test_two_processes_give_the_rows_of_one(swept, tmp_path):
    rows = run_sweep(problems_of(BASE, GRID), tmp_path / "sweep.jsonl", workers=2)
    assert [r["architecture"] for r in rows] == [r["architecture"] for r in swept[1]]


def test_an_infeasible_budget_is_a_row_with_its_reason(tmp_path):
    problems = problems_of(BASE, Sweep(macs=(10.0,)))
    (row,) = run_sweep(problems, tmp_path / "sweep.jsonl", workers=1)
    assert not row["feasible"]
    assert "10 MACs" in row["reason"]
    assert draw_sweep([row], tmp_path) == []


def test_tables_and_pictures_hold_every_row(swept, tmp_path):
    rows = swept[1]
    csv_path, parquet_path = write_tables(rows, tmp_path)
    with csv_path.open() as file:
        read = list(csv.DictReader(file))
    assert [int(r["params"]) for r in read] == [r["params"] for r in rows]
    table = pyarrow.parquet.read_table(parquet_path)
    assert table["objective"].to_pylist() == [r["objective"] for r in rows]
    assert json.loads(table["architecture"][0].as_py())["resolution"] == 16
    pictures = draw_sweep(rows, tmp_path)
    assert [p.name for p in pictures] == ["frontier.png", "rho.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_the_frontier_drops_what_a_cheaper_design_beats():
    rows = [{"params": p, "objective": o} for p, o in ((1, 1.0), (2, 3.0), (3, 2.0), (4, 4.0))]
    assert [r["params"] for r in frontier(rows, "params")] == [1, 2, 4]


def test_a_negative_count_is_refused():
    with pytest.raises(InvalidConfig, match="random is -1, but must be at least 0"):
        Sweep(random=-1)
