"""One way in: the data set a config names, checked against the network it is for.

Opening reads no images of a large data set, so that a missing or unfit one is reported before any
network is built.
"""

import dataclasses

from deepmad_jax.config import DataConfig
from deepmad_jax.data.dataset import Dataset
from deepmad_jax.data.digits import open_digits
from deepmad_jax.data.fake import open_fake
from deepmad_jax.data.folder import open_folder
from deepmad_jax.errors import InvalidConfig, did_you_mean

SOURCES = ("tfds", "folder", "digits", "fake")
"""What ``config.data.source`` may be."""


def open_dataset(config: DataConfig, *, resolution_px: int, channels: int, classes: int) -> Dataset:
    """The data set that ``config`` names, for a network of this input and this many outputs.

    Raises:
        MissingData: a data set that is not there; says where it looked and what to do.
        InvalidConfig: an unknown source, decoded images of another one, or channels or classes that
            are not the network's.
    """
    if config.source == "digits":
        dataset = open_digits(resolution_px)
    elif config.source == "fake":
        dataset = open_fake(config.fake_images, resolution_px, channels, classes)
    elif config.source == "folder":
        dataset = open_folder(config, resolution_px, channels)
    elif config.source == "tfds":
        # Imported here, so that the other sources run without TFDS.
        from deepmad_jax.data.prepared import open_prepared

        dataset = open_prepared(config, resolution_px)
    else:
        raise InvalidConfig(
            f"config.data.source is {config.source!r}; {did_you_mean(config.source, SOURCES)}"
        )
    _check_fit(dataset, channels, classes)
    if config.pixels_dir is not None:
        from deepmad_jax.data.pixels import with_pixels

        dataset = with_pixels(dataset, config.pixels_dir)
    if config.normalise == "half":
        half = (0.5,) * channels
        dataset = dataclasses.replace(dataset, mean=half, std=half)
    return dataset


def _check_fit(dataset: Dataset, channels: int, classes: int) -> None:
    if (dataset.channels, dataset.classes) != (channels, classes):
        raise InvalidConfig(
            f"The network takes {channels} channel(s) and tells {classes} classes apart, but the "
            f"{dataset.name} data has {dataset.channels} channel(s) and {dataset.classes} classes: "
            f"design one with --config.design.in_channels={dataset.channels} "
            f"--config.design.classes={dataset.classes}, or choose other data."
        )
