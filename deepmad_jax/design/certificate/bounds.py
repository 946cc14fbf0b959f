"""An upper bound on the program over a box of networks, valid for any multipliers.

Unknowns x, shape (1 + 7 S,): z = log stem width, then per stage log width, log(inner / width) and
log kernel; n = depth - 1; and e, three a stage, for the products (n - n_low) (z - z_low). With them
``Z = n z`` is linear. With A_m = log(r_m^2 c_m) and T_m the sum of log fan-ins up to level m's end:

    H_m = A_m T_m,   T_m linear in (z, n, Z),
    cost_j = sum over first blocks of a exp(b . z) + sum over repeated ones of n a exp(b . Z / n),

where every a >= 0: the second sum is a perspective, so both are convex. The relaxation over a box:

- e lies between the McCormick planes of its product: the only place where depths are relaxed;
- A_m T_m is at most either McCormick plane, and at most the secant of exp over the range of
  log H_m, taken at the concave log A_m + log T_m;
- the log of the squeeze width is concave in log inner where it bends: at least its secant;
- a projection that equal widths would drop counts only where the box keeps the widths apart; a
  main-path conv that they would drop is in every T_m unless the box makes them equal, in rho
  only where it keeps them apart: with f(N) = N log N - N log rho0, convex, f(N + 1) <= S + w
  says that f(N) <= S + w - f'(N), so what is left out is w - f'(N) where that is positive;
- -beta exp(Var) <= -v Var - v + v log(v / beta) for every v > 0;
- rho <= rho0 reads N log N - N log rho0 <= S, convex against affine.

With multipliers on the constraints and convex weights on the planes this is one concave function
g(x), at least the objective at every feasible network of the box, so that for any point x0
``g(x0) + max over the box of g'(x0) (x - x0)`` is an upper bound, in closed form. Nothing here
needs the multipliers to be good; `interior` finds good ones.

Ranges of H_m may use that only networks better than a known one matter (`certify`).
"""

from typing import NamedTuple

import jax.numpy as jnp

from deepmad_jax.arch.layers import se_width
from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.posynomials import Posynomials


class Relaxation(NamedTuple):
    """What the box decides: ranges, secants and what is switched on.

    Attributes:
        low, high: the box of x, (1 + 7 S,).
        inner_low, inner_high: the range of log inner widths, (S,).
        log_squeeze: intercept and slope of the secant, two of (S,).
        counts: 1 where a term counts, (J,).
        first, layers_fixed: as in the program, with the convs of `Posynomials.merge` that may be
            there, and with the number of those that must.
        undecided, spared: 1 where such a conv may be there or not, (S,), and what rho's S gets in
            place of these, a scalar.
        level_low, level_high, sum_low, sum_high: ranges of A and T, (M,).
        entropy_low, entropy_high: ranges of H, (M,).
        secant_on: whether the secant of exp is usable, (M,).
    """

    low: Array
    high: Array
    inner_low: Array
    inner_high: Array
    log_squeeze: tuple[Array, Array]
    counts: Array
    first: Array
    layers_fixed: Array
    undecided: Array
    spared: Array
    level_low: Array
    level_high: Array
    sum_low: Array
    sum_high: Array
    entropy_low: Array
    entropy_high: Array
    secant_on: Array


class Multipliers(NamedTuple):
    """Any non-negative numbers give a valid bound; weights are normalised before use.

    Attributes:
        budgets: of each cost, (C,), nats for the whole budget.
        rho: nats per nat of rho's slack, scalar.
        monotone: of widths that do not shrink, (S,).
        inner: of the least and the greatest inner width, (2, S).
        variance: v of the depth penalty, scalar.
        links: of three planes of each e, (3, 3, S).
        entropies: weights of the two planes and the secant of A T, (3, M).
    """

    budgets: Array
    rho: Array
    monotone: Array
    inner: Array
    variance: Array
    links: Array
    entropies: Array


# --- the relaxation -------------------------------------------------------------------------------


def relaxation(
    program: Posynomials, low: Array, high: Array, entropy_low: Array, entropy_high: Array
) -> Relaxation:
    """The relaxation over a box; H_m is known to lie in [entropy_low, entropy_high], (M,).

    The box, (1 + 5 S,) each, is of x but the products, then of log inner widths.
    """
    parts = program.layout
    inner_low, inner_high = low[parts.log_inner], high[parts.log_inner]
    low, high = low[: parts.size], high[: parts.size]
    logs = parts.shape
    n_low, n_high = low[parts.depth], high[parts.depth]
    # A fan-in is at least 1, also where a corner of the box holds no network.
    rest_low = jnp.maximum(_affine(program.rest, low[logs]), 0.0)
    rest_high = _affine(program.rest, high[logs])
    level_low, level_high = _affine(program.level, low[logs]), _affine(program.level, high[logs])
    width = parts.width
    c_in_high = jnp.concatenate([high[:1], high[width][:-1]])
    c_in_low = jnp.concatenate([low[:1], low[width][:-1]])
    differ = (c_in_high < low[width] - 1e-9) | (c_in_low > high[width] + 1e-9)
    equal = jnp.maximum(c_in_high, high[width]) - jnp.minimum(c_in_low, low[width]) < 1e-9
    first = program.first + jnp.where(equal, 0.0, 1.0)[:, None] * program.merge
    first_low = _affine(program.first, low[logs])
    first_low += jnp.where(differ, jnp.maximum(_affine(program.merge, low[logs]), 0.0), 0.0)
    first_low = jnp.maximum(first_low, 0.0)
    first_high = _affine(first, high[logs])
    sum_low = _sums(program, low[logs], first_low + n_low * rest_low)
    sum_high = _sums(program, high[logs], first_high + n_high * rest_high)
    entropy_low = jnp.maximum(entropy_low, level_low * sum_low)
    entropy_high = jnp.minimum(entropy_high, level_high * sum_high)
    undecided = jnp.where(differ | equal, 0.0, program.merges)
    layers_fixed = program.layers_fixed + jnp.where(differ, program.merges, 0.0).sum()
    steepness = jnp.log(layers_fixed + program.layers @ n_low) + 1.0 - program.log_rho
    most = _affine(program.merge, high[logs]) - steepness
    dropped = (program.conditional * ~differ).sum(-1) > 0
    dropped |= (program.if_repeated * (n_low < 0.5)).sum(-1) > 0
    return Relaxation(
        low=jnp.concatenate([low, jnp.zeros(3 * parts.stages)]),
        high=jnp.concatenate([high, _spans(low, high)]),
        inner_low=inner_low,
        inner_high=inner_high,
        log_squeeze=_squeeze_secant(program, inner_low, inner_high),
        counts=jnp.where(dropped, 0.0, 1.0),
        first=first,
        layers_fixed=layers_fixed,
        undecided=undecided,
        spared=undecided @ jnp.maximum(most, 0.0),
        level_low=level_low,
        level_high=level_high,
        sum_low=sum_low,
        sum_high=sum_high,
        entropy_low=entropy_low,
        entropy_high=jnp.maximum(entropy_high, entropy_low),
        secant_on=(level_low > 1e-3) & (sum_low > 1e-3),
    )


def _squeeze_secant(program: Posynomials, least: Array, most: Array) -> tuple[Array, Array]:
    """A line below the log squeeze width over a range of log inner widths, (S,) each."""
    # The function is flat, then concave: a chord of the concave part stays below all of it.
    bend = jnp.log(4.0 * (8.0 + program.squeeze_loss))
    left = jnp.maximum(least, bend)
    right = jnp.maximum(most, left)
    at_left, at_right = log_squeeze(program, left), log_squeeze(program, right)
    slope = _slope(at_left, at_right, right - left)
    slope = jnp.where(most <= bend, 0.0, slope)
    intercept = at_left - slope * left
    # On a narrow box the step that its least inner width stands on is the better line.
    step = jnp.log(se_width(jnp.exp(least) * (1.0 - 1e-9)))
    flat = step >= intercept + slope * 0.5 * (least + most)
    return jnp.where(flat, step, intercept), jnp.where(flat, 0.0, slope)


def log_squeeze(program: Posynomials, log_inner: Array) -> Array:
    """At most the log squeeze width of an inner width, without its steps."""
    return jnp.log(jnp.maximum(jnp.exp(log_inner) / 4.0 - program.squeeze_loss, 8.0))


def _slope(low: Array, high: Array, distance: Array) -> Array:
    return jnp.where(distance > 1e-9, (high - low) / jnp.where(distance > 1e-9, distance, 1.0), 0.0)


def _affine(rows: Array, logs: Array) -> Array:
    return rows[..., :-1] @ logs + rows[..., -1]


def _sums(program: Posynomials, logs: Array, by_stage: Array) -> Array:
    sums = program.stem + program.reach @ by_stage
    return sums.at[-1].add(_affine(program.head, logs))


def _spans(low: Array, high: Array) -> Array:
    """The most that each e can be: the range of n times the range of z, (3 S,)."""
    parts = Layout.of_size(low.shape[0])
    span = high - low
    return (span[parts.scaled].reshape(3, parts.stages) * span[parts.depth]).ravel()


def unpack(box: Relaxation, x: Array) -> tuple[Array, Array, Array]:
    """Logs z, (1 + 3 S,), repeats n, (S,), and Z = n z of the stages' logs, (3 S,)."""
    parts = Layout.of_size(x.shape[0], runs=7)
    logs, n, e = x[parts.shape], x[parts.depth], x[parts.products]
    log_low, n_low = box.low[parts.scaled], box.low[parts.depth]
    return logs, n, jnp.tile(n_low, 3) * (logs[1:] - log_low) + jnp.tile(n, 3) * log_low + e


def above_zero(box: Relaxation, x: Array) -> Array:
    """x in the box, with every n that may be positive positive."""
    depth = Layout.of_size(x.shape[0], runs=7).depth
    span = (box.high - box.low)[depth]
    return jnp.clip(x, box.low.at[depth].add(1e-6 * span), box.high)


def level_sums(program: Posynomials, box: Relaxation, x: Array) -> Array:
    """T_m, (M,)."""
    logs, n, scaled = unpack(box, x)
    products = program.rest[:, 1:-1] @ scaled + program.rest[:, -1] * n
    return _sums(program, logs, _affine(box.first, logs) + products)


def link_slack(box: Relaxation, x: Array) -> Array:
    """How far each e lies inside three planes of its product, (3, 3, S); e >= 0 is in the box."""
    parts = Layout.of_size(x.shape[0], runs=7)
    over = (x - box.low)[parts.of_stages].reshape(4, parts.stages)
    span = (box.high - box.low)[parts.of_stages].reshape(4, parts.stages)
    z, n, z_span, n_span = over[:3], over[3], span[:3], span[3]
    e = x[parts.products].reshape(3, parts.stages)
    return jnp.stack(
        [n * z_span - e, n_span * z - e, e - (n_span * z + n * z_span - n_span * z_span)]
    )


def entropy_planes(program: Posynomials, box: Relaxation, x: Array, sums: Array) -> Array:
    """Both planes above H_m and the secant of exp, (3, M); ``sums`` are at least T_m."""
    level = _affine(program.level, x[program.layout.shape])
    planes = _planes(level, sums, box.level_low, box.level_high, box.sum_low, box.sum_high)
    on = box.secant_on
    slope, log_low = secant_of(box)
    at = jnp.log(jnp.where(on, level, 1.0)) + jnp.log(jnp.where(on, sums, 1.0))
    secant = jnp.where(on, box.entropy_low + slope * (at - log_low), planes[0])
    return jnp.concatenate([planes, secant[None]])


def secant_of(box: Relaxation) -> tuple[Array, Array]:
    """Slope of the secant of exp over the range of log H_m, and where it starts, (M,) each."""
    on = box.secant_on
    log_low = jnp.log(jnp.where(on, box.entropy_low, 1.0))
    log_high = jnp.log(jnp.where(on, box.entropy_high, 1.0))
    distance = log_high - log_low
    # A range of one point still needs a slope of at least the derivative there.
    slope = jnp.where(
        distance > 1e-7,
        (box.entropy_high - box.entropy_low) / jnp.where(distance > 1e-7, distance, 1.0),
        box.entropy_high * (1.0 + 1e-6),
    )
    return slope, log_low


def _planes(a: Array, b: Array, a_low: Array, a_high: Array, b_low: Array, b_high: Array) -> Array:
    return jnp.stack(
        [a_high * b + a * b_low - a_high * b_low, a_low * b + a * b_high - a_low * b_high]
    )


def costs(program: Posynomials, box: Relaxation, x: Array) -> Array:
    """Each cost over its limit from below, (C,)."""
    return program.coefficients @ term_values(program, box, x)


def term_values(program: Posynomials, box: Relaxation, x: Array) -> Array:
    """Each term of the costs without its coefficient, (J,).

    Where n may be positive it must be at x, or the tangent there is not the perspective's
    (`above_zero`).
    """
    logs, n, scaled = unpack(box, x)
    copies = jnp.concatenate([logs[:1], scaled / jnp.tile(jnp.maximum(n, 1e-9), 3)])
    powers, repeats = program.powers, program.repeats
    once = powers @ _with_log_squeeze(box, logs)
    repeated = powers @ _with_log_squeeze(box, copies)
    is_repeated = repeats.sum(-1) > 0
    times = jnp.where(is_repeated, repeats @ n, 1.0)
    return box.counts * times * jnp.exp(jnp.where(is_repeated, repeated, once))


def _with_log_squeeze(box: Relaxation, logs: Array) -> Array:
    parts = Layout.of_size(logs.shape[0], runs=3)
    log_inner = logs[parts.width] + logs[parts.inner]
    return jnp.concatenate([logs, box.log_squeeze[0] + box.log_squeeze[1] * log_inner])


def rho_slack(program: Posynomials, box: Relaxation, x: Array, total: Array) -> Array:
    """S + N log rho0 - N log N, at least 0 where rho <= rho0; ``total`` is at least S.

    What is undecided is in ``total`` and goes out, see above.
    """
    logs = x[program.layout.shape]
    total = total - box.undecided @ _affine(program.merge, logs) + box.spared
    layers = box.layers_fixed + program.layers @ x[program.layout.depth]
    return total - layers * (jnp.log(layers) - program.log_rho)


def shape_slack(program: Posynomials, box: Relaxation, x: Array) -> tuple[Array, Array]:
    """Slack of widths that do not shrink, (S,), and of both ends of inner widths, (2, S)."""
    parts = program.layout
    width = x[parts.width]
    before = jnp.concatenate([x[:1], width[:-1]])
    inner = width + x[parts.inner]
    return width - before, jnp.stack([inner - box.inner_low, box.inner_high - inner])


# --- the bound ------------------------------------------------------------------------------------


def lagrangian(
    program: Posynomials, box: Relaxation, alpha: Array, beta: Array, by: Multipliers, x: Array
) -> Array:
    """g(x), concave, at least the objective at every feasible network of the box."""
    sums = level_sums(program, box, x)
    entropies = (_weights(by.entropies) * entropy_planes(program, box, x, sums)).sum(0)
    widths, inners = shape_slack(program, box, x)
    v = jnp.where(beta > 0, jnp.maximum(by.variance, 1e-300), 0.0)
    fenchel = jnp.where(
        v > 0, v * jnp.log(jnp.where(v > 0, v, 1.0) / jnp.where(beta > 0, beta, 1.0)), 0.0
    )
    return (
        alpha @ entropies
        - v * x[program.layout.depth].var()
        - v
        + fenchel
        - jnp.where(program.limited > 0, by.budgets, 0.0) @ (costs(program, box, x) - 1.0)
        + jnp.where(program.log_rho < 1e8, by.rho, 0.0) * rho_slack(program, box, x, sums[-1])
        + program.monotone * (by.monotone @ widths)
        + (by.inner * inners).sum()
        + (by.links * link_slack(box, x)).sum()
    )


def rounding(program: Posynomials, box: Relaxation, by: Multipliers) -> Array:
    """What rounding can take from g(x): multipliers times generous sizes of what they weigh."""
    sizes = jnp.abs(box.low[1:]).max() + jnp.abs(box.high[1:]).max() + 1.0
    terms = (
        by.budgets.sum()
        + by.rho * (box.sum_high[-1] + sizes)
        + (by.monotone.sum() + by.inner.sum()) * sizes
        + (by.variance + by.links.sum()) * sizes**2
    )
    return 1e-12 * terms


def _weights(raw: Array) -> Array:
    raw = jnp.maximum(raw, 0.0) + 1e-300
    return raw / raw.sum(0)


def tangent_bound(value: Array, gradient: Array, x: Array, low: Array, high: Array) -> Array:
    """The most a concave function can reach on the box, given value and gradient at x in it."""
    rise = jnp.maximum(gradient * (low - x), gradient * (high - x)).sum()
    bound = value + rise
    bound = bound + 1e-9 * (jnp.abs(value) + jnp.abs(rise) + 1.0)
    return jnp.where(jnp.isnan(bound), jnp.inf, bound)
