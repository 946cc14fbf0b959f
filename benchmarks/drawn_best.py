"""The best network known of each drawn problem, and the product's designs beside them.

    python -m benchmarks.drawn_best --prove=5000 --search=2 0:50  # seek better, of the first 50
    python -m benchmarks.drawn_best --seeds=0,1,2,3,4           # designs beside what is known
    python -m benchmarks.drawn_best --table                     # what is on file

Three methods look for the best: the product's certificate, which hands better networks back and
bounds what is left (``--prove``, boxes a problem), the independent search of `reference.py`
(``--search``, turns a problem), and every design of ``--seeds``. What each finds is judged by
`check.py`. Results are kept after each problem in `results/drawn.json`; the longest proof and the
best network stay. Processes with other ranges may run beside each other: each reads what is there
before it writes.
"""

import argparse
import dataclasses
import fcntl
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import reference
from benchmarks.check import check
from benchmarks.drawn import drawn_problems
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.improve import prove
from deepmad_jax.design.program.problem import Problem

RESULTS = Path(__file__).parent / "results" / "drawn.json"
FORGET_EVERY = 20  # problems, after which compiled programs are dropped: each keeps memory


def load() -> dict[str, Any]:
    """What is on file, by the problem's number as text."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def update(number: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes one entry, with the file locked against other processes."""
    with RESULTS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = load()
        change(entries.setdefault(str(number), {"objective": None}))
        ordered = {key: entries[key] for key in sorted(entries, key=int)}
        lines = (f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in ordered.items())
        written = RESULTS.with_suffix(".new")
        written.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        written.replace(RESULTS)


def found(number: int, problem: Problem, arch: Architecture, by: str) -> float:
    """Judges a network, keeps it where it is the best known, and returns its objective."""
    judged = check(problem, arch)
    assert not judged.faults, (number, judged.faults)

    def change(entry: dict[str, Any]) -> None:
        best = entry["objective"]
        if best is None or judged.objective > best + 1e-12 * abs(best):
            entry |= {"objective": judged.objective, "by": by, "architecture": arch.to_dict()}

    update(number, change)
    return judged.objective


def proved(number: int, problem: Problem, boxes: int) -> None:
    """Bounds a problem from its best known network on, which the bound may better."""
    entry = load().get(str(number), {})
    known = entry.get("architecture")
    start = Architecture.from_dict(known) if known else design_network(problem).architecture
    result = prove(problem, start, nodes=boxes, seconds=math.inf)
    objective = found(number, problem, result.architecture, f"proof of {boxes:,} boxes")
    bound = result.certificate.upper_bound

    def change(entry: dict[str, Any]) -> None:
        if bound < entry.get("bound", np.inf):
            entry |= {"bound": bound, "boxes": result.certificate.nodes}

    update(number, change)
    gap = (bound - objective) / abs(objective)
    print(
        f"{number:4} proof   {objective:16.6f} gained {result.gained:.3g} gap {gap:.3%} "
        f"{result.certificate.nodes} boxes",
        flush=True,
    )


def searched(number: int, problem: Problem, turns: int) -> None:
    """The independent search, by another seed each time."""
    tried = load().get(str(number), {}).get("searches", 0)
    arch, _ = reference.search(problem, 1000 + tried, turns)
    value = -np.inf if arch is None else found(number, problem, arch, "independent search")

    def change(entry: dict[str, Any]) -> None:
        entry["searches"] = entry.get("searches", 0) + 1

    update(number, change)
    best = load()[str(number)]["objective"]
    ratio = 1 - (best - value) / abs(best) if best is not None else np.nan
    print(f"{number:4} search  {value:16.6f} {ratio:.6f} of the best known", flush=True)


def designed(number: int, problem: Problem, seeds: list[int]) -> None:
    """Designs with each seed; their share of the best known, and their seconds, calm or not."""
    design_network(problem)  # compiles
    values, seconds, cpu = {}, [], []
    for seed in seeds:
        began, began_cpu = time.perf_counter(), time.process_time()
        design = design_network(dataclasses.replace(problem, seed=seed))
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
        values[str(seed)] = found(number, problem, design.architecture, f"design, seed {seed}")

    def change(entry: dict[str, Any]) -> None:
        entry["designs"] = {**entry.get("designs", {}), **values}
        entry |= {"seconds": float(np.median(seconds)), "cpu_seconds": float(np.median(cpu))}

    update(number, change)
    shares = shares_of(load()[str(number)])
    worst = min(shares.values())
    print(
        f"{number:4} designs {problem.block:10} {problem.num_stages} stages  least share "
        f"{worst:.6f}  {np.median(seconds):.2f} s{'' if worst >= 0.9995 else '  <<<'}",
        flush=True,
    )


def shares_of(entry: dict[str, Any]) -> dict[str, float]:
    """Objective of each seed's design over the best known, by the seed; 1 less the shortfall."""
    best = entry["objective"]
    return {
        seed: 1.0 - (best - value) / abs(best) for seed, value in entry.get("designs", {}).items()
    }


def table() -> None:
    """Prints what is on file: shares, gaps and seconds over all problems."""
    entries = load()
    shares = np.array([s for entry in entries.values() for s in shares_of(entry).values()])
    gaps = np.array(
        [
            (entry["bound"] - entry["objective"]) / abs(entry["objective"])
            for entry in entries.values()
            if "bound" in entry
        ]
    )
    seconds = np.array([entry["seconds"] for entry in entries.values() if "seconds" in entry])
    cpu = np.array([entry["cpu_seconds"] for entry in entries.values() if "seconds" in entry])
    print(f"{len(entries)} problems")
    if len(shares):
        print(
            f"{len(shares)} designs: least share {shares.min():.6f}, at least 0.999 "
            f"{(shares >= 0.999).mean():.2%}, at least 0.9995 {(shares >= 0.9995).mean():.2%}"
        )
        print(
            f"seconds a design: median {np.median(seconds):.2f}, most {seconds.max():.2f}; "
            f"CPU: median {np.median(cpu):.2f}, most {cpu.max():.2f}"
        )
    if len(gaps):
        print(
            f"{len(gaps)} bounds: proved optimal {(gaps <= 1e-9).sum()}, below 0.5 % "
            f"{(gaps < 0.005).sum()}, greatest gap {gaps.max():.3%}"
        )
    for number, entry in entries.items():
        if shares_of(entry) and min(shares_of(entry).values()) < 0.9995:
            print(number, {seed: round(share, 6) for seed, share in shares_of(entry).items()})


def main() -> None:
    """Runs what is asked for over a range of the problems."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ranges", nargs="*", default=["0:"], help="slices, such as 0:50 or 7:8")
    parser.add_argument("--prove", type=int, default=0, metavar="BOXES")
    parser.add_argument("--search", type=int, default=0, metavar="TURNS")
    parser.add_argument("--seeds", default="")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    problems = drawn_problems()
    numbers = [
        number
        for text in args.ranges
        for number in range(len(problems))[slice(*(int(e) if e else None for e in text.split(":")))]
    ]
    work: list[Callable[[int, Problem], None]] = []
    if args.seeds:
        seeds = [int(seed) for seed in args.seeds.split(",")]
        work.append(lambda number, problem: designed(number, problem, seeds))
    if args.search:
        work.append(lambda number, problem: searched(number, problem, args.search))
    if args.prove:
        work.append(lambda number, problem: proved(number, problem, args.prove))
    for i, number in enumerate(numbers if work else [], 1):
        for do in work:
            do(number, problems[number])
        if i % FORGET_EVERY == 0:
            jax.clear_caches()
    if args.table or not work:
        table()


if __name__ == "__main__":
    main()
