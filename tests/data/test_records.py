import jpeg_set
import pytest
import tensorflow_datasets as tfds

from deepmad_jax.data import records


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    jpeg_set.prepare(jpeg_set.ColouredTiles, directory)
    return jpeg_set.ColouredTiles(data_dir=str(directory), file_format="array_record")


def test_records_hold_what_tfds_reads_from_them(builder):
    raw = builder.as_data_source(
        "train", deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    parsed = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    assert len(raw) == jpeg_set.TRAIN_IMAGES
    for record, expected in zip(raw, parsed, strict=True):
        features = records.read_features(record)
        assert features.keys() == {"image", "label", "file_name"}
        assert records.first_bytes(features["image"]) == expected["image"]
        assert records.first_integer(features["label"]) == expected["label"]
        assert records.first_bytes(features["file_name"]) == expected["file_name"]


def test_large_and_negative_integers_are_read():
    # Written out by hand from the wire format: Int64List (field 3) of one unpacked and one packed.
    for value in (0, 127, 128, 2**40 + 5, -1):
        bits, varint = value % 2**64, b""
        while bits >= 128:
            varint, bits = varint + bytes([bits % 128 + 128]), bits // 128
        varint += bytes([bits])
        unpacked = b"\x08" + varint
        packed = b"\x0a" + bytes([len(varint)]) + varint
        for values in (unpacked, packed):
            feature = b"\x1a" + bytes([len(values)]) + values
            assert records.first_integer(memoryview(feature)) == value


@pytest.mark.parametrize("damage", [lambda r: r[:-40], lambda r: b"\xff" + r, lambda r: b"JPEG"])
def test_bytes_that_are_no_record_are_refused(builder, damage):
    raw = builder.as_data_source(
        "train", deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        records.read_features(damage(raw[0]))
