"""What layers are written into: the graph so far, and the spot at which one of them stands."""

import dataclasses
from typing import Any

import numpy as np

from deepmad_jax.arch import Layer

Branches = dict[str, str]  # branch -> name of the value it holds


@dataclasses.dataclass
class Graph:
    """The nodes and constants so far."""

    onnx: Any
    nodes: list[Any] = dataclasses.field(default_factory=list)
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)

    def op(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node; returns the name of its one output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        """Adds a float32 constant; returns its name."""
        assert name not in self.constants, name
        return self._put(name, np.ascontiguousarray(array, np.float32))

    def number(self, value: float) -> str:
        """A float32 scalar, added once however often it is asked for."""
        return self._put(f"float_{value:.9g}", np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """An int64 vector, as ops take places and sizes, added once."""
        return self._put("_".join(map(str, ("int", *values))), np.array(values, np.int64))

    def _put(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name


@dataclasses.dataclass(frozen=True)
class Spot:
    """Where a layer is being written: its arrays (by our name), a prefix for their names, and
    whether its block stands at an odd place of its stage."""

    graph: Graph
    prefix: str
    layer: Layer
    arrays: dict[str, np.ndarray]
    odd: bool = False

    def value(self, branches: Branches) -> str:
        """What the layer's own branch holds."""
        return branches[self.layer.branch]

    def constants(self, *names: str) -> list[str]:
        """The layer's arrays as constants."""
        return [self.graph.constant(f"{self.prefix}.{name}", self.arrays[name]) for name in names]
