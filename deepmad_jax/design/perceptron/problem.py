"""What a perceptron is designed for: space and budgets of the paper's section 3.

Letters: w_1 `input_width`, S `num_stages`; the program itself stands in `program.py`.
"""

import dataclasses
import math

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import Channels, Count, Limit, Seed, settle


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

    input_width: Channels = 64
    classes: Channels = 10
    num_stages: Count = 3
    min_width: Channels = 8
    max_width: Channels = 1024
    multiple_of: Channels = 8
    min_depth: Count = 1
    max_depth: Count = 30
    params: Limit = math.inf
    rho: Limit = math.inf
    seed: Seed = 0

    def __post_init__(self) -> None:
        settle(self)
        if self.min_depth > self.max_depth:
            raise InvalidConfig(
                f"min_depth {self.min_depth} is above max_depth {self.max_depth}: lower the first "
                "or raise the second."
            )
        low, high = self.width_units
        if low > high:
            raise InvalidConfig(
                f"multiple_of is {self.multiple_of}, but no multiple of {self.multiple_of} lies "
                f"between min_width {self.min_width} and max_width {self.max_width}: widen the "
                "range or lower multiple_of."
            )

    @property
    def width_units(self) -> tuple[int, int]:
        """Least and greatest width in units of ``multiple_of``."""
        return -(-self.min_width // self.multiple_of), self.max_width // self.multiple_of
