"""A problem with all that is derived from it, made once and handed down."""

import dataclasses
import functools

from deepmad_jax.design.program.box import Box, box_of
from deepmad_jax.design.program.evaluate import Data, Form, data_of, form_of
from deepmad_jax.design.program.lattice import Lattice, lattice_of
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.posynomials import Posynomials, posynomials_of
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import InvalidConfig


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What the solvers are given.

    Attributes:
        problem: as asked.
        form, data: what is static in it, and its numbers, see `evaluate`.
        lattice: its integer points.
        box: of its relaxation.
        layout: where the parts of its coordinates stand.
    """

    problem: Problem
    form: Form
    data: Data
    lattice: Lattice
    box: Box
    layout: Layout

    @functools.cached_property
    def posynomials(self) -> Posynomials:
        """The program as sums of exponentials, in the paper's convention."""
        return posynomials_of(self.problem)

    @functools.cached_property
    def bounding(self) -> Posynomials:
        """The same, none of whose costs exceeds that of a network of whole numbers."""
        return posynomials_of(self.problem, bound=True)


def prepare(problem: Problem) -> Prepared:
    """The prepared problem.

    Raises:
        InvalidConfig: kinds of its stages are still open.
    """
    if len(problem.settlements) > 1:
        raise InvalidConfig(
            f"blocks is {problem.blocks}, which leaves kinds open, but this needs one kind a "
            "stage: name those that a design has chosen."
        )
    return Prepared(
        problem=problem,
        form=form_of(problem),
        data=data_of(problem),
        lattice=lattice_of(problem),
        box=box_of(problem),
        layout=Layout(problem.num_stages),
    )
