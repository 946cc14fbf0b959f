"""The perceptron program of the paper's section 3: its problem and its numbers.

Stage s has d_s layers of width c_s, so that with w_1 the input's width and L = sum d_s

    maximise  H = c_S * sum_{i=1..L} log w_i
    subject to  rho = L / wbar <= rho0,  wbar = exp(sum log w_i / L),  params <= budget,

the classifier paid for but in neither H nor rho. Depth penalty, level weights and monotone widths
belong to the convolutional program (`program.py`) and are not here.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from deepmad_jax.arch import cost
from deepmad_jax.arch.mlp import mlp_head_rows, mlp_stage_rows
from deepmad_jax.design.entropy import Array, effectiveness, namespace
from deepmad_jax.errors import InfeasibleProblem, InvalidConfig


@dataclasses.dataclass(frozen=True)
class MlpProblem:
    """What to design.

    Attributes:
        input_width: features of one input, w_1.
        classes: of the classifier.
        num_stages: runs of layers of equal width, S.
        min_width, max_width: of every stage.
        multiple_of: of every width.
        min_depth, max_depth: layers in every stage.
        params: greatest number of weights and biases, classifier included; inf for no limit.
        rho: greatest effectiveness, depth over average width; inf for no limit.
        seed: of the extra starts and of the kicks.
    """

    input_width: int = 64
    classes: int = 10
    num_stages: int = 3
    min_width: int = 8
    max_width: int = 1024
    multiple_of: int = 8
    min_depth: int = 1
    max_depth: int = 30
    params: float = math.inf
    rho: float = math.inf
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "input_width", "classes", "num_stages", "min_width", "max_width", "multiple_of",
            "min_depth", "max_depth",
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidConfig(f"{name} is {value!r}, but must be an integer of at least 1.")
        for name in ("params", "rho"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(
                    f"{name} is {getattr(self, name)}, but must be positive (inf for no limit)."
                )
        if self.min_depth > self.max_depth:
            raise InvalidConfig(
                f"min_depth {self.min_depth} is above max_depth {self.max_depth}: lower the first "
                "or raise the second."
            )
        low, high = self.width_units
        if low > high:
            raise InvalidConfig(
                f"No multiple of {self.multiple_of} lies between min_width {self.min_width} and "
                f"max_width {self.max_width}: widen the range or lower multiple_of."
            )

    @property
    def width_units(self) -> tuple[int, int]:
        """Least and greatest width in units of ``multiple_of``."""
        return -(-self.min_width // self.multiple_of), self.max_width // self.multiple_of


class MlpNumbers(NamedTuple):
    """The program's numbers at a point or a batch of points, shape (...)."""

    entropy: Array
    rho: Array
    params: Array
    macs: Array


class MlpData(NamedTuple):
    """The numbers of a problem, float64 scalars: one compilation serves all of equal stages."""

    input_width: Array
    classes: Array
    params: Array
    rho: Array


def mlp_data_of(problem: MlpProblem) -> MlpData:
    """The numeric part of a problem, NumPy float64."""
    fields = (problem.input_width, problem.classes, problem.params, problem.rho)
    return MlpData(*(np.float64(value) for value in fields))


def evaluate_mlp(data: MlpData, width: Array, depth: Array) -> MlpNumbers:
    """All numbers at widths and depths of shape (..., S), real or whole, NumPy or JAX."""
    xp = namespace(width, data.input_width)
    first = xp.broadcast_to(xp.asarray(data.input_width), width.shape[:-1])[..., None]
    c_in = xp.concatenate([first, width[..., :-1]], axis=-1)
    rows, head = mlp_stage_rows(c_in, width, depth), mlp_head_rows(width[..., -1], data.classes)
    sum_log = (xp.log(c_in) + (depth - 1) * xp.log(width)).sum(-1)
    return MlpNumbers(
        entropy=width[..., -1] * sum_log,
        rho=effectiveness(depth.sum(-1), sum_log),
        params=cost.params(rows).sum(-1) + cost.params(head),
        macs=cost.macs(rows).sum(-1) + cost.macs(head),
    )


def split(values: Array) -> tuple[Array, Array]:
    """Widths and depths."""
    stages = values.shape[-1] // 2
    return values[..., :stages], values[..., stages:]


def check_floors(problem: MlpProblem) -> None:
    """Raises `InfeasibleProblem` where a budget lies below what the space can reach by itself."""
    stages, (low, high) = problem.num_stages, problem.width_units
    data, ones = mlp_data_of(problem), np.ones(problem.num_stages)
    least = evaluate_mlp(data, low * problem.multiple_of * ones, problem.min_depth * ones)
    if least.params > problem.params:
        raise InfeasibleProblem(
            f"No MLP in this space fits {problem.params:,.0f} parameters: the smallest needs "
            f"{least.params:,.0f}. Raise params, or lower the minimum width or depth or num_stages."
        )
    # At the greatest width only the number of layers matters. More of them can lower rho: a narrow
    # input weighs less among many wide layers.
    layers = np.arange(stages * problem.min_depth, stages * problem.max_depth + 1)
    sum_log = np.log(problem.input_width) + (layers - 1) * np.log(high * problem.multiple_of)
    rho = float(effectiveness(layers, sum_log).min())
    if rho > problem.rho * (1 + 1e-12):
        raise InfeasibleProblem(
            f"No MLP in this space fits rho {problem.rho:.4g}: the widest has rho {rho:.4g} at "
            "the best depth. Raise rho, lower the minimum depth, or raise the maximum width."
        )
