"""What an architecture is, its layers and its cost. Imports nothing else of this package."""

from deepmad_jax.arch.layers import Layer, Row, layer_table
from deepmad_jax.arch.spec import BASELINE_BLOCKS, BLOCKS, Architecture, Stage, Stem

__all__ = [
    "BASELINE_BLOCKS",
    "BLOCKS",
    "Architecture",
    "Layer",
    "Row",
    "Stage",
    "Stem",
    "layer_table",
]
