"""What an architecture is, its layers and its cost. Imports nothing else of this package."""

from deepmad_jax.arch.layers import Layer, Row, layer_table
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.stages import BASELINE_BLOCKS, BLOCKS, Stage, Stem

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
