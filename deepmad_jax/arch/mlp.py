"""What a multi-layer perceptron is: input width, one width per dense layer, classifier.

Letters of the paper (section 3): w_1 `input_width`, w_2 .. w_{L+1} `widths`, L `len(widths)`. The
classifier on top lies outside entropy and rho, as for convolutional networks, but is paid for.
Layers are dense with a bias, then ReLU; there is no normalisation. Entropy and rho come from the
table as those of other networks do (`design.program.entropy`).
"""

import dataclasses
import json
from typing import Any

from deepmad_jax.arch import cost
from deepmad_jax.arch.checks import check_int, check_keys
from deepmad_jax.arch.layers import Layer, Number, Row
from deepmad_jax.errors import InvalidArchitecture


@dataclasses.dataclass(frozen=True)
class MlpArchitecture:
    """A whole perceptron.

    Attributes:
        name: for files and tables.
        input_width: features of one input, w_1.
        widths: outputs of each dense layer in order, at least one.
        classes: outputs of the classifier.

    >>> arch = MlpArchitecture("tiny", 64, (32, 32), 10)
    >>> arch.num_params, arch.macs
    (3466, 3392)
    >>> MlpArchitecture.from_json(arch.to_json()) == arch
    True
    """

    name: str
    input_width: int
    widths: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        if not isinstance(self.widths, list | tuple) or not self.widths:
            raise InvalidArchitecture(
                f"widths is {self.widths!r}, but must list the width of each layer, such as 32,32."
            )
        object.__setattr__(self, "widths", tuple(self.widths))
        for field in ("input_width", "classes"):
            check_int(field, getattr(self, field), 1)
        for width in self.widths:
            check_int("layer width", width, 1)

    @property
    def depth(self) -> int:
        """Number of layers L, without the classifier."""
        return len(self.widths)

    @property
    def num_params(self) -> int:
        """Weights and biases, classifier included."""
        return int(cost.params(mlp_table(self)))

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one input, classifier included."""
        return int(cost.macs(mlp_table(self)))

    def to_json(self) -> str:
        """The same architecture gives the same bytes."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "MlpArchitecture":
        """The inverse of `to_json`.

        Raises:
            InvalidArchitecture: no JSON, or a key missing, unknown or of the wrong type.
        """
        try:
            data: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidArchitecture(f"This is not JSON: {error}.") from error
        return cls(**check_keys("MLP architecture", data, cls))


def mlp_table(arch: MlpArchitecture) -> list[Row]:
    """Every layer of a perceptron in order, as rows of plain ints: ``layer1`` .. and ``head``."""
    rows = []
    c_in = arch.input_width
    for i, width in enumerate(arch.widths, 1):
        first = mlp_stage_rows(c_in, width, 1)
        rows += [Row(f"layer{i}", row.repeat, row.layer) for row in first if row.repeat]
        c_in = width
    return rows + mlp_head_rows(c_in, arch.classes)


def mlp_stage_rows(c_in: Number, width: Number, depth: Number) -> list[Row]:
    """A stage of ``depth`` layers of one width, or all stages at once where these are arrays."""
    return [
        Row(section, repeat, layer)
        for section, repeat, fan_in in (("first", 1, c_in), ("rest", depth - 1, width))
        for layer in (
            Layer("dense", "main", fan_in, width, 1, 1),
            Layer("act", "main", width, width, 1, 1, function="relu"),
        )
    ]


def mlp_head_rows(c_in: Number, classes: Number) -> list[Row]:
    """The classifier."""
    return [Row("head", 1, Layer("dense", "head", c_in, classes, 1, 1))]
