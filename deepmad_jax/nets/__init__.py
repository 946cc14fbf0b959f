"""Networks from architectures, in Flax NNX. Imports `arch`, never `design` or `train`."""

from deepmad_jax.nets.network import Feature, Network

__all__ = ["Feature", "Network"]
