"""Image classification as a task: one label an image, top-1 and top-5 accuracy."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import grain
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.arch.rows import ATTENTIONS
from deepmad_jax.config import Config, TrainConfig
from deepmad_jax.data import Dataset, eval_batches, open_dataset, train_batches
from deepmad_jax.data.growing import Growing
from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.nets import Network
from deepmad_jax.tasks.backbone import take_pretrained
from deepmad_jax.tasks.classify.functions import (
    Batch,
    make_loss_fn,
    make_maps_fn,
    make_seen_fn,
    make_sums_fn,
)
from deepmad_jax.tasks.task import refuse_clips
from deepmad_jax.train import (
    Plan,
    TrainState,
    make_eval_step,
    make_optimizer,
    make_schedule,
    padded_batch_size,
    sum_over_batches,
    variables_for_evaluation,
)
from deepmad_jax.train.look import Maps
from deepmad_jax.train.step import LossFn

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""``config.train.dtype`` -> the type."""


class OnImages(Protocol):
    """What the task asks of an architecture."""

    @property
    def name(self) -> str: ...
    @property
    def resolution(self) -> int: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def classes(self) -> int: ...
    def to_dict(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """An opened data set of images, each with a label; `tasks.task.Opened`.

    Attributes:
        dataset: what was opened.
        judged: the same, with evaluation images as large as the evaluation wants them.
        samples: what its samples are called.
        grow_px: as `DataConfig` has it.
    """

    dataset: Dataset
    judged: Dataset
    samples: str = "images"
    grow_px: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def num_train(self) -> int:
        return len(self.dataset.train)

    @property
    def forms(self) -> int:
        return len({*self.grow_px, self.dataset.resolution_px})

    def train_batches(self, config: Config) -> grain.DatasetIterator:
        settings = config.train
        batches = train_batches(
            self.dataset, config.data, batch_size=settings.batch_size, seed=settings.seed
        )
        if not self.grow_px:
            return batches
        return Growing(batches, self.grow_px, Plan.of(settings, self.num_train).total_steps)


@dataclasses.dataclass(frozen=True)
class Classification:
    """Classification by one kind of network; a `tasks.task.Task`.

    Attributes:
        architecture_file, parts, best_by: see there.
        load, network, count_macs: what that kind of network is read, made and counted by.
        takes_any_size: whether a network takes images of other sizes than its resolution.
        has_maps: it has `Network.features`.
    """

    load: Callable[[Path], OnImages]
    network: Callable[[Any, TrainConfig], nnx.Module]
    count_macs: Callable[[Any], float]
    takes_any_size: Callable[[Any], bool] = lambda arch: False
    has_maps: bool = True
    architecture_file: str = "architecture.json"
    parts: tuple[str, ...] = ("design", "data", "train")
    best_by: str = "top1"

    def open(self, config: Config, arch: OnImages) -> LabelledImages:
        refuse_clips(arch)
        if isinstance(arch, Architecture) and arch.size_px[0] != arch.size_px[1]:
            raise InvalidConfig(
                f"{arch.name} is for images of {arch.size_px[0]} x {arch.size_px[1]} pixels, but "
                "classification cuts squares: set config.design.resolution_w to 0, or train it as "
                "the backbone of another task."
            )
        self._check_growth(config.data.grow_px, arch)
        self._check_any_size("eval_px", config.data.eval_px, arch)

        def opened(resolution_px: int) -> Dataset:
            return open_dataset(
                config.data,
                resolution_px=resolution_px,
                channels=arch.in_channels,
                classes=arch.classes,
            )

        dataset, largest = opened(arch.resolution), max(config.data.eval_px, default=0)
        judged = opened(largest) if largest else dataset
        return LabelledImages(dataset, judged, grow_px=config.data.grow_px)

    def build(
        self, arch: OnImages, config: Config, data: LabelledImages, fresh: bool
    ) -> nnx.Module:
        net = self.network(arch, config.train)
        if config.train.pretrained is not None and fresh:
            take_pretrained(net, config.train.pretrained, "config.train.pretrained")
        return net

    def optimizer(
        self, config: Config, plan: Plan
    ) -> tuple[optax.GradientTransformation, optax.Schedule]:
        schedule = make_schedule(config.train, plan)
        return make_optimizer(config.train, schedule, plan.total_steps), schedule

    def loss_fn(self, graphdef: nnx.GraphDef, data: LabelledImages, config: Config) -> LossFn:
        return make_loss_fn(graphdef, data.dataset, config.data, config.train)

    def evaluator(
        self,
        graphdef: nnx.GraphDef,
        data: LabelledImages,
        config: Config,
        mesh: Mesh,
        workdir: Path,
    ) -> Callable[[TrainState], dict[str, Any]]:
        dataset, settings, sides_px = data.judged, config.train, config.data.eval_px
        eval_step = make_eval_step(make_sums_fn(graphdef, dataset, sides_px), mesh)
        # A small data set needs no larger batch than itself.
        batch_size = min(settings.eval_batch_size, len(dataset.evaluation))
        batch_size = padded_batch_size(mesh, batch_size)

        def evaluate(state: TrainState) -> dict[str, Any]:
            batches = eval_batches(dataset, config.data, batch_size=batch_size)
            with contextlib.closing(batches):
                variables = variables_for_evaluation(state)
                sums = sum_over_batches(eval_step, variables, batches, mesh)
            images = round(sums.pop("images"))
            if not images:
                raise UserError(
                    f"No image of the evaluation of {dataset.name} could be used: each was corrupt "
                    "or had no usable label. Choose another --config.data.eval_split."
                )
            means = {name: value / images for name, value in sums.items()}
            sizes = {"eval_px": list(sides_px)} if sides_px else {}
            return {"dataset": dataset.name, **sizes, **means, "images": images}

        return evaluate

    def seen(self, data: LabelledImages, config: Config) -> Callable[[Batch], jax.Array]:
        return make_seen_fn(data.dataset, config.data)

    def maps(self, graphdef: nnx.GraphDef, data: LabelledImages, config: Config) -> Maps | None:
        return make_maps_fn(graphdef, data.dataset, config.data) if self.has_maps else None

    def macs(self, arch: OnImages, config: Config) -> float | None:
        return None if config.data.grow_px else self.count_macs(arch)

    def _check_growth(self, sides_px: tuple[int, ...], arch: OnImages) -> None:
        """Raises `InvalidConfig` for images that the network cannot take."""
        self._check_any_size("grow_px", sides_px, arch)
        if sides_px and max(sides_px) >= arch.resolution:
            raise InvalidConfig(
                f"config.data.grow_px is {','.join(map(str, sides_px))}, but {arch.name} has "
                f"{arch.resolution} pixels, which come last: name smaller sides."
            )

    def _check_any_size(self, field: str, sides_px: tuple[int, ...], arch: OnImages) -> None:
        if sides_px and not self.takes_any_size(arch):
            raise InvalidConfig(
                f"config.data.{field} is set, but {arch.name} takes images of {arch.resolution} "
                "pixels only: leave it empty, or train a network of convs."
            )

    def summary(self, line: dict[str, Any]) -> str:
        return (
            f"top-1 {line['top1']:.2%}, top-5 {line['top5']:.2%} on {line['images']:,} images of "
            f"{line['dataset']}{_after(line)}."
        )


def _after(line: dict[str, Any]) -> str:
    """At which sizes, and after how much training, where that is known."""
    sizes = ", ".join(map(str, line.get("eval_px", ())))
    steps = f" after {line['step']:,} steps" if line["step"] else ""
    return (f" at {sizes} pixels" if sizes else "") + steps


def make_network(
    arch: Architecture, settings: TrainConfig, *, cpu_convs: bool | None = None
) -> Network:
    """The network as both jobs run it on the device at hand.

    Args:
        arch: what to build.
        settings: ``config.train``.
        cpu_convs: as `Network` has it; None is what suits the device.
    """
    if cpu_convs is None:
        cpu_convs = jax.default_backend() == "cpu"
    return Network(
        arch,
        rngs=nnx.Rngs(settings.seed),
        dtype=DTYPES[settings.dtype],
        batch_norm_momentum=settings.batch_norm_momentum,
        scan=settings.scan,
        cpu_convs=cpu_convs,
        remat=settings.remat,
        zero_init=settings.zero_init,
        drop_path=settings.drop_path,
        dropout=settings.dropout,
    )


CLASSIFY = Classification(
    load=Architecture.load,
    network=make_network,
    count_macs=lambda arch: cost.macs(layer_table(arch)),
    takes_any_size=lambda arch: (
        not any(row.layer.kind in (*ATTENTIONS, "position") for row in layer_table(arch))
    ),
)
