"""The parts of an architecture, its stem and its stages, and the kinds that these may be of.

Each is frozen and checks itself; what must fit between them, `spec.Architecture` checks. What the
blocks contain is said in `layers.py`.
"""

import dataclasses

from deepmad_jax.arch.checks import check_int, check_kernel, check_known, check_stride
from deepmad_jax.arch.families import FAMILIES
from deepmad_jax.errors import InvalidArchitecture

PAPER_BLOCKS = ("basic", "k1kx", "bottleneck", "mbconv", "mbconv_se")
"""Block kinds of the paper's designs; in the released TinyNAS code KXKX, K1KX, K1KXK1, K1DWK1,
K1DWSEK1."""

FURTHER_BLOCKS = ("fused_mbconv", "convnext", "attention")
"""Block kinds that the paper does not design from, see `further_blocks.py`."""

BLOCKS = (*PAPER_BLOCKS, *FURTHER_BLOCKS)
"""Block kinds one can design from."""

BASELINE_BLOCKS = (
    "res_basic",
    "res_basic_pad",
    "res_bottleneck",
    "inverted",
    "inverted_se",
)
"""Block kinds of other published networks, to train and compare; no design is made of them."""

COMPARED_BLOCKS = tuple(FAMILIES)
"""Block kinds of the networks that the paper compares with; no design is made of them."""

MBCONV_BLOCKS = ("mbconv", "mbconv_se")
"""The inverted bottlenecks: depthwise kxk conv, no projected shortcut."""

DEPTHWISE_BLOCKS = (
    *MBCONV_BLOCKS,
    *("inverted", "inverted_se", "convnext", "attention"),
    *COMPARED_BLOCKS,
)
"""Those whose kxk conv is depthwise already, or that have none."""

LAYER_NORM_BLOCKS = ("convnext", "attention")
"""Designed blocks with LayerNorms: a network that ends in one has another before its classifier."""

CLIP_BLOCKS = (*PAPER_BLOCKS, "fused_mbconv")
"""Those that may be of clips, frames beside frames: their kxk convs become k_t x k x k."""

WINDOW_BLOCKS = ("swin", "pvt", "pvt_class")
"""Those whose ``kernel`` is no conv's: a window, or by how much keys and values are reduced."""

PLAIN_STEMS = ("conv", "max_pool", "patch")
"""Stem kinds that go before any block but those of a family."""

STEMS = (
    *PLAIN_STEMS,
    *("patches", "class_token", "t2t", "t2t_performer", "tnt", "large_kernel"),
)
"""Stem kinds, see `Stem`."""

PATCH_STEMS = ("patch", "patches", "class_token", "tnt")
"""Those of patches side by side."""

SOFT_SPLIT_STEMS = ("t2t", "t2t_performer")
"""Those of T2T-ViT, of kernel 7 and stride 4, then twice 3 and 2."""

ACTIVATIONS = ("relu", "relu6", "silu")
"""What `Architecture.activation` may be."""


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first conv.

    Attributes:
        width: output channels.
        kernel: odd; of `PATCH_STEMS` any size.
        stride: 1 or 2; of `PATCH_STEMS` the kernel's size, of `SOFT_SPLIT_STEMS` 4.
        kind: ``conv`` (conv, BatchNorm, activation), ``max_pool`` (these, then a 3x3 max pool of
            stride 2), ``patch`` (conv with bias over patches side by side, LayerNorm), or one of a
            family: ``patches`` (the same, of Swin and PVT), ``class_token`` (without LayerNorm, but
            with class token and positions: DeiT), ``t2t`` and ``t2t_performer`` (T2T-ViT), ``tnt``
            and ``large_kernel`` (four convs of RepLKNet).
        token_width: channels inside T2T's token transformers, or of TNT's words; else 0.
        kernel_t: frames of the kernel, odd; 1 where the network is of images.
    """

    width: int
    kernel: int = 3
    stride: int = 2
    kind: str = "conv"
    token_width: int = 0
    kernel_t: int = 1

    def __post_init__(self) -> None:
        check_int("stem width", self.width, 1)
        check_kernel("stem kernel_t", self.kernel_t)
        check_known("stem kind", self.kind, STEMS)
        has_tokens = self.kind in ("tnt", *SOFT_SPLIT_STEMS)
        check_int("stem token_width", self.token_width, 1 if has_tokens else 0)
        if self.token_width and not has_tokens:
            raise InvalidArchitecture(
                f"The stem has token_width {self.token_width}, but a {self.kind} stem has no "
                "tokens of their own: leave it out."
            )
        if self.kind == "tnt" and self.kernel % 4:
            raise InvalidArchitecture(
                f"The stem has patches of {self.kernel} pixels, which 4 words a side do not "
                "divide: take a multiple of 4."
            )
        if self.kind in SOFT_SPLIT_STEMS:
            if (self.kernel, self.stride) != (7, 4):
                raise InvalidArchitecture(
                    f"The stem has kernel {self.kernel} and stride {self.stride}, but the first of "
                    "T2T's splits has 7 and 4: set these."
                )
            return
        if self.kind in PATCH_STEMS:
            check_int("stem kernel", self.kernel, 1)
            if self.stride != self.kernel:
                raise InvalidArchitecture(
                    f"The stem has patches of {self.kernel} pixels but stride {self.stride}; "
                    "patches lie side by side: make them equal."
                )
            return
        check_kernel("stem kernel", self.kernel)
        check_stride("stem stride", self.stride)

    @property
    def reduction(self) -> int:
        """Pixels of the image per pixel of the output, a side."""
        more = {"max_pool": 2, "large_kernel": 2, "t2t": 4, "t2t_performer": 4}
        return self.stride * more.get(self.kind, 1)


@dataclasses.dataclass(frozen=True)
class Stage:
    """``depth`` equal blocks; the first may have stride 2 and changes the width.

    Attributes:
        block: one of `BLOCKS`, `BASELINE_BLOCKS` or `COMPARED_BLOCKS`.
        width: output channels of every block.
        inner: channels inside the blocks (bottleneck or expanded width). Of the inverted residuals,
            inside the repeated ones: the first expands its own input by the same factor,
            ``inner / width``.
        kernel: odd size of the kxk convs. Of ``swin`` the window's side and of ``pvt`` by how much
            keys and values are reduced, any number; of other attention 1.
        depth: number of blocks; of ``replk``, whose layer is two residual blocks, of layers.
        stride: 1 or 2, of the first block.
        groups: of the kxk convs; 1 for `DEPTHWISE_BLOCKS`.
        heads: of the attention; 1 where there is none.
        words: channels of TNT's words; else 0.
        head_width: channels a head of ``attention``, whose heads need not add up to the width; else
            0, and heads share the width evenly.
        kernel_t: frames of the kxk convs' kernels, odd; 1 where the network is of images.
        stride_t: 1 or 2, of the first block in frames; 1 where the network is of images.
    """

    block: str
    width: int
    inner: int
    kernel: int
    depth: int
    stride: int
    groups: int = 1
    heads: int = 1
    words: int = 0
    head_width: int = 0
    kernel_t: int = 1
    stride_t: int = 1

    def __post_init__(self) -> None:
        check_known("block", self.block, (*BLOCKS, *BASELINE_BLOCKS, *COMPARED_BLOCKS))
        for field in ("width", "inner", "depth", "groups", "heads", "kernel"):
            check_int(f"stage {field}", getattr(self, field), 1)
        attention = self.block == "attention"
        check_int("stage head_width", self.head_width, 1 if attention else 0)
        if self.head_width and not attention:
            raise InvalidArchitecture(
                f"head_width is {self.head_width} in a stage of {self.block} blocks, but only "
                "attention blocks have heads of a width of their own: leave it out."
            )
        if not attention and self.width % self.heads:
            raise InvalidArchitecture(
                f"A stage has {self.width} channels, which {self.heads} heads do not divide: "
                "change one."
            )
        # Four heads for the words: `token_blocks.TNT_WORD_HEADS`.
        if (self.block == "tnt") != bool(self.words) or self.words % 4:
            raise InvalidArchitecture(
                f"words is {self.words} in a stage of {self.block} blocks: TNT's words have a "
                "multiple of 4 channels, other blocks have no words and 0."
            )
        if self.block not in WINDOW_BLOCKS:
            check_kernel("stage kernel", self.kernel)
        check_kernel("stage kernel_t", self.kernel_t)
        check_stride("stage stride", self.stride)
        check_stride("stage stride_t", self.stride_t)
        if self.block in DEPTHWISE_BLOCKS and self.groups != 1:
            raise InvalidArchitecture(
                f"groups is {self.groups} in a stage of {self.block} blocks, whose kxk conv is "
                "depthwise already: leave groups at 1."
            )
