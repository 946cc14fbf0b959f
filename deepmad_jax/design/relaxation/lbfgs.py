"""The inner, unconstrained minimisation: jaxopt's LBFGS. The only file that imports jaxopt."""

import warnings
from collections.abc import Callable

import jax

from deepmad_jax.design.program.arrays import Array

with warnings.catch_warnings():
    # jaxopt announces on import that it is no longer developed. It is pinned and works; the notice
    # is not for the people who run a design.
    warnings.simplefilter("ignore", DeprecationWarning)
    import jaxopt


def minimise(
    fun: Callable[[Array], Array], start: Array, max_iterations: int, tolerance: float
) -> tuple[Array, Array]:
    """A local minimum of ``fun`` from ``start`` and the iterations used, by LBFGS.

    It stops at a gradient norm of ``tolerance``. Judge success by a gradient or a constraint: the
    line search may report failure at the optimum.
    """
    solver = jaxopt.LBFGS(
        # Traced once, though the line search calls it in seven places.
        jax.jit(jax.value_and_grad(fun)),
        value_and_grad=True,
        history_size=20,
        # Its default max_stepsize of 1 stalls on stiff penalties.
        linesearch="zoom",
        max_stepsize=100.0,
        implicit_diff=False,
    )

    def unfinished(step):  # type: ignore[no-untyped-def]
        return (step.state.error > tolerance) & (step.state.iter_num < max_iterations)

    # Our own loop around its update: its `run` peels off the first iteration, twice the code to
    # compile for the same steps.
    first = jaxopt.OptStep(start, solver.init_state(start))
    x, state = jax.lax.while_loop(unfinished, lambda step: solver.update(*step), first)
    return x, state.iter_num
