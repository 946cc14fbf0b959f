"""Video files that a user names, and the probabilities of their classes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deepmad_jax.config import VideoConfig
from deepmad_jax.data.clips import Judged
from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.tasks.task import split_network
from deepmad_jax.tasks.video.functions import make_score_fn
from deepmad_jax.tasks.video.recogniser import Recogniser


def recognised(net: Recogniser, video: VideoConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Each of ``video.videos`` and the probabilities of its classes, as the evaluation has them.

    Raises:
        MissingData: a file is not there.
        UserError: a file is no video that can be read.
    """
    graphdef, params, stats = split_network(net)
    score = jax.jit(make_score_fn(graphdef, video))
    samples = Judged(video)
    for name in video.videos:
        path = Path(name).expanduser()
        if not path.is_file():
            raise MissingData(f"There is no video {path}: name files with --config.video.videos.")
        batch: Any = samples.empty(1) | {"mask": np.ones(1, np.float32)}
        try:
            element = {"video": str(path), "label": 0, "index": 0}
            samples.maker()(batch, 0, element, None)
        except CorruptImage as error:
            raise UserError(f"{path} is no video that can be read ({error}).") from error
        yield str(path), np.exp(np.asarray(score(params, stats, batch)["scores"][0]))
