"""Batches of images as NumPy arrays, uint8; knows neither networks nor training.

``open_dataset`` finds the images (and fails early where they are missing), `train_batches` and
`eval_batches` read them.
"""

from deepmad_jax.data.dataset import Dataset
from deepmad_jax.data.labelled import eval_batches, train_batches
from deepmad_jax.data.sources import open_dataset

__all__ = ["Dataset", "eval_batches", "open_dataset", "train_batches"]
