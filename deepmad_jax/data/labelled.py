"""Batches of labelled images, for classification: framing, augmentation, one integer an image."""

import dataclasses

import numpy as np

from deepmad_jax.config import DataConfig
from deepmad_jax.data import images, stream
from deepmad_jax.data.augment import augmentation
from deepmad_jax.data.chunks import Chunk, Maker
from deepmad_jax.data.corrupt import Unlabelled
from deepmad_jax.data.dataset import Dataset
from deepmad_jax.data.decode import decode
from deepmad_jax.data.iterator import Batches
from deepmad_jax.data.reading import reading_of
from deepmad_jax.errors import InvalidConfig, UserError, did_you_mean

FRAMINGS = ("crop", "shift", "none")
"""What ``config.data.train_augment`` may be."""

SCRATCH_BYTES = 2**22
"""Decoded images up to this size, 1.4 megapixels in colour, share the memory of a chunk's maker."""


def train_batches(
    dataset: Dataset,
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> Batches:
    """Endless batches of this process: ``image`` (b, r, r, c) uint8, ``label`` (b,) int32, and
    ``key`` (b, 2) uint32; see `stream.endless`.

    Args:
        dataset: what to read.
        config: framing, augmentation, ``repeats``, ``workers``, ``corrupt_share`` and
            ``unlabelled``.
        batch_size: over all processes; b is this process's share.
        seed: of order and augmentation.
        process_index, process_count: this process among those that train; None asks JAX.
    """
    if config.train_augment not in FRAMINGS:
        raise InvalidConfig(
            f"config.data.train_augment is {config.train_augment!r}; "
            f"{did_you_mean(config.train_augment, FRAMINGS)}"
        )
    samples = _Labelled(dataset, config)
    samples.maker()  # here once, so that a bad policy fails before anything is read
    reading = reading_of(
        dataset.name, config, process_index, process_count, unlabelled=config.unlabelled
    )
    return stream.endless(
        dataset.train, samples, reading, batch_size=batch_size, seed=seed, repeats=config.repeats
    )


def eval_batches(
    dataset: Dataset,
    config: DataConfig,
    *,
    batch_size: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> Batches:
    """Batches ``{"image", "label", "mask": (b,) float32}``; see `stream.once`.

    Args:
        dataset: what to read.
        config: ``eval_crop``, ``workers``, ``corrupt_share`` and ``unlabelled``.
        batch_size: over all processes.
        process_index, process_count: as in `train_batches`.
    """
    reading = reading_of(
        dataset.name, config, process_index, process_count, unlabelled=config.unlabelled
    )
    samples = _Labelled(dataset, config)
    return stream.once(dataset.evaluation, samples, reading, batch_size=batch_size)


@dataclasses.dataclass(frozen=True)
class _Labelled:
    """`chunks.Samples` of one image and its label."""

    dataset: Dataset
    config: DataConfig

    def empty(self, length: int) -> Chunk:
        side = self.dataset.resolution_px
        return {
            "image": np.zeros((length, side, side, self.dataset.channels), np.uint8),
            "label": np.zeros(length, np.int32),
        }

    def maker(self) -> Maker:
        config, scratch = self.config, np.empty(SCRATCH_BYTES, np.uint8)
        fill = tuple(round(255 * value) for value in self.dataset.mean)
        augment = augmentation(config.auto_augment, config.color_jitter, fill)

        def make(chunk: Chunk, slot: int, element, rng) -> None:  # type: ignore[no-untyped-def]
            out = chunk["image"][slot]
            chunk["label"][slot] = _label(element["label"], self.dataset.classes)
            _check_type(self.dataset.name, element["image"])
            if rng is None:
                image = _centre(self.dataset, config.eval_crop, element["image"])
            else:
                image = self._framed(rng, element["image"], scratch, out)
                if config.train_augment != "none":
                    image = augment(rng, images.random_flip(rng, image, config.flip))
            if image is not out:
                out[...] = image

        return make

    def _framed(
        self,
        rng: np.random.Generator,
        image: bytes | np.ndarray,
        scratch: np.ndarray,
        out: np.ndarray,
    ) -> np.ndarray:
        if self.config.train_augment == "crop":
            return images.random_cut(
                rng,
                image,
                channels=self.dataset.channels,
                resolution_px=self.dataset.resolution_px,
                scale_min=self.config.crop_scale_min,
                interpolation=self.config.crop_interpolation,
                scratch=scratch,
                out=out,
            )
        framed = _centre(self.dataset, self.config.eval_crop, image)
        return images.random_shift(rng, framed) if self.config.train_augment == "shift" else framed


def _label(label: int, classes: int) -> int:
    if not 0 <= label < classes:
        raise Unlabelled(f"its label is {label}, but those of the classes are 0 to {classes - 1}")
    return label


def _check_type(name: str, image: bytes | np.ndarray) -> None:
    if not isinstance(image, bytes) and image.dtype != np.uint8:
        raise UserError(
            f"The images of {name} are arrays of {image.dtype}, and nothing says which value is "
            "white: give uint8 from 0 to 255, or the bytes of an image file."
        )


def _centre(dataset: Dataset, share: float, image: bytes | np.ndarray) -> np.ndarray:
    """The central square, resized; images that have the network's size already are not cut."""
    if not dataset.framed:
        whole = decode(image, dataset.channels) if isinstance(image, bytes) else image
        height, width = whole.shape[:2]
        box = images.centre_box(width, height, share)
        return images.cut(whole, box, dataset.resolution_px)
    return np.asarray(image)
