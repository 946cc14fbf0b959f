"""Detection as a task: boxes, and with some heads masks; average precision as COCO counts it."""

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
from deepmad_jax.data.boxed import num_canvases, train_batches
from deepmad_jax.data.coco import CocoDataset, check_masks, open_coco
from deepmad_jax.tasks.backbone import make_maps_fn
from deepmad_jax.tasks.detect.detectors import WITH_MASKS, make_detector
from deepmad_jax.tasks.detect.evaluation import make_evaluator
from deepmad_jax.tasks.detect.functions import make_loss_fn
from deepmad_jax.tasks.detect.optimizer import make_optimizer
from deepmad_jax.tasks.loaded import predictions_folder
from deepmad_jax.train import Plan, TrainState
from deepmad_jax.train.gradients import Batch, LossFn
from deepmad_jax.train.look import Maps


@dataclasses.dataclass(frozen=True)
class BoxedImages:
    """An opened data set of images with boxes; `tasks.task.Opened`."""

    dataset: CocoDataset
    samples: str = "images"

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def num_train(self) -> int:
        return len(self.dataset.train)

    @property
    def forms(self) -> int:
        return num_canvases(self.dataset.train)

    def train_batches(self, config: Config) -> grain.DatasetIterator:
        settings = config.train
        return train_batches(
            self.dataset,
            config.data,
            config.detect,
            masks=config.detect.head in WITH_MASKS,
            batch_size=settings.batch_size,
            seed=settings.seed,
        )


@dataclasses.dataclass(frozen=True)
class Detection:
    """Detection; a `tasks.task.Task`."""

    architecture_file: str = "architecture.json"
    parts: tuple[str, ...] = ("design", "data", "train", "detect")
    best_by: str = "box_ap"

    def load(self, path: Path) -> Architecture:
        return Architecture.load(path)

    def open(self, config: Config, arch: Architecture) -> BoxedImages:
        dataset = open_coco(config.data)
        if config.detect.head in WITH_MASKS:
            check_masks(dataset.evaluation)
        return BoxedImages(dataset)

    def build(
        self, arch: Architecture, config: Config, data: BoxedImages, fresh: bool
    ) -> nnx.Module:
        return make_detector(arch, config, data.dataset.classes, fresh)

    def optimizer(
        self, config: Config, plan: Plan
    ) -> tuple[optax.GradientTransformation, optax.Schedule]:
        return make_optimizer(config, plan)

    def loss_fn(self, graphdef: nnx.GraphDef, data: BoxedImages, config: Config) -> LossFn:
        return make_loss_fn(graphdef)

    def evaluator(
        self,
        graphdef: nnx.GraphDef,
        data: BoxedImages,
        config: Config,
        mesh: Mesh,
        workdir: Path,
    ) -> Callable[[TrainState], dict[str, Any]]:
        folder = predictions_folder(workdir, data.dataset.names)
        return make_evaluator(graphdef, data.dataset, config, mesh, folder)

    def seen(self, data: BoxedImages, config: Config) -> Callable[[Batch], jax.Array]:
        return lambda batch: batch["image"] / 255.0

    def maps(self, graphdef: nnx.GraphDef, data: BoxedImages, config: Config) -> Maps:
        return make_maps_fn(graphdef)

    def macs(self, arch: Architecture, config: Config) -> None:
        """Not counted: they are also those of the heads, by the canvas."""

    def summary(self, line: dict[str, Any]) -> str:
        words = [f"box AP {line['box_ap']:.3f} (AP50 {line['box_ap50']:.3f})"]
        if "mask_ap" in line:
            words.append(f"mask AP {line['mask_ap']:.3f} (AP50 {line['mask_ap50']:.3f})")
        return (
            f"{', '.join(words)} on {line['images']:,} images of {line['dataset']} after "
            f"{line['step']:,} steps; predictions/ has boxes and a table of the classes."
        )


DETECT = Detection()
