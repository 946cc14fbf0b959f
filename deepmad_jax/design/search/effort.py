"""How much the integer search tries."""

import dataclasses
from typing import NamedTuple


class Round(NamedTuple):
    """One round of annealing.

    Attributes:
        kept: distinct vectors of depths that the chains start from; unused in the first round.
        moves_depth: whether chains may change depths and kernels, or widths alone.
        coolest, hottest: least and greatest starting temperature, shares of the relaxed objective.
    """

    kept: int
    moves_depth: bool
    coolest: float
    hottest: float


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much the search tries; fixed numbers, so that every run tries the same candidates.

    Attributes:
        choices, beam: of depths, kernels and ties where `dive` begins, and how many go on. With a
            quarter of the beam, of 300 problems two with coarse widths ended up to 0.3 % lower.
        alone: leading choices from each of which it begins once more, by itself: where few whole
            networks of a choice meet the budgets, they need the whole beam.
        chains, steps: of each round of annealing; one shape, one compilation. Twice the steps
            where a stage has more choices than `lattice.KERNELS`, as of heads: with as many as
            elsewhere two of eight seeds ended 0.3 % below the optimum of `hybrid_s`.
        rounds: see `Round`.
        near: share of the relaxed optimum within which a start leaves so little to gain that one
            cool round is enough.
        agreed: chains begun elsewhere than at the starts that have found the best network when no
            further round is needed. Where a later round bettered the network, of 82 searches for
            26 problems, four had found it at most.
        pairs, triples: points that get the ascent over pairs of steps, then over triples.
    """

    choices: int
    beam: int
    alone: int
    chains: int
    steps: int
    rounds: tuple[Round, ...]
    near: float
    agreed: int
    pairs: int
    triples: int


COOL = Round(0, True, 5e-4, 5e-3)
"""The one round from starts that are near the best already."""

_LATER = (
    Round(32, True, 5e-4, 5e-3),
    Round(16, False, 5e-4, 4e-3),
    Round(8, True, 2e-4, 2e-3),
)

# Free moves from many depths, cooler and from fewer points each time; then widths alone for the
# leading depths; last a cool round free to move again. Where chains do not agree by then, the last
# three once more: of 300 problems four ended 0.05 % lower at some seed without.
FULL = Effort(
    choices=64,
    beam=128,
    alone=2,
    chains=128,
    steps=800,
    rounds=(
        Round(0, True, 2e-3, 2e-2),
        Round(64, True, 1e-3, 1e-2),
        *_LATER,
        *_LATER,
    ),
    near=3e-4,
    agreed=20,
    pairs=8,
    triples=1,
)
QUICK = dataclasses.replace(
    FULL, beam=32, alone=0, chains=64, steps=400, near=5e-3, pairs=4, triples=0
)
"""For sweeps: few chains, and nearly always the one cool round alone."""
