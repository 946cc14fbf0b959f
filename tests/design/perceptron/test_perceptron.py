"""The perceptron program: counts by hand, brute force on small lattices, an independent solver."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from deepmad_jax.arch import cost
from deepmad_jax.arch.mlp import MlpArchitecture, mlp_table
from deepmad_jax.design.perceptron.design import MlpProblem, design_mlp
from deepmad_jax.design.perceptron.program import mlp_data_of, numbers_of_mlp
from deepmad_jax.design.perceptron.relax import solve_relaxed_mlp
from deepmad_jax.errors import InfeasibleProblem, InvalidArchitecture, InvalidConfig

MADE = MlpProblem(num_stages=2, params=2e4, rho=0.5)


def numbers(problem, width, depth):
    """H, rho and params of the program at widths and depths, (..., S), by the paper's sums."""
    w_in = np.concatenate([np.full_like(width[..., :1], problem.input_width), width[..., :-1]], -1)
    sum_log = (np.log(w_in) + (depth - 1) * np.log(width)).sum(-1)
    layers = depth.sum(-1)
    params = ((w_in + 1) * width + (depth - 1) * (width + 1) * width).sum(-1)
    params = params + (width[..., -1] + 1) * problem.classes
    return width[..., -1] * sum_log, layers / np.exp(sum_log / layers), params


def brute_force(problem):
    """The greatest H over the whole lattice; -inf where nothing is feasible."""
    m, stages = problem.multiple_of, problem.num_stages
    widths = [c for c in range(1, problem.max_width + 1) if c % m == 0 and c >= problem.min_width]
    depths = range(problem.min_depth, problem.max_depth + 1)
    grid = np.meshgrid(*[widths] * stages, *[depths] * stages, indexing="ij")
    u = np.stack(grid, -1).reshape(-1, 2 * stages).astype(float)
    entropy, rho, params = numbers(problem, u[:, :stages], u[:, stages:])
    met = (rho <= problem.rho) & (params <= problem.params)
    return float(np.where(met, entropy, -np.inf).max())


SPACES = {
    1: {"max_width": 200, "multiple_of": 1, "max_depth": 30},
    2: {"max_width": 120, "multiple_of": 2, "max_depth": 10},
    3: {"max_width": 40, "multiple_of": 4, "max_depth": 5},
}


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    stages=st.sampled_from([1, 2, 3]),
    input_width=st.integers(1, 100),
    classes=st.integers(2, 20),
    log_params=st.floats(5.0, 10.5),
    log_rho=st.floats(-4.0, 1.5),
)
def test_small_problems_reach_the_brute_force_optimum(
    stages, input_width, classes, log_params, log_rho
):
    problem = MlpProblem(
        input_width=input_width,
        classes=classes,
        num_stages=stages,
        min_width=4,
        params=math.exp(log_params),
        rho=math.exp(log_rho),
        **SPACES[stages],
    )
    best = brute_force(problem)
    if best == -np.inf:
        with pytest.raises(InfeasibleProblem):
            design_mlp(problem)
        return
    design = design_mlp(problem)
    arch = design.architecture
    assert arch.num_params == design.params <= problem.params
    by_layer = numbers_of_mlp(arch)
    assert by_layer.rho == pytest.approx(design.rho, rel=1e-12)
    assert design.rho <= problem.rho
    assert by_layer.entropy == pytest.approx(best, rel=1e-12)
    # The lattice lies inside the relaxed box; 1e-6 is what counts as solved.
    assert design.relaxed_entropy_nats is not None
    assert design.relaxed_entropy_nats >= best * (1 - 1e-5)


def test_relaxed_optimum_agrees_with_slsqp():
    _, entropy, solved = solve_relaxed_mlp(MADE, mlp_data_of(MADE))
    low = np.log([8.0, 8.0, 1.0, 1.0])
    high = np.log([1024.0, 1024.0, 30.0, 30.0])

    def slack(x):
        _, rho, params = numbers(MADE, np.exp(x[:2]), np.exp(x[2:]))
        return np.array([1 - rho / MADE.rho, 1 - params / MADE.params])

    best = -np.inf
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = minimize(
            lambda x: -np.log(numbers(MADE, np.exp(x[:2]), np.exp(x[2:]))[0]),
            rng.uniform(low, high),
            method="SLSQP",
            bounds=list(zip(low, high, strict=True)),
            constraints={"type": "ineq", "fun": slack},
            options={"maxiter": 500, "ftol": 1e-12},
        )
        if slack(found.x).min() > -1e-7:
            best = max(best, math.exp(-found.fun))
    assert solved.all()
    assert entropy.max() == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(("input_width", "params"), [(83, 554.0), (63, 1672.0)])
def test_no_start_ends_at_a_depth_below_one(input_width, params):
    # Where the box is not weighted, every start of these ends unsolved at depth 0.92.
    problem = MlpProblem(
        input_width=input_width, num_stages=2, min_width=4, max_width=160, multiple_of=2,
        max_depth=12, params=params,
    )  # fmt: skip
    x, _, solved = solve_relaxed_mlp(problem, mlp_data_of(problem))
    assert solved.all()
    assert np.exp(x[:, 2:]).min() > 1 - 1e-6


def test_the_same_problem_gives_the_same_network():
    assert design_mlp(MADE).architecture.to_json() == design_mlp(MADE).architecture.to_json()


def test_entropy_grows_with_every_budget():
    def entropy(**fields):
        return design_mlp(MlpProblem(**{**vars(MADE), **fields})).entropy_nats

    middle = entropy()
    assert entropy(params=1e4) < middle < entropy(params=4e4)
    assert entropy(rho=0.2) < middle < entropy(rho=1.0)


def test_without_budgets_the_greatest_network_is_chosen():
    problem = MlpProblem(num_stages=2, max_width=64, max_depth=3)
    assert design_mlp(problem).architecture.widths == (64,) * 6


def test_too_few_params_name_the_smallest_networks_params():
    # 64 -> 8 -> 8 -> 8 and ten classes: 520 + 72 + 72 + 90.
    with pytest.raises(InfeasibleProblem, match=r"fits 700 parameters.*needs 754\. Raise params"):
        design_mlp(MlpProblem(params=700))


def test_a_rho_that_no_width_reaches_names_the_least():
    # One layer of fan-in 64 or, deeper, wide ones: 3 layers of log means (64, 128, 128).
    least = 3 / (64 * 128 * 128) ** (1 / 3)
    with pytest.raises(InfeasibleProblem, match=f"rho 0.01: the widest has rho {least:.4g}"):
        design_mlp(MlpProblem(max_width=128, rho=0.01))


def test_a_narrow_input_lets_depth_lower_rho():
    # L = 1 has rho 1; L = 2 has 2 / sqrt(1024); the floor must not be read off the shallowest.
    problem = MlpProblem(input_width=1, num_stages=1, rho=2 / 32, params=2e6)
    assert design_mlp(problem).rho <= 2 / 32


def test_budgets_in_conflict_say_how_close_was_found():
    with pytest.raises(InfeasibleProblem, match=r"at most 2,000 parameters and rho at most 0.02"):
        design_mlp(MlpProblem(params=2000, rho=0.02))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"input_width": 0}, "input_width"),
        ({"num_stages": 1.5}, "num_stages"),
        ({"params": -1.0}, "params"),
        ({"rho": math.nan}, "rho"),
        ({"min_depth": 5, "max_depth": 4}, "min_depth"),
        ({"min_width": 9, "max_width": 15}, "multiple of 8"),
    ],
)
def test_bad_fields_are_refused(fields, word):
    with pytest.raises(InvalidConfig, match=word):
        MlpProblem(**fields)


def test_numbers_of_a_small_network_by_hand():
    arch = MlpArchitecture("hand", 5, (4, 4, 3), 2)
    assert arch.num_params == (5 * 4 + 4) + (4 * 4 + 4) + (4 * 3 + 3) + (3 * 2 + 2)
    assert arch.macs == 5 * 4 + 4 * 4 + 4 * 3 + 3 * 2
    found = numbers_of_mlp(arch)
    assert found.entropy == pytest.approx(3 * math.log(5 * 4 * 4))
    assert found.rho == pytest.approx(3 / 80 ** (1 / 3))
    assert cost.params(mlp_table(arch)) == arch.num_params


def test_architecture_round_trips_and_refuses_bad_json():
    arch = MlpArchitecture("a", 5, (4, 3), 2)
    assert MlpArchitecture.from_json(arch.to_json()) == arch
    for text in ("{", "[]", arch.to_json().replace("widths", "width"), '{"name": "a"}'):
        with pytest.raises(InvalidArchitecture):
            MlpArchitecture.from_json(text)
    for widths in ((), (0,), (2.5,), "44"):
        with pytest.raises(InvalidArchitecture):
            MlpArchitecture("a", 5, widths, 2)
