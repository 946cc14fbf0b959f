"""Segmentation as a task: a class for every pixel, mean intersection over union."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import jax
import optax
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.data.masked import train_batches
from deepmad_jax.data.pairs import PairDataset, open_pairs
from deepmad_jax.tasks.backbone import make_maps_fn
from deepmad_jax.tasks.loaded import predictions_folder
from deepmad_jax.tasks.segment.evaluation import make_evaluator
from deepmad_jax.tasks.segment.functions import make_loss_fn
from deepmad_jax.tasks.segment.optimizer import make_optimizer
from deepmad_jax.tasks.segment.segmenter import make_segmenter
from deepmad_jax.train import Plan, TrainState
from deepmad_jax.train.gradients import Batch, LossFn
from deepmad_jax.train.look import Maps


@dataclasses.dataclass(frozen=True)
class LabelledPixels:
    """An opened data set of images whose pixels have classes; `tasks.task.Opened`."""

    dataset: PairDataset
    forms: int = 1
    samples: str = "images"

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def num_train(self) -> int:
        return len(self.dataset.train)

    def train_batches(self, config: Config) -> grain.DatasetIterator:
        settings = config.train
        return train_batches(
            self.dataset,
            config.data,
            config.segment,
            batch_size=settings.batch_size,
            seed=settings.seed,
        )


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Segmentation; a `tasks.task.Task`."""

    architecture_file: str = "architecture.json"
    parts: tuple[str, ...] = ("design", "data", "train", "segment")
    best_by: str = "miou"

    def load(self, path: Path) -> Architecture:
        return Architecture.load(path)

    def open(self, config: Config, arch: Architecture) -> LabelledPixels:
        return LabelledPixels(open_pairs(config.data, config.segment))

    def build(
        self, arch: Architecture, config: Config, data: LabelledPixels, fresh: bool
    ) -> nnx.Module:
        return make_segmenter(arch, config, fresh)

    def optimizer(
        self, config: Config, plan: Plan
    ) -> tuple[optax.GradientTransformation, optax.Schedule]:
        return make_optimizer(config, plan)

    def loss_fn(self, graphdef: nnx.GraphDef, data: LabelledPixels, config: Config) -> LossFn:
        return make_loss_fn(graphdef)

    def evaluator(
        self,
        graphdef: nnx.GraphDef,
        data: LabelledPixels,
        config: Config,
        mesh: Mesh,
        workdir: Path,
    ) -> Callable[[TrainState], dict[str, Any]]:
        folder = predictions_folder(workdir, data.dataset.names)
        return make_evaluator(graphdef, data.dataset, config, mesh, folder)

    def seen(self, data: LabelledPixels, config: Config) -> Callable[[Batch], jax.Array]:
        return lambda batch: batch["image"] / 255.0

    def maps(self, graphdef: nnx.GraphDef, data: LabelledPixels, config: Config) -> Maps:
        return make_maps_fn(graphdef)

    def macs(self, arch: Architecture, config: Config) -> None:
        """Not counted: they are also those of the heads, by the canvas."""

    def summary(self, line: dict[str, Any]) -> str:
        return (
            f"mIoU {line['miou']:.4f}, mean accuracy {line['macc']:.4f}, pixels right "
            f"{line['aacc']:.4f} on {line['images']:,} images of {line['dataset']} after "
            f"{line['step']:,} steps; predictions/ has pictures and a table of the classes."
        )


SEGMENT = Segmentation()
