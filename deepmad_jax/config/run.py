"""A whole run: which jobs, on what, by which settings; each group of them has its own file."""

import dataclasses
from typing import Annotated

from deepmad_jax.config.data import DataConfig
from deepmad_jax.config.detect import DetectConfig
from deepmad_jax.config.measure import MeasureConfig
from deepmad_jax.config.paper import PaperConfig
from deepmad_jax.config.rates import RatesConfig
from deepmad_jax.config.segment import SegmentConfig
from deepmad_jax.config.study import StudyConfig
from deepmad_jax.config.train import TrainConfig
from deepmad_jax.config.video import VideoConfig
from deepmad_jax.config.watch import WatchConfig
from deepmad_jax.design.perceptron.problem import MlpProblem
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.studies.settings import Part, Sampling, Sweep
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import Count, FilePath, Limit, OneOf, Share, Title, WhichCheckpoint, settle

JOBS = (
    "design", "train", "evaluate", "describe", "compare", "sample", "sweep", "certify", "export",
    "sensitivity", "perceptron", "study", "detect", "segment", "video", "rates", "average",
    "measure", "verify", "paper",
)  # fmt: skip
"""What ``config.jobs`` may hold; they run in the order given."""

TASKS = ("classify", "perceptron", "detect", "segment", "video")
"""What ``config.task`` may be; `tasks.TASKS` holds what each is."""

EXPORTS = ("safetensors", "npz", "pytorch", "tinynas", "onnx", "stablehlo", "litert")
"""What ``config.export`` may hold; `interop.formats` says what each is."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run.

    Attributes:
        name: of the run and of the network it designs.
        jobs: which of `JOBS`, in order.
        task: what is learned, one of `TASKS`.
        architecture: what to use instead of a design, a published network or a file as
            `arch.reference` writes them; None takes the ``architecture.json`` in the workdir.
        names: what the ``compare`` job compares, written likewise; ``table3`` is all of the paper's
            Table 3, empty the whole zoo.
        design: the program to solve.
        data, train, watch, detect, segment, video: see there; the last three are of the tasks of
            these names.
        rates: the learning rates that the ``rates`` job tries.
        measure: how the ``measure`` and ``verify`` jobs time rows and networks.
        average: how many of the last checkpoints the ``average`` job takes the mean of.
        sweep: the budgets of the ``sweep`` job.
        sample: the draw of the ``sample`` job, which stands in for ``design``, and of ``study``.
        paper: which of the paper's tables and figures the ``paper`` job makes.
        study: the trainings of the ``study`` job, where they are not that draw's networks.
        part: which of the designs of the ``sweep`` and ``study`` jobs this process does.
        perceptron: what the ``perceptron`` job designs and trains.
        checkpoint: which one the ``evaluate`` and ``export`` jobs take: ``newest``, or ``best`` by
            the run's own evaluations.
        weights: what the ``evaluate`` job looks at in place of the workdir's checkpoint: the folder
            of a classifier's run, a file of weights, or the address of one.
        certify_seconds: how long the ``certify`` job tightens its bound.
        certify_search: share of that time in which it looks for better networks.
        export: which of `EXPORTS` the ``export`` job writes.
        export_fold: fold BatchNorm into the convs where the format holds a computation.
        profile: write a trace of a few training steps to ``profile/`` in the workdir.
    """

    name: Title = "unnamed"
    jobs: tuple[Annotated[str, OneOf(JOBS)], ...] = ("design", "train", "evaluate")
    task: Annotated[str, OneOf(TASKS)] = "classify"
    architecture: FilePath | None = None
    names: tuple[FilePath, ...] = ()
    design: Problem = dataclasses.field(default_factory=Problem)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    watch: WatchConfig = dataclasses.field(default_factory=WatchConfig)
    detect: DetectConfig = dataclasses.field(default_factory=DetectConfig)
    segment: SegmentConfig = dataclasses.field(default_factory=SegmentConfig)
    measure: MeasureConfig = dataclasses.field(default_factory=MeasureConfig)
    video: VideoConfig = dataclasses.field(default_factory=VideoConfig)
    rates: RatesConfig = dataclasses.field(default_factory=RatesConfig)
    average: Count = 3
    sweep: Sweep = dataclasses.field(default_factory=Sweep)
    sample: Sampling = dataclasses.field(default_factory=Sampling)
    paper: PaperConfig = dataclasses.field(default_factory=PaperConfig)
    study: StudyConfig = dataclasses.field(default_factory=StudyConfig)
    part: Part = dataclasses.field(default_factory=Part)
    perceptron: MlpProblem = dataclasses.field(default_factory=MlpProblem)
    checkpoint: WhichCheckpoint = "newest"
    weights: FilePath | None = None
    certify_seconds: Limit = 60.0
    certify_search: Share = 0.3
    export: tuple[Annotated[str, OneOf(EXPORTS)], ...] = ("safetensors", "tinynas")
    export_fold: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        settle(self)
        if not self.jobs:
            raise InvalidConfig(f"jobs is empty; name at least one of {', '.join(JOBS)}.")
        if self.weights and self.task != "classify":
            raise InvalidConfig(
                f"weights is {self.weights}, but only classifiers are evaluated by it: give the "
                "run's own folder as --workdir."
            )
        if self.train.pretrained and (self.task != "classify" or "perceptron" in self.jobs):
            raise InvalidConfig(
                f"train.pretrained is {self.train.pretrained}, but only a classifier begins with "
                "it: other tasks have a field of that name of their own, such as detect.pretrained."
            )
