"""Entropy per level, effectiveness and depth penalty: paper Eq. 1-4, whatever the network is of.

Perceptrons, networks of images and networks of clips have one road: the rows of the layer table
give the number of main-path layers and the sum of their log fan-ins, N and S (`main_path`), these
rho, and S times what the last map says the entropy: `entropy_per_level` for maps of pixels, with
frames or without, `vector_entropy` for a perceptron's vector.

Letters of the paper: H_m `entropy_per_level`, rho `effectiveness`, Q `depth_penalty`, L_i depth of
a stage in blocks, w_j fan-in of a main-path layer (`arch.cost.fan_in`). Logarithms are natural;
results are in nats. Arrays may be NumPy or JAX; the last axis runs over stages or levels.
"""

from collections.abc import Iterable
from types import ModuleType

import jax.numpy as jnp
import numpy as np

from deepmad_jax.arch.cost import fan_in
from deepmad_jax.arch.rows import Row, is_main_path
from deepmad_jax.design.program.arrays import Array, namespace

# Var(L) of an arbitrary network can exceed 700, where exp overflows. Networks that could be
# chosen stay far below this.
MAX_EXPONENT = 300.0


def main_path(rows: Iterable[Row], xp: ModuleType = np) -> tuple[Array, Array]:
    """Number N of main-path layers in the rows, and the sum of their log fan-ins, S.

    Both have the shape of the rows' numbers: scalars, or one entry per stage.
    """
    layers: Array = 0.0
    sum_log: Array = 0.0
    for row in rows:
        if is_main_path(row):
            layers = layers + row.repeat
            sum_log = sum_log + row.repeat * xp.log(fan_in(row.layer))
    return layers, sum_log


def entropy_per_level(resolution: Array, width: Array, sum_log_width: Array) -> Array:
    """H_m = log(r_m^2 c_m) * S_m for each level, nats; of t_m frames, log(t_m r_m^2 c_m) * S_m.

    Args:
        resolution: pixels a side of each level's output, shape (..., levels), or an `Oblong`.
        width: its channels, same shape.
        sum_log_width: log fan-ins of all main-path convs up to each level's end, same shape.
    Source: paper Eq. 1 and 4; with frames E3D (Wang et al. 2023, arXiv 2303.02693), less its
    refinement factor.
    """
    xp = namespace(width, sum_log_width)
    return xp.log(resolution**2 * width) * sum_log_width


def vector_entropy(width: Array, sum_log_width: Array) -> Array:
    """H = w_{L+1} * S of a perceptron, nats.

    Args:
        width: of its last layer's output, w_{L+1}.
        sum_log_width: sum of the log fan-ins of its layers, same shape.
    Source: paper, section 3.
    """
    return width * sum_log_width


def effectiveness(num_layers: Array, sum_log_width: Array) -> Array:
    """Depth over average width, rho = N / wbar: small is shallow and wide, large is hard to train.

    Args:
        num_layers: main-path layers N, real or integer.
        sum_log_width: sum of their log fan-ins, nats, same shape.
    Source: paper Eq. 2-3; wbar is the geometric mean. TinyNAS takes the maximum over prefixes.

    >>> round(float(effectiveness(2, 2 * np.log(8.0))), 6)
    0.25
    """
    xp = namespace(num_layers, sum_log_width)
    return num_layers * xp.exp(-sum_log_width / num_layers)


def depth_penalty(depth: Array) -> Array:
    """Q = exp(Var(L_1..L_S)), population variance over the last axis (paper, guideline 2)."""
    xp = namespace(depth)
    return xp.exp(xp.minimum(depth.var(axis=-1), MAX_EXPONENT))


def tinynas_depth_penalty(depth: Array, skip_first_two: bool) -> Array:
    """exp(standard deviation) of the depths, as the released code has it in place of Q.

    Args:
        depth: blocks in each stage, shape (..., stages).
        skip_first_two: whether only the third stage onward counts (all but MBConv networks).
    """
    xp = namespace(depth)
    if skip_first_two:
        depth = depth[..., 2:]
    if depth.shape[-1] == 0:
        return xp.ones(depth.shape[:-1])
    # The tiny addend keeps the derivative finite where all depths are equal.
    tiny = 1e-18 if xp is jnp else 0.0
    return xp.exp(xp.minimum(xp.sqrt(depth.var(axis=-1) + tiny), MAX_EXPONENT))
