"""Action recognition as a task: a class for every video, top-1 and top-5 accuracy."""

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
from deepmad_jax.data.clips import train_batches
from deepmad_jax.data.video_file import video_library
from deepmad_jax.data.videos import VideoDataset, open_videos
from deepmad_jax.tasks.loaded import predictions_folder
from deepmad_jax.tasks.video.evaluation import make_evaluator
from deepmad_jax.tasks.video.functions import make_loss_fn, make_maps_fn
from deepmad_jax.tasks.video.optimizer import make_optimizer
from deepmad_jax.tasks.video.recogniser import make_recogniser
from deepmad_jax.train import Plan, TrainState
from deepmad_jax.train.gradients import Batch, LossFn
from deepmad_jax.train.look import Maps


@dataclasses.dataclass(frozen=True)
class LabelledVideos:
    """An opened data set of videos, each with a label; `tasks.task.Opened`."""

    dataset: VideoDataset
    forms: int = 1
    samples: str = "clips"

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
            config.video,
            batch_size=settings.batch_size,
            seed=settings.seed,
        )


@dataclasses.dataclass(frozen=True)
class Recognition:
    """Action recognition; a `tasks.task.Task`."""

    architecture_file: str = "architecture.json"
    parts: tuple[str, ...] = ("design", "data", "train", "video")
    best_by: str = "top1"

    def load(self, path: Path) -> Architecture:
        return Architecture.load(path)

    def open(self, config: Config, arch: Architecture) -> LabelledVideos:
        video_library()  # told before anything is compiled
        return LabelledVideos(open_videos(config.data, config.video))

    def build(
        self, arch: Architecture, config: Config, data: LabelledVideos, fresh: bool
    ) -> nnx.Module:
        return make_recogniser(arch, config, len(data.dataset.names), fresh)

    def optimizer(
        self, config: Config, plan: Plan
    ) -> tuple[optax.GradientTransformation, optax.Schedule]:
        return make_optimizer(config, plan)

    def loss_fn(self, graphdef: nnx.GraphDef, data: LabelledVideos, config: Config) -> LossFn:
        return make_loss_fn(graphdef, config.train)

    def evaluator(
        self,
        graphdef: nnx.GraphDef,
        data: LabelledVideos,
        config: Config,
        mesh: Mesh,
        workdir: Path,
    ) -> Callable[[TrainState], dict[str, Any]]:
        folder = predictions_folder(workdir, data.dataset.names)
        return make_evaluator(graphdef, data.dataset, config, mesh, folder)

    def seen(self, data: LabelledVideos, config: Config) -> Callable[[Batch], jax.Array]:
        # Of every video its first frame.
        return lambda batch: batch["clip"][:, 0] / 255.0

    def maps(self, graphdef: nnx.GraphDef, data: LabelledVideos, config: Config) -> Maps:
        return make_maps_fn(graphdef)

    def macs(self, arch: Architecture, config: Config) -> None:
        """Not counted: they are those of so many frames."""

    def summary(self, line: dict[str, Any]) -> str:
        return (
            f"top-1 {line['top1']:.2%}, top-5 {line['top5']:.2%}, mean over classes "
            f"{line['macc']:.2%} on {line['videos']:,} videos of {line['dataset']} after "
            f"{line['step']:,} steps; predictions/ has a table of the classes and of the videos."
        )


VIDEO = Recognition()
