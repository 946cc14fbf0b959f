"""Each part of the search pays: problems whose best known network is missed without it.

Of the best known objective, without annealing r18_rho1.5 reaches 0.9907; without the dive,
mbconv_k357 0.9922; with the dive from the choice nearest to the relaxed optimum alone, 0.9925; and
where LBFGS takes one step in each outer iteration, 0.977 and 0.920.
"""

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.drawn import drawn_problems
from benchmarks.problems import PROBLEMS
from deepmad_jax.design.designer import design_network

REFERENCES = Path(__file__).parents[3] / "benchmarks" / "results" / "references.json"


@pytest.mark.parametrize("name", ["r18_rho1.5", "mbconv_k357"])
def test_problem_that_needs_every_part_reaches_the_best_known(name):
    best = json.loads(REFERENCES.read_text())[name]["objective"]
    assert design_network(PROBLEMS[name], name).numbers.objective >= 0.999 * best


# By a beam of a quarter of the size, and from the first relaxed start alone, seeds ended 0.09, 0.35
# and 0.34 % lower.
@pytest.mark.parametrize(("number", "best"), [(32, 7429.654), (36, 112_699.8), (60, 4515.59)])
def test_drawn_problem_that_needs_a_wide_search_reaches_the_best_known(number, best):
    problem = drawn_problems()[number]
    for seed in (0, 4):
        design = design_network(dataclasses.replace(problem, seed=seed))
        assert design.numbers.objective >= 0.9993 * best, seed
