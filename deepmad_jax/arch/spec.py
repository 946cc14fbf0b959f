"""What an architecture is: frozen, validated, to and from JSON.

A stem conv, then stages of equal blocks, an optional final 1x1 conv, global average pooling and a
classifier. An `Architecture` comes from a design run, from a published network or from a file, and
nothing after it knows which. What the blocks contain is said in `layers.py`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from deepmad_jax.arch.checks import (
    check_int,
    check_kernel,
    check_keys,
    check_known,
    check_stride,
)
from deepmad_jax.arch.families import FAMILIES, Family
from deepmad_jax.arch.textfile import read_text
from deepmad_jax.errors import InvalidArchitecture, NotText

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
    """

    width: int
    kernel: int = 3
    stride: int = 2
    kind: str = "conv"
    token_width: int = 0

    def __post_init__(self) -> None:
        check_int("stem width", self.width, 1)
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
        check_stride("stage stride", self.stride)
        if self.block in DEPTHWISE_BLOCKS and self.groups != 1:
            raise InvalidArchitecture(
                f"groups is {self.groups} in a stage of {self.block} blocks, whose kxk conv is "
                "depthwise already: leave groups at 1."
            )


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A whole network.

    Attributes:
        name: for files and tables.
        resolution: height and width of the input images, pixels.
        in_channels: channels of the input images.
        classes: outputs of the classifier.
        stem: the first conv.
        stages: at least one.
        final_width: channels of the final 1x1 conv, or None where there is none.
        activation: of the stem, the final conv and the blocks of `BASELINE_BLOCKS`: one of
            `ACTIVATIONS`. Other blocks have their own.
        head_norm: whether a LayerNorm stands between global pooling and classifier; the families of
            `FAMILIES` other than SLaK's have their own head.
        positions: whether a learned number for every pixel and channel is added after the stem.
        stage_norms: of ``swin`` only: the form in which it stands under detectors, with a LayerNorm
            on the output of every stage, no classifier, and windows that never shrink.
        merged: of ``slak`` and ``replk`` only: the form for inference, in which depthwise convs
            side by side are one (`large_kernel_blocks.merged`).

    >>> arch = Architecture("tiny", 32, 3, 10, Stem(8), (Stage("basic", 8, 8, 3, 1, 1),))
    >>> Architecture.from_json(arch.to_json()) == arch
    True
    """

    name: str
    resolution: int
    in_channels: int
    classes: int
    stem: Stem
    stages: tuple[Stage, ...]
    final_width: int | None = None
    activation: str = "relu"
    head_norm: bool = False
    positions: bool = False
    stage_norms: bool = False
    merged: bool = False

    def __post_init__(self) -> None:
        for field in ("resolution", "in_channels", "classes"):
            check_int(field, getattr(self, field), 1)
        if self.final_width is not None:
            check_int("final_width", self.final_width, 1)
        check_known("activation", self.activation, ACTIVATIONS)
        for field in ("head_norm", "positions", "stage_norms", "merged"):
            value = getattr(self, field)
            if not isinstance(value, bool):
                raise InvalidArchitecture(f"{field} must be true or false, not {value!r}.")
        if not self.stages:
            raise InvalidArchitecture("An architecture needs at least one stage; none was given.")
        object.__setattr__(self, "stages", tuple(self.stages))
        self._check_family()
        width = self.stem.width
        for i, stage in enumerate(self.stages, 1):
            self._check_groups(i, stage, width)
            self._check_chain(i, stage, width)
            width = stage.width

    @property
    def family(self) -> Family | None:
        """What goes with the blocks of a network that the paper compares with, else None."""
        return FAMILIES.get(self.stages[-1].block)

    def _check_family(self) -> None:
        """A family's blocks share ends and tokens that no other block knows."""
        blocks = [stage.block for stage in self.stages]
        last, family = blocks[-1], self.family
        inside = "pvt" if last == "pvt_class" else last
        if family is None:
            stems: tuple[str, ...] = PLAIN_STEMS
            fits = not set(blocks) & set(FAMILIES)
        else:
            stems = family.stems
            fits = set(blocks[:-1]) <= {inside} and last != "pvt" and self.final_width is None
        if not fits or self.stem.kind not in stems:
            raise InvalidArchitecture(
                f"{self.stem.kind} stem, {', '.join(dict.fromkeys(blocks))} blocks, final_width="
                f"{self.final_width}: {last} blocks come after a {' or '.join(stems)} stem and "
                "only among themselves; those of pvt end in a stage of pvt_class, and no family "
                "has a final conv."
            )
        if self.stage_norms and last != "swin":
            raise InvalidArchitecture(
                f"stage_norms is true of {last} blocks, but only swin has that form: leave it out."
            )
        if self.merged and last not in ("slak", "replk"):
            raise InvalidArchitecture(
                f"merged is true of {last} blocks, which have no convs side by side: leave it out."
            )
        if last in ("vit", "t2t", "tnt") and any(stage.stride != 1 for stage in self.stages):
            raise InvalidArchitecture(
                f"A stage of {last} blocks has stride 2, but tokens keep their number: set 1."
            )

    @staticmethod
    def _check_groups(index: int, stage: Stage, c_in: int) -> None:
        channels = [stage.inner]
        if stage.block in ("basic", "res_basic", "res_basic_pad", "fused_mbconv"):
            channels += [c_in, stage.width]
        elif stage.block == "k1kx":
            channels += [stage.width]
        bad = [c for c in channels if c % stage.groups]
        if bad:
            raise InvalidArchitecture(
                f"Stage {index} has kxk convs with {bad[0]} channels, which {stage.groups} groups "
                "do not divide: change groups or the width."
            )

    @staticmethod
    def _check_chain(index: int, stage: Stage, c_in: int) -> None:
        if stage.block == "res_basic_pad" and stage.width < c_in:
            raise InvalidArchitecture(
                f"Stage {index} shrinks from {c_in} to {stage.width} channels, but its shortcut "
                "can only be padded: use res_basic, whose shortcut is projected."
            )
        if stage.block.startswith("inverted") and c_in * stage.inner % stage.width:
            raise InvalidArchitecture(
                f"Stage {index} expands {stage.width} channels to {stage.inner}, which makes no "
                f"whole number of the {c_in} its first block is given: change inner or the width."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, in the layout of ``architecture.json``.

        What only baselines need (`_OPTIONAL`) is left out where it has its default.
        """
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        groups = [(Architecture, plain), (Stem, plain["stem"])]
        groups += [(Stage, stage) for stage in plain["stages"]]
        for owner, group in groups:
            for field in dataclasses.fields(owner):
                if field.name in _OPTIONAL and group[field.name] == field.default:
                    del group[field.name]
        return plain

    def to_json(self) -> str:
        """The text of ``architecture.json``; the same architecture gives the same bytes."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_dict(cls, data: Any) -> "Architecture":
        """The inverse of `to_dict`.

        Raises:
            InvalidArchitecture: a key is missing, unknown or of the wrong type.
        """
        fields = dict(check_keys("architecture", data, cls))
        fields["stem"] = Stem(**check_keys("stem", fields["stem"], Stem))
        if not isinstance(fields["stages"], list | tuple):
            raise InvalidArchitecture(f"stages must be a list, not {fields['stages']!r}.")
        fields["stages"] = tuple(
            Stage(**check_keys(f"stage {i}", stage, Stage))
            for i, stage in enumerate(fields["stages"], 1)
        )
        return cls(**fields)

    @classmethod
    def from_json(cls, text: str) -> "Architecture":
        """The inverse of `to_json`; raises `InvalidArchitecture`."""
        try:
            data = json.loads(text.removeprefix("\ufeff"))
        # Also for numbers of thousands of digits, and for brackets without end.
        except (ValueError, RecursionError) as error:
            raise InvalidArchitecture(f"This is not JSON: {error}.") from error
        return cls.from_dict(data)

    @classmethod
    def load(cls, path: str | Path) -> "Architecture":
        """The architecture in a JSON file; raises `InvalidArchitecture` naming the file."""
        try:
            return cls.from_json(read_text(path))
        except OSError as error:
            raise InvalidArchitecture(
                f"Cannot read the architecture file {path}: {error.strerror}. "
                "Give the path of an architecture.json, or run the design job first."
            ) from error
        except (InvalidArchitecture, NotText) as error:
            raise InvalidArchitecture(f"{path}: {error}") from error


_OPTIONAL = (
    *("kind", "token_width", "activation", "head_norm", "positions", "stage_norms"),
    "merged",
    *("heads", "words", "head_width"),
)
