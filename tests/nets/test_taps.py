"""The taps of a kernel that meet a map, beside every place that it can take."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.nets.large_conv import fourier_conv
from deepmad_jax.nets.taps import within_reach


@pytest.mark.parametrize(
    ("size", "shape", "stride", "pads", "left"),
    [
        (5, (1, 9), 1, ((2, 2), (2, 2)), (1, 5)),
        (7, (3, 2), 1, ((3, 3), (3, 3)), (5, 3)),
        (7, (3, 3), 2, ((3, 3), (3, 3)), (5, 5)),
        (5, (1, 1), 1, ((4, 4), (4, 4)), (5, 5)),  # each tap meets the pixel somewhere
        (5, (2, 2), 1, ((6, 0), (0, 6)), (2, 2)),
    ],
)
def test_outer_taps_that_meet_nothing_are_dropped(size, shape, stride, pads, left):
    kernel = jnp.arange(1.0, size * size + 1).reshape(size, size, 1, 1)
    found, around = within_reach(kernel, shape, (stride, stride), pads)
    assert found.shape[:2] == left
    for axis, taps in enumerate(left):
        n, (low, high) = shape[axis], pads[axis]
        places = range(0, n + low + high - size + 1, stride)
        met = [t for t in range(size) if any(0 <= p + t - low < n for p in places)]
        assert (met[0], met[-1] - met[0] + 1) == (low - around[axis][0], taps)
        assert sum(around[axis]) == low + high - (size - taps)
    corner = [low - new for (low, _), (new, _) in zip(pads, around, strict=True)]
    assert found[0, 0, 0, 0] == kernel[corner[0], corner[1], 0, 0]


def test_padding_as_wide_as_the_kernel_allows():
    """Every place where kernel and map meet at all: what used to leave no tap of a small map."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 1, 3, 4)), rng.normal(size=(11, 11, 1, 4))
    pads = ((10, 10), (10, 10))
    expected = np.zeros((2, 11, 13, 4))
    for i, j in itertools.product(range(11), range(11)):
        expected[:, 10 - i : 11 - i, 10 - j : 13 - j] += x * kernel[i, j, 0]
    found = fourier_conv(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32), pads)
    np.testing.assert_allclose(found, expected, atol=1e-5)
