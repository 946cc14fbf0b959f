"""What a perceptron is designed for: space and budgets of the paper's section 3.

Letters: w_1 `input_width`, S `num_stages`; the program itself stands in `program.py`.
"""

import dataclasses
import math

from deepmad_jax.errors import InvalidConfig


@dataclasses.dataclass(frozen=True)
class MlpProblem:
    """What to design.

    Attributes:
        input_width: features of one input, w_1.
        classes: of the classifier.
        num_stages: runs of layers of equal width, S.
        min_width, max_width: of every stage.
        multiple_of: of every width.
        min_depth, max_depth: layers in every stage.
        params: greatest number of weights and biases, classifier included; inf for no limit.
        rho: greatest effectiveness, depth over average width; inf for no limit.
        seed: of the extra starts and of the kicks.
    """

    input_width: int = 64
    classes: int = 10
    num_stages: int = 3
    min_width: int = 8
    max_width: int = 1024
    multiple_of: int = 8
    min_depth: int = 1
    max_depth: int = 30
    params: float = math.inf
    rho: float = math.inf
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "input_width", "classes", "num_stages", "min_width", "max_width", "multiple_of",
            "min_depth", "max_depth",
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidConfig(f"{name} is {value!r}, but must be an integer of at least 1.")
        for name in ("params", "rho"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(
                    f"{name} is {getattr(self, name)}, but must be positive (inf for no limit)."
                )
        if self.min_depth > self.max_depth:
            raise InvalidConfig(
                f"min_depth {self.min_depth} is above max_depth {self.max_depth}: lower the first "
                "or raise the second."
            )
        low, high = self.width_units
        if low > high:
            raise InvalidConfig(
                f"No multiple of {self.multiple_of} lies between min_width {self.min_width} and "
                f"max_width {self.max_width}: widen the range or lower multiple_of."
            )

    @property
    def width_units(self) -> tuple[int, int]:
        """Least and greatest width in units of ``multiple_of``."""
        return -(-self.min_width // self.multiple_of), self.max_width // self.multiple_of
