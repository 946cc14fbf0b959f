"""BatchNorm whose running variance is PyTorch's: the unbiased one, divided by n - 1.

A batch is normalised by its mean squared deviation, divided by n, in both frameworks. Flax keeps
that for evaluation too; PyTorch, by which the paper's networks were trained, keeps n / (n - 1) of
it. With n the pixels of a channel in the batch, the two are 1e-5 apart in the paper's recipe, and 4
percent where a channel has 25 pixels.

The gradient is written out: two sums over the batch and one pass over it, where differentiating
Flax's formula takes three sums, and an array of the batch less its mean is kept for them.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx


class BatchNorm(nnx.BatchNorm):
    """`nnx.BatchNorm` over all axes but the last, its running variance unbiased.

    n is that of the whole batch over all devices, as the mean and the variance are. Reverse mode
    only.

    Source: PyTorch's ``torch.nn.BatchNorm2d`` and ``torch.nn.SyncBatchNorm``.
    """

    def __call__(self, x: jax.Array, use_running_average: bool | None = None) -> jax.Array:
        """The normalised batch; unless ``use_running_average`` the statistics move."""
        frozen = self.use_running_average if use_running_average is None else use_running_average
        if frozen:
            return super().__call__(x, use_running_average=True)
        y, mean, var = normalised(x, self.scale[...], self.bias[...], self.epsilon)
        num_pixels = x.size // x.shape[-1]
        # A single pixel has no variance; its part is 0 either way.
        var *= num_pixels / max(num_pixels - 1, 1)
        for kept, new in ((self.mean, mean), (self.var, var)):
            kept[...] = self.momentum * kept[...] + (1 - self.momentum) * new
        return y.astype(jnp.result_type(x, self.scale[...]) if self.dtype is None else self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalised(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A batch normalised by itself, its mean and its variance, divided by n; float32 at least.

    Args:
        x: shape (..., channels).
        scale, bias: shape (channels,).
        epsilon: added to the variance.
    """
    wide = _wide(x)
    axes = tuple(range(x.ndim - 1))
    mean = wide.mean(axes)
    # In one pass over the batch; rounding may leave less than nothing.
    var = jnp.maximum(jnp.square(wide).mean(axes) - jnp.square(mean), 0)
    y = (wide - mean) * (jax.lax.rsqrt(var + epsilon) * scale) + bias
    return y, mean, var


def _forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    y, mean, var = normalised(x, scale, bias, epsilon)
    return (y, mean, var), (x, scale, bias, mean, var)


def _backward(
    epsilon: float, saved: tuple[jax.Array, ...], gradients: tuple[jax.Array, ...]
) -> tuple[jax.Array, ...]:
    """With s = 1 / sqrt(var + epsilon) and z = (x - mean) s, so that ``y = scale z + bias``:

    dbias = sum dy, dscale = sum dy z, dx = scale s (dy - (dbias + z dscale) / n) and, where the
    statistics are differentiated too, (dmean + 2 (x - mean) dvar) / n more.
    """
    x, scale, bias, mean, var = saved
    dy, dmean, dvar = gradients
    axes = tuple(range(x.ndim - 1))
    centred, inverse = _wide(x) - mean, jax.lax.rsqrt(var + epsilon)
    dbias = dy.sum(axes)
    dscale = (dy * centred).sum(axes) * inverse
    factor, n = scale * inverse, x.size // x.shape[-1]
    slope = (2 * dvar - factor * inverse * dscale) / n
    dx = factor * dy + slope * centred + (dmean - factor * dbias) / n
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(bias.dtype)


normalised.defvjp(_forward, _backward)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
