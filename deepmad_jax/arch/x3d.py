"""What X3D's networks of clips cost, as published: budgets to design to and to compare with.

Source: Feichtenhofer 2020 (CVPR, arXiv 2004.04730): parameters, and multiply-adds for one clip at
its training size, which the paper calls FLOPs.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ClipBudget:
    """A published network of clips.

    Attributes:
        frames, resolution: of a clip, which is square.
        params, macs: whole network, macs for one clip.
    """

    frames: int
    resolution: int
    params: float
    macs: float


X3D = {
    "s": ClipBudget(13, 160, 3.76e6, 1.96e9),
    "m": ClipBudget(16, 224, 3.76e6, 4.73e9),
    "l": ClipBudget(16, 312, 6.08e6, 18.37e9),
    "xl": ClipBudget(16, 312, 11.0e6, 35.84e9),
}
"""X3D-S, M, L and XL."""
