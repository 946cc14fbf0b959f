"""The inner, unconstrained minimisation: jaxopt's LBFGS. The only file that imports jaxopt."""

import warnings
from collections.abc import Callable

from deepmad_jax.design.entropy import Array

with warnings.catch_warnings():
    # jaxopt announces on import that it is no longer developed. It is pinned and works; the notice
    # is not for the people who run a design.
    warnings.simplefilter("ignore", DeprecationWarning)
    import jaxopt


def minimise(
    fun: Callable[[Array], Array], start: Array, max_iterations: int, tolerance: float
) -> tuple[Array, Array, Array]:
    """A local minimum of ``fun`` from ``start``, its gradient norm and the iterations used.

    Judge success by the gradient norm: the line search may report failure at the optimum.
    """
    # max_stepsize: zoom with its default of 1 stalls on stiff penalties. No implicit
    # differentiation: it doubles what is compiled and nothing here differentiates the solution.
    solver = jaxopt.LBFGS(
        fun,
        maxiter=max_iterations,
        tol=tolerance,
        history_size=20,
        linesearch="zoom",
        max_stepsize=100.0,
        implicit_diff=False,
    )
    x, state = solver.run(start)
    return x, state.error, state.iter_num
