"""How many different problems one compiled program serves."""

import dataclasses

from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.relaxation.solve import _solve
from deepmad_jax.design.search.anneal import _anneal
from tests.design.problems import R18, TINY_SPACE

TINY = Problem(**TINY_SPACE, macs=1e6, params=2e4, rho=0.9)
# Everything that a problem may change besides the kinds of block, the number of stages, the kind of
# stem, positions, the final conv, the convention and which further limits are set.
CHANGES = (
    {"params": float("inf"), "rho": 0.5},
    {"kernels": (3,), "inner_ratio": (0.5,), "multiple_of": 2},
    {"stem_stride": 2, "resolution": 40, "in_channels": 2, "classes": 7, "seed": 5},
    {"beta": 0.0, "monotone": False, "min_depth": (2,), "max_depth": (4,)},
    {"stem_width": (16,), "max_width": (64,), "min_width": (16,)},
    {"resolution_w": 50},
)


def test_problems_of_one_block_kind_and_stage_count_share_one_compiled_program():
    spaces = (TINY, dataclasses.replace(R18, macs=3e8, params=3e6))
    other_strides = dataclasses.replace(TINY, strides=(2, 2), alpha=(1.0, 2.0, 3.0))
    before = _solve.jitted()._cache_size(), _anneal._cache_size()
    for problem in (*spaces, other_strides):
        design_network(problem)
    for change in CHANGES:
        for space in spaces:
            design_network(dataclasses.replace(space, **change))
    after = _solve.jitted()._cache_size(), _anneal._cache_size()
    assert min(after) >= 1
    assert [new - old <= len(spaces) for new, old in zip(after, before, strict=True)] == [True] * 2
