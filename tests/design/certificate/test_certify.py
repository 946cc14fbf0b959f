"""The certificate: never below brute force on small lattices, tighter with work, valid for any
multipliers."""

import dataclasses
import json
from unittest import mock

import jax
import numpy as np
import pytest

from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.rows import is_main_path
from deepmad_jax.arch.stages import BLOCKS, FURTHER_BLOCKS
from deepmad_jax.design.certificate import bounds, certify, tree
from deepmad_jax.design.certificate.bounds import Multipliers
from deepmad_jax.design.program.evaluate import Point, data_of, evaluate, form_of
from deepmad_jax.design.program.lattice import lattice_of, structural_violation, to_point
from deepmad_jax.design.program.posynomials import posynomials_of
from deepmad_jax.design.program.problem import EXTRAS
from deepmad_jax.errors import UserError
from tests.design.made_up_times import write_times
from tests.design.problems import R18, TINY_SPACE, Problem
from tests.design.search.test_projection import BEST_R18, brute_force

# Objectives carry rounding of about 1e-13 of their terms; the bound adds 1e-9 of its own.
ROUNDING = 1e-12


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Small lattices need few boxes at a time; one size, so that each shape compiles once."""
    monkeypatch.setattr(tree, "SMALL_BATCH", 8)


def random_problem(rng, block):
    """A small lattice with budgets that a random point of it just meets, or nearly."""
    space = dict(TINY_SPACE, block=block, monotone=bool(rng.integers(2)))
    if block.startswith("mbconv"):  # inner widths on both sides of where the squeeze steps
        ratio = [(1.5, 6.0), (6.0,), (2.0, 4.0)][rng.integers(3)]
        space |= {"inner_ratio": ratio, "multiple_of": 8, "max_width": (24,), "min_width": (8,)}
        space |= {"stem_width": (8, 16), "max_depth": (2,)}
    elif rng.integers(3) == 0:
        space |= {"inner_ratio": (0.5,)}
    if block == "attention":
        space |= {"heads": (1, 3), "head_width": 4, "positions": bool(rng.integers(2))}
    if block in FURTHER_BLOCKS and rng.integers(2):
        space |= {"patch": 2}
    if rng.integers(2):
        space |= {"kernels": (int(rng.choice([3, 5])),)}
    if rng.integers(3) == 0:
        space |= {"final_width": 16}
    if rng.integers(4) == 0:
        space |= {"min_depth": (2, 1)}
    weights = (1.0, float(rng.choice([1.0, 8.0])))
    problem = Problem(**space, beta=float(rng.choice([0.0, 1.0, 10.0])), alpha=weights)
    lattice = lattice_of(problem)
    u = np.floor(rng.uniform(lattice.low, lattice.high + 1))
    at = evaluate(form_of(problem), data_of(problem), to_point(lattice, u))
    loose = rng.choice([np.inf, 1.0, 1.3], size=3)
    return dataclasses.replace(
        problem,
        macs=float(at.macs * loose[0]),
        params=float(at.params * loose[1]),
        rho=float(at.rho * loose[2]),
    )


@pytest.fixture(scope="module")
def latency_table(tmp_path_factory):
    path = tmp_path_factory.mktemp("latency") / "times.csv"
    rows = ["layer,fixed_ms,ms_per_gmac,ms_per_melement", "conv,0.01,0.9,0.02"]
    path.write_text("\n".join([*rows, "depthwise,0.02,4,0.05", "act,0.004,0,0.01"]) + "\n")
    return str(path)


def limited(problem, extras, table, rng):
    """The problem with further limits that a random point of its lattice just meets, or nearly."""
    loose = dataclasses.replace(problem, **dict.fromkeys(extras, 1e30), latency_table=table)
    lattice = lattice_of(problem)
    u = np.floor(rng.uniform(lattice.low, lattice.high + 1))
    used = evaluate(form_of(loose), data_of(loose), to_point(lattice, u)).extra
    room = rng.choice([1.0, 1.2, 100.0], size=len(extras))
    limits = {name: float(x.max() * r) for name, x, r in zip(extras, used, room, strict=True)}
    return dataclasses.replace(loose, **limits)


def check_bound(problem, rng, nodes=(10, 40)):
    """The bound from two incumbents, after few and more boxes, against brute force."""
    best = brute_force(problem)
    known = best if np.isfinite(best) else 0.0
    below = known - abs(known) * float(rng.choice([1e-3, 0.1, 0.9])) - 1e-6
    for incumbent in (known, below):
        last = np.inf
        for count in nodes:
            result = certify.certify(problem, incumbent, seconds=np.inf, nodes=count)
            assert np.isfinite(result.upper_bound) or not result.exhausted
            assert json.loads(json.dumps(dataclasses.asdict(result))) == dataclasses.asdict(result)
            assert result.upper_bound >= best - ROUNDING * abs(best), (problem, incumbent)
            assert result.upper_bound <= last * (1 + ROUNDING), (problem, incumbent)
            last = result.upper_bound
            if result.exhausted:
                assert result.upper_bound == incumbent
                assert best <= incumbent + ROUNDING * abs(best)
                break
    return result


@pytest.mark.parametrize("block", BLOCKS)
def test_bound_is_never_below_the_brute_force_optimum(block):
    rng = np.random.default_rng(BLOCKS.index(block))
    for _ in range(12):
        check_bound(random_problem(rng, block), rng)


@pytest.mark.parametrize("blocks", [("convnext", "attention"), ("mbconv_se", "attention")])
def test_bound_of_mixed_kinds_is_never_below_the_brute_force_optimum(blocks):
    rng = np.random.default_rng(len(blocks[0]))
    for _ in range(8):
        problem = random_problem(rng, "attention")
        check_bound(dataclasses.replace(problem, blocks=blocks), rng)


@pytest.mark.parametrize(
    ("block", "extras"),
    [
        ("bottleneck", ("latency",)),
        pytest.param("basic", ("layers", "width_ratio"), marks=pytest.mark.slow),
        pytest.param("mbconv", ("activations",), marks=pytest.mark.slow),
    ],
)
def test_bound_with_further_limits_is_never_below_the_optimum(block, extras, latency_table):
    rng = np.random.default_rng(20 + BLOCKS.index(block))
    for _ in range(6):
        problem = limited(random_problem(rng, block), extras, latency_table, rng)
        check_bound(problem, rng)


@pytest.mark.parametrize("block", ["bottleneck", "mbconv_se", "convnext", "attention"])
def test_bound_with_measured_times_is_never_below_the_optimum(block, tmp_path):
    rng = np.random.default_rng(40 + BLOCKS.index(block))
    for i in range(6):
        problem = random_problem(rng, block)
        # Channel counts doubled from point to point: networks lie between them, and beyond.
        measured = dataclasses.replace(problem, max_width=(16,), macs=np.inf)
        table = write_times(tmp_path / f"{i}.csv", measured, seed=i, fine=0)
        check_bound(limited(problem, ("latency",), table, rng), rng)


def test_a_tree_that_outgrows_the_first_function_keeps_its_bound(monkeypatch):
    problem = random_problem(np.random.default_rng(5), "bottleneck")
    best = brute_force(problem)
    by_one = certify.certify(problem, 0.9 * best, seconds=np.inf)
    monkeypatch.setattr(tree, "BATCH", 8)  # batches alike, so that the trees are
    monkeypatch.setattr(tree, "FEW", 20)
    monkeypatch.setattr(certify, "STALLED", np.inf)  # and but one tree
    later = mock.Mock(wraps=tree.bound_many)
    monkeypatch.setattr(tree, "bound_many", later)
    by_two = certify.certify(problem, 0.9 * best, seconds=np.inf)
    assert by_one.nodes > 20
    assert later.called
    assert by_two.nodes == pytest.approx(by_one.nodes, rel=0.1)
    assert by_two.upper_bound == pytest.approx(by_one.upper_bound, rel=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("extras", [*([name] for name in EXTRAS), EXTRAS], ids=".".join)
def test_bound_with_any_limits_is_never_below_the_optimum(block, extras, latency_table):
    rng = np.random.default_rng([BLOCKS.index(block), len(extras), EXTRAS.index(extras[0])])
    for _ in range(25):
        problem = limited(random_problem(rng, block), extras, latency_table, rng)
        check_bound(problem, rng, nodes=(10, 50, 200, 1000))


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_bound_is_never_below_the_optimum_of_hundreds_of_problems(block):
    rng = np.random.default_rng(100 + BLOCKS.index(block))
    for _ in range(100):
        check_bound(random_problem(rng, block), rng, nodes=(10, 50, 200, 1000))


@pytest.mark.slow
def test_bound_holds_for_one_stage_without_a_second_level():
    rng = np.random.default_rng(1)
    for block in ("basic", "mbconv_se", "attention"):
        space = dict(TINY_SPACE, block=block, strides=(1,), alpha=(8.0,), max_width=(32,))
        for monotone in (True, False):
            problem = Problem(**space, monotone=monotone, params=float(rng.uniform(500, 2e4)))
            check_bound(problem, rng)


def feasible_points(problem):
    """Points of the lattice, as ends of the certificate's boxes, with their objectives."""
    lattice = lattice_of(problem)
    rng = np.random.default_rng(0)
    u = np.floor(rng.uniform(lattice.low, lattice.high + 1, size=(4000, len(lattice.low))))
    point = to_point(lattice, u)
    numbers = evaluate(form_of(problem), data_of(problem), point)
    fits = (
        (structural_violation(lattice, problem.monotone, point) == 0)
        & (numbers.macs <= problem.macs)
        & (numbers.params <= problem.params)
        & (numbers.rho <= problem.rho)
    )
    x = np.concatenate(
        [
            np.log(point.stem)[:, None],
            np.log(point.width),
            np.log(point.inner / point.width),
            np.log(point.kernel),
            point.depth - 1,
            np.log(point.inner),
        ],
        axis=1,
    )
    return x[fits], numbers.objective[fits]


@pytest.mark.parametrize("block", BLOCKS)
def test_any_multipliers_and_any_point_give_a_valid_bound(block):
    rng = np.random.default_rng(7)

    @jax.jit
    def bound_of(program, low, high, by, share):
        nothing = np.zeros(len(program.alpha))
        box = bounds.relaxation(program, low, high, nothing, nothing + 1e9)
        x = box.low + share * (box.high - box.low)

        def g(x):
            return bounds.lagrangian(program, box, program.alpha, program.beta, by, x)

        value, gradient = jax.value_and_grad(g)(x)
        return bounds.tangent_bound(value, gradient, x, box.low, box.high)

    for _ in range(6):
        problem = random_problem(rng, block)
        x, objective = feasible_points(problem)
        program = posynomials_of(problem)
        stages, levels = problem.num_stages, len(problem.level_ends)
        for _ in range(20 if len(x) else 0):
            inside = x[rng.choice(len(x), size=2)]
            low, high = inside.min(0), inside.max(0)
            shapes = [(2,), (), (stages,), (2, stages), (), (3, 3, stages), (3, levels)]
            by = Multipliers(*(10.0 ** rng.uniform(-3, 4, size=shape) for shape in shapes))
            with jax.enable_x64(True):
                share = rng.uniform(size=program.layout.unknowns)
                bound = float(bound_of(program, low, high, by, share))
            held = ((x >= low - 1e-9) & (x <= high + 1e-9)).all(1)
            assert bound >= objective[held].max()


@jax.jit
def relaxed_at(program, one):
    """Costs, entropies and rho's slack in the relaxation over one network alone."""
    nothing = np.zeros(len(program.alpha))
    box = bounds.relaxation(program, one, one, nothing, nothing + 1e9)
    x = jax.numpy.append(one[: program.layout.size], np.zeros(3 * program.layout.stages))
    sums = bounds.level_sums(program, box, x)
    levels = program.level[:, :-1] @ one[program.layout.shape] + program.level[:, -1]
    slack = bounds.rho_slack(program, box, x, sums[-1])
    return bounds.costs(program, box, x), levels * sums, slack


def layers_of(problem, point):
    rows = layer_table(problem.architecture("one", point))
    return sum(row.repeat for row in rows if is_main_path(row))


def network_of(one):
    """The network of two stages at ends of a box that holds it alone."""
    widths, ratios, kernels = np.exp(one[1:7]).reshape(3, 2)
    point = Point(np.exp(one[0]), widths, widths * ratios, kernels, one[7:9] + 1)
    return Point(*map(np.rint, point))


KINDS = [(block, block) for block in BLOCKS] + [("convnext", "attention")]


@pytest.mark.parametrize("blocks", KINDS, ids=".".join)
def test_relaxation_at_a_single_network_is_the_program(blocks):
    space = dict(TINY_SPACE, heads=(1, 3), head_width=4, positions=True)
    problem = Problem(**space, blocks=blocks, params=1e6, macs=1e9, rho=2.0)
    program = posynomials_of(problem)
    x, _ = feasible_points(problem)
    for one in x[:20]:
        point = network_of(one)
        numbers = evaluate(form_of(problem), data_of(problem), point)
        with jax.enable_x64(True):
            costs, entropies, slack = jax.tree.map(np.asarray, relaxed_at(program, one))
        assert costs == pytest.approx([numbers.macs / 1e9, numbers.params / 1e6], rel=1e-9)
        assert entropies == pytest.approx(numbers.entropy_per_level[-2:], rel=1e-9)
        # The slack is N (log rho0 - log rho).
        layers = layers_of(problem, point)
        assert slack == pytest.approx(layers * np.log(2.0 / numbers.rho), rel=1e-9)


@pytest.mark.parametrize("blocks", KINDS, ids=".".join)
def test_relaxed_peak_of_a_single_network_is_that_of_its_activations(blocks):
    space = dict(TINY_SPACE, heads=(1, 3), head_width=4)
    problem = Problem(**space, blocks=blocks, activations=1.0)  # what may exceed the limit counts
    program = posynomials_of(problem)
    x, _ = feasible_points(problem)
    form, data = form_of(problem), data_of(problem)
    for one in x[:20]:
        (moved,) = evaluate(form, data, network_of(one)).extra
        with jax.enable_x64(True):
            costs = np.asarray(relaxed_at(program, one)[0])
        assert costs[2:].max() == pytest.approx(moved.max(), rel=1e-9)


def test_tinynas_convention_is_refused_by_name():
    with pytest.raises(UserError, match="tinynas"):
        certify.certify(dataclasses.replace(R18, convention="tinynas"), 1.0)


def test_an_incumbent_that_is_not_finite_is_refused():
    with pytest.raises(UserError, match="finite"):
        certify.certify(R18, -np.inf)


@pytest.mark.slow
def test_r18_is_proved_optimal_within_three_thousand_boxes(monkeypatch):
    monkeypatch.setattr(tree, "SMALL_BATCH", 16)
    result = certify.certify(R18, 64_095.7, seconds=np.inf, nodes=3000)
    # Left is the best network known, which is better than the number given.
    assert result.boxes_left == 1
    assert result.upper_bound == pytest.approx(BEST_R18, abs=0.005)
