"""What goes together in the networks that the paper compares with: blocks, stems and heads."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Family:
    """What goes with a block kind of `COMPARED_BLOCKS`; a network is of one family throughout.

    Attributes:
        stems: kinds of stem that fit before it.
        head: ``mean`` (global average), ``norm_mean`` and ``batch_norm_mean`` (a norm of every
            pixel before it) or ``class_token`` (a LayerNorm of that token).
        epsilon: of the head's LayerNorm.
        draw: how the classifier starts, and a ``patch`` stem; see `rows.Layer`.
    """

    stems: tuple[str, ...]
    head: str
    epsilon: float = 1e-6
    draw: str = "normal"


FAMILIES = {
    "swin": Family(("patches",), "norm_mean", 1e-5),
    "slak": Family(("patch",), "mean"),
    "replk": Family(("large_kernel",), "batch_norm_mean", draw="uniform"),
    "vit": Family(("class_token",), "class_token"),
    "pvt": Family(("patches",), "class_token"),
    "pvt_class": Family(("patches",), "class_token"),
    "t2t": Family(("t2t", "t2t_performer"), "class_token", 1e-5),
    "tnt": Family(("tnt",), "class_token", 1e-5),
}
"""Block kind -> its family. PVT's last stage is of ``pvt_class``: the class token comes there."""
