"""Where images come from and how they become batches: ``config.data``."""

import dataclasses
import math

from deepmad_jax.errors import InvalidConfig, did_you_mean


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from and how they are batched.

    Attributes:
        source: ``tfds`` (prepared TFDS data), ``folder`` (SPLIT/CLASS/*.jpg below ``data_dir``),
            ``digits`` (shipped with scikit-learn) or ``fake`` (generated images whose mean colour
            carries the label, for dry runs).
        name: the TFDS data set, for example ``imagenet2012``.
        data_dir: where the data lies; None is TFDS's own default.
        train_split, eval_split: TFDS split names, or names of folders.
        train_augment: how training images are framed: ``crop`` (random resized crop), ``shift``
            (zero-padded random shift by up to an eighth) or ``none``, which is no augmentation.
        crop_scale_min: least share of the image's area that a random crop keeps.
        crop_interpolation: of the random crop's resize: ``linear``, ``area`` or ``bicubic``; see
            `data.images.random_cut`.
        flip: probability of mirroring left and right.
        color_jitter: greatest relative change of brightness, contrast and saturation; 0 for none.
        auto_augment: ``rand-m9-mstd0.5-inc1`` (RandAugment, as timm writes it), ``cifar``
            (AutoAugment's CIFAR policy) or None.
        random_erasing: probability of erasing a rectangle.
        erasing_fill: ``noise`` (normal, a value per pixel) or ``mean``.
        mixup, cutmix: alpha of the Beta distribution of each one's share; 0 for none.
        switch_probability: of cutmix rather than mixup, where both are on.
        eval_crop: share of the image's short side kept by the evaluation's centre crop.
        corrupt_share: share of the images that may be unreadable before the run stops.
        workers: Grain worker processes; 0 loads in the main process. Changes no batch.
        fake_images: number of generated training images of the ``fake`` source.
    """

    source: str = "tfds"
    name: str = "imagenet2012"
    data_dir: str | None = None
    train_split: str = "train"
    eval_split: str = "validation"
    train_augment: str = "crop"
    crop_scale_min: float = 0.08
    crop_interpolation: str = "linear"
    flip: float = 0.5
    color_jitter: float = 0.0
    auto_augment: str | None = None
    random_erasing: float = 0.0
    erasing_fill: str = "noise"
    mixup: float = 0.0
    cutmix: float = 0.0
    switch_probability: float = 0.5
    eval_crop: float = 0.95
    corrupt_share: float = 0.001
    workers: int = 0
    fake_images: int = 2048

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise InvalidConfig(f"data.workers is {self.workers}, but must be at least 0.")
        if self.fake_images < 1:
            raise InvalidConfig(f"data.fake_images is {self.fake_images}, but must be at least 1.")
        for field in ("eval_crop", "crop_scale_min"):
            if not 0 < getattr(self, field) <= 1:
                raise InvalidConfig(
                    f"data.{field} is {getattr(self, field)}, but must lie in (0, 1]."
                )
        for field in ("flip", "random_erasing", "switch_probability", "corrupt_share"):
            if not 0 <= getattr(self, field) <= 1:
                raise InvalidConfig(
                    f"data.{field} is {getattr(self, field)}, but must lie in [0, 1]."
                )
        for field in ("color_jitter", "mixup", "cutmix"):
            if not 0 <= getattr(self, field) < math.inf:
                raise InvalidConfig(
                    f"data.{field} is {getattr(self, field)}, but must be at least 0, and finite."
                )
        for field, known in (
            ("crop_interpolation", ("linear", "area", "bicubic")),
            ("erasing_fill", ("noise", "mean")),
        ):
            if getattr(self, field) not in known:
                raise InvalidConfig(
                    f"data.{field} is {getattr(self, field)!r}; "
                    f"{did_you_mean(getattr(self, field), known)}"
                )
