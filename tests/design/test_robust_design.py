"""Any valid problem ends in a feasible network or in one clear refusal, never in anything else.

Budgets from a hundredth to a hundred times ResNet-18's, spaces down to a single network. The
answer is checked without the program: costs from the built architecture's own table, rho from the
fan-ins written out by hand; refusals and objectives against networks drawn at random and, on tiny
lattices, against all of them.
"""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.arch.stages import BLOCKS, PAPER_BLOCKS
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.evaluate import data_of, evaluate, form_of
from deepmad_jax.design.program.lattice import lattice_of, repair, structural_violation, to_point
from deepmad_jax.errors import InfeasibleProblem
from tests.design.problems import R18, TINY_SPACE, Problem
from tests.design.search.test_projection import brute_force

# What costs a compilation; the wide and the tiny problems share the first two.
FORMS = {
    "mbconv_se": {"strides": (1, 2), "stem_stride": 1, "kernels": (3, 5)},
    "k1kx": {"strides": (1, 2), "stem_stride": 1, "kernels": (3, 5)},
    "bottleneck": {"strides": (2, 2, 1), "kernels": (5,), "monotone": False, "final_width": 64},
}
ANY_FORM = st.fixed_dictionaries(
    {
        "block": st.sampled_from(BLOCKS),
        "strides": st.lists(st.sampled_from([1, 2]), min_size=1, max_size=7).map(tuple),
        "stem_stride": st.sampled_from([1, 2]),
        "kernels": st.sampled_from([(3,), (1, 3), (3, 5), (3, 5, 7), (7,)]),
        "monotone": st.booleans(),
        "final_width": st.sampled_from([None, 16, 1280]),
        "convention": st.sampled_from(["paper", "paper", "tinynas"]),
    }
).filter(lambda form: form["convention"] == "paper" or form["block"] in PAPER_BLOCKS)
# Derandomised and without a database: the same examples on every machine, none remembered.
PROFILE = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
SECONDS_EACH = 60.0  # generous: a design takes about one, its compilation about ten


def fan_ins(arch):
    """c_in k^2 / groups of each main-path conv, level by level."""
    levels = [[arch.in_channels * arch.stem.kernel**2]]
    c_in = arch.stem.width
    for stage in arch.stages:
        if stage.stride == 2:
            levels.append([])
        square, values = stage.kernel**2, stage.heads * stage.head_width
        mlp = [stage.width, stage.inner]
        if stage.block in ("convnext", "attention") and (stage.stride, stage.width) != (1, c_in):
            levels[-1].append(c_in * stage.stride**2)
        for _ in range(stage.depth):
            levels[-1] += {
                "basic": [c_in * square, stage.inner * square],
                "k1kx": [c_in, stage.inner * square],
                "bottleneck": [c_in, stage.inner * square, stage.inner],
                "mbconv": [c_in, square, stage.inner],
                "mbconv_se": [c_in, square, stage.inner],
                "fused_mbconv": [c_in * square, stage.inner],
                "convnext": [square, *mlp],
                "attention": [stage.width, values, *mlp],
            }[stage.block]
            c_in = stage.width
    if arch.final_width is not None:
        levels[-1].append(c_in)
    return levels


def rho_of(problem, arch):
    """Depth over the geometric mean of the fan-ins; tinynas: the greatest over the levels' ends."""
    levels, seen, rhos = fan_ins(arch), [], []
    for level in levels:
        seen += level
        rhos.append(len(seen) / math.exp(math.fsum(map(math.log, seen)) / len(seen)))
    return max(rhos) if problem.convention == "tinynas" else rhos[-1]


def assert_feasible(problem, arch):
    tinynas, rows = problem.convention == "tinynas", layer_table(arch)
    params = (cost.tinynas_params if tinynas else cost.params)(rows)
    macs = (cost.tinynas_flops if tinynas else cost.macs)(rows)
    assert params <= problem.params
    assert macs <= problem.macs
    # The sum of logs runs in another order than in the program.
    assert rho_of(problem, arch) <= problem.rho * (1 + 1e-12)
    assert problem.stem_width[0] <= arch.stem.width <= problem.stem_width[-1]
    widths = [arch.stem.width, *(stage.width for stage in arch.stages)]
    assert all(width % problem.multiple_of == 0 for width in widths)
    assert widths == sorted(widths) or not problem.monotone
    for i, stage in enumerate(arch.stages):
        assert stage.block == problem.block
        if stage.block == "attention":
            assert stage.heads in problem.heads
        else:
            assert stage.kernel in problem.kernels
        for kind in ("width", "depth"):
            low, high = (problem.per_stage(f"{end}_{kind}")[i] for end in ("min", "max"))
            assert low <= getattr(stage, kind) <= high
        ratio = stage.inner / stage.width
        assert problem.inner_ratio[0] - 1e-9 <= ratio <= problem.inner_ratio[-1] + 1e-9
        assert problem.fixed_ratio or stage.inner % problem.multiple_of == 0


def best_of_random(problem, count=4000):
    """The greatest objective of feasible networks drawn from the space; -inf where none is."""
    lattice, rng = lattice_of(problem), np.random.default_rng(0)
    stages = problem.num_stages
    u = lattice.low + (lattice.high - lattice.low) * rng.beta(0.4, 1.0, (count, 1 + 4 * stages))
    u[: count // 2] = lattice.low * (lattice.high / lattice.low.clip(1)) ** rng.random(
        (count // 2, 1)
    )
    u = np.asarray(repair(lattice, np.rint(u)))
    if problem.monotone:
        u[:, : 1 + stages] = np.maximum.accumulate(u[:, : 1 + stages], axis=1)
        u = np.asarray(repair(lattice, u))
    point = to_point(lattice, u)
    numbers = evaluate(form_of(problem), data_of(problem), point)
    fits = structural_violation(lattice, problem.monotone, point) == 0
    for budget in ("macs", "params", "rho"):
        fits &= getattr(numbers, budget) <= getattr(problem, budget)
    return float(np.where(fits, numbers.objective, -np.inf).max())


def assert_answered(problem):
    """A feasible network no worse than random ones, or a refusal of what none of them meets."""
    random, refusal = best_of_random(problem), None
    try:
        design = design_network(problem)
    except InfeasibleProblem as error:
        refusal = str(error)
    if refusal is not None:
        assert random == -np.inf, (problem, refusal)
        assert any(word in refusal for word in ("MACs", "parameters", "rho", "inner width"))
        assert " nan" not in refusal
        return
    assert_feasible(problem, design.architecture)
    assert all(np.isfinite(value).all() for value in design.numbers), problem
    objective = float(design.numbers.objective)
    assert objective >= random - 1e-9 * abs(random), (problem, objective, random)


@st.composite
def bounds(draw, unit, stages, most):
    """Least and greatest multiples of a unit, one for all stages or one for each, often equal."""
    count = draw(st.sampled_from([1, stages]))
    low = [unit * draw(st.sampled_from([1, 1, 1, 2, 5])) for _ in range(count)]
    factors = st.sampled_from([1, 2, 4, 8, 64, 256])
    high = [max(a, min(a * draw(factors), most)) for a in low]
    return tuple(low), tuple(high)


@st.composite
def wide_problems(draw, forms):
    """Problems of the given forms; everything that costs no compilation varies widely."""
    form = draw(forms)
    stages, unit = len(form["strides"]), draw(st.sampled_from([1, 2, 4, 8, 8, 16, 32]))
    mbconv = form["block"].startswith("mbconv")
    ratios = (
        [(1.0,), (6.0,), (1.5, 6.0), (1.0, 2.0), (1.3,)]
        if mbconv
        else [(1.0,), (0.1, 1.0), (0.25, 4.0), (0.5,), (0.3,), (0.02, 0.05)]
    )
    min_width, max_width = draw(bounds(unit, stages, 4096))
    min_depth, max_depth = draw(bounds(1, stages, 64))
    stem = unit * draw(st.sampled_from([1, 2, 4]))
    levels = 1 + sum(stride == 2 for stride in form["strides"])

    def budget(of_r18):
        return draw(st.one_of(st.just(math.inf), st.floats(-2, 2).map(lambda e: of_r18 * 10**e)))

    return Problem(
        **form,
        inner_ratio=draw(st.sampled_from(ratios)),
        stem_width=draw(st.sampled_from([(stem,), (stem, 8 * stem)])),
        min_width=min_width,
        max_width=max_width,
        min_depth=min_depth,
        max_depth=max_depth,
        multiple_of=unit,
        resolution=draw(st.one_of(st.integers(8, 512), st.sampled_from([8, 32, 224]))),
        in_channels=draw(st.sampled_from([1, 3, 12])),
        classes=draw(st.sampled_from([1, 10, 1000])),
        macs=budget(R18.macs),
        params=budget(R18.params),
        rho=draw(st.one_of(st.just(math.inf), st.floats(-2, 0.5).map(lambda e: 10**e))),
        alpha=draw(
            st.one_of(
                st.just(()),
                st.lists(st.floats(0, 10), min_size=levels, max_size=levels).map(tuple),
            )
        ),
        beta=draw(st.sampled_from([10.0, 10.0, 1.0, 0.0])),
        seed=draw(st.integers(0, 3)),
    )


@st.composite
def tiny_problems(draw, blocks, forms=FORMS):
    """Lattices small enough to enumerate, with budgets at and about one of their networks."""
    block = draw(st.sampled_from(blocks))
    space = TINY_SPACE | forms.get(block, {}) | {"block": block}
    if block.startswith("mbconv"):
        space |= {"inner_ratio": draw(st.sampled_from([(1.5, 6.0), (6.0,), (2.0, 4.0)]))}
        space |= {"multiple_of": 8, "stem_width": (8, 16), "min_width": (8,), "max_width": (24,)}
    else:
        space |= {"inner_ratio": draw(st.sampled_from([(0.5, 1.0), (0.5,), (1.0,)]))}
    space |= {"max_depth": (draw(st.integers(1, 3)),), "beta": draw(st.sampled_from([0.0, 10.0]))}
    others = (1.0,) * sum(stride == 2 for stride in space["strides"])
    problem = Problem(**space, alpha=(*others, draw(st.sampled_from([0.0, 1.0, 8.0]))))
    lattice = lattice_of(problem)
    shares = [draw(st.floats(0, 1)) for _ in lattice.low]
    u = np.floor(lattice.low + np.array(shares) * (lattice.high - lattice.low))
    at = evaluate(form_of(problem), data_of(problem), to_point(lattice, u))
    loose = [draw(st.sampled_from([0.7, 1.0, 1.0, 1.3, math.inf])) for _ in range(3)]
    budgets = zip(("macs", "params", "rho"), loose, strict=True)
    return dataclasses.replace(
        problem, **{name: float(getattr(at, name) * share) for name, share in budgets}
    )


def assert_brute_force_agrees(problem):
    best = brute_force(problem)
    if best == -np.inf:
        with pytest.raises(InfeasibleProblem):
            design_network(problem)
        return
    design = design_network(problem)
    assert_feasible(problem, design.architecture)
    objective = float(design.numbers.objective)
    assert objective >= best - 1e-3 * abs(best), (problem, objective, best)


HALVED = {
    "kernels": (1, 3, 5),
    "monotone": False,
    "inner_ratio": (0.5,),
    "min_width": (1,),
    "multiple_of": 1,
    "resolution": 8,
    "stem_stride": 1,
}


def test_width_without_a_whole_inner_width_ends_no_search():
    # Half of 1 is no width: log 0 made the score of such networks NaN, which nothing exceeds.
    problem = Problem(
        **HALVED,
        block="basic",
        strides=(2, 1, 2),
        final_width=16,
        stem_width=(4,),
        max_width=(18,),
        max_depth=(3, 30, 1),
        in_channels=12,
        classes=100,
        params=4541774,
        alpha=(0.1, 1, 0),
        beta=1.0,
    )
    assert_answered(problem)


def test_space_of_four_networks_is_answered_by_the_best_of_them():
    problem = Problem(
        **HALVED | {"kernels": (1, 3)},
        block="bottleneck",
        strides=(2,),
        final_width=32,
        stem_width=(1, 2),
        max_width=(3,),
        max_depth=(1,),
        classes=1,
        alpha=(0, 0.1),
        beta=0.0,
        macs=3056.0,
        rho=1.4509176054935402,
    )
    design = design_network(problem)
    assert design.numbers.objective == pytest.approx(brute_force(problem), rel=1e-12)


def test_budgets_of_just_what_a_network_has_are_met_by_it():
    wide = Problem(**TINY_SPACE, params=6e3, rho=0.5)
    for block in ("basic", "bottleneck"):
        found = design_network(dataclasses.replace(wide, block=block))
        numbers = found.numbers
        # One bit less of rho than the network has is rounding, one parameter less is not.
        rho = float(np.nextafter(float(numbers.rho), 0.0))
        exact = dataclasses.replace(
            wide, block=block, macs=float(numbers.macs), params=float(numbers.params), rho=rho
        )
        again = design_network(exact)
        assert again.numbers.objective >= numbers.objective * (1 - 1e-9)
        assert again.numbers.params <= numbers.params


FEW_FORMS = st.sampled_from([{"block": block, **form} for block, form in FORMS.items()])


@pytest.mark.slow
@settings(PROFILE, max_examples=15)
@given(wide_problems(FEW_FORMS))
def test_wide_problems_end_in_a_feasible_network_or_a_refusal(problem):
    assert_answered(problem)


@settings(PROFILE, max_examples=15)
@given(tiny_problems(["mbconv_se", "k1kx"]))
def test_tiny_problems_agree_with_brute_force(problem):
    assert_brute_force_agrees(problem)


@settings(PROFILE, max_examples=150)
@given(wide_problems(ANY_FORM))
def every_form(problem):
    print(problem, flush=True)
    assert_answered(problem)


@settings(PROFILE, max_examples=300)
@given(wide_problems(FEW_FORMS))
def few_forms(problem):
    print(problem, flush=True)
    assert_answered(problem)


@settings(PROFILE, max_examples=300)
@given(tiny_problems(BLOCKS))
def every_tiny(problem):
    print(problem, flush=True)
    assert_brute_force_agrees(problem)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("examples", "count"), [("few_forms", 300), ("every_tiny", 300), ("every_form", 150)]
)
def test_hundreds_of_problems_are_answered_in_time(examples, count):
    code = f"from tests.design.test_robust_design import {examples}; {examples}()"
    command = [sys.executable, "-c", code]
    # A hang shows as a timeout, whose output ends with the problem that hung.
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=count * SECONDS_EACH, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
