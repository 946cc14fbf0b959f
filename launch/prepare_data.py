"""Prepares a TFDS data set, or a plain folder of images, as the ArrayRecord files that we read.

    pip install -e '.[train,prepare]'
    python launch/prepare_data.py cifar100
    python launch/prepare_data.py imagenet2012 --data_dir /data/tfds --manual_dir /data/tars
    python launch/prepare_data.py my_photographs --folder /data/photographs

Done once. Any image classification set of TFDS works by its name; imagenet2012 needs the two tar
files that image-net.org hands out, in ``--manual_dir`` (default: DATA_DIR/downloads/manual). This
is the only place that needs TensorFlow, and a ``--folder`` (train/CLASS/*.jpg, val/CLASS/*.jpg)
does without: its files are copied as they are, which pays off where small files are slow to read.

At the end every split is opened as training does, and an image of each decoded.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from deepmad_jax.config import DataConfig
from deepmad_jax.data.decode import CorruptImage, decode
from deepmad_jax.data.description import open_description
from deepmad_jax.data.folder import FileSource, open_folder
from deepmad_jax.data.prepared import DISK, MANUAL_DOWNLOADS, open_prepared
from deepmad_jax.errors import InvalidConfig, MissingData, UserError
from deepmad_jax.paths import local

TAR_FILES = {"imagenet2012": ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")}
"""What must lie in ``--manual_dir``."""

PREPARED_PER_TAR = 1.1
"""Bytes of prepared data for a byte of the tar files: 156 GiB for 144, by TFDS's catalogue."""


def main(argv: list[str] | None = None) -> int:
    """Prepares what the command line names; returns the exit status."""
    args = _arguments(argv)
    try:
        data_dir = local(args.data_dir or tfds.core.constants.DATA_DIR)
        if args.folder:
            prepare_folder(args.name, args.folder, data_dir)
        else:
            manual_dir = local(args.manual_dir or data_dir / "downloads" / "manual")
            prepare_tfds(args.name, data_dir, manual_dir)
        print(check(args.name, data_dir))
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    return 0


def prepare_tfds(name: str, data_dir: Path, manual_dir: Path) -> None:
    """Downloads, where TFDS can, and writes ArrayRecord files below ``data_dir``.

    Raises:
        MissingData: TensorFlow, or a file to be fetched by hand, is not there.
        UserError: the disk is too small.
    """
    base = name.split(":")[0].split("/")[0]
    missing = [f for f in TAR_FILES.get(base, ()) if not (manual_dir / f).exists()]
    if missing:
        hint = MANUAL_DOWNLOADS[base].format(manual_dir=manual_dir)
        raise MissingData(
            f"{' and '.join(missing)} not found in {manual_dir}. {hint} Or name their folder with "
            f"--manual_dir. It takes {DISK[base]}."
        )
    _check_disk([manual_dir / f for f in TAR_FILES.get(base, ())], data_dir)
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise MissingData(
            "TFDS needs TensorFlow to prepare its data sets (reading them does not): "
            "pip install -e '.[train,prepare]'"
        ) from error
    try:
        builder = tfds.builder(name, data_dir=str(data_dir), file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        raise InvalidConfig(
            f"TFDS has no data set {name!r}; see tensorflow.org/datasets/catalog. To prepare a "
            "folder of images under a name of your own, give --folder."
        ) from error
    settings = tfds.download.DownloadConfig(manual_dir=str(manual_dir))
    builder.download_and_prepare(download_config=settings)


def prepare_folder(name: str, folder: str, data_dir: Path) -> None:
    """Writes the images of a folder, as they are encoded, below ``data_dir``; no TensorFlow."""
    dataset = open_folder(DataConfig(source="folder", data_dir=folder), 1, channels=3)
    assert isinstance(dataset.train, FileSource)
    classes = list(dataset.train.classes)

    class FromFolder(tfds.core.GeneratorBasedBuilder):
        """Images of a plain folder."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=classes),
                "file_name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            return {
                "train": self._generate_examples(dataset.train),
                "validation": self._generate_examples(dataset.evaluation),
            }

        def _generate_examples(self, source: FileSource | None = None) -> Any:
            assert source is not None
            for number, path in enumerate(source.paths):
                try:
                    element = source[number]
                except CorruptImage as error:
                    raise UserError(
                        f"{source.name_of(number)} cannot be read ({error}): make it readable, or "
                        "remove it."
                    ) from error
                image = io.BytesIO(element["image"])
                yield path, {"image": image, "label": element["label"], "file_name": path}

    FromFolder.name = name
    builder = FromFolder(data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare()


def check(name: str, data_dir: Path) -> str:
    """What was prepared, by reading it as training does.

    Raises:
        UserError: an image that cannot be decoded.
    """
    builder = open_description(name, epath.Path(data_dir), "")
    lines, path = [], Path(builder.data_path)
    for split, info in builder.info.splits.items():
        config = DataConfig(name=name, data_dir=str(data_dir), train_split=split, eval_split=split)
        dataset = open_prepared(config, resolution_px=1)
        try:
            shape = decode(dataset.train[0]["image"], dataset.channels).shape
        except CorruptImage as error:
            raise UserError(f"Prepared {path}, but an image of {split}: {error}") from error
        lines.append(
            f"  {split}: {len(dataset.train):,} images, {dataset.classes} classes, "
            f"{info.num_bytes / 2**30:.3f} GiB, the first of {shape[1]} x {shape[0]} pixels"
        )
    given = f"--config.data.name={name} --config.data.data_dir={data_dir}"
    return "\n".join([f"Prepared {path}:", *lines, f"Use it with {given}"])


def _check_disk(tars: list[Path], data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data_dir).free
    needed = PREPARED_PER_TAR * sum(path.stat().st_size for path in tars)
    if free < needed:
        raise UserError(
            f"{data_dir} has {free / 2**30:.0f} GiB free, but the prepared data takes about "
            f"{needed / 2**30:.0f} GiB: name another place with --data_dir."
        )


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="of the TFDS data set, or the name to give to a folder")
    parser.add_argument("--data_dir", help="where prepared data lies (default: TFDS's own)")
    parser.add_argument("--manual_dir", help="where the files lie that TFDS cannot download")
    parser.add_argument("--folder", help="a folder of images to prepare: train/CLASS, val/CLASS")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
