"""Perceptrons on images as rows of pixels: classification with another network."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from flax import nnx

from deepmad_jax.arch.mlp import MlpArchitecture
from deepmad_jax.config import TrainConfig
from deepmad_jax.errors import InvalidArchitecture, InvalidConfig
from deepmad_jax.nets.mlp import ImageMlp
from deepmad_jax.tasks.classify.task import Classification


@dataclasses.dataclass(frozen=True)
class FlatImages:
    """A perceptron by what classification asks of an architecture.

    Its inputs are the pixels of a square image.
    """

    arch: MlpArchitecture
    resolution: int
    in_channels: int

    @classmethod
    def of(cls, arch: MlpArchitecture) -> "FlatImages":
        """Raises `InvalidConfig` where no square image, grey or in colour, has as many values."""
        for channels in (1, 3):
            resolution = math.isqrt(arch.input_width // channels)
            if resolution**2 * channels == arch.input_width:
                return cls(arch, resolution, channels)
        raise InvalidConfig(
            f"config.perceptron.input_width is {arch.input_width}, but must be the number of "
            "values of a square image: 64 for 8x8 pixels in grey, 3072 for 32x32 in colour."
        )

    @property
    def name(self) -> str:
        return self.arch.name

    @property
    def classes(self) -> int:
        return self.arch.classes

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self.arch)


def _load(path: Path) -> FlatImages:
    """The perceptron of a ``perceptron.json``."""
    try:
        values = json.loads(path.read_text())["architecture"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InvalidArchitecture(
            f"{path} does not hold a perceptron ({error}): run the perceptron job again."
        ) from error
    return FlatImages.of(MlpArchitecture.from_json(json.dumps(values)))


def _network(arch: FlatImages, settings: TrainConfig) -> nnx.Module:
    return ImageMlp(arch.arch, rngs=nnx.Rngs(settings.seed))


PERCEPTRON = Classification(
    load=_load,
    network=_network,
    count_macs=lambda images: images.arch.macs,
    has_maps=False,
    architecture_file="perceptron.json",
    parts=("perceptron", "data", "train"),
)
