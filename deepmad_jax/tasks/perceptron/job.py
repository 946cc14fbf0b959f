"""Training of a perceptron: the classify task's own job, on images as rows of pixels."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from flax import nnx

from deepmad_jax.arch.mlp import MlpArchitecture
from deepmad_jax.config import Config, TrainConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.nets.mlp import ImageMlp
from deepmad_jax.tasks.classify import train as train_classifier
from deepmad_jax.train import TrainState


def train(config: Config, arch: MlpArchitecture, workdir: str | Path) -> TrainState:
    """Trains ``arch`` on ``config.data``; as `classify.train`, in what it leaves and raises.

    Images are brought to the square whose pixels are the network's inputs.

    Raises:
        InvalidConfig: no square image, grey or in colour, has as many values.
    """
    return train_classifier(config, _of_images(arch), workdir, _build)


@dataclasses.dataclass(frozen=True)
class _OfImages:
    """A perceptron by what the classify job asks of an architecture."""

    arch: MlpArchitecture
    resolution: int
    in_channels: int

    @property
    def name(self) -> str:
        return self.arch.name

    @property
    def classes(self) -> int:
        return self.arch.classes

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self.arch)


def _of_images(arch: MlpArchitecture) -> _OfImages:
    for channels in (1, 3):
        resolution = math.isqrt(arch.input_width // channels)
        if resolution**2 * channels == arch.input_width:
            return _OfImages(arch, resolution, channels)
    raise InvalidConfig(
        f"config.perceptron.input_width is {arch.input_width}, but must be the number of values of "
        "a square image: 64 for 8x8 pixels in grey, 3072 for 32x32 in colour."
    )


def _build(of_images: _OfImages, settings: TrainConfig) -> nnx.Module:
    return ImageMlp(of_images.arch, rngs=nnx.Rngs(settings.seed))
