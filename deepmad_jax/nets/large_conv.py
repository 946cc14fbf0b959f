"""Depthwise convs of large kernels as products of Fourier transforms: the same sums, to 1e-6.

    y = x * w    a sum over k^2 taps a pixel, or three transforms of (H + k - 1)^2 pixels

The second costs nearly the same for any k, and is the faster on a CPU where k is large: see
`benchmarks/large_kernels.py` and its results. JAX differentiates it as it stands; transforms are
float32, so narrower dtypes gain digits. Not measured on a GPU, where it is not used.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from deepmad_jax.nets.taps import Pads, within_reach

LARGE_TAPS = 121
"""Taps from which a kernel counts as large: 11 x 11."""


def suits(kernel: tuple[int, int], strides: Sequence[int], pads: Pads) -> bool:
    """Whether a depthwise conv is one that `fourier_conv` computes, and faster."""
    taps = kernel[0] * kernel[1]
    within = all(low < k and high < k for k, (low, high) in zip(kernel, pads, strict=True))
    return taps >= LARGE_TAPS and tuple(strides) == (1, 1) and within


def fourier_conv(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """A depthwise conv of stride 1.

    Args:
        x: maps, shape (batch, H, W, channels).
        kernel: shape (k, l, 1, channels); padding below k and l.
        pads: zeros before and after, on both axes.
    """
    kernel, pads = within_reach(kernel, x.shape[1:3], (1, 1), pads)
    sizes = [_fast_length(n + k - 1) for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)]
    maps = jnp.fft.rfft2(x.astype(jnp.float32).transpose(0, 3, 1, 2), sizes)
    # A conv in the sense of neural networks does not turn its kernel; one in Fourier's does.
    turned = kernel[::-1, ::-1, 0].astype(jnp.float32).transpose(2, 0, 1)
    y = jnp.fft.irfft2(maps * jnp.fft.rfft2(turned, sizes), sizes)
    starts = [k - 1 - low for k, (low, _) in zip(kernel.shape[:2], pads, strict=True)]
    ends = [
        start + n + low + high - k + 1
        for start, n, k, (low, high) in zip(
            starts, x.shape[1:3], kernel.shape[:2], pads, strict=True
        )
    ]
    y = y[:, :, starts[0] : ends[0], starts[1] : ends[1]]
    return y.transpose(0, 2, 3, 1).astype(x.dtype)


def _fast_length(length: int) -> int:
    """The next number without prime factors above 5.

    >>> _fast_length(86), _fast_length(106)
    (90, 108)
    """
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
