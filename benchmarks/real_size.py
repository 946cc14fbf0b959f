"""Real size: DeepMAD-R18 at 224 pixels trained from JPEGs in TFDS's form, killed and resumed.

Writes a small data set of JPEG files of ImageNet's size (500x375, quality 90, 75 kB each), four
classes that differ in mean colour, prepares it with ``launch/prepare_data.py --folder`` as
ArrayRecord, and gives one command of `deepmad_jax.main` (``configs/r18.py``: design, train,
evaluate) in processes of their own:

- in one workdir once: 20 steps of 8 images
- in another one until step 12 is logged, where it is killed by SIGKILL; then the same again

It fails unless the loss falls (the last five steps' mean below the first five's, and below log 4,
which is what knowing nothing costs) and both workdirs end with the same lines of ``metrics.jsonl``,
times apart, and the same train state, bit for bit. Recipe: the one of ``configs/r18.py`` with
`RECIPE`, without which 20 steps would show no learning. Not here: accuracy worth the name, and the
recipe's bfloat16, which a CPU only emulates.

    taskset -c 0 python -m benchmarks.real_size --out=benchmarks/results/real_size.json

On one core of two that other work shared, jax 0.10.2, not quite 3 minutes in all (2026-11-25; the
file named above has every loss): mean loss of the first five steps 1.38, of the last five 1.09;
killed after step 12, resumed from step 10, all lines and all 294 arrays equal; 1.5 s a step,
91 s for the whole run with nothing compiled before, none of it spent waiting for images.
"""

import argparse
import datetime
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.input_pipeline import jpeg
from deepmad_jax.train.window import TIMED

ROOT = Path(__file__).parent.parent

CLASSES = {
    "blue": (108.0, 108.0, 168.0),
    "green": (108.0, 168.0, 108.0),
    "grey": (128.0, 128.0, 128.0),
    "red": (168.0, 108.0, 108.0),
}
"""Mean colours, around which every image has shapes and noise of its own."""

IMAGES = {"train": 20, "val": 4}
"""Of each class."""

STEPS, KILLED_AT, SAVED_BEFORE = 20, 12, 10
"""Two epochs of ten steps; a checkpoint every five."""

RECIPE = {
    "design.classes": len(CLASSES),
    "data.name": "colours",
    "train.batch_size": 8,
    "train.eval_batch_size": 8,
    "train.epochs": 2,
    "train.warmup_epochs": 0,
    "train.cooldown_epochs": 0,
    "train.learning_rate": 0.005,
    "train.batch_norm_momentum": 0.1,  # 0.01 would barely move in 20 steps
    "train.dtype": "float32",
    "train.log_every_steps": 1,
    "train.eval_every_epochs": 2,
    "train.checkpoint_every_epochs": 0.5,
    # What makes a long training better and a short one look as if nothing was learnt.
    "data.auto_augment": None,
    "data.color_jitter": 0,
    "data.random_erasing": 0,
    "data.mixup": 0,
    "data.cutmix": 0,
}
COMMAND = ["python", "-m", "deepmad_jax.main", "--config", "configs/r18.py"] + [
    f"--config.{field}={value}" for field, value in RECIPE.items()
]
"""What both workdirs are trained by, besides ``--config.data.data_dir`` and ``--workdir``."""

RUNS = {"whole": (False,), "killed": (True, False)}
"""Processes by workdir: whether each is killed."""


def main() -> int:
    args = _arguments()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(args.data or made)
        seconds = {"data set": _timed(lambda: _prepare(folder))}
        for name, runs in RUNS.items():
            for killed in runs:
                label = f"{name}, {'until killed' if killed else 'to the end'}"
                seconds[label] = _timed(lambda name=name, k=killed: _train(folder, name, k))
                print(f"{label}: {seconds[label]:.0f} s", flush=True)
        result = _describe(folder, seconds, load)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        Path(args.out).write_text(text + "\n")
    failed = [claim for claim, holds in result["checks"].items() if not holds]
    if failed:
        print(f"error: not so: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _prepare(folder: Path) -> None:
    seed = 0
    for split, count in IMAGES.items():
        for _ in range(count):
            for name, mean in CLASSES.items():
                path = folder / "files" / split / name / f"{seed}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jpeg(seed, mean))
                seed += 1
    command = [sys.executable, "-m", "launch.prepare_data", RECIPE["data.name"]]
    more = ["--folder", str(folder / "files"), "--data_dir", str(folder / "tfds")]
    done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The data set was not prepared:\n{done.stderr[-3000:]}")


def _train(folder: Path, name: str, killed: bool) -> None:
    """Gives `COMMAND`, and kills what it started after a while or waits for its end."""
    workdir, log = folder / name, folder / f"{name}{'-until-killed' if killed else ''}.log"
    more = [f"--config.data.data_dir={folder / 'tfds'}", "--workdir", str(workdir)]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        # One for all, empty before: the first run compiles, as everyone's first run does.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    }
    command = [sys.executable, "-u", *COMMAND[1:], *more]
    with log.open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            if killed and len(_lines(workdir)) >= KILLED_AT:
                process.kill()
                process.wait()
                if not (workdir / "checkpoints" / str(SAVED_BEFORE)).is_dir():
                    raise SystemExit(f"killed before step {SAVED_BEFORE} was saved")
                return
            time.sleep(0.02)
    if process.returncode or killed:
        raise SystemExit(f"{name} ended with {process.returncode}:\n{log.read_text()[-3000:]}")


def _lines(workdir: Path) -> list[dict[str, Any]]:
    file = workdir / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    # A line that is just being written has no end yet.
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _describe(folder: Path, seconds: dict[str, float], load: float) -> dict[str, Any]:
    import jax

    from deepmad_jax.arch import Architecture, layer_table
    from deepmad_jax.arch.cost import macs, params

    lines = {name: _lines(folder / name) for name in RUNS}
    steps = [line for line in lines["whole"] if line["split"] == "train"]
    losses = [line["loss"] for line in steps]
    first, last = statistics.mean(losses[:5]), statistics.mean(losses[-5:])
    evaluation = lines["whole"][-1]
    arch = Architecture.load(folder / "whole" / "architecture.json")
    table = layer_table(arch)
    states = [_state(folder / name) for name in RUNS]
    resumed = re.search(r"going on from step (\d+)", (folder / "killed.log").read_text())
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "cores_used": len(os.sched_getaffinity(0)),
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        "command": "python -m benchmarks.real_size",
        "trained_by": " ".join(COMMAND),
        "network": {
            "params": int(params(table)),
            "macs": int(macs(table)),
            "resolution_px": arch.resolution,
        },
        "checks": {
            f"{STEPS} steps, the last five's mean loss below the first five's and log 4": (
                len(losses) == STEPS and last < min(first, math.log(len(CLASSES)))
            ),
            f"killed after step {KILLED_AT}, went on from step {SAVED_BEFORE}": (
                resumed is not None and int(resumed[1]) == SAVED_BEFORE
            ),
            "the same metrics lines, times apart": _untimed(lines["whole"])
            == _untimed(lines["killed"]),
            "the same train state, bit for bit": states[0] == states[1],
        },
        "loss_mean_of_first_and_last_five_steps": [round(first, 4), round(last, 4)],
        "losses": [round(loss, 4) for loss in losses],
        "evaluation": {key: evaluation[key] for key in ("images", "loss", "top1")},
        "arrays_compared": len(states[0]),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "seconds_of_a_step": round(
            statistics.median(
                RECIPE["train.batch_size"] / line["images_per_second"]
                for line in steps
                if "images_per_second" in line
            ),
            2,
        ),
        "input_wait_share": round(
            statistics.median(line["input_wait_share"] for line in steps[1:]), 3
        ),
    }


def _untimed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in TIMED} for line in lines]


def _state(workdir: Path) -> dict[str, tuple[str, bytes]]:
    """Dtype and bits of every array of the last checkpoint: parameters, statistics, momentum."""
    import jax
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as files:
        tree = files.restore(workdir.resolve() / "checkpoints" / str(STEPS) / "state")
    flat, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(k): (str(v.dtype), v.tobytes()) for k, v in flat}


def _timed(function: Callable[[], None]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="an empty folder for everything; kept, where it is given")
    parser.add_argument("--out", help="a JSON file for the result")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
