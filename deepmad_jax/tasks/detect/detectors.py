"""Every kind of detector by the name that ``config.detect.head`` gives it."""

from typing import Any

import jax
import numpy as np

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.nets.parts import Making
from deepmad_jax.tasks.classify.task import DTYPES
from deepmad_jax.tasks.detect import dense, two_stage
from deepmad_jax.tasks.detect.backbone import make_backbone

DENSE = {
    "fcos": dense.FCOS,
    "fcos_tricks": dense.FCOS_TRICKS,
    "gfl": dense.GFL_V2,
    "gfl_v1": dense.GFL_V1,
}
"""Name -> kind of head."""

WITH_MASKS = {"mask_rcnn": two_stage.MASK_RCNN, "cascade_mask_rcnn": two_stage.CASCADE}
"""Name -> kind of detector, of those that also find masks."""


def make_detector(arch: Architecture, config: Config, classes: int, fresh: bool) -> Any:
    """The `detector.Detector` that ``config.detect`` asks for, an `nnx.Module`.

    Args:
        arch: of the backbone.
        config: of the run.
        classes: to tell apart.
        fresh: as `backbone.make_backbone` has it.
    """
    settings = config.train
    making = Making(
        np.random.default_rng(settings.seed),
        DTYPES[settings.dtype],
        cpu_convs=jax.default_backend() == "cpu",
    )
    head = config.detect.head
    if head in WITH_MASKS:
        backbone = make_backbone(arch, config, two_stage.STRIDES, fresh)
        return two_stage.TwoStageDetector(
            WITH_MASKS[head], backbone, classes, config.detect, making
        )
    backbone = make_backbone(arch, config, dense.STRIDES, fresh)
    return dense.DenseDetector(DENSE[head], backbone, classes, config.detect, making)
