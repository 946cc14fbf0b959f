"""Weights in and out of other formats."""

from deepmad_jax.interop.tinynas_weights import from_network, load_into

__all__ = ["from_network", "load_into"]
