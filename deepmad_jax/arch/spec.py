"""What an architecture is: frozen, validated, to and from JSON.

A stem conv, then stages of equal blocks, an optional final 1x1 conv, global average pooling and a
classifier. An `Architecture` comes from a design run, from a published network or from a file, and
nothing after it knows which. What the blocks contain is said in `layers.py`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from deepmad_jax.errors import InvalidArchitecture, did_you_mean

BLOCKS = ("basic", "k1kx", "bottleneck", "mbconv", "mbconv_se")
"""Block kinds; in the released TinyNAS code KXKX, K1KX, K1KXK1, K1DWK1, K1DWSEK1."""

MBCONV_BLOCKS = ("mbconv", "mbconv_se")
"""The inverted bottlenecks: depthwise kxk conv, no projected shortcut."""


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first conv: ``width`` output channels, an odd ``kernel``, stride 1 or 2."""

    width: int
    kernel: int = 3
    stride: int = 2

    def __post_init__(self) -> None:
        check_int("stem width", self.width, 1)
        _check_kernel("stem kernel", self.kernel)
        _check_stride("stem stride", self.stride)


@dataclasses.dataclass(frozen=True)
class Stage:
    """``depth`` equal blocks; the first may have stride 2 and changes the width.

    Attributes:
        block: one of `BLOCKS`.
        width: output channels of every block.
        inner: channels inside the blocks (bottleneck or expanded width).
        kernel: odd size of the kxk convs.
        depth: number of blocks.
        stride: 1 or 2, of the first block.
        groups: of the kxk convs; 1 for the MBConv kinds, whose kxk conv is depthwise.
    """

    block: str
    width: int
    inner: int
    kernel: int
    depth: int
    stride: int
    groups: int = 1

    def __post_init__(self) -> None:
        if self.block not in BLOCKS:
            raise InvalidArchitecture(
                f"Unknown block {self.block!r}; {did_you_mean(str(self.block), BLOCKS)}"
            )
        for field in ("width", "inner", "depth", "groups"):
            check_int(f"stage {field}", getattr(self, field), 1)
        _check_kernel("stage kernel", self.kernel)
        _check_stride("stage stride", self.stride)
        if self.block in MBCONV_BLOCKS and self.groups != 1:
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

    def __post_init__(self) -> None:
        for field in ("resolution", "in_channels", "classes"):
            check_int(field, getattr(self, field), 1)
        if self.final_width is not None:
            check_int("final_width", self.final_width, 1)
        if not self.stages:
            raise InvalidArchitecture("An architecture needs at least one stage; none was given.")
        object.__setattr__(self, "stages", tuple(self.stages))
        width = self.stem.width
        for i, stage in enumerate(self.stages, 1):
            self._check_groups(i, stage, width)
            width = stage.width

    @staticmethod
    def _check_groups(index: int, stage: Stage, c_in: int) -> None:
        channels = [stage.inner]
        if stage.block == "basic":
            channels += [c_in, stage.width]
        elif stage.block == "k1kx":
            channels += [stage.width]
        bad = [c for c in channels if c % stage.groups]
        if bad:
            raise InvalidArchitecture(
                f"Stage {index} has kxk convs with {bad[0]} channels, which {stage.groups} groups "
                "do not divide: change groups or the width."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, in the layout of ``architecture.json``."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
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
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidArchitecture(f"This is not JSON: {error}.") from error
        return cls.from_dict(data)

    @classmethod
    def load(cls, path: str | Path) -> "Architecture":
        """The architecture in a JSON file; raises `InvalidArchitecture` naming the file."""
        try:
            return cls.from_json(Path(path).read_text())
        except OSError as error:
            raise InvalidArchitecture(
                f"Cannot read the architecture file {path}: {error.strerror}. "
                "Give the path of an architecture.json, or run the design job first."
            ) from error
        except (InvalidArchitecture, UnicodeDecodeError) as error:
            raise InvalidArchitecture(f"{path}: {error}") from error


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


def _check_kernel(what: str, value: Any) -> None:
    check_int(what, value, 1)
    if value % 2 == 0:
        raise InvalidArchitecture(
            f"{what} is {value}; only odd kernels are defined (padding is (k - 1) / 2)."
        )


def _check_stride(what: str, value: Any) -> None:
    if isinstance(value, bool) or value not in (1, 2):
        raise InvalidArchitecture(f"{what} must be 1 or 2, not {value!r}.")
