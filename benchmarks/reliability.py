"""What becomes of a training that is killed, finds its files damaged or its disk full, or lasts.

    python -m benchmarks.reliability --out=FILE.json            # 50, 20 and 20 signals, 3,000 steps
    python -m benchmarks.reliability --out=FILE.json --quick    # 3, 2 and 2 signals

A tiny network learns the digits, with one worker process, by the command that anyone gives. Every
trial is a run of its own, compared with one that nothing befell: parameters and statistics of its
last checkpoint by the bit, and its metrics lines but for what the clock says.

- signals: SIGKILL, SIGTERM and SIGINT (Ctrl-C), every other one at a random moment of the time that
  an undisturbed run takes, the others once a random step is logged; then the same command again,
  until it ends by itself.
- damage: every file of the newest checkpoint cut to half, with one bit flipped, and deleted, one at
  a time. What is read then must be the newest state or, with a warning, that of the one before.
- disk: a file system of a few megabytes that is filled up while the run saves (needs root); the run
  must end by itself, with a message, its checkpoints intact, and go on once there is room.
- memory: resident memory of the process as the steps go by; the slope is by least squares over the
  second half.
- leftovers: files in /dev/shm that no living process uses, and processes of the run, half a minute
  after each trial.

FILE is written after each trial, and what stands in it is not done again: the same command goes on
where it was ended. Results of runs lie in ``results/reliability*.json``.
"""

import argparse
import atexit
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write_result
from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.errors import UserError
from deepmad_jax.train import Checkpoints
from deepmad_jax.train.window import TIMED

ROOT = Path(__file__).parent.parent
ARCH = Architecture("tiny", 16, 1, 10, Stem(4, 3, 2), (Stage("basic", 8, 4, 3, 2, 2),))
FIELDS = {
    "jobs": "train",
    "train.epochs": 8,
    "train.warmup_epochs": 1,
    "train.cooldown_epochs": 0,
    "train.eval_every_epochs": 2,
    "train.checkpoint_every_epochs": 1,
    "train.log_every_steps": 5,
    "data.workers": 1,
}
SIGNALS = {"SIGKILL": 50, "SIGTERM": 20, "SIGINT": 20}
QUICK_SIGNALS = {"SIGKILL": 3, "SIGTERM": 2, "SIGINT": 2}
STEPS = 3000
DISK_BYTES = 3 << 20
MOST_STARTS = 5
PATIENCE_SECONDS = 600
TIDYING_SECONDS = 30
"""What Python's resource tracker gets to remove what a killed process leaves."""


def main() -> int:
    """The number of claims that did not hold."""
    args = _arguments()
    # In a shell's background Ctrl-C is ignored, and what starts there ignores it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    load = os.getloadavg()[0]
    results = json.loads(args.out.read_text()) if args.out.exists() else {}

    def done(name: str, value: Any) -> None:
        results[name] = value
        write_result(
            args.out,
            results.get("load_before", load),
            command="python -m benchmarks.reliability --out=FILE" + " --quick" * args.quick,
            **{key: found for key, found in results.items() if key not in _HEADER},
        )
        print(f"{name}: {json.dumps(value)[:200]}", flush=True)

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "tiny.json").write_text(ARCH.to_json())
        counts = QUICK_SIGNALS if args.quick else SIGNALS
        trials = [(name, i) for name, count in counts.items() for i in range(count)]
        beside = [*(f"{name} {i}" for name, i in trials), "damage", "disk"]
        if not set(beside) <= set(results):
            seconds, expected = _undisturbed(folder)
            for name, i in trials:
                if f"{name} {i}" not in results:
                    done(f"{name} {i}", _signalled(folder, name, i, seconds, expected))
            if "damage" not in results:
                done("damage", _damaged(folder / "whole"))
            if "disk" not in results:
                done("disk", _full_disk(folder, expected))
        if "memory" not in results:
            done("memory", _memory(folder))
    done("summary", summary(results))
    failed = [name for name, holds in results["summary"]["holds"].items() if not holds]
    print("Everything held." if not failed else f"Did not hold: {', '.join(failed)}.")
    return len(failed)


_HEADER = ("date", "machine", "load_before", "command")


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Counts by kind, and whether each claim holds of all that was tried."""
    signals: dict[str, dict[str, int]] = {}
    for name in SIGNALS:
        trials = [value for key, value in results.items() if key.startswith(f"{name} ")]
        signals[name] = {
            "trials": len(trials),
            "while_it_ran": sum(trial["reached_it"] for trial in trials),
            "ended_it": sum(trial["starts"] > 1 for trial in trials),
            "ended_equal": sum(trial["equal"] for trial in trials),
            "with_leftovers": sum(bool(trial["leftovers"]) for trial in trials),
            "most_starts": max((trial["starts"] for trial in trials), default=0),
        }
    damage, disk, memory = results["damage"], results["disk"], results["memory"]
    return {
        "signals": signals,
        "holds": {
            **{
                f"every run after {name} ends equal to the bit": (
                    counts["trials"] == counts["ended_equal"]
                )
                for name, counts in signals.items()
            },
            # A signal may come when a run is as good as done.
            "signals end runs": all(
                2 * counts["ended_it"] >= counts["while_it_ran"] for counts in signals.values()
            ),
            "no trial leaves shared memory or processes": not any(
                counts["with_leftovers"] for counts in signals.values()
            ),
            "no damage is read without a word": not damage["read_wrong"],
            "a full disk spares the checkpoints": disk is None or disk["equal"],
            "memory grows by less than 1 kB a step": memory["bytes_a_step"] < 1024,
        },
    }


def _undisturbed(folder: Path) -> tuple[float, dict[str, Any]]:
    """Seconds that a run takes that need not compile, as those that follow, and what it ends with.

    Leaves ``whole`` in the folder.
    """
    assert _finish(_start(folder, folder / "whole")) == 0, "the undisturbed run failed"
    expected = _outcome(folder / "whole")
    began = time.monotonic()
    assert _finish(_start(folder, folder / "again")) == 0, "the undisturbed run failed"
    seconds = time.monotonic() - began
    assert _outcome(folder / "again") == expected, "two undisturbed runs end differently"
    return seconds, expected


def _start(
    folder: Path,
    workdir: Path,
    fields: dict[str, Any] | None = None,
    output: int = subprocess.PIPE,
) -> "subprocess.Popen[str]":
    values = FIELDS | {"architecture": folder / "tiny.json"} | (fields or {})
    command = [
        sys.executable,
        "-m",
        "deepmad_jax.main",
        "--config",
        str(ROOT / "configs/digits.py"),
    ]
    flags = [f"--config.{name}={value}" for name, value in values.items()]
    process = subprocess.Popen(
        [*command, "--workdir", str(workdir), *flags],
        cwd=ROOT,
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, to which Ctrl-C is sent as a terminal does
    )
    atexit.register(_end, process)
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    """Where this script is ended itself: what it started would go on."""
    if process.poll() is None:
        process.kill()


def _finish(process: "subprocess.Popen[str]") -> int:
    process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode


def _outcome(workdir: Path) -> dict[str, Any]:
    """What a run ended with, as two digests: of its arrays and of its lines."""
    lines = [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]
    untimed = [{k: v for k, v in line.items() if k not in TIMED} for line in lines]
    text = json.dumps(untimed, sort_keys=True).encode()
    return {
        "arrays": _digest(workdir),
        "lines": hashlib.sha256(text).hexdigest(),
        "steps": lines[-1]["step"],
    }


def _last_step(workdir: Path) -> int:
    """Of the last line that is logged; 0 where there is none yet."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])["step"])
    return 0


def _digest(workdir: Path, step: int | None = None) -> str:
    """Of the parameters and statistics of a checkpoint, the newest that can be read."""
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        variables = checkpoints.restore_variables(step)
    found = hashlib.sha256()
    for path, array in sorted(variables.items()):
        found.update("/".join(path).encode() + np.asarray(array).tobytes())
    return found.hexdigest()


def _signalled(
    folder: Path, name: str, index: int, seconds: float, expected: dict[str, Any]
) -> dict[str, Any]:
    """One run that gets a signal, and its restarts."""
    workdir = folder / f"{name}{index}"
    before = _shared_memory()
    process = _start(folder, workdir)
    rng = random.Random(f"{name} {index}")
    if index % 2:
        moment = {"after_step": rng.randrange(expected["steps"])}
        while process.poll() is None and _last_step(workdir) < moment["after_step"]:
            time.sleep(0.002)
    else:
        moment = {"after_seconds": round(rng.uniform(0.0, seconds), 2)}
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment["after_seconds"])
    alive = process.poll() is None
    if alive:
        if name == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(getattr(signal, name))
    statuses = [_finish(process)]
    while statuses[-1] != 0 and len(statuses) < MOST_STARTS:
        statuses.append(_finish(_start(folder, workdir)))
    trial = {
        **moment,
        "reached_it": alive,
        "statuses": statuses,
        "starts": len(statuses),
        "equal": statuses[-1] == 0 and _outcome(workdir) == expected,
        "leftovers": _leftovers(before, workdir),
    }
    shutil.rmtree(workdir, ignore_errors=True)
    return trial


def _shared_memory() -> set[str]:
    try:
        return set(os.listdir("/dev/shm"))
    except OSError:
        return set()


def _leftovers(before: set[str], workdir: Path) -> list[str]:
    """New files in shared memory that nobody uses, and processes that still name the workdir."""
    deadline = time.monotonic() + TIDYING_SECONDS
    while True:
        found = sorted(_shared_memory() - before - _used()) + _processes_of(workdir)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def _used() -> set[str]:
    """Files in shared memory that a living process has mapped; others may run on this machine."""
    names: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            words = path.read_text().split()
            names |= {word.removeprefix("/dev/shm/") for word in words if "/dev/shm/" in word}
    return names


def _processes_of(workdir: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(workdir).encode() in path.read_bytes():
                found.append(f"process {path.parent.name}")
    return found


def _damages() -> Iterator[tuple[str, Callable[[Path], object]]]:
    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    yield from {"cut": cut, "flipped": flip, "deleted": Path.unlink}.items()


def _damaged(whole: Path) -> dict[str, Any]:
    """Every file of the newest checkpoint, damaged in every way."""
    kept = whole / "checkpoints"
    steps = sorted(int(path.name) for path in kept.iterdir() if path.name.isdigit())
    newest, one_before = (_digest(whole, step) for step in (steps[-1], steps[-2]))
    files = [p.relative_to(whole) for p in (kept / str(steps[-1])).rglob("*") if p.is_file()]
    counts = {
        "files": len(files),
        "trials": 0,
        "read_the_newest": 0,
        "took_the_one_before": 0,
    }
    wrong = []
    for file in sorted(files):
        for name, damage in _damages():
            if name != "deleted" and not (whole / file).stat().st_size:
                continue
            with tempfile.TemporaryDirectory() as made:
                copy = Path(made) / "run"
                shutil.copytree(whole, copy)
                damage(copy / file)
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    try:
                        found = _digest(copy)
                    except UserError as error:
                        found = str(error)
            counts["trials"] += 1
            if found == newest:
                counts["read_the_newest"] += 1
            elif found == one_before and any("cannot be read" in str(t.message) for t in told):
                counts["took_the_one_before"] += 1
            else:
                wrong.append(f"{file} {name}")
    return counts | {"read_wrong": wrong}


def _full_disk(folder: Path, expected: dict[str, Any]) -> dict[str, Any] | None:
    """A run on a small file system that fills up; None where none may be mounted."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True).returncode:
        return None
    try:
        workdir = disk / "run"
        process = _start(folder, workdir)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not list(workdir.glob("checkpoints/[0-9]*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        with contextlib.suppress(OSError), open(disk / "filler", "wb", 0) as filler:
            while True:
                filler.write(b"\0" * 4096)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
        (disk / "filler").unlink()
        statuses = [process.returncode, _finish(_start(folder, workdir))]
        return {
            "statuses": statuses,
            "said": "Make room on the disk" in said,
            "equal": statuses == [2, 0] and _outcome(workdir) == expected,
        }
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def _memory(folder: Path) -> dict[str, Any]:
    """Resident memory against the step, of one long run."""
    workdir = folder / "long"
    epochs = STEPS * 64 / 1437  # images of a batch and of the digits
    fields = {"train.epochs": epochs, "train.checkpoint_every_epochs": 9.0}
    # Nobody reads along, and a pipe that is full holds the run up.
    process = _start(folder, workdir, fields, output=subprocess.DEVNULL)
    points: list[tuple[int, int]] = []
    while process.poll() is None:
        step = _last_step(workdir)
        with contextlib.suppress(OSError, IndexError):
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            if step > (points[-1][0] if points else 0):
                points.append((step, pages * os.sysconf("SC_PAGE_SIZE")))
        time.sleep(0.05)
    process.communicate()
    late = [point for point in points if point[0] >= points[-1][0] / 2]
    slope = float(np.polyfit(*np.array(late, float).T, 1)[0])
    return {
        "steps": points[-1][0],
        "samples": len(late),
        "status": process.returncode,
        "megabytes_half_way": round(late[0][1] / 2**20, 1),
        "megabytes_at_the_end": round(late[-1][1] / 2**20, 1),
        "bytes_a_step": round(slope, 1),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
