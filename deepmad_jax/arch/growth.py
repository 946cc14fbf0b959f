"""Width growth: by what factor an architecture widens at each downsampling."""

import itertools

from deepmad_jax.arch.spec import Architecture


def width_growth(arch: Architecture) -> tuple[float, ...]:
    """Width of each stage of stride 2 over the width before it, in network order.

    The stem's own downsampling has no width before it and does not count. The paper's designs grow
    1.2-1.5 fold (appendix G).

    >>> from deepmad_jax.arch.stages import Stage, Stem
    >>> stages = (Stage("basic", 8, 8, 3, 1, 1), Stage("basic", 12, 8, 3, 1, 2))
    >>> width_growth(Architecture("tiny", 32, 3, 10, Stem(8), stages))
    (1.5,)
    """
    widths = [arch.stem.width, *(stage.width for stage in arch.stages)]
    return tuple(
        after / before
        for stage, (before, after) in zip(arch.stages, itertools.pairwise(widths), strict=True)
        if stage.stride == 2
    )
