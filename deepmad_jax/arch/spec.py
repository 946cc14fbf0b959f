"""What an architecture is: frozen, validated, to and from JSON.

A stem conv, then stages of equal blocks, an optional final 1x1 conv, global average pooling and a
classifier. An `Architecture` comes from a design run, from a published network or from a file, and
nothing after it knows which. Stem and stages are in `stages.py`, what the blocks contain in
`layers.py`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from deepmad_jax.arch.checks import check_int, check_keys, check_known
from deepmad_jax.arch.families import FAMILIES, Family
from deepmad_jax.arch.rows import Number, pixels_of
from deepmad_jax.arch.stages import ACTIVATIONS, CLIP_BLOCKS, PLAIN_STEMS, Stage, Stem
from deepmad_jax.arch.textfile import read_text
from deepmad_jax.errors import InvalidArchitecture, NotText


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A whole network.

    Attributes:
        name: for files and tables.
        resolution: height and width of the input images, pixels.
        resolution_w: their width, where it is another than the height; else 0.
        frames: of the clips that a network of clips takes, at least 2; 0 of images.
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
    resolution_w: int = 0
    head_norm: bool = False
    positions: bool = False
    stage_norms: bool = False
    merged: bool = False
    frames: int = 0

    def __post_init__(self) -> None:
        for field in ("resolution", "in_channels", "classes"):
            check_int(field, getattr(self, field), 1)
        for field in ("resolution_w", "frames"):
            check_int(field, getattr(self, field), 0)
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
        self._check_size()
        self._check_frames()
        width = self.stem.width
        for i, stage in enumerate(self.stages, 1):
            self._check_groups(i, stage, width)
            self._check_chain(i, stage, width)
            width = stage.width

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the input images."""
        return self.resolution, self.resolution_w or self.resolution

    @property
    def image(self) -> Number:
        """Pixels a side of the input images, or an `Oblong`, with frames where they are clips."""
        return pixels_of(*self.size_px, self.frames)

    @property
    def axes(self) -> int:
        """Of a map: 2, or 3 where it has frames."""
        return 3 if self.frames else 2

    @property
    def family(self) -> Family | None:
        """What goes with the blocks of a network that the paper compares with, else None."""
        return FAMILIES.get(self.stages[-1].block)

    def _check_size(self) -> None:
        if self.size_px[0] != self.size_px[1] and (self.family or self.positions):
            raise InvalidArchitecture(
                f"The images are {self.size_px[0]} x {self.size_px[1]} pixels, but tables of "
                f"positions and windows are of square maps ({self.stages[-1].block} blocks, "
                f"positions={self.positions}): leave resolution_w out."
            )

    def _check_frames(self) -> None:
        if self.frames == 1:
            raise InvalidArchitecture(
                "frames is 1, but a clip has at least 2: leave frames out for a network of images."
            )
        of_stages = any(stage.kernel_t > 1 or stage.stride_t > 1 for stage in self.stages)
        in_time = of_stages or self.stem.kernel_t > 1
        if not self.frames and in_time:
            raise InvalidArchitecture(
                "A kernel_t or stride_t is above 1, but the network is of images: set frames to "
                "the number of frames of a clip."
            )
        others = sorted({stage.block for stage in self.stages} - set(CLIP_BLOCKS))
        if self.frames and (others or self.stem.kind != "conv" or self.positions or self.head_norm):
            raise InvalidArchitecture(
                f"frames is {self.frames}, but the network has {self.stem.kind} stem, "
                f"{', '.join(others) or 'no other'} blocks, positions={self.positions}, head_norm="
                f"{self.head_norm}: clips go through a conv stem and blocks of "
                f"{', '.join(CLIP_BLOCKS)} only."
            )

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
    "resolution_w",
    *("kind", "token_width", "activation", "head_norm", "positions", "stage_norms"),
    "merged",
    *("heads", "words", "head_width"),
    *("frames", "kernel_t", "stride_t"),
)
