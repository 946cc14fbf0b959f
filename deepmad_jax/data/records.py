"""Image and label of one TFDS record, read from its bytes without TensorFlow.

TFDS stores an example as a protocol buffer ``tf.train.Example``, a map from feature names to lists
of bytes, floats or integers. TFDS's own reader builds NumPy arrays for all features by way of the
description of the data set, 144 us an image; the few bytes of protocol buffer around an image take
a tenth of that here.

The wire format (protobuf.dev/programming-guides/encoding) as far as an Example uses it:
fields are ``tag, length, content`` with varints for tag and length;
``Example{1: Features{1: repeated Entry{1: name, 2: Feature{1: BytesList | 3: Int64List}}}}``, and
both lists hold their values in field 1.
"""

from collections.abc import Iterator

Buffer = memoryview

_LENGTH_DELIMITED, _VARINT = 2, 0


def read_features(record: bytes) -> dict[str, Buffer]:
    """The features of a record by name, each still encoded; see `first_bytes`, `first_integer`.

    Raises:
        ValueError: the bytes are not an Example.
    """
    features = {}
    try:
        for _, example in _fields(memoryview(record)):
            for _, entry in _fields(example):
                name, value = b"", memoryview(b"")
                for number, content in _fields(entry):
                    if number == 1:
                        name = bytes(content)
                    else:
                        value = content
                features[name.decode()] = value
    except (IndexError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    return features


def first_bytes(feature: Buffer) -> bytes:
    """The first value of a feature that is a list of bytes, such as an encoded image."""
    for _, values in _fields(feature):
        for _, value in _fields(values):
            return bytes(value)
    raise ValueError("the feature is empty")


def first_integer(feature: Buffer) -> int:
    """The first value of a feature that is a list of integers, such as a label."""
    for _, values in _fields(feature):
        for _, value in _fields(values):
            # Packed, as all writers do today, or a varint by itself.
            return value if isinstance(value, int) else _varint(value, 0)[0]
    raise ValueError("the feature is empty")


def _fields(buffer: Buffer) -> Iterator[tuple[int, Buffer | int]]:
    """Number and content of every field: a view for length-delimited ones, else an integer."""
    place, end = 0, len(buffer)
    while place < end:
        tag, place = _varint(buffer, place)
        kind = tag & 7
        if kind not in (_LENGTH_DELIMITED, _VARINT):
            raise ValueError(f"not a tf.train.Example: a field of wire type {kind}")
        length, place = _varint(buffer, place)
        if kind == _VARINT:
            yield tag >> 3, length
            continue
        if place + length > end:
            raise ValueError(f"not a tf.train.Example: cut off after {end} bytes")
        yield tag >> 3, buffer[place : place + length]
        place += length


def _varint(buffer: Buffer, place: int) -> tuple[int, int]:
    """The integer at ``place``, negative ones by two's complement, and the place after it."""
    value = shift = 0
    while True:
        byte = buffer[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value - (1 << 64) if value >> 63 else value, place
        shift += 7
