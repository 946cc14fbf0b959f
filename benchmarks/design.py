"""The product's designs beside general solvers on the same problems, in one run.

    pip install -c constraints.txt -e '.[train,benchmark]'
    python -m benchmarks.design --seconds=60 --scip_seconds=120 r18 r34 deepmad_29m b0
    python -m benchmarks.design --markdown                     # the table of the results

Every method gets the same `Problem`, the same costs and entropies, and its answer is judged by
`check.py`. Times are wall seconds, and in brackets CPU seconds, of solving; what JAX compiles is
compiled before the clock starts, for the peers as for the product. The peers' limits are in CPU
seconds, so that other load on the machine costs them nothing.

    deepmad_jax   `design_network`, second call in the process (the first, compilation included,
                  stands in the results file), and the bound of `certify` after its own time.
    SLSQP, trust-constr   SciPy on the continuous relaxation that the product solves too: log
                  variables, entropy over its size at the start, costs over budgets, gradients (and
                  for trust-constr Hessians) from JAX; from the product's kind of random starts,
                  one after the other until the time is up. The best five distinct optima are
                  rounded plainly: every coordinate to the nearest of the lattice; while a budget is
                  broken, the single step that cures most for the least objective; then single
                  steps up while any improves.
    evolution     SciPy's differential evolution on the lattice, integer variables and nonlinear
                  constraints as it supports them, 15 candidates a variable, begun at random
                  networks shrunk into the budgets; then single steps up.
    SCIP          the whole program as a mixed-integer nonlinear model (optional: pyscipopt):
                  polynomial costs in integer widths, inner widths and depths, kernels as binaries,
                  logarithms for the entropy; begun at the plainly rounded first start of the
                  relaxation, so that it has a feasible network from the outset. Budgets are 1e-6
                  smaller, its feasibility tolerance.
"""

import argparse
import datetime
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from scipy import optimize

from benchmarks import reference
from benchmarks.check import check
from benchmarks.problems import PROBLEMS
from benchmarks.record import machine
from benchmarks.starts import random_starts
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.certificate.certify import certify
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.box import box_of
from deepmad_jax.design.program.evaluate import Numbers, data_of, evaluate, form_of, spent
from deepmad_jax.design.program.lattice import (
    lattice_of,
    nearest,
    repair,
    structural_violation,
    to_point,
)
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.relaxation.variables import constraints, relaxed_numbers
from deepmad_jax.design.relaxation.variables import to_point as point_of_logs

RESULTS = Path(__file__).parent / "results" / "design.json"
ROUNDED = 5  # distinct relaxed optima that are rounded
DEFAULT_NAMES = ("r18", "r34", "deepmad_29m", "b0")


class Outcome(NamedTuple):
    """What a method found.

    Attributes:
        architecture: None where it found no feasible network.
        seconds: of the whole run.
        bound: no network is better, by this method; None where it proves nothing.
        notes: further numbers, for the results file.
    """

    architecture: Architecture | None
    seconds: float
    bound: float | None = None
    notes: dict[str, float] | None = None


def main() -> None:
    """Runs every method on the named problems, or prints the table of the results file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of benchmarks/problems.py")
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU, for each SciPy method")
    parser.add_argument("--scip_seconds", type=float, default=120.0, help="of CPU")
    parser.add_argument("--certify_seconds", type=float, default=60.0)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument(
        "--markdown", action="store_true", help="print the table of the results file"
    )
    args = parser.parse_args()
    if args.markdown:
        print(markdown(json.loads(RESULTS.read_text())))
        return
    for name in args.names or DEFAULT_NAMES:
        for method in args.methods.split(","):
            limit = {"SCIP": args.scip_seconds, "deepmad_jax": args.certify_seconds}
            row = _row(name, method, limit.get(method, args.seconds))
            print(json.dumps({k: v for k, v in row.items() if k != "architecture"}), flush=True)
            _store(row)


def _store(row: dict[str, Any]) -> None:
    """Puts a row into the results file, in place of an older one of the same kind."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    kinds = [(old["problem"], old["method"]) for old in rows]
    if (row["problem"], row["method"]) in kinds:
        rows[kinds.index((row["problem"], row["method"]))] = row
    else:
        rows.append(row)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def _row(name: str, method: str, limit: float) -> dict[str, Any]:
    problem, began = PROBLEMS[name], time.process_time()
    outcome = METHODS[method](problem, limit)
    row: dict[str, Any] = {
        "problem": name,
        "method": method,
        "date": datetime.date.today().isoformat(),
        "machine": f"{machine()}, scipy {scipy.__version__}",
        "load": os.getloadavg()[0],  # runnable processes of the last minute, ours included
        "limit": limit,
        "seconds": outcome.seconds,
        "cpu_seconds": time.process_time() - began,
        "bound": outcome.bound,
        **(outcome.notes or {}),
        "feasible": False,
        "objective": None,
    }
    if outcome.architecture is not None:
        found = check(problem, outcome.architecture)
        row |= {
            "feasible": not found.faults,
            "faults": list(found.faults),
            "objective": found.objective,
            "architecture": outcome.architecture.to_dict(),
        }
    return row


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of a results file, one row a problem and method."""
    references = reference.load()
    lines = [
        "| problem | method | objective | of the best known | seconds (CPU) | feasible | bound |",
        "|---|---|--:|--:|--:|---|--:|",
    ]
    for row in rows:
        best = references.get(row["problem"], {}).get("objective")
        value, bound = row["objective"], row["bound"]
        known = value is not None and row["feasible"] and best
        cells = (
            row["problem"],
            row["method"],
            f"{value:,.2f}" if value is not None else "none",
            f"{100 * value / best:.3f} %" if known else "",
            f"{row['seconds']:,.1f} ({row['cpu_seconds']:,.1f})",
            "yes" if row["feasible"] else "no",
            f"{bound:,.0f}" if bound is not None else "",
        )
        lines.append("| " + " | ".join(cells) + " |")
    dates = sorted({row["date"] for row in rows})
    loads = [row["load"] for row in rows]
    machines = "; ".join(sorted({row["machine"] for row in rows}))
    lines.append(f"\n{', '.join(dates)}; {machines}; load {min(loads):.1f} to {max(loads):.1f}.")
    return "\n".join(lines)


# --- the product ----------------------------------------------------------------------------------


def ours(problem: Problem, seconds: float) -> Outcome:
    """`design_network`, then the certificate's bound after ``seconds``."""
    began = time.perf_counter()
    design_network(problem)
    first = time.perf_counter() - began
    began, cpu_began = time.perf_counter(), time.process_time()
    design = design_network(problem)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    certify(problem, float(design.numbers.objective), seconds=0.0)  # compiles
    proof = certify(problem, float(design.numbers.objective), seconds=seconds)
    notes = {
        "cpu_seconds": cpu,
        "first_call_seconds": first,
        "certify_seconds": proof.seconds,
        "gap": proof.gap,
    }
    return Outcome(design.architecture, took, proof.upper_bound, notes)


# --- SciPy on the relaxation ----------------------------------------------------------------------


class _Relaxed:
    """The relaxed program as SciPy wants it: minimise f(z) subject to g(z) <= 0 and a box."""

    def __init__(self, problem: Problem):
        self.problem, self.box = problem, box_of(problem)
        form, data, box = form_of(problem), data_of(problem), self.box
        self.free = np.flatnonzero(box.high - box.low > 1e-12)
        self.bounds = optimize.Bounds(box.low[self.free], box.high[self.free])
        size = len(box.low)

        def at(z: jax.Array) -> tuple[jax.Array, Numbers]:
            x = jnp.asarray(box.low).at[self.free].set(z)
            return x, relaxed_numbers(form, data, x)

        def f(z: jax.Array) -> jax.Array:
            return -at(z)[1].objective

        def g(z: jax.Array) -> jax.Array:
            x, numbers = at(z)
            every = constraints(form, data, box, x, numbers)
            return jnp.concatenate([every[:3], every[3 + 2 * size :]])  # the box stands apart

        def lagrangian(z: jax.Array, v: jax.Array) -> jax.Array:
            return v @ g(z)

        functions = {
            "f": f,
            "df": jax.grad(f),
            "ddf": jax.hessian(f),
            "g": g,
            "dg": jax.jacobian(g),
            "ddg": jax.hessian(lagrangian),
        }
        self._jitted = {name: jax.jit(function) for name, function in functions.items()}
        middle = 0.5 * (self.bounds.lb + self.bounds.ub)
        multipliers = np.ones(len(self("g", middle)))
        for name in functions:  # compiled before any clock starts
            self(name, middle, *([multipliers] if name == "ddg" else []))

    def __call__(self, name: str, *arguments: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(self._jitted[name](*arguments))

    def starts(self) -> Any:
        """Random starts shrunk to the budgets, without end."""
        yield from _shrunk(self.problem, random_starts(prepare(self.problem), 2000))[:, self.free]

    def full(self, z: np.ndarray) -> np.ndarray:
        x = np.array(self.box.low)
        x[self.free] = z
        return x


def slsqp(problem: Problem, seconds: float) -> Outcome:
    """Sequential quadratic programming with gradients, many starts."""
    relaxed = _Relaxed(problem)

    def solve(z: np.ndarray, scale: float, end: float) -> np.ndarray:
        return optimize.minimize(
            lambda z: float(relaxed("f", z)) / scale,
            z,
            jac=lambda z: relaxed("df", z) / scale,
            method="SLSQP",
            bounds=relaxed.bounds,
            constraints={
                "type": "ineq",
                "fun": lambda z: -relaxed("g", z),
                "jac": lambda z: -relaxed("dg", z),
            },
            options={"maxiter": 300, "ftol": 1e-10},
        ).x

    return _multi_start(relaxed, solve, seconds)


def trust_constr(problem: Problem, seconds: float) -> Outcome:
    """Trust-region interior point with exact Hessians, many starts."""
    relaxed = _Relaxed(problem)
    budgets = optimize.NonlinearConstraint(
        lambda z: relaxed("g", z),
        -np.inf,
        0.0,
        jac=lambda z: relaxed("dg", z),
        hess=lambda z, v: relaxed("ddg", z, v),
    )

    def solve(z: np.ndarray, scale: float, end: float) -> np.ndarray:
        return optimize.minimize(
            lambda z: float(relaxed("f", z)) / scale,
            z,
            jac=lambda z: relaxed("df", z) / scale,
            hess=lambda z: relaxed("ddf", z) / scale,
            method="trust-constr",
            bounds=relaxed.bounds,
            constraints=budgets,
            callback=lambda *_: time.process_time() > end,
            options={"maxiter": 1000, "gtol": 1e-8, "xtol": 1e-10},
        ).x

    return _multi_start(relaxed, solve, seconds)


def _multi_start(
    relaxed: _Relaxed, solve: Callable[[np.ndarray, float, float], np.ndarray], seconds: float
) -> Outcome:
    """The best rounded network of as many starts as fit into the time."""
    began, end = time.perf_counter(), time.process_time() + seconds
    found: list[tuple[float, np.ndarray]] = []
    starts = 0
    for z in relaxed.starts():
        scale = max(abs(float(relaxed("f", z))), 1.0)
        z = solve(z, scale, end)
        starts += 1
        if np.isfinite(z).all():
            z = z.clip(relaxed.bounds.lb, relaxed.bounds.ub)
            # A start that ended outside the budgets may still round well, after those that did not.
            short = float(np.maximum(relaxed("g", z), 0.0).max())
            found.append((-float(relaxed("f", z)) * (1.0 if short < 1e-6 else 1e-3), z))
        if time.process_time() > end:
            break
    found.sort(key=lambda pair: -pair[0])
    distinct: dict[float, np.ndarray] = {}
    for value, z in found:
        distinct.setdefault(round(value, 2), z)
    plain = _Plain(relaxed.problem)
    rounded = [
        plain.round(nearest(plain.lattice, point_of_logs(relaxed.full(z))))
        for z in list(distinct.values())[:ROUNDED]
    ]
    architecture = plain.best_of(rounded)
    notes = {"starts": starts, "relaxed_objective": found[0][0] if found else float("nan")}
    return Outcome(architecture, time.perf_counter() - began, None, notes)


def _shrunk(problem: Problem, x: np.ndarray) -> np.ndarray:
    """Points drawn to the box's low corner until they meet the budgets of MACs and params."""
    form, data, low = form_of(problem), data_of(problem), box_of(problem).low
    inside, outside = np.zeros((len(x), 1)), np.ones((len(x), 1))
    for share in [outside, *[None] * 30]:
        at = 0.5 * (inside + outside) if share is None else share
        n = evaluate(form, data, point_of_logs(low + at * (x - low)), mode="smooth")
        fits = ((n.macs <= data.macs) & (n.params <= data.params))[:, None]
        inside, outside = np.where(fits, at, inside), np.where(fits, outside, at)
    return np.asarray(low + inside * (x - low))


class _Plain:
    """Rounding and single steps on the lattice, as anyone would write them."""

    def __init__(self, problem: Problem):
        self.problem, self.lattice = problem, lattice_of(problem)
        self.form, self.data = form_of(problem), data_of(problem)
        free = self.lattice.low < self.lattice.high
        if problem.fixed_ratio:
            free[1 + problem.num_stages : 1 + 2 * problem.num_stages] = False
        self.free = np.flatnonzero(free)
        unit = np.eye(len(free))[free]
        self.steps = np.concatenate([unit, -unit])

    def measure(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Objectives and excesses (budgets, then structure) of points, (n,) and (n, 4)."""
        point = to_point(self.lattice, u)
        n = evaluate(self.form, self.data, point)
        over = np.maximum(spent(self.data, n) - 1.0, 0.0)
        broken = structural_violation(self.lattice, self.form.monotone, point)
        return n.objective, np.concatenate([over, broken[..., None]], axis=-1)

    def round(self, u: np.ndarray) -> np.ndarray | None:
        """Into the budgets step by step, then up step by step; None where it gets stuck outside."""
        while True:
            around = np.asarray(repair(self.lattice, np.concatenate([u[None], u + self.steps])))
            objective, over = self.measure(around)
            over = over.sum(-1)
            if over[0] > 0:
                cure, loss = over[0] - over, np.maximum(objective[0] - objective, 1e-9)
                if cure.max() <= 0:
                    return None
                index = int(np.where(cure > 0, cure / loss, -np.inf).argmax())
            else:
                index = int(np.where(over > 0, -np.inf, objective).argmax())
                if objective[index] <= objective[0]:
                    return u
            u = around[index]

    def best_of(self, points: list[np.ndarray | None]) -> Architecture | None:
        met = [u for u in points if u is not None]
        if not met:
            return None
        best = max(met, key=lambda u: float(self.measure(u)[0]))
        return self.problem.architecture("rounded", to_point(self.lattice, best))


# --- SciPy on the lattice -------------------------------------------------------------------------


def evolution(problem: Problem, seconds: float) -> Outcome:
    """Differential evolution with integer variables and constraints."""
    began, end = time.perf_counter(), time.process_time() + seconds
    plain = _Plain(problem)
    lattice, free = plain.lattice, plain.free

    def full(columns: np.ndarray) -> np.ndarray:
        u = np.repeat(lattice.low[None], columns.shape[1], axis=0)
        u[:, free] = np.rint(columns.T)
        return np.asarray(repair(lattice, u))

    def objective(columns: np.ndarray) -> np.ndarray:
        return -plain.measure(full(columns))[0]

    def excess(columns: np.ndarray) -> np.ndarray:
        columns = columns if columns.ndim == 2 else columns[:, None]
        return plain.measure(full(columns))[1].T

    first = [
        nearest(lattice, point_of_logs(x))[free]
        for x in _shrunk(problem, random_starts(prepare(problem), 15 * len(free)))
    ]
    result = optimize.differential_evolution(
        objective,
        optimize.Bounds(lattice.low[free], lattice.high[free]),
        integrality=np.ones(len(free), dtype=bool),
        constraints=optimize.NonlinearConstraint(excess, -np.inf, 0.0),
        init=np.array(first),
        vectorized=True,
        updating="deferred",
        polish=False,
        tol=0.0,
        maxiter=10**9,
        rng=problem.seed,
        callback=lambda *_: time.process_time() > end,
    )
    u = plain.round(full(result.x[:, None])[0])
    notes = {"candidates": int(result.nfev) * len(first)}  # it counts calls, of one batch each
    return Outcome(plain.best_of([u]), time.perf_counter() - began, None, notes)


def scip(problem: Problem, seconds: float) -> Outcome:
    """The mixed-integer nonlinear model in `scip.py`, begun at a plainly rounded start."""
    from benchmarks.scip import solve

    plain = _Plain(problem)
    start = _shrunk(problem, random_starts(prepare(problem), 1))[0]
    u = plain.round(nearest(plain.lattice, point_of_logs(start)))
    point = to_point(plain.lattice, u) if u is not None else None
    began = time.perf_counter()
    architecture, bound, notes = solve(problem, point, seconds)
    return Outcome(architecture, time.perf_counter() - began, bound, notes)


METHODS: dict[str, Callable[[Problem, float], Outcome]] = {
    "deepmad_jax": ours,
    "SLSQP": slsqp,
    "trust-constr": trust_constr,
    "evolution": evolution,
    "SCIP": scip,
}


if __name__ == "__main__":
    main()
