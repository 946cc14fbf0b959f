"""Perceptrons on flattened images, trained by the classify task's engine."""

from deepmad_jax.tasks.perceptron.job import train

__all__ = ["train"]
