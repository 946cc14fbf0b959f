"""What an architecture is: frozen, validated, to and from JSON.

A stem conv, then stages of equal blocks, an optional final 1x1 conv, global average pooling and a
classifier. An `Architecture` comes from a design run, from a published network or from a file, and
nothing after it knows which. What the blocks contain is said in `layers.py`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from deepmad_jax.arch.textfile import read_text
from deepmad_jax.errors import InvalidArchitecture, NotText, did_you_mean

BLOCKS = ("basic", "k1kx", "bottleneck", "mbconv", "mbconv_se")
"""Block kinds one can design from; in the released TinyNAS code KXKX, K1KX, K1KXK1, K1DWK1,
K1DWSEK1."""

BASELINE_BLOCKS = (
    "res_basic",
    "res_basic_pad",
    "res_bottleneck",
    "inverted",
    "inverted_se",
    "convnext",
)
"""Block kinds of other published networks, to train and compare; no design is made of them."""

MBCONV_BLOCKS = ("mbconv", "mbconv_se")
"""The inverted bottlenecks: depthwise kxk conv, no projected shortcut."""

DEPTHWISE_BLOCKS = (*MBCONV_BLOCKS, "inverted", "inverted_se", "convnext")
"""Those whose kxk conv is depthwise already."""

STEMS = ("conv", "max_pool", "patch")
"""Stem kinds, see `Stem`."""

ACTIVATIONS = ("relu", "relu6", "silu")
"""What `Architecture.activation` may be."""


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first conv.

    Attributes:
        width: output channels.
        kernel: odd; of ``patch`` any size.
        stride: 1 or 2; of ``patch`` the kernel's size.
        kind: ``conv`` (conv, BatchNorm, activation), ``max_pool`` (these, then a 3x3 max pool of
            stride 2) or ``patch`` (conv with bias over patches side by side, LayerNorm).
    """

    width: int
    kernel: int = 3
    stride: int = 2
    kind: str = "conv"

    def __post_init__(self) -> None:
        check_int("stem width", self.width, 1)
        _check_known("stem kind", self.kind, STEMS)
        if self.kind == "patch":
            check_int("stem kernel", self.kernel, 1)
            if self.stride != self.kernel:
                raise InvalidArchitecture(
                    f"The stem has patches of {self.kernel} pixels but stride {self.stride}; "
                    "patches lie side by side: make them equal."
                )
            return
        _check_kernel("stem kernel", self.kernel)
        _check_stride("stem stride", self.stride)

    @property
    def reduction(self) -> int:
        """Pixels of the image per pixel of the output, a side."""
        return self.stride * 2 if self.kind == "max_pool" else self.stride


@dataclasses.dataclass(frozen=True)
class Stage:
    """``depth`` equal blocks; the first may have stride 2 and changes the width.

    Attributes:
        block: one of `BLOCKS` or `BASELINE_BLOCKS`.
        width: output channels of every block.
        inner: channels inside the blocks (bottleneck or expanded width). Of the inverted residuals,
            inside the repeated ones: the first expands its own input by the same factor,
            ``inner / width``.
        kernel: odd size of the kxk convs.
        depth: number of blocks.
        stride: 1 or 2, of the first block.
        groups: of the kxk convs; 1 for `DEPTHWISE_BLOCKS`.
    """

    block: str
    width: int
    inner: int
    kernel: int
    depth: int
    stride: int
    groups: int = 1

    def __post_init__(self) -> None:
        _check_known("block", self.block, (*BLOCKS, *BASELINE_BLOCKS))
        for field in ("width", "inner", "depth", "groups"):
            check_int(f"stage {field}", getattr(self, field), 1)
        _check_kernel("stage kernel", self.kernel)
        _check_stride("stage stride", self.stride)
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
        activation: of the stem, the final conv and the blocks of `BASELINE_BLOCKS` except
            ``convnext``: one of `ACTIVATIONS`. Other blocks have their own.
        head_norm: whether a LayerNorm stands between global pooling and classifier.

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

    def __post_init__(self) -> None:
        for field in ("resolution", "in_channels", "classes"):
            check_int(field, getattr(self, field), 1)
        if self.final_width is not None:
            check_int("final_width", self.final_width, 1)
        _check_known("activation", self.activation, ACTIVATIONS)
        if not isinstance(self.head_norm, bool):
            raise InvalidArchitecture(f"head_norm must be true or false, not {self.head_norm!r}.")
        if not self.stages:
            raise InvalidArchitecture("An architecture needs at least one stage; none was given.")
        object.__setattr__(self, "stages", tuple(self.stages))
        width = self.stem.width
        for i, stage in enumerate(self.stages, 1):
            self._check_groups(i, stage, width)
            self._check_chain(i, stage, width)
            width = stage.width

    @staticmethod
    def _check_groups(index: int, stage: Stage, c_in: int) -> None:
        channels = [stage.inner]
        if stage.block in ("basic", "res_basic", "res_basic_pad"):
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
        for owner, group in ((Architecture, plain), (Stem, plain["stem"])):
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


_OPTIONAL = ("kind", "activation", "head_norm")


def check_keys(what: str, data: Any, cls: type) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidArchitecture(f"{what} must be an object with named fields, not {data!r}.")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise InvalidArchitecture(
                f"{what} has an unknown key {key!r}; {did_you_mean(key, fields)}"
            )
    missing = [
        name for name, f in fields.items() if name not in data and f.default is dataclasses.MISSING
    ]
    if missing:
        raise InvalidArchitecture(f"{what} lacks the key(s) {', '.join(missing)}.")
    return data


def check_int(what: str, value: Any, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InvalidArchitecture(
            f"{what} must be an integer of at least {minimum}, not {value!r}."
        )


def _check_known(what: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArchitecture(f"Unknown {what} {value!r}; {did_you_mean(str(value), known)}")


def _check_kernel(what: str, value: Any) -> None:
    check_int(what, value, 1)
    if value % 2 == 0:
        raise InvalidArchitecture(
            f"{what} is {value}; only odd kernels are defined (padding is (k - 1) / 2)."
        )


def _check_stride(what: str, value: Any) -> None:
    if isinstance(value, bool) or value not in (1, 2):
        raise InvalidArchitecture(f"{what} must be 1 or 2, not {value!r}.")
