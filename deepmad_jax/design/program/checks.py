"""What makes a search space one: checks of `Problem`'s fields, each with its message."""

import math
from typing import Any

from deepmad_jax.arch.rows import Oblong
from deepmad_jax.arch.stages import BASELINE_BLOCKS, BLOCKS, COMPARED_BLOCKS, PAPER_BLOCKS
from deepmad_jax.errors import InvalidConfig, did_you_mean

Problem = Any  # `problem` imports this module

MOST_SETTLEMENTS = 64
"""Choices of kinds, one design each, beyond which a problem is refused."""


def check_blocks(block: str, blocks: tuple[str, ...], stages: int) -> None:
    """Kinds one can design from, one or several for each stage."""
    if not stages:
        raise InvalidConfig("strides is empty, but must hold a 1 or 2 for each stage, as in 2,2,1.")
    if blocks and len(blocks) != stages:
        raise InvalidConfig(
            f"blocks names {len(blocks)} kinds, but strides make {stages} stages: name one kind a "
            "stage, or leave blocks empty and set block."
        )
    if math.prod(kinds.count("|") + 1 for kinds in blocks) > MOST_SETTLEMENTS:
        raise InvalidConfig(
            f"blocks is {blocks}: that is more than {MOST_SETTLEMENTS} choices of kinds, each of "
            "them a design of its own. Leave fewer stages open."
        )
    named = [("blocks", kind) for kinds in blocks for kind in kinds.split("|")]
    for field, kind in (("block", block), *named):
        if kind in (*BASELINE_BLOCKS, *COMPARED_BLOCKS):
            raise InvalidConfig(
                f"{field} is {kind!r}, which only published networks have; one can design from "
                f"{', '.join(BLOCKS)}."
            )
        if kind not in BLOCKS:
            raise InvalidConfig(f"{field} is {kind!r}; {did_you_mean(kind, BLOCKS)}")


def check_not_empty(name: str, sizes: tuple[int, ...]) -> None:
    """``kernels``, ``kernels_t`` or ``heads``."""
    if not sizes:
        kind = {
            "kernels": "odd sizes, such as 3,5",
            "kernels_t": "numbers of frames, such as 1,3",
            "heads": "numbers of heads, such as 2,4,8",
        }
        raise InvalidConfig(f"{name} is empty, but must hold {kind[name]}.")


def check_range(name: str, values: tuple[float, ...]) -> None:
    """A least and a greatest value, or one."""
    if len(values) not in (1, 2) or values[0] > values[-1]:
        raise InvalidConfig(
            f"{name} is {values}, but must be a least and a greatest value, the least first; or "
            "one value alone to fix it."
        )


def check_length(name: str, values: tuple[int, ...], stages: int) -> None:
    """One value for all stages, or one for each."""
    if len(values) not in (1, stages):
        raise InvalidConfig(
            f"{name} is {values}, but must be one integer, or one for each of the {stages} stages."
        )


def check_ordered(names: tuple[str, str], low: tuple[int, ...], high: tuple[int, ...]) -> None:
    """No least value above the greatest, stage by stage."""
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if a > b:
            raise InvalidConfig(
                f"{names[0]} {a} is above {names[1]} {b} in stage {i + 1}: lower the first or "
                "raise the second."
            )


def check_multiple(m: int, name: str, low: int, high: int) -> None:
    """A multiple of m between the two."""
    if high // m * m < low:
        raise InvalidConfig(
            f"multiple_of is {m}, but no multiple of {m} lies between the least and greatest "
            f"{name}, {low} and {high}: widen the range or lower multiple_of."
        )


def check_together(problem: Problem) -> None:
    """What two fields forbid each other."""
    kinds = set(problem.stage_blocks)
    if problem.convention == "tinynas" and (
        not kinds <= set(PAPER_BLOCKS) or len(kinds) > 1 or problem.patch
    ):
        raise InvalidConfig(
            "convention is tinynas, but the authors' released code counts networks of one of "
            f"{', '.join(PAPER_BLOCKS)} behind a 3x3 conv only: set convention to paper."
        )
    if math.isfinite(problem.latency) and not problem.latency_table:
        limit = f"throughput is {problem.throughput:g} images a second"
        if not problem.throughput:
            limit = f"latency is {problem.latency} ms"
        raise InvalidConfig(
            f"{limit}, but there is no latency_table: name a CSV file of the time that each kind "
            "of layer takes."
        )
    is_oblong = isinstance(problem.image, Oblong) and not problem.is_of_clips
    if is_oblong and (problem.positions or problem.latency_table):
        raise InvalidConfig(
            f"The images are {problem.resolution} x {problem.resolution_w} pixels, but positions "
            "and latency tables are of square maps: set resolution_w to 0, or leave both out."
        )
    if problem.alpha and len(problem.alpha) != len(problem.level_ends):
        raise InvalidConfig(
            f"alpha has {len(problem.alpha)} weights, but these strides make "
            f"{len(problem.level_ends)} levels (the stem's, and one for each stage of stride 2): "
            "give one weight a level, or none for 1 everywhere and 8 on the last."
        )
