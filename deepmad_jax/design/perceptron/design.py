"""Perceptrons to a budget: `MlpProblem` -> `MlpDesign`, relaxed first, then in whole numbers.

The problem stands in `problem.py`, its numbers in `program.py`, its relaxation in `relax.py`, the
integer search in `search.py`.
"""

import dataclasses
import time

from deepmad_jax.arch.mlp import MlpArchitecture
from deepmad_jax.design.perceptron.problem import MlpProblem
from deepmad_jax.design.perceptron.program import check_floors, evaluate_mlp, mlp_data_of, split
from deepmad_jax.design.perceptron.relax import solve_relaxed_mlp
from deepmad_jax.design.perceptron.search import search_mlp
from deepmad_jax.design.program.evaluate import REAL_SLACK

__all__ = ["MlpDesign", "MlpProblem", "design_mlp"]


@dataclasses.dataclass(frozen=True)
class MlpDesign:
    """An integer design and how it was found.

    Attributes:
        problem: what was asked.
        architecture: the answer.
        entropy_nats, rho, params, macs: its numbers.
        relaxed_entropy_nats: of the best relaxed point; None where none was solved.
        candidates: integer networks evaluated.
        seconds: wall time.
    """

    problem: MlpProblem
    architecture: MlpArchitecture
    entropy_nats: float
    rho: float
    params: int
    macs: int
    relaxed_entropy_nats: float | None
    candidates: int
    seconds: float


def design_mlp(problem: MlpProblem, name: str = "mlp") -> MlpDesign:
    """The integer perceptron of greatest entropy found within the budgets.

    Deterministic: the same problem gives the same architecture.

    Raises:
        InfeasibleProblem: no network meets the budgets, with the value that can be reached.

    >>> design = design_mlp(MlpProblem(num_stages=1, params=1e4, rho=0.1))
    >>> design.architecture.widths
    (40, 40, 40, 40)
    """
    began = time.perf_counter()
    data = mlp_data_of(problem)
    check_floors(problem, data)
    x, entropy, solved = solve_relaxed_mlp(problem, data)
    u, candidates = search_mlp(problem, data, x)
    width, depth = split(u)
    width = width * problem.multiple_of
    stages = zip(width.astype(int).tolist(), depth.astype(int).tolist(), strict=True)
    arch = MlpArchitecture(
        name=name,
        input_width=problem.input_width,
        widths=tuple(w for w, d in stages for _ in range(d)),
        classes=problem.classes,
    )
    numbers = evaluate_mlp(data, width, depth)
    assert arch.num_params == numbers.params, (arch.num_params, numbers.params)
    assert numbers.params <= problem.params
    assert numbers.rho <= problem.rho * (1.0 + REAL_SLACK)
    return MlpDesign(
        problem=problem,
        architecture=arch,
        entropy_nats=float(numbers.entropy),
        rho=float(numbers.rho),
        params=arch.num_params,
        macs=arch.macs,
        relaxed_entropy_nats=float(entropy[solved].max()) if solved.any() else None,
        candidates=candidates,
        seconds=time.perf_counter() - began,
    )
