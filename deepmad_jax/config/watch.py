"""What a training run tells about itself: ``config.watch``. None of it changes what is learned."""

import dataclasses

from deepmad_jax.fields import Natural, Positive, settle


@dataclasses.dataclass(frozen=True)
class WatchConfig:
    """What a training run tells about itself, and when it gives up.

    Attributes:
        peak_tflops: what one device can do in the dtype of the computation, 10^12 operations a
            second, for ``mfu`` in the log; None is the table of `train.speed`.
        images: so many pictures of the first batch after every start, as the network sees them, go
            to TensorBoard; 0: none.
        statistics_every: steps between two lines of statistics of gradients and activations
            (`train.look`); 0: none.
        restarts: how often a run may begin again at one checkpoint before it refuses, since it does
            not get on; None: as often as it is started.
    """

    peak_tflops: Positive | None = None
    images: Natural = 0
    statistics_every: Natural = 0
    restarts: Natural | None = None

    def __post_init__(self) -> None:
        settle(self)
