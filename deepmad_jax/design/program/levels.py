"""Entropy, rho and score of one architecture, level by level; of any, also of published ones.

`evaluate` computes the same for many candidates of one problem at once.
"""

from collections.abc import Sequence
from typing import Any

from deepmad_jax.arch.layers import Layer, Row, layer_table
from deepmad_jax.arch.rows import attends
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.program.entropy import effectiveness, entropy_per_level, main_path
from deepmad_jax.design.program.problem import level_weights


def levels_of(arch: Architecture) -> list[dict[str, float]]:
    """Resolution, width, layers N, sum of log fan-ins S, entropy and rho at each level's end."""
    by_section: dict[str, list[Row]] = {}
    for row in layer_table(arch):
        by_section.setdefault(row.section.split(".")[0], []).append(row)
    levels: list[dict[str, float]] = []
    rows = by_section["stem"]
    layers, sum_log = main_path(rows)
    for i, stage in enumerate(arch.stages, 1):
        if stage.stride == 2:
            levels.append(_level(rows[-1].layer, layers, sum_log))
        rows = by_section[f"stage{i}"] + (
            by_section.get("final", []) if i == len(arch.stages) else []
        )
        more_layers, more_log = main_path(rows)
        layers, sum_log = layers + more_layers, sum_log + more_log
    return [*levels, _level(rows[-1].layer, layers, sum_log)]


def tinynas_score(
    arch: Architecture, alpha: Sequence[float] = (), as_released: bool = False
) -> float:
    """The weighted entropy as the authors' released code counts it, before its penalty, nats.

    Half the paper's: it takes log sqrt(w) for log w.

    Args:
        arch: any architecture; the released search scores at 224 pixels always.
        alpha: weight of each level; empty is 1 everywhere and 8 on the last.
        as_released: with the bug of the released code, in which a level that ends after the first
            squeeze block counts as one pixel. Networks without squeeze score the same.
    """
    levels = levels_of(arch)
    starts = [i for i, stage in enumerate(arch.stages) if stage.stride == 2]
    squeezed = [i for i, stage in enumerate(arch.stages) if stage.block == "mbconv_se"]
    first = squeezed[0] if as_released and squeezed else len(arch.stages)
    score = 0.0
    weights = alpha or (*[1.0] * (len(levels) - 1), 8.0)
    for weight, level, stages in zip(weights, levels, (*starts, len(arch.stages)), strict=True):
        resolution = 1 if stages > first else level["resolution"]
        entropy = entropy_per_level(resolution, level["width"], level["sum_log_width"])
        score += 0.5 * weight * float(entropy)
    return score


def numbers_of(arch: Architecture) -> dict[str, Any]:
    """Entropy and rho of a network that was not designed here, by the keys of ``design.json``.

    They are of convs: where tokens attend to each other every one of these is None, but in the
    block ``attention``, which has a definition of ours.
    """
    if arch.family is not None and attends(layer_table(arch)):
        return dict.fromkeys(("entropy_per_level", "alpha", "entropy", "rho", "layers"))
    levels = levels_of(arch)
    entropies = [level["entropy"] for level in levels]
    alpha = level_weights(len(levels))
    return {
        "entropy_per_level": entropies,
        "alpha": alpha,
        "entropy": sum(a * h for a, h in zip(alpha, entropies, strict=True)),
        "rho": levels[-1]["rho"],
        "layers": levels[-1]["layers"],
    }


def _level(last: Layer, layers: float, sum_log: float) -> dict[str, float]:
    return {
        "resolution": last.r_out,
        "width": last.c_out,
        "layers": layers,
        "sum_log_width": float(sum_log),
        "entropy": float(entropy_per_level(last.r_out, last.c_out, sum_log)),
        "rho": float(effectiveness(layers, sum_log)),
    }
