"""A small data set of real JPEG files, prepared by TFDS as ArrayRecord, for tests."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

CLASSES, TRAIN_IMAGES, EVAL_IMAGES = 3, 30, 7


def picture(index):
    """An image whose red tells its label, green grows to the right and blue downwards."""
    height, width = 40 + index, 72 - index
    y, x = np.mgrid[0:height, 0:width]
    red = np.full((height, width), 30 + 90 * (index % CLASSES))
    return np.stack([red, 255 * x / width, 255 * y / height], axis=-1).astype(np.uint8)


def jpeg(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


class ColouredTiles(tfds.core.GeneratorBasedBuilder):
    """Tiles of three colours."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=CLASSES),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {
            "train": self._generate_examples(TRAIN_IMAGES),
            "validation": self._generate_examples(EVAL_IMAGES),
        }

    def _generate_examples(self, count=0):
        for i in range(count):
            image = io.BytesIO(jpeg(picture(i)))
            yield i, {"image": image, "label": i % CLASSES, "file_name": f"{i}.jpg"}


class Sentences(tfds.core.GeneratorBasedBuilder):
    """No images at all."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"text": "no image"}


def prepare(builder_class, data_dir):
    builder_class(data_dir=str(data_dir), file_format="array_record").download_and_prepare()
