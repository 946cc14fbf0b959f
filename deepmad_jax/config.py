"""The frozen dataclasses a config file becomes, and how command-line values get into them.

A config file is Python: ``get_config(variant=None)`` starts from `default_config` and sets fields.
On the command line ``--config.design.macs=2.5e9`` sets any field. Both ways end in `to_config`, the
one place that checks names and types. ``config.design`` is `deepmad_jax.design.problem.Problem`.
Instead of a design a file may say ``config.architecture = published("deepmad_r50")``, or
``from_file("x.json")``: `published` and `from_file` are at hand here for that.

Not here: what the values mean (the modules that read them say) and defaults derived from others.
"""

import ast
import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Any

import ml_collections

from deepmad_jax.arch.reference import from_file as from_file
from deepmad_jax.arch.reference import published as published
from deepmad_jax.design.perceptron.problem import MlpProblem
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.studies.settings import Sampling, Sweep
from deepmad_jax.errors import InvalidConfig, did_you_mean

JOBS = (
    "design", "train", "evaluate", "describe", "compare", "sample", "sweep", "certify", "export",
    "sensitivity", "perceptron",
)  # fmt: skip
"""What ``config.jobs`` may hold; they run in the order given."""

EXPORTS = ("safetensors", "npz", "pytorch", "tinynas", "onnx", "stablehlo", "litert")
"""What ``config.export`` may hold; `interop.formats` says what each is."""

CHECKPOINTS = ("newest", "best")
"""What ``config.checkpoint`` may be."""


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


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How the network is trained.

    Defaults are the paper's ImageNet recipe (Table 12); its augmentation is in `DataConfig`, off by
    default and set by `recipes`.

    Attributes:
        epochs: passes over the training images, warm-up and cool-down included.
        batch_size: images per step over all devices and hosts.
        eval_batch_size: images per evaluation step over all devices and hosts.
        learning_rate: peak rate at this batch size; not rescaled.
        final_learning_rate: where the cosine ends, and the rate of the cool-down.
        warmup_epochs, cooldown_epochs: linear start from 0, and the end at the final rate.
        momentum: of SGD with Nesterov.
        weight_decay: on kernels of conv and dense layers only.
        label_smoothing: share of the target spread evenly over the classes.
        batch_norm_momentum: share of the new batch in the running statistics.
        batch_norm_groups: 1 takes BatchNorm's statistics over the whole batch of all devices; more
            splits the batch for it (see `train.gradients`).
        zero_init: start the last BatchNorm scale of every residual branch at 0. Keeps the first
            gradients of deep networks small; one whose last stage does not widen, so has no
            projection, learns slower by it (`benchmarks/digits_entropy.py`).
        drop_path: probability of the last block's branch to be skipped for an image (stochastic
            depth), linear from 0 at the first block.
        dropout: probability of each input of the classifier to be zeroed.
        ema_decay: of the averaged parameters used for evaluation; None keeps no average.
        accumulate_steps: pieces of a batch worked on one after the other, to save memory.
        clip_norm: greatest norm of a step's gradients; None does not clip.
        remat: keep only the maps between stages for the backward pass and compute the others again.
        fsdp: devices over which parameters and optimiser state are split; 1 keeps them whole on
            each.
        prefetch: batches that lie on the device before they are asked for.
        dtype: ``float32`` or ``bfloat16`` compute; params and statistics stay float32.
        scan: run the repeated blocks of a stage as one scanned block; None is the default of the
            device at hand (see `nets.stage`).
        log_every_steps, eval_every_epochs, checkpoint_every_epochs: rhythm.
        keep_checkpoints: how many of the latest checkpoints stay; the best one stays besides.
        wandb_project: also logs to this project of Weights & Biases, if that is installed.
        seed: of initialisation, shuffling, augmentation and dropout.
    """

    epochs: float = 480.0
    batch_size: int = 2048
    eval_batch_size: int = 2048
    learning_rate: float = 0.8
    final_learning_rate: float = 1e-5
    warmup_epochs: float = 20.0
    cooldown_epochs: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 5e-5
    label_smoothing: float = 0.1
    batch_norm_momentum: float = 0.01
    batch_norm_groups: int = 1
    zero_init: bool = True
    drop_path: float = 0.0
    dropout: float = 0.0
    ema_decay: float | None = None
    accumulate_steps: int = 1
    clip_norm: float | None = None
    remat: bool = False
    fsdp: int = 1
    prefetch: int = 2
    dtype: str = "bfloat16"
    scan: bool | None = None
    log_every_steps: int = 50
    eval_every_epochs: float = 1.0
    checkpoint_every_epochs: float = 1.0
    keep_checkpoints: int = 3
    wandb_project: str | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run.

    Attributes:
        name: of the run and of the network it designs.
        jobs: which of `JOBS`, in order.
        architecture: what to use instead of a design, a published network or a file as
            `arch.reference` writes them; None takes the ``architecture.json`` in the workdir.
        names: what the ``compare`` job compares, written likewise; empty is the whole zoo.
        design: the program to solve.
        data, train: see there.
        sweep: the budgets of the ``sweep`` job.
        sample: the draw of the ``sample`` job, which stands in for ``design``.
        perceptron: what the ``perceptron`` job designs and trains.
        checkpoint: which one the ``evaluate`` and ``export`` jobs take: ``newest``, or ``best`` by
            the run's own evaluations.
        certify_seconds: how long the ``certify`` job tightens its bound.
        export: which of `EXPORTS` the ``export`` job writes.
        export_fold: fold BatchNorm into the convs where the format holds a computation.
        profile: write a trace of a few training steps to ``profile/`` in the workdir.
    """

    name: str = "unnamed"
    jobs: tuple[str, ...] = ("design", "train", "evaluate")
    architecture: str | None = None
    names: tuple[str, ...] = ()
    design: Problem = dataclasses.field(default_factory=Problem)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    sweep: Sweep = dataclasses.field(default_factory=Sweep)
    sample: Sampling = dataclasses.field(default_factory=Sampling)
    perceptron: MlpProblem = dataclasses.field(default_factory=MlpProblem)
    checkpoint: str = "newest"
    certify_seconds: float = 60.0
    export: tuple[str, ...] = ("safetensors", "tinynas")
    export_fold: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        if not self.jobs:
            raise InvalidConfig(f"jobs is empty; name at least one of {', '.join(JOBS)}.")
        for job in self.jobs:
            if job not in JOBS:
                raise InvalidConfig(f"jobs holds {job!r}; {did_you_mean(job, JOBS)}")
        if self.checkpoint not in CHECKPOINTS:
            raise InvalidConfig(
                f"checkpoint is {self.checkpoint!r}; {did_you_mean(self.checkpoint, CHECKPOINTS)}"
            )
        for name in self.export:
            if name not in EXPORTS:
                raise InvalidConfig(f"export holds {name!r}; {did_you_mean(name, EXPORTS)}")


def default_config() -> ml_collections.ConfigDict:
    """Every field with its default, as the ConfigDict a config file edits.

    Locked, so that a misspelt field fails where it is written.
    """
    # Types are checked by `to_config`, which knows Optional and tuple fields; ConfigDict does not.
    config = ml_collections.ConfigDict(_plain(Config()), type_safe=False)
    return config.lock()


def to_config(values: Any) -> Config:
    """The frozen `Config` of a ConfigDict or nested dict.

    Raises:
        InvalidConfig: an unknown field (with the nearest known one) or a value of a wrong type.
    """
    if isinstance(values, ml_collections.ConfigDict):
        values = values.to_dict()
    config: Config = _build(Config, values, "config")
    return config


def override(values: ml_collections.ConfigDict, path: str, text: str) -> None:
    """Sets the field ``path`` ("design.macs") from command-line text.

    Lists are comma-separated, with or without brackets; one value alone is a list of one.

    >>> config = default_config()
    >>> override(config, "design.kernels", "3")
    >>> override(config, "design.macs", "2.5e9")
    >>> config.design.kernels, config.design.macs
    ((3,), 2500000000.0)
    """
    *parents, leaf = path.split(".")
    cls: Any = Config
    for depth, name in enumerate(parents):
        cls = _field_types(cls, ".".join(["config", *parents[:depth]]))(name)
        if not dataclasses.is_dataclass(cls):
            raise InvalidConfig(f"config.{path}: {name} is a single field and holds no others.")
        values = values[name]
    kind = _field_types(cls, ".".join(["config", *parents]))(leaf)
    if dataclasses.is_dataclass(kind):
        raise InvalidConfig(
            f"config.{path} is a group of fields; set one of them, such as "
            f"config.{path}.{dataclasses.fields(kind)[0].name}."
        )
    values[leaf] = _coerce(_literal(text, kind), kind, f"config.{path}")


def differing_fields(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names, with both values, of the fields in which two plain configs differ."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        a, b, name = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differing_fields(a, b, f"{name}.")
        elif a != b:
            lines.append(f"{name}: {a!r} -> {b!r}")
    return lines


def to_dict(config: Config) -> dict[str, Any]:
    """Plain nested dict of a `Config`, as written to ``config.json``."""
    return _plain(config)


def _plain(value: Any) -> Any:
    # Not dataclasses.asdict: it would deep-copy, and keep no order guarantee we state.
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _build(cls: Any, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise InvalidConfig(f"{where} must be a group of fields, not {values!r}.")
    kind_of = _field_types(cls, where)
    arguments = {}
    for name, value in values.items():
        kind = kind_of(name)
        if dataclasses.is_dataclass(kind):
            arguments[name] = _build(kind, value, f"{where}.{name}")
        else:
            arguments[name] = _coerce(value, kind, f"{where}.{name}")
    return cls(**arguments)


def _field_types(cls: Any, where: str) -> Callable[[str], Any]:
    """Field name -> its type; the function raises InvalidConfig on an unknown name."""
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]

    def kind_of(name: str) -> Any:
        if name not in names:
            raise InvalidConfig(f"{where} has no field {name!r}; {did_you_mean(name, names)}")
        return hints[name]

    return kind_of


def _literal(text: str, kind: Any) -> Any:
    """Command-line text as a Python value: split where a list is wanted, a string where one is."""
    options = _options(kind)
    if text in ("None", "none") and type(None) in options:
        return None
    if any(_is_tuple(option) for option in options):
        inside = text.strip().strip("()[]")
        return tuple(_scalar(part) for part in inside.split(",") if part.strip())
    if str in options:
        return text
    return _scalar(text)


def _scalar(text: str) -> Any:
    text = text.strip().strip("'\"")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"inf": float("inf"), "nan": float("nan")}.get(text, text)


def _coerce(value: Any, kind: Any, where: str) -> Any:
    for option in _options(kind):
        if option is type(None) and value is None:
            return None
        if _is_tuple(option):
            items = tuple(value) if isinstance(value, list | tuple) else (value,)
            return tuple(_coerce(v, typing.get_args(option)[0], where) for v in items)
        if isinstance(value, bool) and option is not bool:
            continue
        if isinstance(option, type) and isinstance(value, option):
            return value
        if option is float and isinstance(value, int):
            return float(value)
        if option is int and isinstance(value, float) and value.is_integer():
            return int(value)
    raise InvalidConfig(f"{where} is {value!r}, but must be {_describe(kind)}.")


def _options(kind: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    options = typing.get_args(kind) if is_union else (kind,)
    # None last, so that a list of one None is never made of an absent value.
    return tuple(sorted(options, key=_is_tuple))


def _is_tuple(kind: Any) -> bool:
    origin: Any = typing.get_origin(kind)
    return origin is tuple


def _describe(kind: Any) -> str:
    words = {int: "an integer", float: "a number", bool: "True or False", str: "a word"}
    words[type(None)] = "None"
    parts = []
    for option in _options(kind):
        if _is_tuple(option):
            inner = _describe(typing.get_args(option)[0]).removeprefix("a ").removeprefix("an ")
            parts.append(f"a list of {inner}s, such as 3,5")
        else:
            parts.append(words.get(option, str(option)))
    return " or ".join(parts)
