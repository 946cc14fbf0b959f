"""Recorded results of other implementations, and their weights into our modules.

The fixtures hold what mmdetection, mmcv, GFocalV2 and pycocotools computed on small random weights
(float32, CPU): NCHW arrays and PyTorch's names.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from tests.tasks import recorded
from tests.tasks.recorded import nhwc, set_conv

FOLDER = Path(__file__).parents[2] / "fixtures" / "detect"


def load(name):
    return recorded.load(FOLDER / f"{name}.npz")


def maps(arrays, name):
    """``name0``, ``name1``, ... as NHWC."""
    out = []
    while f"{name}{len(out)}" in arrays:
        out.append(nhwc(arrays[f"{name}{len(out)}"]))
    return out


def set_branch(branch, arrays, key):
    for i, (conv, norm) in enumerate(zip(branch.convs, branch.norms, strict=True)):
        set_conv(conv, arrays, f"{key}.{i}.conv")
        norm.scale[...] = jnp.asarray(arrays[f"{key}.{i}.gn.weight"])
        norm.bias[...] = jnp.asarray(arrays[f"{key}.{i}.gn.bias"])


def ground_truth(arrays, prefix=""):
    """Boxes (images, m, 4) and labels (images, m), padded with -1 to the longest."""
    images = sorted(k for k in arrays if k.startswith(f"{prefix}gt") and k.endswith("/boxes"))
    images.sort(key=lambda k: int("".join(filter(str.isdigit, k.removeprefix(prefix)))))
    most = max(len(arrays[k]) for k in images) + 1
    boxes = np.zeros((len(images), most, 4), np.float32)
    labels = np.full((len(images), most), -1, np.int32)
    for i, key in enumerate(images):
        count = len(arrays[key])
        boxes[i, :count] = arrays[key]
        labels[i, :count] = arrays[key.replace("boxes", "labels")]
    return boxes, labels


def of_image(batch, index):
    return type(batch)(*(np.asarray(x[index]) for x in batch))


def assert_same_detections(found, boxes, scores, labels, rtol=1e-4, atol=1e-3):
    """The same boxes with the same labels and scores; neighbouring scores may trade places."""
    count = int(np.sum(found.valid))
    assert count == len(scores)
    np.testing.assert_allclose(found.scores[:count], scores, rtol=rtol, atol=1e-5)
    left = list(range(count))
    for box, score, label in zip(boxes, scores, labels, strict=True):
        match = [
            i
            for i in left
            if found.labels[i] == label
            and abs(found.scores[i] - score) <= 1e-5 + rtol * score
            and np.allclose(found.boxes[i], box, rtol=rtol, atol=atol)
        ]
        assert match, (box, score, label)
        left.remove(match[0])
