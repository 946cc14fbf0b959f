"""BatchNorm whose running variance is PyTorch's: the unbiased one, divided by n - 1.

A batch is normalised by its mean squared deviation, divided by n, in both frameworks. Flax keeps
that for evaluation too; PyTorch, by which the paper's networks were trained, keeps n / (n - 1) of
it. With n the pixels of a channel in the batch, the two are 1e-5 apart in the paper's recipe, and 4
percent where a channel has 25 pixels.
"""

import jax
from flax import nnx


class BatchNorm(nnx.BatchNorm):
    """`nnx.BatchNorm` over all axes but the last, its running variance unbiased.

    n is that of the whole batch over all devices, as the mean and the variance are.

    Source: PyTorch's ``torch.nn.BatchNorm2d`` and ``torch.nn.SyncBatchNorm``.
    """

    def __call__(self, x: jax.Array, use_running_average: bool | None = None) -> jax.Array:
        """The normalised batch; unless ``use_running_average`` the statistics move."""
        kept = self.momentum * self.var[...]
        y = super().__call__(x, use_running_average)
        frozen = self.use_running_average if use_running_average is None else use_running_average
        if not frozen:
            moved = self.var[...]
            num_pixels = x.size // x.shape[-1]
            # A single pixel has no variance; its part is 0 either way.
            self.var[...] = moved + (moved - kept) / max(num_pixels - 1, 1)
        return y
