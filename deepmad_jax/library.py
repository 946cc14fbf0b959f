"""The package as a library: `design`, `load`, `build`, `export` and `zoo`, also as
``deepmad_jax.design``, ``deepmad_jax.load``, ....

Each calls what the jobs of `main` call, with defaults instead of a config. Designing loads no Flax;
building does.
"""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from deepmad_jax.arch import Architecture, reference
from deepmad_jax.arch import zoo as published
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.spaces import DEFAULTS, SMALL_PX, for_small_images
from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.fields import (
    Channels,
    OneOf,
    Pixels,
    Precision,
    Seed,
    SomePath,
    Title,
    WhichCheckpoint,
    convert,
    converted,
)
from deepmad_jax.paths import local

if TYPE_CHECKING:
    from deepmad_jax.design import Design
    from deepmad_jax.nets import Network


@dataclasses.dataclass(frozen=True, repr=False)
class Designed:
    """A designed network. Printed, it is the table of its layers, budgets and entropy.

    Attributes:
        architecture: what to build.
        numbers: objective, entropy, rho, params, macs, ...: the contents of ``design.json``.
        found: how it was found.
    """

    architecture: Architecture
    numbers: dict[str, Any]
    found: "Design"

    def build(self, seed: int = 0, dtype: Any = "float32") -> "Network":
        """The network with fresh weights; see `build`."""
        return build(self.architecture, seed, dtype)

    @property
    def alternatives(self) -> "tuple[Designed, ...]":
        """The networks that come next, as many as ``alternatives`` asked for."""
        others = zip(self.found.alternatives, self.numbers.get("alternatives", ()), strict=True)
        return tuple(
            Designed(other.architecture, numbers, dataclasses.replace(self.found, alternatives=()))
            for other, numbers in others
        )

    def __str__(self) -> str:
        from deepmad_jax.report import design_table

        return design_table(self.architecture, self.numbers)

    __repr__ = __str__


def design(*, name: str = "design", **fields: Any) -> Designed:
    """The network of greatest entropy within the budgets; the same one each time.

    Args:
        name: of the architecture.
        fields: of `Problem`, at least one of the budgets ``macs`` and ``params``; numbers may be
            text with a unit, such as "1.8G". What is left out is chosen for ``block`` (default
            bottleneck) and ``resolution`` (224), see `design.program.spaces`.
    Raises:
        InvalidConfig: an unknown field, a bad value or no budget.
        InfeasibleProblem: no network meets the budgets.
    """
    from deepmad_jax.design.designer import design_network

    name = convert(name, Title, "name")
    found = design_network(problem_of(**fields), name)
    return Designed(found.architecture, found.to_dict(), found)


def problem_of(**fields: Any) -> Problem:
    """The problem that `design` solves when given these fields; raises as it does."""
    fields = converted(Problem, fields, "design")
    if "macs" not in fields and "params" not in fields:
        raise InvalidConfig(
            "design needs a budget: give macs (multiply-accumulates an image), params, or both."
        )
    kinds = fields.get("blocks") or (Problem.block,)
    defaults = DEFAULTS.get(fields.get("block", kinds[0]), {})
    if fields.get("resolution", Problem.resolution) <= SMALL_PX:
        defaults = for_small_images(defaults)
    return Problem(**{**defaults, **fields})


def build(
    architecture: Architecture | Designed | str | Path, seed: int = 0, dtype: Any = "float32"
) -> Any:
    """A `nets.Network` with fresh weights.

    Args:
        architecture: or a design, or what `load` makes one of.
        seed: of the initial kernels.
        dtype: of the computation, ``float32`` or ``bfloat16``; parameters are float32.
    Raises:
        UserError: an argument that is none of these.
    """
    seed, dtype = convert(seed, Seed, "seed"), _dtype(dtype)
    from flax import nnx

    from deepmad_jax.nets import Network

    return Network(_architecture(architecture), rngs=nnx.Rngs(seed), dtype=dtype)


def load(
    source: str | Path,
    *,
    architecture: Architecture | str | Path | None = None,
    resolution: int = 224,
    classes: int = 1000,
    dtype: Any = "float32",
    checkpoint: str = "newest",
    key: str | None = None,
) -> Any:
    """A `nets.Network` where ``source`` holds weights, an `Architecture` where it does not.

    ================================  ============================================================
    ``source``                        gives
    ================================  ============================================================
    folder of a run that has trained  Network of a checkpoint (the averages, where kept)
    folder of a run that has not      Architecture
    ``.safetensors``                  Network
    ``.npz``                          Network, weights by the released PyTorch code's keys
    ``.pth.tar``, ``.pth``, ``.pt``   the same; also as training scripts save them, see ``key``
    ``.json``                         Architecture
    ``.txt``                          Architecture of a TinyNAS structure file
    a name                            Architecture of the published network of that name
    ================================  ============================================================

    Args:
        source: a path, with ``~`` for the home folder, or a name.
        architecture: of the weights, or what this function makes one of. None: the one inside a
            ``.safetensors`` file, else the ``architecture.json`` beside the file.
        resolution, classes: of a ``.txt`` file, which does not say.
        dtype: of the network's computation.
        checkpoint: of a run's folder, ``newest`` or ``best`` (by the run's own evaluations).
        key: under which a PyTorch file has its weights, such as ``model``. None looks for them, and
            takes averages of the weights (``model_ema``, ``state_dict_ema``) before the weights.
    Raises:
        UserError: nothing is there, or it does not fit; the message says what was looked for.
    """
    name = convert(source, SomePath, "source")
    path = local(name)
    dtype = _dtype(dtype)
    checkpoint = convert(checkpoint, WhichCheckpoint, "checkpoint")
    resolution = convert(resolution, Pixels, "resolution")
    classes = convert(classes, Channels, "classes")
    key = convert(key, Title | None, "key")
    if path.name.lower().endswith(reference.WEIGHTS) and not path.is_dir():
        return _from_weights(path, architecture, dtype, key)
    # A folder that happens to be called like a published network is no run of it.
    is_run = name not in published.ZOO or (path / "architecture.json").exists()
    if path.is_dir() and is_run:
        return _from_workdir(path, architecture, dtype, checkpoint)
    if name in published.ZOO or not reference.is_path(name):
        return published.zoo(name)
    return reference.load(path, resolution=resolution, classes=classes)


def export(
    net: Any, directory: str | Path, formats: Sequence[str], fold: bool = False
) -> list[Path]:
    """Writes the network in each format, see `interop.formats`; returns the files.

    Raises:
        UserError: what is no network, no folder or no format; a missing package, or what a format
            cannot hold.
    """
    from deepmad_jax.interop import EXPORTS
    from deepmad_jax.interop import export as write
    from deepmad_jax.nets import Network

    if not isinstance(net, Network):
        raise InvalidConfig(
            f"net is of type {type(net).__name__}, but only a network has weights to export: give "
            "what deepmad_jax.build(architecture) or deepmad_jax.load(file_with_weights) returns, "
            "or design.build()."
        )
    formats = convert(formats, tuple[Annotated[str, OneOf(tuple(EXPORTS))], ...], "formats")
    if not formats:
        raise InvalidConfig(f"formats is empty; name at least one of {', '.join(EXPORTS)}.")
    folder = local(_path(directory, "directory"))
    fold = convert(fold, bool, "fold")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot use {folder} as the folder of an export: {error.strerror}. Give another one."
        ) from error
    return write(net, folder, formats, fold)


def zoo(name: str, **changes: int) -> Architecture:
    """The architecture of a published network; see `arch.zoo.zoo`."""
    kinds = {"classes": Channels, "resolution": Pixels, "in_channels": Channels}
    for field in kinds.keys() & changes.keys():
        changes[field] = convert(changes[field], kinds[field], field)
    return published.zoo(convert(name, Title, "name"), **changes)


def _architecture(source: Any) -> Architecture:
    if isinstance(source, Architecture):
        return source
    if isinstance(source, Designed):
        return source.architecture
    if not isinstance(source, str | os.PathLike):
        raise InvalidConfig(
            f"architecture is of type {type(source).__name__}, but must be an Architecture, a "
            "design, or the path or name of one."
        )
    found = load(_path(source, "architecture"))
    return found if isinstance(found, Architecture) else found.arch


def _path(source: Any, name: str) -> Path:
    return Path(convert(source, SomePath, name))


def _dtype(dtype: Any) -> str:
    """``float32`` or ``bfloat16``, given by name or as NumPy's or JAX's type."""
    if dtype is not None and not isinstance(dtype, str):
        with contextlib.suppress(TypeError):  # `convert` says what is expected
            dtype = np.dtype(dtype).name
    name: str = convert(dtype, Precision, "dtype")
    return name


def _from_weights(
    path: Path, architecture: Architecture | str | Path | None, dtype: Any, key: str | None
) -> Any:
    from deepmad_jax import trained

    arch = None if architecture is None else _architecture(architecture)
    return trained.from_weights(path, arch, dtype, key)


def _from_workdir(
    path: Path, architecture: Architecture | str | Path | None, dtype: Any, checkpoint: str
) -> Any:
    from deepmad_jax import trained

    arch = _architecture(architecture) if architecture else trained.architecture_of_run(path)
    found = trained.from_workdir(path, arch, dtype, checkpoint)
    return arch if found is None else found
