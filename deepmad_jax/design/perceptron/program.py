"""The perceptron program of the paper's section 3: its numbers at a point, its floors.

Stage s has d_s layers of width c_s, so that with w_1 the input's width and L = sum d_s

    maximise  H = c_S * sum_{i=1..L} log w_i
    subject to  rho = L / wbar <= rho0,  wbar = exp(sum log w_i / L),  params <= budget,

the classifier paid for but in neither H nor rho. Depth penalty, level weights and monotone widths
belong to the convolutional program (`program.evaluate`) and are not here.
"""

from typing import NamedTuple

import numpy as np

from deepmad_jax.arch import cost
from deepmad_jax.arch.mlp import MlpArchitecture, mlp_head_rows, mlp_stage_rows, mlp_table
from deepmad_jax.design.perceptron.problem import MlpProblem
from deepmad_jax.design.program.arrays import Array, namespace
from deepmad_jax.design.program.entropy import effectiveness, main_path, vector_entropy
from deepmad_jax.design.program.evaluate import REAL_SLACK
from deepmad_jax.errors import InfeasibleProblem


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
    layers, sum_log = (part.sum(-1) for part in main_path(rows, xp))
    return MlpNumbers(
        entropy=vector_entropy(width[..., -1], sum_log),
        rho=effectiveness(layers, sum_log),
        params=cost.params(rows).sum(-1) + cost.params(head),
        macs=cost.macs(rows).sum(-1) + cost.macs(head),
    )


def numbers_of_mlp(arch: MlpArchitecture) -> MlpNumbers:
    """The numbers of any perceptron, layer by layer.

    >>> numbers = numbers_of_mlp(MlpArchitecture("tiny", 64, (32, 32), 10))
    >>> numbers.params, numbers.macs, round(float(numbers.rho), 4)
    (3466, 3392, 0.0442)
    """
    layers, sum_log = main_path(mlp_table(arch))
    return MlpNumbers(
        entropy=vector_entropy(arch.widths[-1], sum_log),
        rho=effectiveness(layers, sum_log),
        params=arch.num_params,
        macs=arch.macs,
    )


def split(values: Array) -> tuple[Array, Array]:
    """Widths and depths."""
    stages = values.shape[-1] // 2
    return values[..., :stages], values[..., stages:]


def check_floors(problem: MlpProblem, data: MlpData) -> None:
    """Raises `InfeasibleProblem` where a budget lies below what the space can reach by itself."""
    stages, (low, high) = problem.num_stages, problem.width_units
    ones = np.ones(stages)
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
    if rho > problem.rho * (1.0 + REAL_SLACK):
        raise InfeasibleProblem(
            f"No MLP in this space fits rho {problem.rho:.4g}: the widest has rho {rho:.4g} at "
            "the best depth. Raise rho, lower the minimum depth, or raise the maximum width."
        )
