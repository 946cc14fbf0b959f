"""How a video gets a class and how that is learned: ``config.video``."""

import dataclasses
from typing import Annotated

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import (
    Count,
    FilePath,
    OneOf,
    Pixels,
    Positive,
    Share,
    SomePath,
    SomeShare,
    settle,
)

LAYOUTS = ("ucf101", "kinetics", "folder")
"""What ``config.video.layout`` may be."""

TRAIN_CROPS = ("random", "multiscale")
"""What ``config.video.train_crop`` may be."""

TEST_CROPS = ("one", "three", "ten")
"""What ``config.video.test_crops`` may be."""

AVERAGES = ("logits", "probabilities")
"""What ``config.video.average`` may be."""


@dataclasses.dataclass(frozen=True)
class VideoConfig:
    """How videos are classified; the defaults are TSN's on UCF101 (Table 6).

    ``config.train`` has epochs, batch (in clips), optimiser (SGD is without Nesterov here), rate,
    decay, clipping, label smoothing and dropout, which is the head's; its cosine, warm-up and
    cool-down are not used. ``config.data`` has the folder (``data_dir``), the splits, ``flip``,
    ``crop_scale_min``, ``corrupt_share`` and ``workers``.

    Attributes:
        layout: ``ucf101`` (lists of files, classes numbered in ``classInd.txt`` beside them),
            ``kinetics`` (a csv of labels and times) or ``folder`` (SPLIT/CLASS/*.mp4).
        list_file: of a split, below ``data_dir``; ``{split}`` stands for the split's name. Not read
            by ``folder``.
        video_folder: below ``data_dir``, where the videos are looked for.
        missing_share: of the listed videos that may not be there before a run is refused.
        least_frames: a video of fewer counts as corrupt.
        cache: a folder for frames that were decoded once, resized and as JPEG; None keeps none.
        segments: equal parts of a training video, of each of which one frame is taken. Of networks
            of clips this and ``test_segments`` are multiples of a clip's frames.
        short_side: of the frames, before they are cut.
        train_crop: ``random`` (a random part by area and aspect) or ``multiscale`` (one of five
            places, sides by ``crop_scales``).
        crop_scales: shares of the short side that sides of multiscale crops have; width and height
            may be neighbours among them.
        crop: side of what is learned from.
        head_std: deviation of the classifier's first weights.
        pretrained: weights of the backbone, as trained on images: a run's workdir, or a file that
            `interop` reads, of the same architecture. None: fresh ones.
        drop_epochs: after which the rate is multiplied by ``drop_factor``.
        drop_factor: see there.
        test_segments: frames that a video is judged by, each the middle of an equal part.
        test_crops: ``one`` (the centre), ``three`` (along the long side) or ``ten`` (the corners
            and the centre, mirrored too).
        test_crop: their side.
        average: over the crops: of ``logits``, as the published numbers, or of ``probabilities``.
        videos: files that the ``video`` job classifies.
    """

    layout: Annotated[str, OneOf(LAYOUTS)] = "ucf101"
    list_file: SomePath = "ucfTrainTestlist/{split}.txt"
    video_folder: SomePath = "UCF-101"
    missing_share: Share = 0.1
    least_frames: Count = 1
    cache: FilePath | None = None
    segments: Count = 3
    short_side: Pixels = 256
    train_crop: Annotated[str, OneOf(TRAIN_CROPS)] = "random"
    crop_scales: tuple[SomeShare, ...] = (1.0, 0.875, 0.75, 0.66)
    crop: Pixels = 224
    head_std: Positive = 0.01
    pretrained: FilePath | None = None
    drop_epochs: tuple[Positive, ...] = ()
    drop_factor: SomeShare = 0.1
    test_segments: Count = 25
    test_crops: Annotated[str, OneOf(TEST_CROPS)] = "three"
    test_crop: Pixels = 256
    average: Annotated[str, OneOf(AVERAGES)] = "logits"
    videos: tuple[FilePath, ...] = ()

    def __post_init__(self) -> None:
        settle(self)
        if self.test_crop > self.short_side:
            raise InvalidConfig(
                f"test_crop is {self.test_crop}, but must not be above "
                f"short_side={self.short_side}: frames have no more pixels."
            )
        if self.test_crops == "three" and self.test_crop != self.short_side:
            raise InvalidConfig(
                f"test_crop is {self.test_crop}, but three crops lie along the long side, so it "
                f"must be short_side={self.short_side}; or set test_crops=one."
            )
        if not self.crop_scales:
            raise InvalidConfig("crop_scales is empty; name at least one, such as 1.")
