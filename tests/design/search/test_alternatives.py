"""The networks that come after a design, against the sorted list of all networks."""

import dataclasses
import json

import numpy as np
import pytest

from deepmad_jax import design
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.improve import prove
from deepmad_jax.main import main
from tests.design.problems import R18, TINY_SPACE, Problem
from tests.design.search.test_projection import assert_within_budgets, every_network

TINY = Problem(**TINY_SPACE, macs=3e5, params=6e3, rho=0.9, alternatives=6)


def shape_of(problem, architecture):
    """Widths, inner widths among them where they are chosen, then kernels and depths."""
    stages = architecture.stages
    widths = [architecture.stem.width, *(stage.width for stage in stages)]
    widths += [stage.inner for stage in stages if not problem.fixed_ratio]
    return np.array(widths), np.array([value for s in stages for value in (s.kernel, s.depth)])


def differ(one, other):
    return (one[1] != other[1]).any() or (one[0] != other[0]).sum() > 1


def best_of_all(problem):
    """Objectives by the definition: each the best that differs from those before it."""
    point, objective = every_network(problem)
    chosen, values = [], []
    for i in np.argsort(-objective, kind="stable"):
        shape = shape_of(problem, problem.architecture("one", [part[i] for part in point]))
        if np.isfinite(objective[i]) and all(differ(shape, other) for other in chosen):
            chosen.append(shape)
            values.append(objective[i])
        if len(chosen) > problem.alternatives:
            break
    return values


@pytest.mark.parametrize(
    "changes",
    [{}, {"macs": 1e6, "params": 2e4}, {"beta": 0.0, "rho": 0.4}, {"inner_ratio": (0.5,)}],
    ids=str,
)
def test_alternatives_of_a_tiny_problem_are_the_best_of_all_its_networks(changes):
    problem = dataclasses.replace(TINY, **changes)
    found = design_network(problem)
    values = [found.numbers.objective, *(other.numbers.objective for other in found.alternatives)]
    # Where two are equal, the one chosen first may rule out others; no such tie is in these.
    np.testing.assert_allclose(values, best_of_all(problem), rtol=1e-12)


def test_alternatives_of_r18_meet_the_budgets_and_differ_in_more_than_one_width():
    asked = dataclasses.replace(R18, alternatives=5)
    found, plain = design_network(asked, "r18"), design_network(R18, "r18")
    assert found.architecture == plain.architecture
    assert [other.architecture.name for other in found.alternatives] == [
        f"r18_{i}" for i in range(1, 6)
    ]
    for other in found.alternatives:
        assert_within_budgets(dataclasses.replace(found, architecture=other.architecture))
    values = [other.numbers.objective for other in (found, *found.alternatives)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0.999 * values[0]
    shapes = [shape_of(R18, other.architecture) for other in (found, *found.alternatives)]
    assert all(differ(a, b) for i, a in enumerate(shapes) for b in shapes[:i])


def test_a_space_with_fewer_networks_gives_as_many_as_there_are():
    bounds = {"min_width": (8,), "max_width": (8,), "inner_ratio": (1.0,), "kernels": (3,)}
    space = {**TINY_SPACE, **bounds, "stem_width": (8,), "max_depth": (2,)}
    found = design_network(Problem(**space, macs=1e9, params=1e9, alternatives=10))
    assert len(found.alternatives) == 3  # one or two blocks in each of the two stages


@pytest.mark.slow
def test_a_proof_that_improves_a_design_gives_the_alternatives_of_the_better_one():
    best = design_network(TINY)
    poor = best.alternatives[-1].architecture
    proved = prove(TINY, poor, seconds=np.inf)
    assert proved.gained > 0
    values = [other.numbers.objective for other in proved.alternatives]
    np.testing.assert_allclose(
        values, [other.numbers.objective for other in best.alternatives], rtol=1e-12
    )


def test_the_design_job_writes_and_shows_each_alternative(tmp_path, capsys):
    arguments = ["main", "--config", "configs/digits.py", "--config.jobs=design", "--workdir"]
    assert main([*arguments, str(tmp_path), "--config.design.alternatives=3"]) == 0
    listed = json.loads((tmp_path / "design.json").read_text())["alternatives"]
    files = sorted(tmp_path.glob("alternative_*.json"))
    assert [path.name for path in files] == [f"alternative_{i}.json" for i in (1, 2, 3)]
    for path, entry in zip(files, listed, strict=True):
        assert Architecture.load(path).to_dict() == entry["architecture"]
    assert "Alternatives" in capsys.readouterr().out
    assert "Alternatives" in (tmp_path / "report.html").read_text()
    assert main([*arguments, str(tmp_path)]) == 0
    assert not list(tmp_path.glob("alternative_*.json"))


def test_the_library_gives_alternatives_as_designs_of_their_own():
    found = design(
        block="basic", macs="1M", params="20k", resolution=32, classes=10, alternatives=2
    )
    assert len(found.alternatives) == 2
    for other in found.alternatives:
        assert other.numbers["objective"] <= found.numbers["objective"]
        assert other.architecture != found.architecture
        assert other.architecture.name in str(other)
