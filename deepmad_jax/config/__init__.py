"""The frozen dataclasses a config file becomes, and how command-line values get into them.

A config file is Python: ``get_config(variant=None)`` starts from `default_config` and sets fields.
On the command line ``--config.design.macs=2.5e9`` sets any field. Both ways end in `to_config`, the
one place that checks names and types. ``config.design`` is
`deepmad_jax.design.program.problem.Problem`. Instead of a design a file may say
``config.architecture = published("deepmad_r50")``, or ``from_file("x.json")``: `published` and
`from_file` are at hand here for that.

Not here: what the values mean (the modules that read them say) and defaults derived from others.
"""

from deepmad_jax.arch.reference import from_file, published
from deepmad_jax.config.data import DataConfig
from deepmad_jax.config.detect import DetectConfig
from deepmad_jax.config.measure import MeasureConfig
from deepmad_jax.config.paper import PaperConfig
from deepmad_jax.config.parse import (
    default_config,
    differing_fields,
    override,
    to_config,
    to_dict,
)
from deepmad_jax.config.rates import RatesConfig
from deepmad_jax.config.run import EXPORTS, JOBS, TASKS, Config
from deepmad_jax.config.segment import SegmentConfig
from deepmad_jax.config.study import StudyConfig
from deepmad_jax.config.train import TrainConfig
from deepmad_jax.config.video import VideoConfig
from deepmad_jax.config.watch import WatchConfig
from deepmad_jax.fields import CHECKPOINTS

__all__ = [
    "CHECKPOINTS",
    "EXPORTS",
    "JOBS",
    "TASKS",
    "Config",
    "DataConfig",
    "DetectConfig",
    "MeasureConfig",
    "PaperConfig",
    "RatesConfig",
    "SegmentConfig",
    "StudyConfig",
    "TrainConfig",
    "VideoConfig",
    "WatchConfig",
    "default_config",
    "differing_fields",
    "from_file",
    "override",
    "published",
    "to_config",
    "to_dict",
]
