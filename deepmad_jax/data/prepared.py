"""Image classification sets that TFDS has prepared as ArrayRecord files, read without TensorFlow.

Reading is random access through ``data_source``, which hands over records as they lie in the file;
`records` takes image and label out of them, and images stay encoded until the pipeline decodes
them. Preparing is done once, by ``launch/prepare_data.py``: it needs TensorFlow, which nothing here
imports.
"""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from deepmad_jax.config import DataConfig
from deepmad_jax.data.dataset import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Dataset
from deepmad_jax.data.description import open_description
from deepmad_jax.data.places import is_address, place
from deepmad_jax.data.record_source import RecordSource, Shard
from deepmad_jax.errors import InvalidConfig, MissingData, did_you_mean

MANUAL_DOWNLOADS = {
    "imagenet2012": (
        "TFDS cannot download imagenet2012 by itself. First get ILSVRC2012_img_train.tar and "
        "ILSVRC2012_img_val.tar from https://image-net.org (free registration) and put them, "
        "not unpacked, into {manual_dir}."
    ),
}
"""Data sets whose files a person must fetch, and which."""

DISK = {
    "imagenet2012": "144 GiB for the two tar files, and 156 GiB for the prepared data",
    "cifar100": "0.2 GB for the download, and 0.2 GB for the prepared data",
    "cifar10": "0.2 GB for the download, and 0.2 GB for the prepared data",
}
"""How much disk it takes, by TFDS's catalogue (tensorflow.org/datasets/catalog)."""


def open_prepared(config: DataConfig, resolution_px: int) -> Dataset:
    """The data set and splits that ``config`` names; reads the description only, no images.

    Raises:
        MissingData: the data set is not there, not whole, or not as ArrayRecord.
        CorruptData: its description is damaged.
        InvalidConfig: an unknown split, or a data set without image and label.
        UserError: an address that cannot be read.
    """
    data_dir = place(
        config.data_dir or str(tfds.core.constants.DATA_DIR),
        ("gs",),  # as ArrayRecord's reader
        "Mount it as a folder, or copy the data set to this machine.",
    )
    how_to_prepare = _how_to_prepare(config, data_dir)
    builder = open_description(config.name, data_dir, how_to_prepare)
    # Never parquet: TFDS ignores split slices there, so hosts would read duplicates.
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise MissingData(
            f"The data set {config.name} in {builder.data_path} is prepared as "
            f"{builder.info.file_format.value}, which gives no random access; "
            f"array_record is needed.\n{how_to_prepare}"
        )
    features = builder.info.features
    if not _is_classification(features):
        raise InvalidConfig(
            f"The data set {config.name} has the features {', '.join(sorted(features))}; image "
            "classification needs 'image' and 'label'."
        )
    depth = np.dtype(features["image"].np_dtype).name
    if depth not in ("uint8", "uint16"):
        raise InvalidConfig(
            f"The images of {config.name} are {depth}, and nothing says which value is white: only "
            "images of uint8 and uint16 are read."
        )
    channels = features["image"].shape[-1]
    if channels not in (1, 3):
        raise InvalidConfig(
            f"The images of {config.name} have {channels} channels; only 1 and 3 are read."
        )
    return Dataset(
        name=config.name,
        train=_split(builder, config.train_split, "train_split"),
        evaluation=_split(builder, config.eval_split, "eval_split"),
        channels=channels,
        classes=features["label"].num_classes,
        mean=IMAGENET_MEAN if channels == 3 else (GREY_MEAN,) * channels,
        std=IMAGENET_STD if channels == 3 else (GREY_STD,) * channels,
        resolution_px=resolution_px,
        framed=False,
    )


def _is_classification(features: Any) -> bool:
    wanted = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    return all(k in features and isinstance(features[k], kind) for k, kind in wanted.items())


def _split(builder: Any, split: str, field: str) -> Any:
    known = builder.info.splits
    for part in split.split("+"):  # as TFDS joins splits
        name = part.split("[")[0].strip()
        if name not in known:
            raise InvalidConfig(
                f"config.data.{field} is {split!r}, which {builder.name} does not have; "
                f"{did_you_mean(name, known)}"
            )
    try:
        num_images = known[split].num_examples
    except ValueError as error:
        raise InvalidConfig(
            f"config.data.{field} is {split!r}, which TFDS cannot read ({error}): write a split's "
            "name, a slice such as train[:90%] or train[1000:], or several joined by +."
        ) from error
    if not num_images:
        raise InvalidConfig(
            f"config.data.{field} is {split!r}, which holds no image of {builder.name}: take a "
            "larger share."
        )
    raw = builder.as_data_source(
        split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    shards = tuple(
        Shard(str(part.filename), part.skip, part.take) for part in known[split].file_instructions
    )
    _check_shards(builder.name, shards)
    return RecordSource(raw, split, shards)


def _check_shards(name: str, shards: tuple[Shard, ...]) -> None:
    """Raises `MissingData` for files that are not there; one listing, not a look for each."""
    there: dict[epath.Path, set[str]] = {}
    for path in (epath.Path(shard.path) for shard in shards):
        folder = path.parent
        if folder not in there:
            there[folder] = {found.name for found in folder.iterdir()}
        if path.name not in there[folder]:
            raise MissingData(
                f"{path} is not there, which holds a part of the data set {name}: copy the whole "
                "folder again, or remove it and prepare the data set again."
            )


def _how_to_prepare(config: DataConfig, data_dir: epath.Path) -> str:
    remote = is_address(data_dir)
    where = f" --data_dir {data_dir}" if config.data_dir and not remote else ""
    base_name = config.name.split(":")[0].split("/")[0]
    manual = MANUAL_DOWNLOADS.get(base_name, "")
    if manual:
        here = epath.Path(tfds.core.constants.DATA_DIR) if remote else data_dir
        manual = manual.format(manual_dir=here / "downloads" / "manual") + "\n"
    disk = f"It takes {DISK[base_name]}.\n" if base_name in DISK else ""
    return (
        f"{manual}Prepare it once, in an environment with the extra 'prepare' "
        "(pip install -e '.[train,prepare]'):\n"
        f"  python launch/prepare_data.py {config.name}{where}\n"
        f"{disk}"
        + (f"Then copy the folder {base_name} to {data_dir}.\n" if remote else "")
        + "If it lies elsewhere, give --config.data.data_dir=DIR. "
        "To run on generated data instead: --config.data.source=fake"
    )
