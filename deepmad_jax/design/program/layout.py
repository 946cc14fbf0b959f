"""Where the parts of a network stand in a vector of coordinates, by name.

A network of S stages has a stem's width, then S widths, S inner widths (or their ratios to the
widths), S kernels and S depths. Every vector of the solvers keeps that order and may stop early or
go on: the shape alone (1 + 3 S), log variables and lattice coordinates (1 + 4 S), the unknowns of
the certificate (1 + 7 S).
"""

import dataclasses
import functools


@dataclasses.dataclass(frozen=True)
class Layout:
    """Slices into the last axis, for S ``stages``.

    >>> layout = Layout(stages=2)
    >>> layout.width, layout.depth, layout.size
    (slice(1, 3, None), slice(7, 9, None), 9)
    """

    stages: int

    @classmethod
    def of_size(cls, size: int, runs: int = 4) -> "Layout":
        """That of a vector of ``size`` coordinates, a stem's and ``runs`` for each stage."""
        return cls((size - 1) // runs)

    def _run(self, first: int, runs: int = 1) -> slice:
        return slice(1 + first * self.stages, 1 + (first + runs) * self.stages)

    @functools.cached_property
    def stem(self) -> int:
        """The stem's width."""
        return 0

    @functools.cached_property
    def stem_alone(self) -> slice:
        """The same, as a run of one."""
        return slice(0, 1)

    @functools.cached_property
    def width(self) -> slice:
        return self._run(0)

    @functools.cached_property
    def inner(self) -> slice:
        """Inner widths, or their ratios to the widths."""
        return self._run(1)

    @functools.cached_property
    def kernel(self) -> slice:
        return self._run(2)

    @functools.cached_property
    def depth(self) -> slice:
        return self._run(3)

    @functools.cached_property
    def log_inner(self) -> slice:
        """Log inner widths of the certificate's boxes, after everything of `size`."""
        return self._run(4)

    @functools.cached_property
    def products(self) -> slice:
        """What the certificate adds: three products a stage."""
        return self._run(4, 3)

    @functools.cached_property
    def widths(self) -> slice:
        """The stem's width and those of the stages."""
        return slice(0, 1 + self.stages)

    @functools.cached_property
    def before(self) -> slice:
        """The width before each stage: the stem's, then those of all stages but the last."""
        return slice(0, self.stages)

    @functools.cached_property
    def channels(self) -> slice:
        """All widths, then the inner widths."""
        return slice(0, 1 + 2 * self.stages)

    @functools.cached_property
    def shape(self) -> slice:
        """Everything but the depths."""
        return slice(0, self.shape_size)

    @functools.cached_property
    def scaled(self) -> slice:
        """Widths, inner widths and kernels of the stages: what repeats with the depth."""
        return self._run(0, 3)

    @functools.cached_property
    def of_stages(self) -> slice:
        """Everything but the stem, four runs."""
        return self._run(0, 4)

    @functools.cached_property
    def shape_size(self) -> int:
        """1 + 3 S."""
        return 1 + 3 * self.stages

    @functools.cached_property
    def size(self) -> int:
        """1 + 4 S."""
        return 1 + 4 * self.stages

    @functools.cached_property
    def ends(self) -> int:
        """1 + 5 S, of the certificate's boxes."""
        return 1 + 5 * self.stages

    @functools.cached_property
    def unknowns(self) -> int:
        """1 + 7 S, of the certificate."""
        return 1 + 7 * self.stages
