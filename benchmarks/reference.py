"""The best networks known for each problem, by a long search that the product never runs.

    python -m benchmarks.reference --turns=16 --seeds=0,1 r18 b0     # search; no names: all
    python -m benchmarks.reference --compare                          # the product beside them
    python -m benchmarks.reference --beyond                           # by the product, at length

The search starts around the relaxed optima at the most promising vectors of depths and, in every
second epoch, at random networks: long annealing of many chains whose prices of the budgets rise
where a chain overspends and fall where it does not, so that chains cross the budgets' surfaces
again and again; then steepest ascent over pairs and triples of steps; then reheated chains from the
best so far. An epoch has eight such turns.
What it finds is checked by `check.py` and kept in `results/references.json` where it beats what is
there. ``--beyond`` lets the product's own search run several times as long; what is better so is
the best known and stands there, marked. A reference is no proof of optimality
(`deepmad_jax.design.certify` is for that).
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.check import check
from benchmarks.problems import PROBLEMS
from benchmarks.record import machine
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.evaluate import (
    Data,
    Form,
    Point,
    data_of,
    evaluate,
    form_of,
    spent,
    within_limits,
)
from deepmad_jax.design.program.lattice import (
    Lattice,
    lattice_of,
    nearest,
    repair,
    split,
    structural_violation,
    to_point,
)
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.relaxation.solve import solve_relaxed
from deepmad_jax.design.search.effort import FULL

RESULTS = Path(__file__).parent / "results" / "references.json"
CHAINS, STEPS = 192, 3000
BATCH = 4096  # of the local search's evaluations: one shape, one compilation
EPOCH = 8  # runs of chains from one set of random starts
FROZEN = 4  # turns of an epoch around the relaxed optimum in which depths do not move
EXPANSIONS, LEADERS = 6, 24  # of the climb over depths; vectors of depths that it hands on
LONGER = 4  # times the product's own choices, beam and steps
PRICE_RATE = 0.02  # how fast prices adapt, per step


class Chains(NamedTuple):
    """Best feasible point of each chain, (chains, 1 + 4 S), and its objective, -inf for none."""

    best: np.ndarray
    objective: np.ndarray


def search(problem: Problem, seed: int, turns: int) -> tuple[Architecture | None, int]:
    """The best feasible network found, and in which turn; None where none was met.

    A turn is one run of all chains and the ascents from its best points.
    """
    lattice, rng = lattice_of(problem), np.random.default_rng(seed)
    ascent = _Ascent(problem, lattice)
    pool: dict[bytes, float] = {}
    ascended: set[bytes] = set()
    best, best_value, best_at = None, -np.inf, 0
    leaders = _promising_depths(problem)[:LEADERS]
    worth = max(abs(leaders[0][0]), 1.0) if np.isfinite(leaders[0][0]) else 1000.0
    for turn in range(turns):
        fresh = turn % EPOCH == 0 or not pool
        if fresh:  # what the last epoch found would crowd out the new starts
            pool, ascended = {}, set()
        hottest = 10 ** rng.uniform(-3.0, -1.4) / (1 + turn % EPOCH // 3)
        if turn % (2 * EPOCH) == 0:
            starts, hottest = _relaxed_points(leaders, lattice, rng), 2e-3
        elif fresh:
            starts, hottest = _random_points(lattice, rng), 3e-2
        else:
            starts = _elites(pool, rng)
        # Around the relaxed optimum each chain first keeps its depths, which can then be compared.
        frozen = turn % (2 * EPOCH) < FROZEN
        chains = _run(problem, lattice, starts, worth, hottest, frozen, rng.integers(2**31))
        for u, value in zip(chains.best, chains.objective, strict=True):
            if np.isfinite(value):
                pool[u.tobytes()] = float(value)
        pool = dict(sorted(pool.items(), key=lambda item: -item[1])[:400])
        todo = [key for key in pool if key not in ascended][: 1 if fresh else 4]
        for key in todo:
            u, value = ascent.climb(np.frombuffer(key), pool[key])
            ascended |= {key, u.tobytes()}
            pool[u.tobytes()] = value
            if value > best_value:
                best, best_value, best_at = u, value, turn
        worth = max(abs(best_value), 1.0) if best is not None else worth
    if best is None:
        return None, best_at
    return problem.architecture("reference", to_point(lattice, best)), best_at


def _random_points(lattice: Lattice, rng: np.random.Generator) -> np.ndarray:
    """Log-uniform widths, equal depths."""
    size = (CHAINS, len(lattice.low))
    span = np.log(np.maximum(lattice.high, 1.0) / np.maximum(lattice.low, 1.0))
    u = np.maximum(lattice.low, 1.0) * np.exp(rng.uniform(size=size) * span)
    stages = (size[1] - 1) // 4
    # Small networks more often than large ones: prices need a feasible side to begin on.
    u[:, 1 : 1 + 2 * stages] **= rng.uniform(0.3, 1.0, size=(CHAINS, 1))
    u[:, 1 : 1 + stages] = np.sort(u[:, 1 : 1 + stages])
    u[:, -stages:] = rng.integers(1, 13, size=(CHAINS, 1))
    u[:, -2 * stages : -stages] = rng.integers(
        0, len(np.unique(lattice.kernels)), size=(CHAINS, stages)
    )
    return np.asarray(repair(lattice, np.rint(u)))


def _relaxed_points(
    leaders: list[tuple[float, Point]], lattice: Lattice, rng: np.random.Generator
) -> np.ndarray:
    """Lattice points around the relaxed optima at the most promising vectors of depths."""
    at = np.array([nearest(lattice, point) for _, point in leaders])[
        np.arange(CHAINS) % len(leaders)
    ]
    stages = (at.shape[1] - 1) // 4
    u = at * np.exp(rng.normal(scale=0.1, size=at.shape))
    u[:, -2 * stages :] = at[:, -2 * stages :]
    return np.asarray(repair(lattice, np.rint(u)))


def _promising_depths(problem: Problem) -> list[tuple[float, Point]]:
    """Relaxed optima at fixed whole depths, best first: a climb over steps in one or two stages.

    With depths fixed the relaxation is nearly tight, so its value ranks vectors of depths by what
    their best networks reach.
    """
    found: dict[tuple[int, ...], tuple[float, Point]] = {}

    def value(depths: tuple[int, ...]) -> float:
        if depths not in found:
            fixed = dataclasses.replace(problem, min_depth=depths, max_depth=depths)
            solution = solve_relaxed(fixed)
            found[depths] = (solution.objective if solution.converged else -np.inf, solution.point)
        return found[depths][0]

    low, high = np.array(problem.per_stage("min_depth")), np.array(problem.per_stage("max_depth"))
    middle = np.rint(solve_relaxed(problem).point.depth).clip(low, high)
    value(tuple(middle.astype(int).tolist()))
    unit = np.eye(problem.num_stages, dtype=int)
    steps = _sums(np.concatenate([unit, -unit]), 2)
    for _ in range(EXPANSIONS):
        best = max(found, key=lambda depths: found[depths][0])
        for step in steps:
            value(tuple((np.array(best) + step).clip(low, high).tolist()))
        if found[best][0] >= max(pair[0] for pair in found.values()):
            break
    met = [pair for pair in found.values() if np.isfinite(pair[0])]
    return sorted(met or found.values(), key=lambda pair: -pair[0])


def _elites(pool: dict[bytes, float], rng: np.random.Generator) -> np.ndarray:
    """Chains' starts: the best points, few of each vector of depths."""
    by_depths: dict[bytes, int] = {}
    chosen = []
    for key in pool:
        u = np.frombuffer(key)
        depths = u[-(len(u) // 4) :].tobytes()
        by_depths[depths] = by_depths.get(depths, 0) + 1
        if by_depths[depths] <= 3:
            chosen.append(u)
    count = min(len(chosen), int(rng.choice([4, 16, 64])))
    return np.array(chosen[:count])[rng.integers(count, size=CHAINS)]


def _run(
    problem: Problem,
    lattice: Lattice,
    starts: np.ndarray,
    worth: float,
    hottest: float,
    frozen: bool,
    seed: int,
) -> Chains:
    rng = np.random.default_rng(seed)
    temperatures = worth * hottest * 10 ** rng.uniform(-1.0, 0.0, size=CHAINS)
    with jax.enable_x64(True):
        best, objective = _anneal(
            form_of(problem),
            data_of(problem),
            lattice,
            starts,
            np.float64(worth),
            temperatures,
            np.float64(not frozen),
            jax.random.key(seed),
        )
    return Chains(np.asarray(best), np.asarray(objective))


@partial(jax.jit, static_argnames=("form",))
def _anneal(
    form: Form,
    data: Data,
    lattice: Lattice,
    starts: jax.Array,
    worth: jax.Array,
    temperatures: jax.Array,
    moves_depth: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Best feasible point and objective of each chain; temperatures end at a thousandth."""

    def measure(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        point = to_point(lattice, u)
        n = evaluate(form, data, point)
        broken = structural_violation(lattice, data.monotone, point)
        over = jnp.maximum(spent(data, n) - 1.0, 0.0)
        return n.objective, jnp.concatenate([over, broken[..., None]], axis=-1)

    def step(carry: Any, inputs: Any) -> Any:
        u, (objective, over), prices, best, best_value = carry
        key, cooling = inputs
        moves, coin = jax.random.split(key)
        after = repair(lattice, _moved(u, moves_depth, moves))
        new_objective, new_over = measure(after)
        gain = new_objective - objective - (prices * (new_over - over)).sum(-1)
        odds = jnp.log(jax.random.uniform(coin, gain.shape, minval=1e-30))
        accept = odds * temperatures * cooling < gain
        u = jnp.where(accept[:, None], after, u)
        objective = jnp.where(accept, new_objective, objective)
        over = jnp.where(accept[:, None], new_over, over)
        rate = jnp.where(over > 0, PRICE_RATE, -0.3 * PRICE_RATE)
        prices = jnp.clip(prices * jnp.exp(rate), 1e-3 * worth, 30.0 * worth)
        better = (over.sum(-1) <= 0) & (objective > best_value)
        best = jnp.where(better[:, None], u, best)
        best_value = jnp.where(better, objective, best_value)
        return (u, (objective, over), prices, best, best_value), None

    u = repair(lattice, starts)
    measured = measure(u)
    prices = jnp.full(measured[1].shape, worth)
    first = (u, measured, prices, u, jnp.full(u.shape[0], -jnp.inf))
    cooling = 1e-3 ** (jnp.arange(STEPS) / STEPS)
    carry, _ = jax.lax.scan(step, first, (jax.random.split(key, STEPS), cooling))
    return carry[3], carry[4]


def _moved(u: jax.Array, moves_depth: jax.Array, key: jax.Array) -> jax.Array:
    """u after a random move: some coordinates by one or by percents, depths traded for widths."""
    stages = (u.shape[-1] - 1) // 4
    keys = jax.random.split(key, 7)
    mean_moves = 2.0 ** jax.random.randint(keys[0], (u.shape[0], 1), 0, 3)
    moves = jax.random.uniform(keys[1], u.shape) < mean_moves / u.shape[-1]
    far = jax.random.bernoulli(keys[2], 0.3, (u.shape[0], 1))
    normal = jax.random.normal(keys[3], u.shape)
    size = jnp.where(far, jnp.abs(normal) * (1.0 + 0.08 * u), 1.0)
    jump = moves * jnp.sign(normal) * jnp.maximum(jnp.rint(size), 1.0)
    # A block from one stage to another keeps most of the depth penalty and of rho.
    swap = jax.random.bernoulli(keys[4], 0.2, (u.shape[0], 1))
    ends = jax.random.randint(keys[5], (2, u.shape[0]), 0, stages)
    one = jax.nn.one_hot(ends[0], stages) - jax.nn.one_hot(ends[1], stages)
    stem, width, inner, kernel, _ = split(u + jump)
    before = split(u)[4]
    after = jnp.maximum(before + moves_depth * (split(jump)[4] + swap * one), 1.0)
    trade = jnp.maximum(jax.random.uniform(keys[6], (u.shape[0], 1), minval=-1.0), 0.0)
    paid = (before / after) ** trade
    parts = [stem[:, None], jnp.rint(width * paid), jnp.rint(inner * paid), kernel, after]
    return jnp.concatenate(parts, axis=-1)


class _Ascent:
    """Steepest ascent over sums of up to three single steps, then over pairs of larger ones."""

    def __init__(self, problem: Problem, lattice: Lattice):
        self.form, self.data, self.lattice = form_of(problem), data_of(problem), lattice
        free = lattice.low < lattice.high
        if problem.fixed_ratio:
            free[1 + problem.num_stages : 1 + 2 * problem.num_stages] = False
        unit = np.eye(len(free))[free]
        steps = np.concatenate([unit, -unit])
        larger = np.concatenate([k * steps for k in (1, 2, 3)])
        self.neighbourhoods = (_sums(steps, 2), _sums(larger, 2), _sums(steps, 3))

    def climb(self, u: np.ndarray, value: float) -> tuple[np.ndarray, float]:
        """The local optimum reached from a feasible u; ties keep the point."""
        level = 0
        while level < len(self.neighbourhoods):
            u, new = self._best_of(u, value, self.neighbourhoods[level])
            level = 0 if new > value else level + 1
            value = max(new, value)
        return u, value

    def _best_of(self, u: np.ndarray, value: float, moves: np.ndarray) -> tuple[np.ndarray, float]:
        best, best_value = u, value
        for start in range(0, len(moves), BATCH):
            some = moves[start : start + BATCH]
            filled = np.concatenate([some, np.zeros((BATCH - len(some), len(u)))])
            with jax.enable_x64(True):
                points, values = _scores(self.form, self.data, self.lattice, u + filled)
                index = int(np.argmax(values))
                if float(values[index]) > best_value:
                    best, best_value = np.asarray(points[index]), float(values[index])
        return best, best_value


@partial(jax.jit, static_argnames=("form",))
def _scores(form: Form, data: Data, lattice: Lattice, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Repaired points and their objectives, -inf where infeasible."""
    u = repair(lattice, u)
    point = to_point(lattice, u)
    n = evaluate(form, data, point)
    fits = within_limits(form, data, n) & (structural_violation(lattice, data.monotone, point) <= 0)
    return u, jnp.where(fits, n.objective, -jnp.inf)


def _sums(steps: np.ndarray, count: int) -> np.ndarray:
    chosen = list(itertools.combinations(range(len(steps)), count))
    sums = steps[np.array(chosen)].sum(axis=1)
    return np.unique(np.concatenate([steps, sums]), axis=0)


# --- results --------------------------------------------------------------------------------------


def load() -> dict[str, Any]:
    """The references on file of problems that are still what they were when searched."""
    if not RESULTS.exists():
        return {}
    found = json.loads(RESULTS.read_text())
    return {
        name: entry
        for name, entry in found.items()
        if name in PROBLEMS and same(entry["problem"], PROBLEMS[name])
    }


def same(filed: dict[str, Any], problem: Problem) -> bool:
    """Whether a problem on file is this one; fields that came later have their defaults there."""
    return {**plain(Problem()), **filed} == plain(problem)


def plain(problem: Problem) -> dict[str, Any]:
    """A problem as JSON gives it back; a budget without a limit is null."""
    fields = {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in dataclasses.asdict(problem).items()
    }
    return json.loads(json.dumps(fields))


def record(name: str, seeds: list[int], turns: int) -> None:
    """Searches with each seed and keeps the best network in the results file."""
    problem = PROBLEMS[name]
    old = load().get(name)
    for seed in seeds:
        began = time.perf_counter()
        arch, at = search(problem, seed, turns)
        seconds = time.perf_counter() - began
        if arch is None:
            print(f"{name:24} seed {seed}: no feasible network met", flush=True)
            continue
        before = f"(was {old['objective']:.4f})" if old else ""
        old = _better(name, old, arch, {"seed": seed, "turns": turns})
        found = old["runs"][-1]["objective"]
        print(
            f"{name:24} seed {seed} {found:14.4f} in turn {at} of {turns}, "
            f"{seconds:.0f} s {before}",
            flush=True,
        )
        _write(name, old)


def _better(
    name: str, old: dict[str, Any] | None, arch: Architecture, run: dict[str, Any]
) -> dict[str, Any]:
    """The better of an entry and an architecture, with the run that found the latter."""
    problem = PROBLEMS[name]
    found = check(problem, arch)
    assert not found.faults, (name, found.faults)
    runs = [*(old or {}).get("runs", []), {**run, "objective": found.objective}]
    if old is None or found.objective > old["objective"] * (1 + 1e-13):
        old = {
            "objective": found.objective,
            "params": found.params,
            "macs": found.macs,
            "rho": found.rho,
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "architecture": arch.to_dict(),
            "problem": plain(problem),
        }
    return {**old, "runs": runs}


def beyond(names: list[str], seeds: list[int]) -> None:
    """Files the product's own designs where `LONGER` times its effort beats the references."""
    effort = dataclasses.replace(
        FULL,
        choices=LONGER * FULL.choices,
        beam=LONGER * FULL.beam,
        steps=LONGER * FULL.steps,
        near=0.0,  # all rounds, however little is left to gain
    )
    for name in names:
        old = load().get(name)
        for seed in seeds:
            problem = dataclasses.replace(PROBLEMS[name], seed=seed)
            arch = design_network(problem, effort=effort).architecture
            run = {"seed": seed, "by": f"design_network at {LONGER} times its effort"}
            new = _better(name, old, arch, run)
            if old is None or new["objective"] > old["objective"]:
                print(f"{name:24} seed {seed} {new['objective']:14.4f}", flush=True)
                old = new
                _write(name, old)


def _write(name: str, entry: dict[str, Any]) -> None:
    entries = {**load(), name: entry}
    RESULTS.parent.mkdir(exist_ok=True)
    ordered = {key: entries[key] for key in PROBLEMS if key in entries}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")


def compare(names: list[str], seeds: list[int]) -> None:
    """Prints the product's design of each problem and seed beside the reference."""
    references = load()
    print(f"{'problem':24} {'reference':>14}  ratio by seed {seeds}; seconds, least of them")
    for name in names:
        if name not in references:
            continue
        reference, ratios, times = references[name]["objective"], [], []
        design_network(PROBLEMS[name])  # compiles
        for seed in seeds:
            began = time.perf_counter()
            design = design_network(dataclasses.replace(PROBLEMS[name], seed=seed))
            times.append(time.perf_counter() - began)
            found = check(PROBLEMS[name], design.architecture)
            assert not found.faults, (name, found.faults)
            ratios.append(found.objective / reference)
        shown = " ".join(f"{ratio:.6f}" for ratio in ratios)
        low = "  < 0.999" if min(ratios) < 0.999 else ""
        print(f"{name:24} {reference:14.2f}  {shown}  {min(times):5.2f}{low}", flush=True)


def main() -> None:
    """Runs the search, or the comparison, over the named problems."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of benchmarks/problems.py; all where none")
    parser.add_argument("--turns", type=int, default=16, help="of each seed")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--beyond", action="store_true")
    args = parser.parse_args()
    names = args.names or list(PROBLEMS)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    if args.compare:
        compare(names, seeds)
        return
    if args.beyond:
        beyond(names, seeds)
        return
    for name in names:
        record(name, seeds, args.turns)


if __name__ == "__main__":
    main()
