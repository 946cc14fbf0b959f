"""Image classification: one label an image, top-1 and top-5 accuracy."""

from deepmad_jax.tasks.classify.job import evaluate, train

__all__ = ["evaluate", "train"]
