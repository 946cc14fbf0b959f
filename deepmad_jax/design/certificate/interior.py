"""Good multipliers for `bounds`: a primal-dual interior-point method on the relaxation of a box.

Unknowns v = (x, H, u, t): the unknowns of `bounds`, the entropies, u >= beta exp(Var), and t >= 0,
by which budgets may be missed at a price: where they cannot be met, the multipliers stay finite.
Maximise alpha . H - u - price t subject to c(v) <= 0 and a box on every unknown, by a
fixed number of Newton steps on the perturbed optimality conditions, infeasible at the start.
Where it ends decides how tight a bound is, never whether it holds.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmad_jax.design.certificate import bounds
from deepmad_jax.design.certificate.bounds import Multipliers, Relaxation
from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.posynomials import Posynomials

_FROZEN = 1e-7
_CENTRING, _TO_BOUNDARY = 0.15, 0.99
# Of missing a budget by a factor of e, in units of the objective: far above any true price.
_PRICE = 30.0
# Multipliers, in the same units, stop here: a larger one would magnify the rounding of its slack.
_MOST = 1e3
# What is met exactly costs its multiplier for each unit of distance, not of distance squared: for
# moves of about this size the two agree when slacks are no smaller.
_STEP = 0.02
# Ends of inner widths that meet leave this much room, or the method had no inside.
_ROOM = 1e-5


class Interior(NamedTuple):
    """Where the method ended.

    Attributes:
        x: point of the box, (1 + 7 S,).
        multipliers: for `bounds.lagrangian`.
        inverse: that of minus the Hessian of the Lagrangian at x, with the box's barrier, in
            nats, (1 + 7 S, 1 + 7 S).
        spread: how far x gives way for a nat while everything else follows: moving it along d by
            a small a takes about a^2 / (2 d . spread d) nats, (1 + 7 S, 1 + 7 S).
    """

    x: Array
    multipliers: Multipliers
    inverse: Array
    spread: Array


def solve(
    program: Posynomials, box: Relaxation, alpha: Array, beta: Array, iterations: int
) -> Interior:
    """An approximate solution of the relaxation over one box."""
    levels, size = program.level.shape[0], box.low.shape[0]
    scale = jnp.maximum(alpha @ box.entropy_high, 1.0)
    v, low, high = _start(program, box, beta, scale)
    free = jnp.where(high - low > _FROZEN, 1.0, 0.0)
    target = jnp.zeros_like(v).at[size : size + levels].set(-alpha / scale)
    target = target.at[-2].set(1.0 / scale).at[-1].set(_PRICE)
    frame = _frame_of(program, box, v)

    at_start = (program, box, beta, frame, v)
    c = _constraints(*at_start).values
    slack = jnp.maximum(-c, 0.1)
    by = 0.1 / slack
    at_low = jnp.where(free > 0, 0.1 / jnp.where(free > 0, v - low, 1.0), 0.0)
    at_high = jnp.where(free > 0, 0.1 / jnp.where(free > 0, high - v, 1.0), 0.0)
    count = c.shape[0] + 2.0 * free.sum()

    def step(_, state):  # type: ignore[no-untyped-def]
        _, *before = state
        v, slack, by, at_low, at_high = before
        below = jnp.where(free > 0, v - low, 1.0)
        above = jnp.where(free > 0, high - v, 1.0)
        mu = _CENTRING * (slack @ by + at_low @ below + at_high @ above) / count
        now = _constraints(program, box, beta, frame, v)
        j, stiff = now.jacobian * free, by / slack
        matrix = _newton(now, free, stiff, by, at_low / below + at_high / above)
        residual = now.values + slack
        right = -target * free - j.T @ (mu / slack + stiff * residual)
        right = right + free * (mu / below - mu / above)
        factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
        dv = jax.scipy.linalg.cho_solve(factor, right) * free
        jv = j @ dv
        d_slack = -residual - jv
        d_by = mu / slack - by + stiff * (residual + jv)
        d_low = free * (mu / below - at_low - at_low / below * dv)
        d_high = free * (mu / above - at_high + at_high / above * dv)
        primal = jnp.minimum(
            _longest(slack, d_slack), jnp.minimum(_longest(below, dv), _longest(above, -dv))
        )
        dual = jnp.minimum(
            _longest(by, d_by), jnp.minimum(_longest(at_low, d_low), _longest(at_high, d_high))
        )
        new = (
            v + primal * dv,
            slack + primal * d_slack,
            by + dual * d_by,
            at_low + dual * d_low,
            at_high + dual * d_high,
        )
        good = jnp.isfinite(sum(part.sum() for part in new))
        return now, *(jnp.where(good, a, b) for a, b in zip(new, before, strict=True))

    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(_constraints, *at_start))
    state = (nothing, v, slack, by, at_low, at_high)
    now, v, slack, by, at_low, at_high = jax.lax.fori_loop(0, iterations, step, state)
    point = bounds.above_zero(box, v[:size])
    span = jnp.maximum(jnp.minimum(v - low, high - v), 1e-12)
    barrier = jnp.where(free > 0, (at_low + at_high) / span, 1e6)
    # The constraints of the last step, which stand for those where it ended.
    curvature = (now.bends.T * (now.curvature @ by)) @ now.bends
    curvature = curvature + jnp.diag(barrier + 1e-12)
    stiff = by / jnp.maximum(slack, _STEP)
    barrier = at_low / jnp.maximum(v - low, _STEP) + at_high / jnp.maximum(high - v, _STEP)
    matrix = _newton(now, free, stiff, by, jnp.where(free > 0, barrier, 1e6))
    inverse, spread = _inverses(jnp.stack([curvature, matrix]))[:, :size, :size] / scale
    return Interior(
        point, _multipliers(program, box, jnp.minimum(by, _MOST) * scale), inverse, spread
    )


def _inverses(matrices: Array) -> Array:
    """Of positive definite matrices, (..., n, n); zeros where one is not."""
    half = jnp.linalg.cholesky(matrices)
    whole = jnp.broadcast_to(jnp.eye(half.shape[-1]), half.shape)
    found = jax.scipy.linalg.cho_solve((half, True), whole)
    return jnp.where(jnp.isfinite(found), found, 0.0)


def _newton(now: "_Now", free: Array, stiff: Array, by: Array, barrier: Array) -> Array:
    """The matrix of the perturbed optimality conditions, all but v eliminated."""
    rows = jnp.concatenate([now.jacobian * free, now.bends * free])
    weights = jnp.concatenate([stiff, now.curvature @ by])
    return (rows.T * weights) @ rows + jnp.diag(barrier + (1.0 - free) + 1e-10)


def _longest(x: Array, dx: Array) -> Array:
    ratio = jnp.where(dx < 0, -x / jnp.where(dx < 0, dx, -1.0), jnp.inf)
    return jnp.minimum(1.0, _TO_BOUNDARY * ratio.min())


def _start(program: Posynomials, box: Relaxation, beta: Array, scale: Array):  # type: ignore[no-untyped-def]
    """A start strictly inside the box of all unknowns, and that box."""
    parts = program.layout
    depth = parts.depth
    middle = 0.5 * (box.low + box.high)
    n_low, n_high = box.low[depth], box.high[depth]
    # Nearly equal depths: elsewhere the penalty could swamp everything.
    common = jnp.maximum(n_low.max(), 0.0) * 0.5 + 0.5 * n_high.min()
    n = jnp.clip(common, n_low + 0.1 * (n_high - n_low), n_high - 0.1 * (n_high - n_low))
    x = middle.at[depth].set(n)
    z, span = (
        (x - box.low)[parts.of_stages],
        (box.high - box.low)[parts.depth],
    )
    x = x.at[parts.products].set(
        (z[: 3 * parts.stages].reshape(3, parts.stages) * z[3 * parts.stages :]).ravel()
    )
    del span
    sums = bounds.level_sums(program, box, x)
    top = box.level_high * box.sum_high + 1.0
    entropies = bounds.entropy_planes(program, box, x, sums).min(0) - 0.02 * top
    entropies = jnp.clip(entropies, -0.9 * top, top)
    penalty = jnp.clip(beta * jnp.exp(jnp.minimum(n.var(), 30.0)) * 1.1, 0.0, 10.0 * scale)
    most_penalty = jnp.where(beta > 0, jnp.maximum(4.0 * penalty, 2.0 * scale), 0.0)
    low = jnp.concatenate([box.low, -top, 0.5 * beta[None]])
    high = jnp.concatenate([box.high, 1.5 * top, most_penalty[None]])
    least = jnp.where(beta > 0, penalty, 0.0)
    low = low.at[-1].set(jnp.where(beta > 0, low[-1], 0.0))
    v = jnp.concatenate([x, entropies, least[None], jnp.zeros(1)])
    low, high = jnp.append(low, 0.0), jnp.append(high, 1e3)
    elastic = program.coefficients.shape[0] + 2  # and rho, and the variance
    missed = _constraints(program, box, beta, _frame_of(program, box, v), v).values[-elastic:].max()
    return v.at[-1].set(jnp.clip(missed, 0.0, 9e2) + 0.1), low, high


class _Frame(NamedTuple):
    """The linear parts of the constraints of one box, by v."""

    affine: Array  # Jacobian of the constraints that are affine
    at_zero: Array  # their values at v = 0
    sums: Array  # gradient of T_m
    level: Array  # gradient of A_m
    scaled: Array  # gradient of Z, in x
    powers: Array  # gradient of each cost term's exponent by the logs


class _Now(NamedTuple):
    """The constraints at a point. Hessian of row r: sum_k curvature[k, r] bends_k bends_k'. The
    log of a cost bends less, by the outer product of its gradient; ``stiff`` outweighs that, and
    without it the Newton matrix stays positive definite."""

    values: Array
    jacobian: Array
    bends: Array
    curvature: Array


def _frame_of(program: Posynomials, box: Relaxation, v: Array) -> _Frame:
    parts, size = program.layout, box.low.shape[0]
    slope = jnp.diag(box.log_squeeze[1])
    log_inner = jnp.concatenate([jnp.zeros((parts.stages, 1)), slope, slope, 0.0 * slope], axis=1)
    powers = program.exponents[:, parts.shape] + program.squeezes @ log_inner
    zero = jnp.zeros_like(v)
    return _Frame(
        affine=jax.jacfwd(lambda w: _affine_constraints(program, box, w))(zero),
        at_zero=_affine_constraints(program, box, zero),
        sums=jax.jacfwd(lambda w: bounds.level_sums(program, box, w[:size]))(zero),
        level=jnp.zeros((program.level.shape[0], v.shape[0]))
        .at[:, parts.shape]
        .set(program.level[:, :-1]),
        scaled=jax.jacfwd(lambda x: bounds.unpack(box, x)[2])(zero[:size]),
        powers=powers,
    )


def _affine_constraints(program: Posynomials, box: Relaxation, v: Array) -> Array:
    """c(v) <= 0 where c is affine, each about 1 in size; those that do not apply are -1."""
    parts, levels = program.layout, program.level.shape[0]
    size = parts.unknowns
    x, entropies = v[:size], v[size : size + levels]
    spans = box.high[parts.products].reshape(3, parts.stages)
    linked = spans > _FROZEN
    links = -bounds.link_slack(box, x) / jnp.where(linked, spans, 1.0)
    planes = bounds.entropy_planes(program, box, x, bounds.level_sums(program, box, x))[:2]
    widths, inners = bounds.shape_slack(program, box, x)
    return jnp.concatenate(
        [
            jnp.where(linked, links, -1.0).ravel(),
            ((entropies - planes) / _top(box)).ravel(),
            jnp.where(program.monotone > 0, -widths, -1.0),
            -inners.ravel() - _ROOM,
        ]
    )


def _top(box: Relaxation) -> Array:
    return box.level_high * box.sum_high + 1.0


def _constraints(
    program: Posynomials, box: Relaxation, beta: Array, frame: _Frame, v: Array
) -> _Now:
    """All c(v) <= 0: the affine ones, then secants of H, costs, rho and variance."""
    parts, levels = program.layout, program.level.shape[0]
    size, logs = parts.unknowns, parts.shape_size
    x, entropies, penalty, missed = v[:size], v[size : size + levels], v[-2], v[-1]
    width, depth = v.shape[0], parts.depth
    n = x[depth]
    one_n = jnp.zeros((parts.stages, width)).at[:, depth].set(jnp.eye(parts.stages))

    level, sums = frame.level @ v + program.level[:, -1], bounds.level_sums(program, box, x)
    on = box.secant_on
    # Guarded: T may leave its range on the way.
    level, safe = (
        jnp.where(on, level, 1.0),
        jnp.where(on, jnp.maximum(sums, 0.5 * box.sum_low), 1.0),
    )
    secant, top = bounds.secant_of(box), _top(box)
    above = jnp.log(level) + jnp.log(safe) - secant[1]
    secants = jnp.where(on, (entropies - box.entropy_low - secant[0] * above) / top, -1.0)
    slope = jnp.where(on, secant[0] / top, 0.0)
    by_level, by_sum = frame.level / level[:, None], frame.sums / safe[:, None]
    secant_rows = jnp.where(on, 1.0 / top, 0.0)[:, None] * jnp.eye(levels, width, k=size) - slope[
        :, None
    ] * (by_level + by_sum)

    # Each term is exp, or its perspective: Hessian = term * bend bend'.
    values = bounds.term_values(program, box, x)
    repeats = program.repeats
    repeated = repeats.sum(-1)
    times = jnp.where(repeated > 0, repeats @ jnp.maximum(n, 1e-9), 1.0)
    copies = bounds.unpack(box, x)[2] / jnp.tile(jnp.maximum(n, 1e-9), 3)
    exponent = frame.powers[:, 1:] @ copies
    by_z = jnp.pad(frame.powers, ((0, 0), (0, width - logs)))
    by_scaled = jnp.pad(frame.powers[:, 1:] @ frame.scaled, ((0, 0), (0, width - size)))
    per_n = (repeats / times[:, None]) @ one_n
    bends = jnp.where(
        (repeated > 0)[:, None], by_scaled / times[:, None] - exponent[:, None] * per_n, by_z
    )
    weighted = program.coefficients * values
    totals = weighted.sum(-1) + 1e-300
    limited = program.limited > 0
    cost_rows = (weighted / totals[:, None]) @ (bends + per_n)

    layers = box.layers_fixed + program.layers @ n
    has_rho = jnp.where(program.log_rho < 1e8, 1.0 / box.sum_high[-1], 0.0)
    rho = has_rho * -bounds.rho_slack(program, box, x, sums[-1])
    layers_row = program.layers @ one_n
    undecided = jnp.zeros(width).at[parts.shape].set(box.undecided @ program.merge[:, :-1])
    rho_row = (jnp.log(layers) + 1.0 - program.log_rho) * layers_row - frame.sums[-1] + undecided
    rho_row = has_rho * rho_row

    penalised = jnp.where(beta > 0, 1.0, 0.0)
    u = jnp.where(beta > 0, penalty, 1.0)
    from_mean = one_n - one_n.mean(0)
    variance = n.var() - jnp.log(u / jnp.where(beta > 0, beta, 1.0))
    last = jnp.zeros(width).at[-2].set(1.0)
    elastic = jnp.zeros(width).at[-1].set(1.0)
    variance_row = penalised * (2.0 / parts.stages * (n - n.mean()) @ one_n - last / u)

    nonlinear = jnp.concatenate(
        [
            secants,
            jnp.where(limited, jnp.log(totals), -1.0) - missed,
            (jnp.where(has_rho > 0, rho, -1.0) - missed)[None],
            (jnp.where(penalised > 0, variance, -1.0) - missed)[None],
        ]
    )
    affine = frame.at_zero + frame.affine @ v
    count = affine.shape[0]
    rows = [
        secant_rows,
        jnp.where(limited, 1.0, 0.0)[:, None] * cost_rows - elastic,
        (rho_row - elastic)[None],
        (variance_row - elastic)[None],
    ]
    all_bends = jnp.concatenate([by_level, by_sum, bends, layers_row[None], from_mean, last[None]])
    curvature = jax.scipy.linalg.block_diag(
        jnp.concatenate([jnp.diag(slope), jnp.diag(slope)]),
        (weighted / totals[:, None] * limited[:, None]).T,
        (has_rho / layers)[None, None],
        penalised * jnp.append(jnp.full(parts.stages, 2.0 / parts.stages), 1.0 / u**2)[:, None],
    )
    return _Now(
        values=jnp.concatenate([affine, nonlinear]),
        jacobian=jnp.concatenate([frame.affine, *rows]),
        bends=all_bends,
        curvature=jnp.concatenate([jnp.zeros((all_bends.shape[0], count)), curvature], axis=1),
    )


def _multipliers(program: Posynomials, box: Relaxation, by: Array) -> Multipliers:
    """Multipliers of `_constraints`, in nats, as `bounds.lagrangian` reads them."""
    parts, levels = program.layout, program.level.shape[0]
    spans = box.high[parts.products].reshape(3, parts.stages)
    linked = spans > _FROZEN
    costs = program.coefficients.shape[0]
    sizes = [9 * parts.stages, 2 * levels, parts.stages, 2 * parts.stages, levels, costs, 1, 1]
    links, planes, monotone, inner, secants, budgets, rho, variance = (
        by[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))
    )
    links = links.reshape(3, 3, parts.stages) / jnp.where(linked, spans, 1.0)
    return Multipliers(
        budgets=budgets,
        rho=rho[0] / box.sum_high[-1],
        monotone=monotone,
        inner=inner.reshape(2, parts.stages),
        variance=variance[0],
        links=jnp.where(linked, links, 0.0),
        entropies=jnp.concatenate([planes.reshape(2, levels), secants[None]]),
    )
