"""The jobs that design: they need no training library."""

import dataclasses
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmad_jax.arch.spec import Architecture
from deepmad_jax.config import Config
from deepmad_jax.jobs.workdir import (
    design_of,
    holds_checkpoints,
    refuse_to_mix,
    settle,
    write,
    write_config,
)

if TYPE_CHECKING:
    from deepmad_jax.design.search.projection import Alternative


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
    _write_alternatives(workdir, result.alternatives)
    print(report.design_table(result.architecture, numbers))
    report.write(workdir)
    print(f"Saved {workdir / 'architecture.json'}, design.json and report.html.", flush=True)


def _write_alternatives(workdir: Path, alternatives: tuple["Alternative", ...]) -> None:
    """``alternative_1.json`` and so on, in place of those of a design that was here before."""
    for old in workdir.glob("alternative_*.json"):
        old.unlink()
    for i, other in enumerate(alternatives, 1):
        write(workdir / f"alternative_{i}.json", other.architecture.to_json())


def sample(config: Config, workdir: Path) -> None:
    """Draws random architectures; writes the chosen one as ``architecture.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.program.levels import numbers_of

    refuse_to_mix(config, workdir)
    draw = config.sample
    print(f"Drawing {draw.count} architectures, to take number {draw.index} ...", flush=True)
    architecture = dataclasses.replace(drawn(config)[draw.index], name=config.name)
    settle(config, workdir, architecture)
    (workdir / "design.json").unlink(missing_ok=True)  # of a design that was here before
    print(report.design_table(architecture, numbers_of(architecture)))
    print(f"Saved {workdir / 'architecture.json'}.", flush=True)


def drawn(config: Config) -> tuple[Architecture, ...]:
    """The architectures of ``config.sample``, the same ones each time."""
    from deepmad_jax.design.studies.sample import sample_architectures

    draw = config.sample
    return sample_architectures(
        config.design,
        draw.count,
        draw.rho_low,
        draw.rho_high,
        seed=config.design.seed,
        least_use=draw.least_use,
        max_growth=draw.max_growth,
    )


def certify(config: Config, workdir: Path) -> None:
    """Bounds what any network of the space can reach; adds bound and gap to ``design.json``.

    A better network that it meets becomes the design, unless the workdir has trained the old one.
    """
    from deepmad_jax import report
    from deepmad_jax.design.certificate.certify import gap_below
    from deepmad_jax.design.improve import prove
    from deepmad_jax.design.search.projection import numbers_of_design, records_of

    path = workdir / "design.json"
    numbers = design_of(config, workdir)
    known = Architecture.load(workdir / "architecture.json")
    print(f"Bounding {config.name} for {config.certify_seconds:g} s ...", flush=True)
    proved = prove(
        config.design, known, seconds=config.certify_seconds, share=config.certify_search
    )
    result = proved.certificate
    if proved.gained and holds_checkpoints(workdir):
        better = workdir / "better.json"
        write(better, proved.architecture.to_json())
        print(
            f"A better network was met, {proved.gained:,.2f} nats above the design: {better}. "
            "What was trained here stays the design."
        )
    elif proved.gained:
        numbers |= numbers_of_design(config.design, proved.numbers)
        if config.design.alternatives:
            numbers["alternatives"] = records_of(config.design, proved.alternatives)
            _write_alternatives(workdir, proved.alternatives)
        settle(config, workdir, proved.architecture)
        print(f"A better network was met, by {proved.gained:,.2f} nats: it now is the design.")
        print(report.design_table(proved.architecture, numbers))
    numbers |= {
        "upper_bound": result.upper_bound,
        "gap": gap_below(result.upper_bound, numbers["objective"]),
    }
    write(path, json.dumps(numbers, indent=1))
    report.write(workdir)
    print(
        f"No network of this space exceeds {result.upper_bound:,.2f}; the design has "
        f"{numbers['objective']:,.2f}: at most {numbers['gap']:.3%} better is possible. "
        f"{result.nodes:,} boxes bounded in {result.seconds:.0f} s."
    )


def sensitivity(config: Config, workdir: Path) -> None:
    """How the relaxed optimum moves with each budget, and what it would be without each.

    Adds both to ``design.json``.
    """
    from deepmad_jax import report
    from deepmad_jax.design.relaxation.sensitivity import elasticities, objectives_without
    from deepmad_jax.design.relaxation.solve import solve_relaxed

    path = workdir / "design.json"
    numbers = design_of(config, workdir)
    # Of the kinds that the design has, where the config leaves them open.
    problem = config.design.settled_as(Architecture.load(workdir / "architecture.json"))
    solution = solve_relaxed(problem)
    moved = elasticities(problem, solution)
    numbers["relaxed_objective"] = solution.objective
    numbers["objective_without"] = objectives_without(problem, solution)
    numbers["elasticities"] = {
        budget: {name: np.asarray(part).tolist() for name, part in point._asdict().items()}
        for budget, point in moved.items()
    }
    write(path, json.dumps(numbers, indent=1))
    report.write(workdir)
    print(report.sensitivity_tables(numbers))
    print(f"Added to {path} and {workdir / 'report.html'}.")


def sweep(config: Config, workdir: Path) -> None:
    """Designs for many budgets, or a part of them.

    When all are there, writes ``sweep.csv``, ``sweep.parquet`` and the pictures.
    """
    from deepmad_jax.design.studies.sweep import (
        key_of,
        problems_of,
        read_rows,
        rows_file,
        run_sweep,
        write_tables,
    )
    from deepmad_jax.report.sweep import draw_sweep

    problems, part = problems_of(config.design, config.sweep), config.part
    mine = part.of(problems)
    which = "" if part.count == 1 else f" of {len(problems):,}, part {part.index} of {part.count}"
    print(f"Designing for {len(mine):,} budgets{which} ...", flush=True)
    if not (workdir / "config.json").exists():  # a run's own config says what it may go on with
        write_config(config, workdir)
    path = rows_file(part, workdir)
    run_sweep(mine, path, config.sweep.workers, known=read_rows(workdir))
    found = read_rows(workdir)  # other parts have gone on meanwhile
    missing = [i for i, problem in enumerate(problems) if key_of(problem) not in found]
    if missing:
        print(
            f"Saved {path}. {len(missing):,} of {len(problems):,} budgets have no design yet, "
            f"those of {part.those_with(missing)}: the last part writes the table. Should one be "
            "lost, the command without config.part does what is missing."
        )
        return
    rows = [found[key_of(problem)] for problem in problems]
    written = write_tables(rows, workdir) + draw_sweep(rows, workdir)
    feasible = sum(row["feasible"] for row in rows)
    names = ", ".join(path.name for path in written)
    print(f"{feasible:,} of {len(rows):,} budgets can be met. Saved {names} in {workdir}.")
