"""Image files that a user names, and what a network finds on each."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from deepmad_jax.data.decode import CorruptImage, decode
from deepmad_jax.errors import MissingData, UserError

T = TypeVar("T")


def looked_at(
    names: Sequence[str], field: str, look: Callable[[bytes], T]
) -> Iterator[tuple[str, np.ndarray, T]]:
    """Of each file a stem, its pixels, RGB uint8 (height, width, 3), and what ``look`` gives.

    The stem is the file's, with its place where another one has the same.

    Args:
        names: of the files.
        field: of the config that names them, for messages.
        look: at a file's bytes; raises `CorruptImage` for what is no image.
    Raises:
        MissingData: a file is not there.
        UserError: a file is no image.
    """
    taken: set[str] = set()
    for place, name in enumerate(names):
        path = Path(name).expanduser()
        if not path.is_file():
            raise MissingData(f"There is no image {path}: name files with --{field}.")
        data = path.read_bytes()
        try:
            found, pixels = look(data), decode(data, 3)
        except CorruptImage as error:
            raise UserError(f"{path} is no image that can be read ({error}).") from error
        # Two files may have one name, in two folders.
        stem = f"{path.stem}_{place}" if path.stem in taken else path.stem
        taken.add(stem)
        yield stem, pixels, found
