"""The best networks that are not all but the same: a design and those that come next.

Best-first on the lattice: the networks a step or two from the best one are scored, then those
around the next best, until every network of the list has had its surroundings scored. Two networks
count as different where a depth or a kernel differs, or more than one width.
"""

import numpy as np

from deepmad_jax.design.search.ascent import INFEASIBLE, Ascent

STEPS = 2  # at once, around each network of the list


def best_differing(search: Ascent, known: list[np.ndarray], count: int) -> list[np.ndarray]:
    """The best feasible networks met, best first, each different from all before it.

    Args:
        search: of the problem; counts what is scored.
        known: coordinates of networks to begin from, (1 + 4 S,) each, at least one feasible.
        count: networks given, at most.
    """
    met: dict[bytes, tuple[float, np.ndarray]] = {}

    def meet(points: np.ndarray, scores: np.ndarray) -> None:
        met.update(
            (u.tobytes(), (float(score), u))
            for u, score in zip(points, scores, strict=True)
            if score > INFEASIBLE
        )

    points = np.array(known) + 0.0  # no -0.0, whose bytes are others
    meet(points, search.score(points))
    surrounded: set[bytes] = set()
    while True:
        chosen = _chosen(search, met, count)
        new = [u for u in chosen if u.tobytes() not in surrounded]
        if not new:
            return chosen
        surrounded.add(new[0].tobytes())
        points, scores = search.around(new[0], STEPS)
        meet(points + 0.0, scores)


def _chosen(
    search: Ascent, met: dict[bytes, tuple[float, np.ndarray]], count: int
) -> list[np.ndarray]:
    """Of the networks met the best, each of which differs from those before it."""
    layout = search.prepared.layout
    parts = layout.widths if search.prepared.problem.fixed_ratio else layout.channels
    others = slice(layout.kernel.start, layout.size)
    chosen: list[np.ndarray] = []
    for _, u in sorted(met.values(), key=lambda pair: (-pair[0], pair[1].tolist())):
        if all((u[others] != v[others]).any() or (u[parts] != v[parts]).sum() > 1 for v in chosen):
            chosen.append(u)
            if len(chosen) == count:
                break
    return chosen
