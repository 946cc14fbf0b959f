"""Many networks trained on scikit-learn's digits by the product's own train job, resumably.

What `digits_resnet`, `digits_entropy` and `digits_compared` share. Each network and seed trains in
a workdir of its own, with the recipe of ``configs/digits.py``: one that is finished is not trained
again, one that was cut short goes on from its checkpoint.
"""

import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import platform
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from deepmad_jax.arch.cost import macs, params
from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.config import Config, to_dict
from deepmad_jax.config.load import parse
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.design.studies.workers import available_cores, one_core_each

CONFIG_FILE = Path(__file__).parent.parent / "configs" / "digits.py"
CONFIG: Config = parse(["digits_runs", "--config", str(CONFIG_FILE)])[0]
"""The recipe, and the space of `CONFIG.design`."""

WEIGHTS = CONFIG.design.level_weights


def train_all(
    architectures: Sequence[Architecture],
    seeds: Sequence[int],
    epochs: float,
    directory: Path,
    workers: int = 0,
    zero_init: bool = True,
    **differing: Any,
) -> dict[str, list[dict[str, float]]]:
    """The last evaluation of every network: ``top1`` (share) and ``loss`` (nats) by seed, by name.

    Args:
        architectures: of distinct names.
        seeds: of initialisation, shuffling and augmentation.
        epochs: of training; warm-up is a tenth.
        directory: holds the workdirs; made if need be.
        workers: processes, each on a core of its own; 0 is one for each core.
        zero_init, differing: of `TrainConfig`, where not as in the recipe.
    """
    recipe = dataclasses.replace(
        CONFIG.train,
        epochs=epochs,
        warmup_epochs=epochs / 10,
        zero_init=zero_init,
        **differing,
    )
    jobs = {}
    for seed, arch in itertools.product(seeds, architectures):
        config = dataclasses.replace(CONFIG, train=dataclasses.replace(recipe, seed=seed))
        jobs[arch.name, seed] = (config, arch, directory / f"{arch.name}-{seed}")
    workers = workers or len(available_cores())
    lines = {}
    with one_core_each(workers, _share_compiled, directory) as pool:
        futures = {pool.submit(_train, *job): name for name, job in jobs.items()}
        for future in as_completed(futures):
            name = futures[future]
            lines[name] = future.result()
            print(f"{name[0]} seed {name[1]}: top-1 {lines[name]['top1']:.2%}", flush=True)
    return {arch.name: [lines[arch.name, seed] for seed in seeds] for arch in architectures}


def describe(arch: Architecture) -> dict[str, Any]:
    """What a table says of a network: costs, layers, rho, and its weighted entropy in nats."""
    table, levels = layer_table(arch), levels_of(arch)
    return {
        "name": arch.name,
        "params": int(params(table)),
        "macs": int(macs(table)),
        "layers": int(levels[-1]["layers"]),
        "rho": round(float(levels[-1]["rho"]), 4),
        "entropy": round(sum(a * h["entropy"] for a, h in zip(WEIGHTS, levels, strict=True)), 1),
        "architecture": arch.to_dict(),
    }


def write_result(path: Path, command: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """Writes a result file: date, machine, command, recipe and rows."""
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "command": command,
        "recipe": {"data": to_dict(CONFIG)["data"], "train": to_dict(CONFIG)["train"]},
        **more,
        "rows": rows,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


def _share_compiled(directory: Path) -> None:
    import jax

    # The seeds of a network share what is compiled.
    jax.config.update("jax_compilation_cache_dir", str(directory / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _train(config: Config, arch: Architecture, workdir: Path) -> dict[str, float]:
    from deepmad_jax.tasks import TASKS
    from deepmad_jax.tasks.run import train
    from deepmad_jax.train.logbook import last_line_of_the_run

    done = workdir / "done.json"
    if done.exists():
        line: dict[str, float] = json.loads(done.read_text())
        return line
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "log.txt").open("a") as log, contextlib.redirect_stdout(log):
        train(TASKS["classify"], config, arch, workdir)
    found = last_line_of_the_run(workdir)
    assert found is not None
    line = {"top1": found["top1"], "loss": found["loss"]}
    done.write_text(json.dumps(line))
    return line
