"""How boxes are found and learned: ``config.detect``."""

import dataclasses
import math

from deepmad_jax.errors import InvalidConfig, did_you_mean

HEADS = ("fcos", "fcos_tricks", "gfl", "gfl_v1")
"""What ``config.detect.head`` may be; `tasks.detect.heads` holds what each is."""

NORMS = ("fixed", "affine", "trained")
"""What ``config.detect.batch_norm`` may be."""

WARMUPS = ("constant", "linear")
"""What ``config.detect.warmup`` may be."""


@dataclasses.dataclass(frozen=True)
class DetectConfig:
    """How boxes are found and learned; the defaults are FCOS's of the paper's Table 4.

    ``config.train`` has epochs, batch, peak rate, momentum (without Nesterov here), decay and
    clipping; its cosine, warm-up and cool-down are not used. ``config.data`` has the folder
    (``data_dir``, with ``annotations/instances_SPLIT.json`` and the images of a split in
    ``SPLIT/``), the splits, ``flip``, ``corrupt_share`` and ``workers``.

    Attributes:
        head: one of `HEADS`.
        width: channels of the pyramid and of the head.
        depth: convs of each branch of the head.
        groups: of the head's GroupNorm.
        pretrained: weights of the backbone: a run's workdir, or a file that `interop` reads, of the
            same architecture, with any number of classes. None: fresh ones.
        frozen_stages: stages, the stem before them, that do not train.
        batch_norm: of the backbone: ``fixed`` (statistics, scale and bias), ``affine`` (scale and
            bias train) or ``trained``.
        short_sides: of a training image, pixels, one drawn for each.
        eval_short_side: of an evaluation image.
        long_side: greatest, pixels; where the short side's size would pass it, it counts.
        most_boxes: of an image that are learned; the largest, where there are more.
        bias_rate: factor of the learning rate for the biases of convs and dense layers.
        bias_decays: whether they decay.
        warmup: ``constant`` at ``warmup_factor`` of the rate, or ``linear`` from it.
        warmup_steps: how long.
        drop_epochs: after which the rate falls to ``drop_factor`` of itself.
    """

    head: str = "fcos"
    width: int = 256
    depth: int = 4
    groups: int = 32
    pretrained: str | None = None
    frozen_stages: int = 1
    batch_norm: str = "fixed"
    short_sides: tuple[int, ...] = (640, 800)
    eval_short_side: int = 800
    long_side: int = 1333
    most_boxes: int = 100
    bias_rate: float = 2.0
    bias_decays: bool = False
    warmup: str = "constant"
    warmup_factor: float = 1 / 3
    warmup_steps: int = 500
    drop_epochs: tuple[float, ...] = (16.0, 22.0)
    drop_factor: float = 0.1

    def __post_init__(self) -> None:
        for field, known in (("head", HEADS), ("batch_norm", NORMS), ("warmup", WARMUPS)):
            if getattr(self, field) not in known:
                raise InvalidConfig(
                    f"detect.{field} is {getattr(self, field)!r}; "
                    f"{did_you_mean(getattr(self, field), known)}"
                )
        for field in ("width", "depth", "groups", "eval_short_side", "long_side", "most_boxes"):
            if getattr(self, field) < 1:
                raise InvalidConfig(
                    f"detect.{field} is {getattr(self, field)}, but must be at least 1."
                )
        for field in ("frozen_stages", "warmup_steps"):
            if getattr(self, field) < 0:
                raise InvalidConfig(
                    f"detect.{field} is {getattr(self, field)}, but must be at least 0."
                )
        for field in ("bias_rate", "warmup_factor", "drop_factor"):
            if not 0 < getattr(self, field) < math.inf:
                raise InvalidConfig(
                    f"detect.{field} is {getattr(self, field)}, but must be more than 0, and "
                    "finite."
                )
        if not self.short_sides or min(self.short_sides) < 1:
            raise InvalidConfig(
                f"detect.short_sides is {self.short_sides}; name at least one, each at least 1."
            )
        if list(self.drop_epochs) != sorted(self.drop_epochs) or min(self.drop_epochs, default=1) <= 0:
            raise InvalidConfig(
                f"detect.drop_epochs is {self.drop_epochs}, but must rise from above 0."
            )
        if self.width % self.groups:
            raise InvalidConfig(
                f"detect.width is {self.width}, which detect.groups={self.groups} groups do not "
                "divide: change one."
            )
