"""The design program as a mixed-integer nonlinear model for SCIP (optional: pyscipopt).

Integer variables: widths and inner widths in units, repeats n = depth - 1, squeeze widths in
eights; a binary for each stage and kernel size. Costs are the polynomials of
`design.program.posynomials` in them, entropies and rho use their logarithms:

    maximise sum_m alpha_m h_m - beta q
    h_m <= l_m s_m, l_m = log(r_m^2 c_m), s_m = sum of log fan-ins up to level m
    q >= exp(Var(n)), s_M >= N log(N / rho0), costs <= budgets

The squeeze width is exact where inner widths are multiples of 8.
"""

import math
from typing import Any

import numpy as np
import pyscipopt
from pyscipopt import exp, log, quicksum

from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.program.evaluate import Point
from deepmad_jax.design.program.lattice import lattice_of
from deepmad_jax.design.program.posynomials import posynomials_of
from deepmad_jax.design.program.problem import Problem

TOLERANCE = 1e-6  # SCIP's own for feasibility: budgets shrink by as much


def solve(
    problem: Problem, start: Point | None, seconds: float
) -> tuple[Architecture | None, float | None, dict[str, float]]:
    """The best network, the proved bound and the number of nodes after ``seconds``."""
    model = _Model(problem)
    model.scip.setParam("timing/clocktype", 1)  # CPU time, as for the other peers
    model.scip.setParam("limits/time", seconds)
    model.scip.setParam("limits/memory", 8000)
    if start is not None:
        model.begin_at(start)
    model.scip.optimize()
    bound = model.scip.getDualbound()
    architecture = None
    if model.scip.getNSols():
        architecture = problem.architecture("scip", model.point())
    notes = {"nodes": model.scip.getNTotalNodes(), "status": model.scip.getStatus()}
    return architecture, bound if abs(bound) < 1e19 else None, notes


class _Model:
    """Variables by kind, one a stage, and the model that holds them."""

    quiet = True

    def __init__(self, problem: Problem):
        self.problem, self.lattice = problem, lattice_of(problem)
        self.scip = pyscipopt.Model()
        if self.quiet:
            self.scip.hideOutput()
        self.program = posynomials_of(problem)
        self._structure()
        self._costs()
        self._objective()

    def _structure(self) -> None:
        p, lattice, scip = self.problem, self.lattice, self.scip
        stages, m = p.num_stages, int(lattice.multiple)
        low, high = lattice.low, lattice.high

        def integer(least: float, most: float) -> Any:
            return scip.addVar(vtype="I", lb=float(least), ub=float(most))

        self.stem = integer(low[0], high[0])
        self.width = [integer(low[1 + i], high[1 + i]) for i in range(stages)]
        self.repeats = [
            integer(low[1 + 3 * stages + i] - 1, high[1 + 3 * stages + i] - 1)
            for i in range(stages)
        ]
        self.kernels = np.unique(lattice.kernels)
        self.channels = [m * self.stem, *(m * width for width in self.width)]
        unit = 1 if p.fixed_ratio else m
        self.inner_unit = unit
        top = [high[1 + i] * m * p.inner_ratio[-1] for i in range(stages)]
        self.inner = [integer(1, math.floor(most / unit + 1e-9)) for most in top]
        self.kernel = [[scip.addVar(vtype="B") for _ in self.kernels] for _ in range(stages)]
        self.squeeze = []
        for i in range(stages):
            width, inner = self.channels[1 + i], unit * self.inner[i]
            if p.fixed_ratio:
                scip.addCons(inner == p.inner_ratio[0] * width)
            else:
                scip.addCons(inner >= p.inner_ratio[0] * width)
                scip.addCons(inner <= p.inner_ratio[-1] * width)
            scip.addCons(quicksum(self.kernel[i]) == 1)
            if p.monotone:
                scip.addCons(self.channels[i] <= width)
            if p.block == "mbconv_se":
                squeeze = integer(1, max(1, top[i] // 32 + 1))
                scip.addCons(8 * squeeze >= 0.25 * inner - 7.5)
                self.squeeze.append(8 * squeeze)

    def _costs(self) -> None:
        program, scip, stages = self.program, self.scip, self.problem.num_stages
        logs = 1 + 3 * stages
        squares = [
            quicksum(k**2 * z for k, z in zip(self.kernels, some, strict=True))
            for some in self.kernel
        ]
        changes: dict[int, Any] = {}
        for j in np.flatnonzero(program.limited):
            total = 0.0
            for t in np.flatnonzero(program.coefficients[j] > 0):
                power = program.exponents[t].astype(int)
                term = float(program.coefficients[j, t])
                term = term * self.channels[0] ** int(power[0]) if power[0] else term
                for i in range(stages):
                    ratio = int(power[1 + stages + i])
                    factors = (
                        (self.channels[1 + i], int(power[1 + i]) - ratio),
                        (self.inner_unit * self.inner[i], ratio),
                        (squares[i], int(power[1 + 2 * stages + i]) // 2),
                        (self.squeeze[i] if self.squeeze else 1, int(power[logs + i])),
                        (self.repeats[i], int(power[logs + stages + i])),
                    )
                    for factor, exponent in factors:
                        assert exponent >= 0, (factor, exponent)
                        if exponent:
                            term = term * factor**exponent
                    if program.conditional[t, i]:
                        if i not in changes:
                            changes[i] = self._changes(i)
                        term = term * changes[i]
                total = total + term
            scip.addCons(total <= 1.0 - TOLERANCE)

    def _changes(self, i: int) -> Any:
        """A binary that is 1 where stage i changes the width."""
        before = self.width[i - 1] if i else self.stem
        changes = self.scip.addVar(vtype="B")
        most = float(self.lattice.high[: 1 + self.problem.num_stages].max())
        self.scip.addCons(self.width[i] - before <= most * changes)
        self.scip.addCons(before - self.width[i] <= most * changes)
        return changes

    def _objective(self) -> None:
        p, program, scip = self.problem, self.program, self.scip
        stages = p.num_stages
        log_of = [self._log(channels) for channels in self.channels]
        log_inner = [self._log(self.inner_unit * inner) for inner in self.inner]
        log_kernel = [
            quicksum(math.log(k) * z for k, z in zip(self.kernels, some, strict=True))
            for some in self.kernel
        ]
        log_ratio = [a - b for a, b in zip(log_inner, log_of[1:], strict=True)]
        logs = [*log_of, *log_ratio, *log_kernel]

        def affine(row: np.ndarray) -> Any:
            parts = [float(c) * y for c, y in zip(row[:-1], logs, strict=True) if c]
            return quicksum(parts) + float(row[-1])

        running: Any = float(program.stem)
        sums = [running]
        for i in range(stages):
            running = running + affine(program.first[i])
            running = running + self.repeats[i] * affine(program.rest[i])
            sums.append(running)
        gains = []
        for level, end in enumerate(p.level_ends):
            last = end == stages
            total = sums[end] + (affine(program.head) if last else 0.0)
            sum_log = scip.addVar(lb=0.0, ub=None)
            scip.addCons(sum_log <= total)
            if last:
                self._limit_rho(sum_log)
            if p.level_weights[level]:
                entropy = scip.addVar(lb=None, ub=None)
                scip.addCons(entropy <= affine(program.level[level]) * sum_log)
                gains.append(p.level_weights[level] * entropy)
        penalty = 0.0
        if p.beta and stages > 1:
            mean = quicksum(self.repeats) / stages
            variance = scip.addVar(lb=0.0, ub=20.0)
            scip.addCons(quicksum((n - mean) ** 2 for n in self.repeats) / stages <= variance)
            factor = scip.addVar(lb=1.0)
            scip.addCons(factor >= exp(variance))
            penalty = p.beta * factor
        scip.setObjective(quicksum(gains) - penalty, "maximize")

    def _limit_rho(self, sum_log: Any) -> None:
        if not math.isfinite(self.problem.rho):
            return
        program = self.program
        repeated = quicksum(int(c) * n for c, n in zip(program.layers, self.repeats, strict=True))
        layers = self.scip.addVar(lb=1.0)
        self.scip.addCons(layers == float(program.layers_fixed) + repeated)
        self.scip.addCons(sum_log >= layers * (log(layers) - float(program.log_rho)))

    def _log(self, channels: Any) -> Any:
        variable = self.scip.addVar(lb=0.0, ub=math.log(2**22))
        self.scip.addCons(variable == log(channels))
        return variable

    def begin_at(self, start: Point) -> None:
        """Offers a network as first solution; what follows from it SCIP works out itself."""
        scip, m = self.scip, float(self.lattice.multiple)
        partial = scip.createPartialSol()
        scip.setSolVal(partial, self.stem, float(start.stem) / m)
        for i in range(self.problem.num_stages):
            scip.setSolVal(partial, self.width[i], float(start.width[i]) / m)
            scip.setSolVal(partial, self.inner[i], float(start.inner[i]) / self.inner_unit)
            scip.setSolVal(partial, self.repeats[i], float(start.depth[i]) - 1.0)
            for k, z in zip(self.kernels, self.kernel[i], strict=True):
                scip.setSolVal(partial, z, float(k == start.kernel[i]))
        scip.addSol(partial)

    def point(self) -> Point:
        """The best solution as a network."""
        value, m = self.scip.getVal, float(self.lattice.multiple)

        def whole(variables: Any) -> np.ndarray:
            return np.array([round(value(v)) for v in variables], dtype=float)

        picked = [int(np.argmax([value(z) for z in some])) for some in self.kernel]
        return Point(
            np.float64(round(value(self.stem)) * m),
            whole(self.width) * m,
            whole(self.inner) * self.inner_unit,
            self.kernels[picked],
            whole(self.repeats) + 1.0,
        )
