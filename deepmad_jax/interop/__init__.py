"""Networks in and out of other formats. Weights here; structures in `arch.tinynas`."""

from deepmad_jax.interop.files import embedded_architecture, read_weights, write_weights
from deepmad_jax.interop.formats import EXPORTS, export
from deepmad_jax.interop.tinynas_weights import classes_of, from_network, load_into

__all__ = [
    "EXPORTS",
    "classes_of",
    "embedded_architecture",
    "export",
    "from_network",
    "load_into",
    "read_weights",
    "write_weights",
]
