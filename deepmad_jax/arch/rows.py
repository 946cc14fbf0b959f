"""What the layer table is made of: layers, rows, and what a block is told.

Every number in a row may be an int, a float, or an array with one entry per stage (and any leading
batch axes), NumPy or traced JAX: rows are only ever added and multiplied. With arrays, a layer that
exists in some stages only (a projection where widths differ) has repeat 0 in the others; with ints
it is left out.

`Mode` says how the parts that are not smooth are read:
    exact   as built. For integers.
    smooth  differentiable: the squeeze width is inner / 4, a projection that may exist does.
    lower   never above the exact cost of any integer network in reach: for bounds.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

Mode = Literal["exact", "smooth", "lower"]
Number = Any  # int, float, numpy array or JAX tracer: see above

ATTENTIONS = ("attention", "window_attention", "performer")
"""Layer kinds in which every token looks at others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Oblong:
    """What a map has down, across and, of clips, in frames, where a square one has its side.

    Squared it is how many there are in all, and it is divided as a side is. The kernels and strides
    of clips are of this kind too.

    Attributes:
        h, w: pixels down and across.
        t: frames; None of images.

    >>> Oblong(800, 1280) ** 2, -(-Oblong(25, 40) // 2)
    (1024000, Oblong(h=13, w=20, t=None))
    >>> Oblong(3, 3, 5) ** 2, -(-Oblong(7, 7, 8) // Oblong(2, 2, 1))
    (45, Oblong(h=4, w=4, t=8))
    """

    h: Number
    w: Number
    t: Number | None = None

    def __pow__(self, power: int) -> Number:
        assert power == 2, power
        area = self.h * self.w
        return area if self.t is None else area * self.t

    def __neg__(self) -> "Oblong":
        return Oblong(-self.h, -self.w, None if self.t is None else -self.t)

    def __floordiv__(self, stride: Number) -> "Oblong":
        by = stride if isinstance(stride, Oblong) else Oblong(stride, stride, stride)
        return Oblong(self.h // by.h, self.w // by.w, None if self.t is None else self.t // by.t)

    def __getitem__(self, at: Any) -> "Oblong":
        return Oblong(self.h[at], self.w[at], None if self.t is None else self.t[at])


def sides_of(pixels: Number) -> tuple[Number, ...]:
    """Pixels down and across of a side, or of an `Oblong`; of clips, frames last."""
    if not isinstance(pixels, Oblong):
        return pixels, pixels
    sides = pixels.h, pixels.w
    return sides if pixels.t is None else (*sides, pixels.t)


def along_axes(size: Number, axes: int = 2) -> tuple[Number, ...]:
    """A size along each axis of a map, in their order: frames where there are any, down, across.

    >>> along_axes(3), along_axes(1, axes=3), along_axes(Oblong(7, 5, 2))
    ((3, 3), (1, 1, 1), (2, 7, 5))
    """
    if not isinstance(size, Oblong):
        return (size,) * axes
    return (size.h, size.w) if size.t is None else (size.t, size.h, size.w)


def pixels_of(height: int, width: int, frames: int = 0) -> Number:
    """The side where both are the same and there are no frames, else an `Oblong`."""
    if frames:
        return Oblong(height, width, frames)
    return height if width == height else Oblong(height, width)


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One layer. Channels count, resolutions in pixels a side (or an `Oblong`).

    Of clips, ``kernel`` and ``stride`` are 1 or an `Oblong` as well.

    Attributes:
        kind: conv, norm (BatchNorm), layer_norm, layer_scale (a factor a channel), act, pool (2x2
            average or, of clips, over ``kernel``, the stride as large, ceil mode), max_pool (3x3,
            stride 2), mean (global average), scale (multiply by the squeeze gate), fork (the branch
            starts here), pad (every stride-th pixel, zeros for the channels that lack), add (join
            the shortcut), join (add the branch
            to the main one) or dense; or one of the kinds of `token_blocks.py`.
        branch: main, shortcut, se, head or another; see `is_main_path`.
        function: relu, relu6, silu, gelu or sigmoid for an ``act``; of a ``fork`` the branch that
            is copied, main where it is None; of other kinds see `token_blocks.py`.
        bias: whether a ``conv`` adds one; a ``dense`` always does.
        kernel_w: pixels of the kernel across, where they are not ``kernel`` as down; else 0.
        extra: tokens beside the ``r_out`` squared pixels: 1 where a class token is among them.
        heads: of an attention, which share the channels evenly.
        window: side of the windows within which an attention or a conv stays; 0 is the whole map.
        shift: pixels by which a stage's second, fourth, ... block moves those windows.
        scale: of an attention, times which q k is taken; None is the usual one, by width a head.
        epsilon: added to the variance by a ``layer_norm``.
        draw: how the kernel starts: normal (of deviation 0.02), uniform (as PyTorch's convs do,
            biases too) or None (see `nets.init`).
    """

    kind: str
    branch: str
    c_in: Number
    c_out: Number
    r_in: Number
    r_out: Number
    kernel: Number = 1
    stride: Number = 1
    groups: Number = 1
    function: str | None = None
    bias: bool = False
    kernel_w: Number = 0
    extra: int = 0
    heads: Number = 1
    window: int = 0
    shift: int = 0
    scale: float | None = None
    epsilon: float = 1e-6
    draw: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """``repeat`` copies of a layer. ``section`` names where: stem, first, rest, final, head."""

    section: str
    repeat: Number
    layer: Layer


def is_main_path(row: Row) -> bool:
    """Whether a row's layer is one of those that depth, width, entropy and rho count.

    Those are convs, of images or of clips, and a perceptron's dense layers. Not shortcut
    projections, not the squeeze, not the classifier; of convs side by side, which are one layer,
    the largest, on the main branch.
    """
    return row.layer.kind in ("conv", "dense") and row.layer.branch == "main"


def attends(rows: Iterable[Row]) -> bool:
    """Whether a row is an attention: then entropy and rho, which are of convs, say nothing."""
    return any(row.layer.kind in ATTENTIONS for row in rows)


def num_taps(layer: Layer) -> Number:
    """Pixels under a kernel, over all of its frames."""
    return layer.kernel * layer.kernel_w if layer.kernel_w else layer.kernel**2


@dataclasses.dataclass(frozen=True, slots=True)
class BlockShape:
    """What a block is told: the numbers of its stage, and whether it opens the stage.

    ``activation`` is the network's; the kinds one can design from have their own. ``heads``,
    ``words``, ``head_width`` and ``backbone``: see `stages.Stage` and
    `spec.Architecture.stage_norms`.
    """

    c_in: Number
    width: Number
    inner: Number
    kernel: Number
    stride: Number
    groups: Number
    r_in: Number
    r_out: Number
    first: bool
    mode: Mode
    activation: str = "relu"
    heads: Number = 1
    words: int = 0
    head_width: Number = 0
    backbone: bool = False


def conv(
    branch: str,
    c_in: Number,
    c_out: Number,
    r_in: Number,
    r_out: Number,
    kernel: Number = 1,
    stride: Number = 1,
    groups: Number = 1,
    act: str | None = None,
    count: Number = 1,
) -> list[tuple[Number, Layer]]:
    """Conv without bias, BatchNorm and, where named, an activation."""
    layers = [
        Layer("conv", branch, c_in, c_out, r_in, r_out, kernel, stride, groups),
        Layer("norm", branch, c_out, c_out, r_out, r_out),
    ]
    if act:
        layers.append(Layer("act", branch, c_out, c_out, r_out, r_out, function=act))
    return [(count, layer) for layer in layers]
