"""What a problem of clips has that one of images has not: kernels and strides in frames.

A conv of k_t x k x k has a fan-in of ``c k_t k^2 / groups``, and a level of t frames the entropy
``log(t r^2 c)`` times the sum of its logs, so of a kernel the program asks for ``k_t k^2`` only:
that is what a stage chooses, and the pair follows from it.

Source: the program of E3D (Wang et al. 2023, arXiv 2303.02693), less its refinement factor.
"""

import itertools
import math
from collections.abc import Iterable
from typing import Any

from deepmad_jax.arch.stages import CLIP_BLOCKS
from deepmad_jax.errors import InvalidConfig

Problem = Any  # `problem` imports this module


def kernels_of_clips(
    kernels: Iterable[int], kernels_t: Iterable[int]
) -> dict[int, tuple[int, int]]:
    """Pixels under a kernel over all of its frames -> its side and its frames.

    >>> kernels_of_clips((3, 5), (1, 3))
    {9: (3, 1), 27: (3, 3), 25: (5, 1), 75: (5, 3)}
    """
    pairs = itertools.product(kernels, kernels_t)
    return {side**2 * along: (side, along) for side, along in pairs}


def check_clips(problem: Problem) -> None:
    """Raises `InvalidConfig` where fields that are of clips fit no other, or no clips."""
    if not problem.is_of_clips:
        raise InvalidConfig(
            f"strides_t is {problem.strides_t} and stem_kernel_t {problem.stem_kernel_t}, but "
            f"frames is {problem.frames}, so the network is of images: set frames to the number of "
            "frames of a clip, or leave these out."
        )
    strides = len(problem.strides_t)
    if strides not in (0, problem.num_stages):
        raise InvalidConfig(
            f"strides_t has {strides} entries, but strides make {problem.num_stages} stages: give "
            "one a stage, or none for 1 everywhere."
        )
    kinds = {kind for block in problem.stage_blocks for kind in block.split("|")}
    others = sorted(kinds - set(CLIP_BLOCKS))
    if others or problem.patch or problem.positions:
        raise InvalidConfig(
            f"frames is {problem.frames}, but of clips one designs with a conv stem and blocks of "
            f"{', '.join(CLIP_BLOCKS)} only (here: {', '.join(others) or 'no other block'}, patch="
            f"{problem.patch}, positions={problem.positions}): set frames to 0, or leave the "
            "others out."
        )
    if problem.convention == "tinynas":
        raise InvalidConfig(
            f"frames is {problem.frames}, but convention is tinynas, which counts networks of "
            "images: set convention to paper."
        )
    if problem.latency_table or math.isfinite(problem.latency):
        raise InvalidConfig(
            f"frames is {problem.frames}, but latency tables are of maps without frames: leave "
            "latency and latency_table out."
        )
