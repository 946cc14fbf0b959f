"""The block kinds and stems of Swin, DeiT, PVT, T2T-ViT and TNT.

Tokens are the pixels of the map and linear layers are 1x1 convs; only what mixes tokens is a kind
of layer of its own. A class token cannot be a pixel: from where it is put first, the map is one row
of ``r * r + 1`` tokens.

Layer kinds beside those of `rows.py`::

    attention, window_attention, performer
                      of the queries, keys and values in ``branch`` and, where these are not all,
                      in ``keys``; window_attention adds a learned bias by relative position, and
                      shifts the windows of a map that is larger than one (``function`` always: of
                      any map)
    unfold            the kernel x kernel pixels around every stride-th as channels; ``function``
                      says in which order: pixels (row by row), columns, channels (of one, row by
                      row, then of the next)
    fill, crop        zeros right and below to whole windows of ``kernel`` pixels; off again
    trim              to whole windows of ``kernel`` pixels, the pixels beyond dropped
    position          plus a learned table, after the class token is put first where ``extra`` is 1.
                      ``function``: how it is resized, bicubic or bilinear; sinusoid (fixed,
                      bicubic); tile (one table of ``window`` x ``window``, repeated)
    pick              the class token

Sources: Swin (Liu et al. 2021, arXiv 2103.14030), DeiT (Touvron et al. 2021, arXiv 2012.12877), PVT
version 1 (Wang et al. 2021, arXiv 2102.12122), T2T-ViT_t (Yuan et al. 2021, arXiv 2101.11986), TNT
(Han et al. 2021, arXiv 2103.00112), each as its authors' code has it.
"""

from collections.abc import Callable

from deepmad_jax.arch.rows import BlockShape, Layer, Number

TNT_WORDS = 4
"""Words a side of a patch of TNT."""

TNT_WORD_HEADS = 4

PVT_PATCH_EPSILON = 1e-5
"""Of PVT's LayerNorms after convs; those before attention and MLP have 1e-6."""

Layers = list[Layer]


def swin(b: BlockShape) -> Layers:
    d, r, eps = b.width, b.r_out, 1e-5
    merge = [
        Layer("unfold", "main", b.c_in, 4 * b.c_in, b.r_in, r, 2, 2, function="columns"),
        Layer("layer_norm", "main", 4 * b.c_in, 4 * b.c_in, r, r, epsilon=eps),
        linear("main", 4 * b.c_in, d, r, bias=False),
    ]
    # In a classifier a map within one window is that window; a backbone's windows never shrink.
    window = b.kernel if b.backbone else min(b.kernel, r)
    padded = -(-r // window) * window
    return [
        *(merge if b.stride != 1 or b.c_in != d else ()),
        *_norm("main", d, r, eps),
        Layer("fill", "main", d, d, r, padded, window),
        linear("main", d, 3 * d, padded),
        Layer(
            "window_attention",
            "main",
            3 * d,
            d,
            padded,
            padded,
            heads=b.heads,
            window=window,
            shift=window // 2,
            function="always" if b.backbone else None,
        ),
        linear("main", d, d, padded),
        Layer("crop", "main", d, d, padded, r, window),
        _add("main", d, r),
        *_mlp("main", d, b.inner, r, eps),
    ]


def vit(b: BlockShape, eps: float = 1e-6, bias: bool = True) -> Layers:
    d, r = b.width, b.r_out
    return [
        *_norm("main", d, r, eps, 1),
        linear("main", d, 3 * d, r, bias=bias, extra=1),
        Layer("attention", "main", 3 * d, d, r, r, heads=b.heads, extra=1),
        linear("main", d, d, r, extra=1),
        _add("main", d, r, 1),
        *_mlp("main", d, b.inner, r, eps, 1),
    ]


def t2t(b: BlockShape) -> Layers:
    return vit(b, eps=1e-5, bias=False)


def pvt(b: BlockShape, extra: int = 0) -> Layers:
    """Spatial reduction: keys and values are of a map that is ``kernel`` times smaller."""
    d, r, reduction = b.width, b.r_out, b.kernel
    keys_r = max(r // reduction, 1)
    opening = patches(b.c_in, d, b.r_in, r, b.stride, PVT_PATCH_EPSILON)
    reduce = [
        Layer("trim", "keys", d, d, r, keys_r * reduction, reduction),
        Layer(
            *("conv", "keys", d, d, keys_r * reduction, keys_r, reduction, reduction),
            bias=True,
            draw="uniform",
        ),
        Layer("layer_norm", "keys", d, d, keys_r, keys_r, epsilon=PVT_PATCH_EPSILON),
    ]
    position = Layer("position", "main", d, d, r, r, extra=extra, function="bilinear")
    return [
        *(opening if b.stride != 1 or b.c_in != d else ()),
        *((position,) if b.first else ()),
        *_norm("main", d, r, 1e-6, extra),
        Layer("fork", "keys", d, d, r, r, extra=extra),
        linear("main", d, d, r, extra=extra),
        *(reduce if reduction > 1 else ()),
        linear("keys", d, 2 * d, keys_r, extra=extra),
        Layer("attention", "main", d, d, keys_r, r, heads=b.heads, extra=extra),
        linear("main", d, d, r, extra=extra),
        _add("main", d, r, extra),
        *_mlp("main", d, b.inner, r, 1e-6, extra),
    ]


def pvt_class(b: BlockShape) -> Layers:
    return pvt(b, extra=1)


def tnt(b: BlockShape) -> Layers:
    d, c, r, words_r, eps = b.width, b.words, b.r_out, b.r_out * TNT_WORDS, 1e-5
    return [
        *_tnt_attention("words", c, words_r, TNT_WORD_HEADS, window=TNT_WORDS),
        *_mlp("words", c, 4 * c, words_r, eps),
        Layer("fork", "patches", c, c, words_r, words_r, function="words"),
        *_words_of_a_patch("patches", c, d, r, bias=False),
        Layer("join", "patches", d, d, r, r, extra=1),
        *_tnt_attention("main", d, r, b.heads, extra=1),
        *_mlp("main", d, b.inner, r, eps, 1),
    ]


def patch_stem(c_in: Number, d: Number, patch: Number, r_in: Number, r: Number) -> Layers:
    """Swin's and PVT's: patches and LayerNorm."""
    return patches(c_in, d, r_in, r, patch, 1e-5)


def class_token_stem(c_in: Number, d: Number, patch: Number, r_in: Number, r: Number) -> Layers:
    """DeiT's: patches, class token, positions."""
    position = Layer("position", "main", d, d, r, r, extra=1, function="bicubic")
    return [*patches(c_in, d, r_in, r, patch), position]


def t2t_stem(
    c_in: Number, d: Number, e: Number, r_in: Number, r: Number, performer: bool = False
) -> Layers:
    """Tokens to tokens: three soft splits, two token transformers of width e between them."""
    split = Layer("unfold", "main", c_in, 49 * c_in, r_in, 4 * r, 7, 4, function="channels")
    layers = [split, *_token_transformer(49 * c_in, e, 4 * r, performer)]
    layers.append(Layer("unfold", "main", e, 9 * e, 4 * r, 2 * r, 3, 2, function="channels"))
    layers += _token_transformer(9 * e, e, 2 * r, performer)
    return [
        *layers,
        Layer("unfold", "main", e, 9 * e, 2 * r, r, 3, 2, function="channels"),
        linear("main", 9 * e, d, r),
        Layer("position", "main", d, d, r, r, extra=1, function="sinusoid"),
    ]


def tnt_stem(c_in: Number, d: Number, c: Number, patch: Number, r_in: Number, r: Number) -> Layers:
    """Words of every patch by itself, then one token a patch of all its words."""
    words_r = r * TNT_WORDS
    return [
        Layer("fill", "main", c_in, c_in, r_in, r * patch, patch),
        Layer(
            *("conv", "main", c_in, c, r * patch, words_r, 7, patch // TNT_WORDS),
            bias=True,
            window=patch,
            draw="uniform",
        ),
        Layer("position", "main", c, c, words_r, words_r, window=TNT_WORDS, function="tile"),
        Layer("fork", "words", c, c, words_r, words_r),
        *_words_of_a_patch("main", c, d, r, bias=True),
        Layer("position", "main", d, d, r, r, extra=1, function="bicubic"),
    ]


def linear(
    branch: str, c_in: Number, c_out: Number, r: Number, bias: bool = True, extra: int = 0
) -> Layer:
    """A linear layer on every token: a 1x1 conv."""
    return Layer("conv", branch, c_in, c_out, r, r, bias=bias, extra=extra, draw="normal")


def patches(
    c_in: Number, d: Number, r_in: Number, r: Number, patch: Number, eps: float | None = None
) -> Layers:
    """A conv over patches side by side; a LayerNorm where an epsilon is given."""
    layers = [
        Layer("fill", "main", c_in, c_in, r_in, r * patch, patch),
        Layer(*("conv", "main", c_in, d, r * patch, r, patch, patch), bias=True, draw="uniform"),
    ]
    norm = [] if eps is None else [Layer("layer_norm", "main", d, d, r, r, epsilon=eps)]
    return layers + norm


TOKEN_BLOCKS: dict[str, Callable[[BlockShape], Layers]] = {
    "swin": swin,
    "vit": vit,
    "pvt": pvt,
    "pvt_class": pvt_class,
    "t2t": t2t,
    "tnt": tnt,
}
"""Block kind -> its layers."""


def _norm(branch: str, d: Number, r: Number, eps: float, extra: int = 0) -> Layers:
    """Opens a residual branch: the shortcut starts, then LayerNorm."""
    source = None if branch == "main" else branch
    return [
        Layer("fork", "shortcut", d, d, r, r, extra=extra, function=source),
        Layer("layer_norm", branch, d, d, r, r, extra=extra, epsilon=eps),
    ]


def _add(branch: str, d: Number, r: Number, extra: int = 0) -> Layer:
    return Layer("add", branch, d, d, r, r, extra=extra)


def _mlp(branch: str, d: Number, inner: Number, r: Number, eps: float, extra: int = 0) -> Layers:
    return [
        *_norm(branch, d, r, eps, extra),
        linear(branch, d, inner, r, extra=extra),
        Layer("act", branch, inner, inner, r, r, function="gelu", extra=extra),
        linear(branch, inner, d, r, extra=extra),
        _add(branch, d, r, extra),
    ]


def _tnt_attention(
    branch: str, d: Number, r: Number, heads: int, window: int = 0, extra: int = 0
) -> Layers:
    """Queries and keys by one linear layer, values by another, neither with bias."""
    source = None if branch == "main" else branch
    return [
        *_norm(branch, d, r, 1e-5, extra),
        Layer("fork", "keys", d, d, r, r, extra=extra, function=source),
        linear(branch, d, 2 * d, r, bias=False, extra=extra),
        linear("keys", d, d, r, bias=False, extra=extra),
        Layer("attention", branch, 2 * d, d, r, r, heads=heads, window=window, extra=extra),
        linear(branch, d, d, r, extra=extra),
        _add(branch, d, r, extra),
    ]


def _words_of_a_patch(branch: str, c: Number, d: Number, r: Number, bias: bool) -> Layers:
    """The words of each patch, one after the other, as one token."""
    side = TNT_WORDS
    values = side**2 * c
    return [
        Layer("unfold", branch, c, values, r * side, r, side, side, function="pixels"),
        Layer("layer_norm", branch, values, values, r, r, epsilon=1e-5),
        linear(branch, values, d, r, bias=bias),
        Layer("layer_norm", branch, d, d, r, r, epsilon=1e-5),
    ]


def _token_transformer(a: Number, e: Number, r: Number, performer: bool) -> Layers:
    """From width a to e; the values, not the input, are what the attention is added to."""
    kind = "performer" if performer else "attention"
    # By the input's width, not by that of queries and keys: so it is in the authors' code.
    scale = None if performer else a**-0.5
    return [
        Layer("layer_norm", "main", a, a, r, r, epsilon=1e-5),
        linear("main", a, 3 * e, r, bias=performer),
        Layer("fork", "shortcut", 3 * e, e, r, r),
        Layer(kind, "main", 3 * e, e, r, r, scale=scale),
        linear("main", e, e, r),
        _add("main", e, r),
        *_mlp("main", e, e, r, 1e-5),
    ]
