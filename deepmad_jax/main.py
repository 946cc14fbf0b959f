"""The command line: flags, start-up, and one dispatch over the jobs of a config.

    python -m deepmad_jax.main --config configs/r18.py --workdir runs/r18
    python -m deepmad_jax.main --config configs/r18.py --config.jobs=design --config.design.rho=0.4

Each job reads what the ones before left in the workdir, so any of them can be run alone. A mistake
of the user's ends with one message on stderr and exit status 2; what was already computed stays.
"""

import argparse
import dataclasses
import inspect
import json
import os
import runpy
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import ml_collections

from deepmad_jax import config as config_module
from deepmad_jax.arch.reference import resolve
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.zoo import ZOO
from deepmad_jax.config import JOBS, Config
from deepmad_jax.errors import InvalidConfig, MissingData, UserError

_HELP = f"""\
Design a convolutional network to a budget and train it.

usage: python -m deepmad_jax.main --config FILE[:VARIANT] [--workdir DIR] [--config.FIELD=VALUE ...]
                                  [--distributed auto | HOST:PORT,COUNT,INDEX]

  --config FILE         a config file, such as configs/digits.py or configs/r18.py; some take a
                        variant, such as configs/r18.py:quick
  --workdir DIR         where the run reads and leaves its files (default: runs/NAME)
  --config.FIELD=VALUE  sets any field of the config; lists are comma-separated
  --distributed SPEC    joins other processes that run the same command (docs/multi_host.md)

jobs (--config.jobs=design,train,evaluate): {", ".join(JOBS)}

examples
  python -m deepmad_jax.main --config configs/digits.py
  python -m deepmad_jax.main --config configs/zoo.py --config.name=resnet50 \
      --config.jobs=describe
  python -m deepmad_jax.main --config configs/r18.py --config.jobs=design \\
      --config.design.macs=2.5e9 --config.design.params=14e6 --config.design.kernels=3,5

fields and defaults
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the jobs of a command line (default ``sys.argv``); returns the exit status."""
    argv = list(sys.argv if argv is None else argv)
    if any(arg in ("--help", "-h", "-help", "--helpfull") for arg in argv[1:]):
        print(_HELP + _field_list())
        return 0
    argv, processes = _take_flag(argv, "distributed")
    try:
        config, workdir = parse(argv)
        if processes:
            _run_together(config, workdir, processes)
        else:
            run(config, workdir)
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("deepmad_jax"):
            raise
        print(
            f"\nerror: This job needs {error.name}, which is not installed: pip install "
            "'deepmad_jax[train,report]', or -e '.[train,report]' in a checkout.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; what was already saved in the workdir stays.", file=sys.stderr)
        return 130
    return 0


def parse(argv: list[str]) -> tuple[Config, Path]:
    """The config and workdir a command line asks for.

    Raises:
        InvalidConfig: a flag, file, field or value that does not exist or has a wrong type.
    """
    overrides, rest = _split_overrides(argv)
    parser = _Parser(prog="deepmad_jax", add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    parser.add_argument("--workdir")
    given = parser.parse_args(rest[1:])
    if given.config is None:
        raise InvalidConfig(
            "No config was given: add --config FILE, such as --config configs/digits.py. See "
            "--help."
        )
    values = _load(given.config)
    for path, text in overrides:
        config_module.override(values, path, text)
    config = config_module.to_config(values)
    return config, Path(given.workdir or f"runs/{config.name}")


def run(config: Config, workdir: Path, shared: Callable[..., None] | None = None) -> None:
    """Runs ``config.jobs`` in order; each leaves its files in ``workdir``.

    With ``shared``, which runs what it is given in the first of several processes, only `TOGETHER`
    is run by all of them.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot use {workdir} as workdir: {error.strerror}.") from error
    _enable_compilation_cache()
    for job in config.jobs:
        if shared is None or job in TOGETHER:
            DISPATCH[job](config, workdir)
        else:
            shared(lambda job=job: DISPATCH[job](config, workdir))


def _run_together(config: Config, workdir: Path, processes: str) -> None:
    """`run`, in one of several processes."""
    from deepmad_jax.processes import by_the_first, join, leave_if_one_is_lost

    join(processes)
    try:
        run(config, workdir, by_the_first)
    except Exception as error:
        leave_if_one_is_lost(error)
        raise


def design(config: Config, workdir: Path) -> None:
    """Solves the design program; writes ``architecture.json`` and ``design.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.solve import design_network

    if config.architecture is not None:
        print(f"Nothing to design: the config names the architecture {config.architecture}.")
        return
    _refuse_to_mix(config, workdir)
    print(f"Designing {config.name} ...", flush=True)
    # The plotting library takes a second to import: meanwhile the solver compiles.
    threading.Thread(target=report.preload, daemon=True).start()
    result = design_network(config.design, config.name)
    numbers = result.to_dict()
    _settle(config, workdir, result.architecture)
    _write(workdir / "design.json", json.dumps(numbers, indent=1))
    print(report.design_table(result.architecture, numbers))
    report.write(workdir)
    print(f"Saved {workdir / 'architecture.json'}, design.json and report.html.", flush=True)


def sample(config: Config, workdir: Path) -> None:
    """Draws random architectures; writes the chosen one as ``architecture.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.sample import sample_architectures

    _refuse_to_mix(config, workdir)
    draw = config.sample
    print(f"Drawing {draw.count} architectures, to take number {draw.index} ...", flush=True)
    drawn = sample_architectures(
        config.design,
        draw.count,
        draw.rho_low,
        draw.rho_high,
        seed=config.design.seed,
        least_use=draw.least_use,
        max_growth=draw.max_growth,
    )
    architecture = dataclasses.replace(drawn[draw.index], name=config.name)
    _settle(config, workdir, architecture)
    (workdir / "design.json").unlink(missing_ok=True)  # of a design that was here before
    print(report.design_table(architecture, _numbers_of(architecture)))
    print(f"Saved {workdir / 'architecture.json'}.", flush=True)


def train(config: Config, workdir: Path) -> None:
    """Trains the workdir's architecture on ``config.data``; writes metrics and checkpoints."""
    from deepmad_jax import report
    from deepmad_jax.tasks import classify

    architecture = architecture_of(config, workdir)
    _refuse_to_mix(config, workdir)
    if _is_first():
        _settle(config, workdir, architecture)
    classify.train(config, architecture, workdir)
    if _is_first():
        report.write(workdir)


def evaluate(config: Config, workdir: Path) -> None:
    """Evaluates a checkpoint on every image of the evaluation split."""
    from deepmad_jax import report
    from deepmad_jax.tasks import classify
    from deepmad_jax.train.logbook import last_line

    architecture = architecture_of(config, workdir)
    # The train job of this command has just evaluated the same state on the same images.
    just_trained = "train" in config.jobs[: config.jobs.index("evaluate")]
    if just_trained and config.checkpoint == "newest":
        if not _is_first():
            return
        result = last_line(workdir, "eval")
    else:
        result = None
    if result is None:
        result = classify.evaluate(config, architecture, workdir)
    if not _is_first():
        return
    report.write(workdir)
    print(
        f"top-1 {result['top1']:.2%}, top-5 {result['top5']:.2%} on {result['images']:,} images "
        f"of {result['dataset']} after {result['step']:,} steps. Report: {workdir / 'report.html'}"
    )


def describe(config: Config, workdir: Path) -> None:
    """Prints the table of an architecture, with its design's numbers where they are there."""
    from deepmad_jax import report

    architecture = architecture_of(config, workdir)
    found = workdir / "design.json"
    use_design = config.architecture is None and found.exists()
    numbers = _read_json(found) if use_design else _numbers_of(architecture)
    print(report.design_table(architecture, numbers))


def compare(config: Config, workdir: Path) -> None:
    """Prints ``config.names`` side by side: costs, rho, entropy, published accuracy."""
    from deepmad_jax import report

    found = {name: resolve(name) for name in config.names or ZOO}
    numbers = {name: _numbers_of(architecture) for name, architecture in found.items()}
    print(report.compare_table(found, numbers))


def certify(config: Config, workdir: Path) -> None:
    """Bounds what any network of the space can reach; adds bound and gap to ``design.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.certify import certify as bound

    path = workdir / "design.json"
    numbers = _read_json(path)
    given = {name: getattr(config.design, name) for name in ("macs", "params", "rho")}
    if numbers.get("budgets") != _finite(given):
        raise UserError(
            f"{path} is a design for {numbers.get('budgets')}, not for {_finite(given)}: run the "
            "design job with this config first (--config.jobs=design,certify)."
        )
    print(f"Bounding {config.name} for {config.certify_seconds:g} s ...", flush=True)
    result = bound(config.design, numbers["objective"], seconds=config.certify_seconds)
    numbers |= {"upper_bound": result.upper_bound, "gap": result.gap}
    _write(path, json.dumps(numbers, indent=1))
    report.write(workdir)
    print(
        f"No network of this space exceeds {result.upper_bound:,.2f}; the design has "
        f"{numbers['objective']:,.2f}: at most {result.gap:.3%} better is possible. "
        f"{result.nodes:,} boxes bounded in {result.seconds:.0f} s."
    )


def sweep(config: Config, workdir: Path) -> None:
    """Designs for many budgets; writes ``sweep.csv``, ``sweep.parquet`` and the pictures."""
    from deepmad_jax.design.sweep import problems_of, run_sweep, write_tables
    from deepmad_jax.report.sweep import draw_sweep

    problems = problems_of(config.design, config.sweep)
    print(f"Designing for {len(problems):,} budgets ...", flush=True)
    if not (workdir / "config.json").exists():  # a run's own config says what it may go on with
        _write_config(config, workdir)
    rows = run_sweep(problems, workdir / "sweep.jsonl", config.sweep.workers)
    written = write_tables(rows, workdir) + draw_sweep(rows, workdir)
    feasible = sum(row["feasible"] for row in rows)
    names = ", ".join(path.name for path in written)
    print(f"{feasible:,} of {len(rows):,} budgets can be met. Saved {names} in {workdir}.")


def export(config: Config, workdir: Path) -> None:
    """Writes a checkpoint's network in every format of ``config.export``."""
    from deepmad_jax import library

    architecture = architecture_of(config, workdir)
    net = library.load(workdir, architecture=architecture, checkpoint=config.checkpoint)
    if net is architecture:
        raise MissingData(
            f"There is no checkpoint in {workdir / 'checkpoints'} to export: run the train job "
            "first (--config.jobs=train,export)."
        )
    for name in config.export:
        (path,) = library.export(net, workdir, [name], config.export_fold)
        print(f"Saved {path}.", flush=True)


DISPATCH: dict[str, Callable[[Config, Path], None]] = {
    "design": design,
    "sample": sample,
    "train": train,
    "evaluate": evaluate,
    "describe": describe,
    "compare": compare,
    "sweep": sweep,
    "certify": certify,
    "export": export,
}


TOGETHER = ("train", "evaluate")
"""Jobs that several processes share; the others are the first one's."""


def architecture_of(config: Config, workdir: Path) -> Architecture:
    """The architecture that train, evaluate and describe work on.

    Raises:
        MissingData: none is named and the workdir holds none.
    """
    if config.architecture is not None:
        return resolve(config.architecture)
    path = workdir / "architecture.json"
    if not path.exists():
        raise MissingData(
            f"There is no architecture at {path}. Run the design job first "
            f"(--config.jobs=design,train with the same workdir), or name a file or a published "
            "network with --config.architecture."
        )
    return Architecture.load(path)


def _numbers_of(architecture: Architecture) -> dict[str, Any]:
    """Entropy and rho of a network that was not designed here, by the keys of ``design.json``."""
    from deepmad_jax.design.entropy import levels_of
    from deepmad_jax.design.problem import Problem

    levels = levels_of(architecture)
    entropies = [level["entropy"] for level in levels]
    alpha = Problem(strides=(1, *[2] * (len(levels) - 1))).level_weights  # the default's
    return {
        "entropy_per_level": entropies,
        "alpha": alpha,
        "entropy": sum(a * h for a, h in zip(alpha, entropies, strict=True)),
        "rho": levels[-1]["rho"],
        "layers": levels[-1]["layers"],
    }


def _refuse_to_orphan_checkpoints(workdir: Path, architecture: Architecture) -> None:
    """A new design in place of the one that checkpoints belong to would make them useless."""
    path = workdir / "architecture.json"
    checkpoints = workdir / "checkpoints"
    if not (path.exists() and checkpoints.exists() and any(checkpoints.iterdir())):
        return
    if Architecture.load(path) != architecture:
        raise UserError(
            f"{workdir} holds checkpoints of another architecture than this one. To go on with the "
            "old one leave the design job out (--config.jobs=train,evaluate); for the new one "
            "choose another --workdir. Nothing was overwritten."
        )


def _refuse_to_mix(config: Config, workdir: Path) -> None:
    """A run goes on only with the design, recipe and data that its checkpoints were made with."""
    path, checkpoints = workdir / "config.json", workdir / "checkpoints"
    if not (path.exists() and checkpoints.exists() and any(checkpoints.iterdir())):
        return
    old, new, default = _read_json(path), _json_values(config), _json_values(Config())
    # A named architecture is what counts then, whatever the design's budgets say.
    names = ("data", "train") if config.architecture else ("design", "data", "train")
    # An older version may have written the config without fields that there are now.
    was = {name: {**default[name], **old.get(name, {})} for name in names}
    parts = (was, {name: new[name] for name in names})
    differing = [
        line
        for line in config_module.differing_fields(*parts)
        if line.partition(":")[0] not in _MAY_CHANGE
    ]
    if differing:
        raise UserError(
            f"{workdir} holds a run with another config ({'; '.join(differing)}). Give the same "
            "values to go on with it, or choose another --workdir for a new run."
        )


_MAY_CHANGE = (
    "data.corrupt_share",
    "data.data_dir",
    "data.workers",
    "train.eval_batch_size",
    "train.log_every_steps",
    "train.eval_every_epochs",
    "train.keep_checkpoints",
    "train.remat",
    "train.fsdp",
    "train.prefetch",
    "train.wandb_project",
)
"""Fields that change nothing in what a run computes, but for rounding."""


def _json_values(config: Config) -> Any:
    """The config as reading ``config.json`` gives it: lists and nulls."""
    return json.loads(json.dumps(_finite(config_module.to_dict(config))))


def _is_first() -> bool:
    """Whether this process writes the workdir's files: one of several does."""
    import jax

    return jax.process_index() == 0


def _settle(config: Config, workdir: Path, architecture: Architecture) -> None:
    """Writes down what the workdir's run is: its architecture and its config."""
    _refuse_to_orphan_checkpoints(workdir, architecture)
    _write(workdir / "architecture.json", architecture.to_json())
    _write_config(config, workdir)


def _write_config(config: Config, workdir: Path) -> None:
    _write(workdir / "config.json", json.dumps(_finite(config_module.to_dict(config)), indent=1))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path}: {error}. Run the design job again.") from error


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        raise InvalidConfig(f"On the command line: {message}. See --help.")


def _load(config: str) -> ml_collections.ConfigDict:
    """What ``get_config`` of a config file returns; ``FILE:VARIANT`` hands it the variant."""
    # ml_collections' own loader relies on a call that newer Pythons drop.
    file, _, variant = config.partition(":")
    if not Path(file).is_file():
        raise InvalidConfig(f"There is no config file {file}; the project's own are in configs/.")
    try:
        get_config = runpy.run_path(file).get("get_config")
        if get_config is None:
            raise InvalidConfig(f"{file} defines no function get_config().")
        if variant and not inspect.signature(get_config).parameters:
            raise InvalidConfig(f"{file} has no variants; leave out {':' + variant!r}.")
        return get_config(variant) if variant else get_config()
    except UserError:
        raise
    except AttributeError as error:
        # ConfigDict is locked; the last line of its message names the nearest field.
        raise InvalidConfig(f"In {file}: {str(error).splitlines()[-1]}") from error
    except (SyntaxError, TypeError, ValueError, LookupError) as error:
        raise InvalidConfig(f"In {file}: {type(error).__name__}: {error}") from error


def _take_flag(argv: list[str], name: str) -> tuple[list[str], str | None]:
    """``argv`` without ``--NAME=VALUE`` or ``--NAME VALUE``, and the value."""
    for i, item in enumerate(argv):
        if item.startswith(f"--{name}="):
            return argv[:i] + argv[i + 1 :], item.partition("=")[2]
        if item == f"--{name}" and i + 1 < len(argv):
            return argv[:i] + argv[i + 2 :], argv[i + 1]
    return argv, None


def _split_overrides(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """``--config.a.b=v`` and ``--config.a.b v`` taken out of a command line, and the rest of it."""
    overrides, rest = [], argv[:1]
    items = iter(argv[1:])
    for item in items:
        flag = item.lstrip("-")
        if not (item.startswith("-") and flag.startswith("config.")):
            rest.append(item)
            continue
        path, equals, text = flag.removeprefix("config.").partition("=")
        if not equals:
            following = next(items, None)
            if following is None:
                raise InvalidConfig(f"--config.{path} needs a value: --config.{path}=VALUE.")
            text = following
        overrides.append((path, text))
    return overrides, rest


def _enable_compilation_cache() -> None:
    """Keeps compiled programs between processes: a design then starts in a second or two."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepmad_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)  # for the processes of a sweep
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text if text.endswith("\n") else text + "\n")
    partial.replace(path)


def _finite(value: Any) -> Any:
    """Infinite budgets as null: JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if value == float("inf") else value


def _field_list() -> str:
    lines = []

    def walk(prefix: str, group: dict[str, Any]) -> None:
        for name, value in group.items():
            if isinstance(value, dict):
                walk(f"{prefix}{name}.", value)
            else:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else value
                lines.append(f"  --config.{prefix}{name}={text}")

    walk("", config_module.to_dict(Config()))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
