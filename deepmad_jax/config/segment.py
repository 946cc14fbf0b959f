"""How every pixel gets a class and how that is learned: ``config.segment``."""

import dataclasses
from typing import Annotated

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import (
    Count,
    FilePath,
    Natural,
    NotNegative,
    OneOf,
    Pixels,
    Positive,
    Range,
    Share,
    ShareBelowOne,
    SomePath,
    SomeShare,
    settle,
)

OPTIMIZERS = ("sgd", "adamw")
"""What ``config.segment.optimizer`` may be."""

DECAYED = ("all", "matrices", "no_norms")
"""What ``config.segment.decayed`` may be."""

Classes = Annotated[int, Range(2, 255)]  # 255 marks pixels without a class


@dataclasses.dataclass(frozen=True)
class SegmentConfig:
    """How pixels are classified; the defaults are UPerNet's on ADE20K with a ResNet (Table 5).

    ``config.train`` has epochs, batch, peak and last rate, momentum (without Nesterov here), decay,
    clipping and drop path; its cosine, warm-up and cool-down are not used. ``config.data`` has the
    folder (``data_dir``), the splits, ``flip``, ``corrupt_share`` and ``workers``.

    Attributes:
        width: channels of the pyramid and of the pooled maps.
        aux_width: channels of the auxiliary head, which sits on the map of stride 16.
        aux_weight: of its loss.
        dropout: probability of each channel before the classes to be zeroed for an image.
        pools: sides of the pooled maps.
        norm_maps: a LayerNorm on each of the backbone's maps, as ConvNeXt has; Swin always.
        pretrained: weights of the backbone: a run's workdir, or a file that `interop` reads, of the
            same architecture, with any number of classes. None: fresh ones.
        classes: how many; label 255 is none of them and not learned.
        zero_ignored: label 0 is no class either, and the others count from 1, as in ADE20K.
        image_folder, label_folder: below ``data_dir``; ``{split}`` stands for the split's name.
            Labels are indexed or grey PNG files of the images' names.
        short_side, long_side: an image is as large as both let it be, pixels.
        scale_range: least and greatest factor of a training image's size.
        crop: side of the square that is learned from.
        class_share: of a crop's labelled pixels that one class may have; ten crops are tried.
        distort: change brightness, contrast, saturation and hue.
        optimizer: ``sgd`` or ``adamw``.
        decayed: ``all`` parameters, ``matrices`` (no biases, no norms) or ``no_norms``.
        layer_decay: factor of the rate from each of a backbone's stages to the one before it.
        power: the rate falls with this power of the share of steps that are left.
        warmup_steps: of a linear warm-up.
        warmup_factor: of the rate, where it starts.
        window: side of the square that is slid over an evaluation image; 0 takes it whole.
        stride: by which it moves, at most.
        scales: of the evaluation image, over which probabilities are averaged.
        mirrored: whether they are averaged over the mirrored image too.
        aspects: long side over short side of the images that the network is compiled for: an
            evaluation image gets the nearest one's. Empty: each keeps its own, and every size is
            compiled.
        overlays: how many evaluation images are shown with their classes.
        images: files that the ``segment`` job colours.
        export_size: height and width of the images that an exported network takes.
    """

    width: Count = 512
    aux_width: Count = 256
    aux_weight: NotNegative = 0.4
    dropout: ShareBelowOne = 0.1
    pools: tuple[Count, ...] = (1, 2, 3, 6)
    norm_maps: bool = False
    pretrained: FilePath | None = None
    classes: Classes = 150
    zero_ignored: bool = True
    image_folder: SomePath = "images/{split}"
    label_folder: SomePath = "annotations/{split}"
    short_side: Pixels = 512
    long_side: Pixels = 2048
    scale_range: tuple[Positive, ...] = (0.5, 2.0)
    crop: Pixels = 512
    class_share: SomeShare = 0.75
    distort: bool = True
    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = "sgd"
    decayed: Annotated[str, OneOf(DECAYED)] = "all"
    layer_decay: SomeShare = 1.0
    power: Positive = 0.9
    warmup_steps: Natural = 0
    warmup_factor: Share = 1e-6
    window: Natural = 0
    stride: Pixels = 341
    scales: tuple[Positive, ...] = (1.0,)
    mirrored: bool = False
    aspects: tuple[Positive, ...] = (1.0, 1.15, 4 / 3, 1.5, 16 / 9, 2.0, 2.5, 3.0, 4.0)
    overlays: Natural = 8
    images: tuple[FilePath, ...] = ()
    export_size: tuple[Pixels, ...] = (512, 512)

    def __post_init__(self) -> None:
        settle(self)
        if len(self.scale_range) != 2 or self.scale_range[0] > self.scale_range[1]:
            raise InvalidConfig(
                f"scale_range is {self.scale_range}, but must be a least and a greatest factor, "
                "such as 0.5,2."
            )
        if not self.scales or not self.pools:
            name = "pools" if self.scales else "scales"
            raise InvalidConfig(f"{name} is empty; name at least one, such as 1.")
        if any(aspect < 1 for aspect in self.aspects):
            raise InvalidConfig(
                f"aspects is {self.aspects}, but must be long sides over short ones, at least 1."
            )
        if len(self.export_size) != 2:
            raise InvalidConfig(
                f"export_size is {self.export_size}, but must be a height and a width, such as "
                "512,512."
            )
        if self.window and self.stride > self.window:
            raise InvalidConfig(
                f"stride is {self.stride}, but must not be above window={self.window}, or pixels "
                "are left out."
            )
