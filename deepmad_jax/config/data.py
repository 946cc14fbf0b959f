"""Where images come from and how they become batches: ``config.data``."""

import dataclasses
from typing import Annotated

from deepmad_jax.fields import (
    Count,
    FilePath,
    Natural,
    NotNegative,
    OneOf,
    Pixels,
    Share,
    SomeShare,
    settle,
)

SOURCES = ("tfds", "folder", "digits", "fake")
"""What ``config.data.source`` may be."""

FRAMINGS = ("crop", "shift", "none")
"""What ``config.data.train_augment`` may be."""

INTERPOLATIONS = ("linear", "area", "bilinear", "bicubic", "random")
UNLABELLED = ("refuse", "drop")
FILLS = ("noise", "mean")
NORMALISATIONS = ("own", "half")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from and how they are batched.

    Attributes:
        source: ``tfds`` (prepared TFDS data), ``folder`` (SPLIT/CLASS/*.jpg below ``data_dir``),
            ``digits`` (shipped with scikit-learn) or ``fake`` (generated images whose mean colour
            carries the label, for dry runs).
        name: the TFDS data set, for example ``imagenet2012``.
        data_dir: where the data lies; None is TFDS's own default.
        pixels_dir: where ``launch/cache_pixels.py`` has put the training images, decoded; None
            decodes them each time.
        train_split, eval_split: TFDS split names, or names of folders.
        train_augment: how training images are framed: ``crop`` (random resized crop), ``shift``
            (zero-padded random shift by up to an eighth) or ``none``, which is no augmentation.
        crop_scale_min: least share of the image's area that a random crop keeps.
        crop_interpolation: of the random crop's resize: ``linear``, ``area``, ``bilinear``,
            ``bicubic`` or ``random``; see `data.images.random_cut`.
        flip: probability of mirroring left and right.
        color_jitter: greatest relative change of brightness, contrast and saturation; 0 for none.
        auto_augment: ``rand-m9-mstd0.5`` (RandAugment, as timm writes it), ``cifar``
            (AutoAugment's CIFAR policy) or None.
        random_erasing: probability of erasing a rectangle.
        erasing_fill: ``noise`` (normal, a value per pixel) or ``mean``.
        repeats: times that an image stands in an epoch's order, one after the other, each framed
            and augmented by itself (repeated augmentation); the epoch sees as many fewer images.
        mixup, cutmix: alpha of the Beta distribution of each one's share; 0 for none.
        switch_probability: of cutmix rather than mixup, where both are on.
        normalise: ``own`` (mean and deviation of the data set, or ImageNet's) or ``half`` (0.5
            for both).
        mix_groups: 1 mixes the whole batch of all devices by one draw; N draws for each of N groups
            of neighbouring images, which are mixed among themselves (see `tasks.classify.mixing`).
        eval_crop: share of the image's short side kept by the evaluation's centre crop.
        eval_px: sides at which evaluation images are looked at, whose probabilities are averaged;
            empty: the network's own alone. Networks of convs take any.
        grow_px: sides of the training images in the first parts of the training; in the last part
            they have the network's own. Of n sides each part is 1 / (n + 1) of all steps. Empty:
            always the network's own (see `data.growing`).
        corrupt_share: share of the images that may be unreadable before the run stops.
        unlabelled: what becomes of images whose label is none of the classes, such as TFDS's -1:
            ``refuse`` stops the run, ``drop`` leaves them out and tells how many.
        workers: Grain worker processes; 0 loads in the main process. Changes no batch.
        fake_images: number of generated training images of the ``fake`` source.
    """

    source: Annotated[str, OneOf(SOURCES)] = "tfds"
    name: str = "imagenet2012"
    data_dir: FilePath | None = None
    pixels_dir: FilePath | None = None
    train_split: str = "train"
    eval_split: str = "validation"
    train_augment: Annotated[str, OneOf(FRAMINGS)] = "crop"
    crop_scale_min: SomeShare = 0.08
    crop_interpolation: Annotated[str, OneOf(INTERPOLATIONS)] = "linear"
    flip: Share = 0.5
    color_jitter: NotNegative = 0.0
    auto_augment: str | None = None
    random_erasing: Share = 0.0
    erasing_fill: Annotated[str, OneOf(FILLS)] = "noise"
    repeats: Count = 1
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    switch_probability: Share = 0.5
    normalise: Annotated[str, OneOf(NORMALISATIONS)] = "own"
    mix_groups: Count = 1
    eval_crop: SomeShare = 0.95
    eval_px: tuple[Pixels, ...] = ()
    grow_px: tuple[Pixels, ...] = ()
    corrupt_share: Share = 0.001
    unlabelled: Annotated[str, OneOf(UNLABELLED)] = "refuse"
    workers: Natural = 0
    fake_images: Count = 2048

    def __post_init__(self) -> None:
        settle(self)
