"""How fast designs are proved optimal: seconds, boxes and gap of the certificate on each problem.

    python -m benchmarks.proofs --seconds=60 --out=benchmarks/results/proofs.json
    python -m benchmarks.proofs --seconds=600 r18_rho1.5
    python -m benchmarks.proofs --table

Each problem of `problems.py` is designed and the design handed to `prove`, as the jobs
``design,certify`` do, whose time goes into the bound and the search for better networks. What JAX
compiles is compiled before the clock starts, by a short proof, and timed apart: the second number
of seconds.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.problems import PROBLEMS
from benchmarks.record import write_result
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.certificate import tree
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.improve import Proved, prove
from deepmad_jax.design.program.problem import Problem

RESULTS = Path(__file__).parent / "results" / "proofs.json"


def main() -> None:
    """Proves the named problems, prints a line each, and writes all to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of benchmarks/problems.py; all where none")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", action="store_true", help="Markdown of what is on file")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(RESULTS.read_text())["rows"]))
        return
    load, rows = os.getloadavg()[0], []
    for name in args.names or PROBLEMS:
        rows.append(proved(name, args.seconds))
        if args.out:
            write_result(args.out, load, seconds=args.seconds, rows=rows)


def proved(name: str, seconds: float) -> dict[str, Any]:
    """Design and proof of one problem."""
    problem = PROBLEMS[name]
    design = design_network(problem)
    began = time.perf_counter()
    result = timed_proof(problem, design.architecture, seconds)
    proof = result.certificate
    compiling = time.perf_counter() - began - proof.seconds
    row = {
        "name": name,
        "block": problem.block,
        "stages": problem.num_stages,
        "objective": float(result.numbers.objective),
        "gained": result.gained,
        "gap": proof.gap,
        "exhausted": proof.exhausted,
        "boxes": proof.nodes,
        "seconds": proof.seconds,
        "compiling": compiling,
    }
    print(row, flush=True)
    return row


def timed_proof(problem: Problem, design: Architecture, seconds: float) -> Proved:
    """`prove`, with what it needs compiled before its clock starts."""
    few = prove(problem, design, nodes=tree.FEW, seconds=math.inf)
    if not few.certificate.exhausted:
        with mock.patch.object(tree, "FEW", 0):
            prove(problem, design, seconds=0.0)  # compiles what bounds the boxes after these
    return prove(problem, design, seconds=seconds)


def table(rows: list[dict[str, Any]]) -> str:
    """One line a problem."""
    lines = [
        "| problem | blocks, stages | proved: at most this much better exists | boxes | seconds |",
        "|---|---|--:|--:|--:|",
    ]
    lines += [
        f"| {row['name']} | {row['block']}, {row['stages']} | {_gap(row)} | {row['boxes']:,} | "
        f"{row['seconds']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _gap(row: dict[str, Any]) -> str:
    return "0: optimal" if row["exhausted"] else f"{row['gap']:.3%}"


if __name__ == "__main__":
    main()
