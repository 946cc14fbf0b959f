"""The jobs: what each reads from the workdir, does, and leaves there.

Each imports what it needs when it runs, so that designing loads no training library.
"""

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.arch.reference import resolve
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.zoo import ZOO
from deepmad_jax.config import Config
from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.workdir import (
    differing_design,
    finite,
    read_json,
    refuse_to_mix,
    settle,
    write,
    write_config,
)


def design(config: Config, workdir: Path) -> None:
    """Solves the design program; writes ``architecture.json`` and ``design.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.designer import design_network

    if config.architecture is not None:
        print(f"Nothing to design: the config names the architecture {config.architecture}.")
        return
    refuse_to_mix(config, workdir)
    print(f"Designing {config.name} ...", flush=True)
    # The plotting library takes a second to import: meanwhile the solver compiles.
    threading.Thread(target=report.preload, daemon=True).start()
    result = design_network(config.design, config.name)
    numbers = result.to_dict()
    settle(config, workdir, result.architecture)
    write(workdir / "design.json", json.dumps(numbers, indent=1))
    print(report.design_table(result.architecture, numbers))
    report.write(workdir)
    print(f"Saved {workdir / 'architecture.json'}, design.json and report.html.", flush=True)


def sample(config: Config, workdir: Path) -> None:
    """Draws random architectures; writes the chosen one as ``architecture.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.program.levels import numbers_of
    from deepmad_jax.design.studies.sample import sample_architectures

    refuse_to_mix(config, workdir)
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
    settle(config, workdir, architecture)
    (workdir / "design.json").unlink(missing_ok=True)  # of a design that was here before
    print(report.design_table(architecture, numbers_of(architecture)))
    print(f"Saved {workdir / 'architecture.json'}.", flush=True)


def perceptron(config: Config, workdir: Path) -> None:
    """Designs ``config.perceptron`` and trains it; writes ``perceptron.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.perceptron.design import design_mlp
    from deepmad_jax.tasks import perceptron
    from deepmad_jax.train.logbook import last_line_of_the_run

    refuse_to_mix(config, workdir, ("perceptron", "data", "train"))
    design = design_mlp(config.perceptron, config.name)
    numbers = dataclasses.asdict(design)
    print(report.perceptron_table(design.architecture, numbers))
    write_config(config, workdir)
    write(workdir / "perceptron.json", json.dumps(finite(numbers), indent=1))
    perceptron.train(config, design.architecture, workdir)
    result = last_line_of_the_run(workdir)
    assert result is not None
    print(
        f"top-1 {result['top1']:.2%} on {result['images']:,} images of {result['dataset']} after "
        f"{result['step']:,} steps. Saved {workdir / 'perceptron.json'}."
    )


def train(config: Config, workdir: Path) -> None:
    """Trains the workdir's architecture on ``config.data``; writes metrics and checkpoints."""
    from deepmad_jax import report
    from deepmad_jax.tasks import classify

    architecture = architecture_of(config, workdir)
    refuse_to_mix(config, workdir)
    if _is_first():
        settle(config, workdir, architecture)
    classify.train(config, architecture, workdir)
    if _is_first():
        report.write(workdir)


def evaluate(config: Config, workdir: Path) -> None:
    """Evaluates a checkpoint on every image of the evaluation split."""
    from deepmad_jax import report
    from deepmad_jax.tasks import classify
    from deepmad_jax.train.logbook import last_line_of_the_run

    architecture = architecture_of(config, workdir)
    # The train job of this command has just evaluated the same state on the same images.
    just_trained = "train" in config.jobs[: config.jobs.index("evaluate")]
    if just_trained and config.checkpoint == "newest":
        if not _is_first():
            return
        result = last_line_of_the_run(workdir)
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
    from deepmad_jax.design.program.levels import numbers_of

    architecture = architecture_of(config, workdir)
    found = workdir / "design.json"
    use_design = config.architecture is None and found.exists()
    numbers = read_json(found) if use_design else numbers_of(architecture)
    print(report.design_table(architecture, numbers))


def compare(config: Config, workdir: Path) -> None:
    """Prints ``config.names`` side by side: costs, rho, entropy, published accuracy."""
    from deepmad_jax import report
    from deepmad_jax.design.program.levels import numbers_of

    found = {name: resolve(name) for name in config.names or ZOO}
    numbers = {name: numbers_of(architecture) for name, architecture in found.items()}
    print(report.compare_table(found, numbers))


def certify(config: Config, workdir: Path) -> None:
    """Bounds what any network of the space can reach; adds bound and gap to ``design.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.certificate.certify import certify as bound

    path = workdir / "design.json"
    numbers = _design_of(config, workdir)
    print(f"Bounding {config.name} for {config.certify_seconds:g} s ...", flush=True)
    result = bound(config.design, numbers["objective"], seconds=config.certify_seconds)
    numbers |= {"upper_bound": result.upper_bound, "gap": result.gap}
    write(path, json.dumps(numbers, indent=1))
    report.write(workdir)
    print(
        f"No network of this space exceeds {result.upper_bound:,.2f}; the design has "
        f"{numbers['objective']:,.2f}: at most {result.gap:.3%} better is possible. "
        f"{result.nodes:,} boxes bounded in {result.seconds:.0f} s."
    )


def sensitivity(config: Config, workdir: Path) -> None:
    """How the relaxed optimum moves with each budget; adds it to ``design.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.relaxation.sensitivity import elasticities
    from deepmad_jax.design.relaxation.solve import solve_relaxed

    path = workdir / "design.json"
    numbers = _design_of(config, workdir)
    moved = elasticities(config.design, solve_relaxed(config.design))
    numbers["elasticities"] = {
        budget: {name: np.asarray(part).tolist() for name, part in point._asdict().items()}
        for budget, point in moved.items()
    }
    write(path, json.dumps(numbers, indent=1))
    report.write(workdir)
    print(report.elasticity_table(numbers))
    print(f"Added to {path} and {workdir / 'report.html'}.")


def sweep(config: Config, workdir: Path) -> None:
    """Designs for many budgets; writes ``sweep.csv``, ``sweep.parquet`` and the pictures."""
    from deepmad_jax.design.studies.sweep import problems_of, run_sweep, write_tables
    from deepmad_jax.report.sweep import draw_sweep

    problems = problems_of(config.design, config.sweep)
    print(f"Designing for {len(problems):,} budgets ...", flush=True)
    if not (workdir / "config.json").exists():  # a run's own config says what it may go on with
        write_config(config, workdir)
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
    "perceptron": perceptron,
    "train": train,
    "evaluate": evaluate,
    "describe": describe,
    "compare": compare,
    "sweep": sweep,
    "certify": certify,
    "sensitivity": sensitivity,
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
            "(--config.jobs=design,train with the same workdir), or name a file or a published "
            "network with --config.architecture."
        )
    return Architecture.load(path)


def _design_of(config: Config, workdir: Path) -> dict[str, Any]:
    """The contents of ``design.json``.

    Raises:
        UserError: it is not there, or of another problem than ``config.design``.
    """
    path = workdir / "design.json"
    numbers: dict[str, Any] = read_json(path)
    differing = differing_design(config, workdir)
    if differing:
        raise UserError(
            f"{path} is a design of another problem ({'; '.join(differing)}): give the same values "
            f"to go on with it, or run the design job with this config first "
            f"(--config.jobs=design,{','.join(config.jobs)})."
        )
    return numbers


def _is_first() -> bool:
    """Whether this process writes the workdir's files: one of several does."""
    import jax

    return jax.process_index() == 0
