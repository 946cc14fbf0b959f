"""The judge's matrices beside tiles pasted and resized one after the other, by PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.config import SegmentConfig
from deepmad_jax.tasks.segment.functions import views_of
from deepmad_jax.tasks.segment.judging import judge, windows_along
from deepmad_jax.tasks.segment.loss import IGNORED

CLASSES = 5


def run(images):
    """A network that halves the image; what it gives depends on the place in its window."""
    height, width = images.shape[1:3]
    small = images[:, ::2, ::2]
    rows = jnp.arange(-(-height // 2))[:, None, None]
    columns = jnp.arange(-(-width // 2))[None, :, None]
    return small[..., :CLASSES] + jnp.sin(0.7 * rows + 1.3 * columns * (1 + small[..., 1:2]))


def pasted(torch, images, window, stride, size):
    """Logits of every window resized, added up, divided by how often each pixel was seen."""
    functional = torch.nn.functional
    height, width = images.shape[1:3]
    h, w = (min(window or side, side) for side in (height, width))
    total = np.zeros((CLASSES, height, width))
    seen = np.zeros((height, width))
    top = 0
    while True:
        y = min(top, height - h)
        left = 0
        while True:
            x = min(left, width - w)
            logits = np.array(run(images[:, y : y + h, x : x + w])[0]).transpose(2, 0, 1)
            larger = functional.interpolate(torch.tensor(logits)[None], (h, w), mode="bilinear")
            total[:, y : y + h, x : x + w] += larger[0].numpy()
            seen[y : y + h, x : x + w] += 1
            if left + w >= width:
                break
            left += stride
        if top + h >= height:
            break
        top += stride
    assert seen.min() >= 1
    whole = torch.tensor(total / seen)[None]
    return functional.interpolate(whole, size, mode="bilinear")[0].numpy()


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(1, 36, 50, CLASSES)), jnp.float32)


@pytest.mark.parametrize(("window", "stride"), [(0, 9), (20, 13), (40, 30), (99, 50)])
@pytest.mark.parametrize("size", [(61, 45), (20, 77)])
def test_logits_at_the_label_are_those_of_pasted_windows(images, window, stride, size):
    torch = pytest.importorskip("torch")
    wanted = pasted(torch, images, window, stride, size)
    segment = SegmentConfig(window=window, stride=stride)
    views = views_of(run, images, (1, 64, 80), jnp.array([size]), segment)
    ((mosaic, rows, columns),) = views
    found = jnp.einsum("bim,bmnk,bjn->bkij", rows, mosaic, columns)
    found = found[0, :, : size[0], : size[1]]
    # Both are float32; the order of sums differs.
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_classes_and_confusions_are_those_of_averaged_probabilities(images):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    sizes = np.array([[45, 60], [30, 33]])
    two = jnp.concatenate([images, images[:, ::-1]])
    labels = np.full((2, 48, 64), IGNORED, np.uint8)
    wanted, table = [], np.zeros((CLASSES, CLASSES), int)
    for i, (height, width) in enumerate(sizes):
        label = rng.integers(0, CLASSES, (height, width)).astype(np.uint8)
        label[rng.random(label.shape) < 0.2] = IGNORED
        labels[i, :height, :width] = label
        total = 0
        for flip in (False, True):
            own = two[i : i + 1]
            logits = pasted(torch, own[:, :, ::-1] if flip else own, 20, 13, (height, width))
            p = np.exp(logits) / np.exp(logits).sum(0)
            total = total + (p[..., ::-1] if flip else p)
        wanted.append(total.argmax(0))
        known = label != IGNORED
        np.add.at(table, (label[known], wanted[-1][known]), 1)

    segment = SegmentConfig(window=20, stride=13, mirrored=True)
    views = views_of(run, two, labels.shape, jnp.asarray(sizes), segment)
    function = jax.jit(lambda *arguments: judge(*arguments, IGNORED))
    found, counts = function(views, labels, jnp.asarray(sizes), jnp.array([True, True]))
    for i, (height, width) in enumerate(sizes):
        same = np.asarray(found[i, :height, :width]) == wanted[i]
        assert same.mean() > 0.999  # two classes may be equal to the last bit
    assert abs(np.asarray(counts) - table).sum() <= 4
    assert counts.sum() == (labels != IGNORED).sum()
    # An image that only fills the batch up counts nothing.
    _, counts = function(views, labels, jnp.asarray(sizes), jnp.array([True, False]))
    assert counts.sum() == (labels[0] != IGNORED).sum()


def test_windows_cover_an_axis_with_as_few_as_mmsegmentation():
    for length in (10, 17, 20, 21, 40, 99):
        for window, stride in ((20, 13), (20, 20), (7, 3)):
            starts, size, _ = windows_along(length, window, stride)
            assert len(starts) == max(length - window + stride - 1, 0) // stride + 1
            seen = {i for start in starts for i in range(start, start + size)}
            assert seen == set(range(length))
