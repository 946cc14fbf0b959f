"""Shows what a run found: the design table, the pictures, the HTML report. Reads, never recomputes.

Importing this, and printing a table, loads no matplotlib; `write` does so when it draws.
"""

from deepmad_jax.report.compare import compare_table
from deepmad_jax.report.page import preload, write
from deepmad_jax.report.perceptron import perceptron_table
from deepmad_jax.report.tables import design_table, sensitivity_tables

__all__ = [
    "compare_table",
    "design_table",
    "perceptron_table",
    "preload",
    "sensitivity_tables",
    "write",
]
