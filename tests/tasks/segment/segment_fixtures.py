"""What mmsegmentation computed on small random weights (float32, CPU), and its weights into ours.

The recorded states hold the running statistics as one training pass left them, while `logits` are
of before it: `before_training` takes that pass back.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepmad_jax.nets.parts import Making
from deepmad_jax.tasks.segment.upernet import AuxiliaryHead, UperHead
from tests.tasks import recorded
from tests.tasks.recorded import nhwc, set_conv

FOLDER = Path(__file__).parents[2] / "fixtures" / "segment"
POOLS = (1, 2, 3, 6)


def load(name):
    return recorded.load(FOLDER / f"{name}.npz")


def maps(arrays):
    """``in0``, ``in1``, ... as NHWC."""
    return [jnp.asarray(nhwc(arrays[f"in{i}"])) for i in range(4)]


def uper_head(state, dropout=0.0):
    channels = [state[f"lateral_convs.{i}.conv.weight"].shape[1] for i in range(3)]
    width, coarsest = state["psp_modules.0.1.conv.weight"].shape[:2]
    classes = len(state["conv_seg.bias"])
    making = Making(np.random.default_rng(0))
    head = UperHead([*channels, coarsest], width, POOLS, classes, dropout, making)
    for i in range(len(POOLS)):
        set_conv_norm(head.pooled[i], state, f"psp_modules.{i}.1")
    for i in range(3):
        set_conv_norm(head.laterals[i], state, f"lateral_convs.{i}")
        set_conv_norm(head.outputs[i], state, f"fpn_convs.{i}")
    set_conv_norm(head.context, state, "bottleneck")
    set_conv_norm(head.fuse, state, "fpn_bottleneck")
    set_conv(head.classes, state, "conv_seg")
    return head


def auxiliary_head(state, dropout=0.0):
    width, c_in = state["convs.0.conv.weight"].shape[:2]
    making = Making(np.random.default_rng(0))
    head = AuxiliaryHead(c_in, width, len(state["conv_seg.bias"]), dropout, making)
    set_conv_norm(head.hidden, state, "convs.0")
    set_conv(head.classes, state, "conv_seg")
    return head


def before_training(head, maps):
    """The head with the statistics that it had before it was trained on ``maps`` once."""
    moved = nnx.clone(head)
    nnx.jit(lambda head, maps: head(maps, True))(moved, maps)
    found = nnx.clone(head)
    for path, norm in norms_of(found):
        after = dict(norms_of(moved))[path]
        for name in ("mean", "var"):
            ours = getattr(norm, name)
            batch = (getattr(after, name)[...] - 0.9 * ours[...]) / 0.1
            ours[...] = (ours[...] - 0.1 * batch) / 0.9
    return found


def norms_of(head):
    return [(path, m) for path, m in nnx.iter_modules(head) if isinstance(m, nnx.BatchNorm)]


def set_conv_norm(part, state, key):
    set_conv(part.conv, state, f"{key}.conv")
    norm = part.norm
    for ours, theirs in (
        (norm.scale, "weight"),
        (norm.bias, "bias"),
        (norm.mean, "running_mean"),
        (norm.var, "running_var"),
    ):
        ours[...] = jnp.asarray(state[f"{key}.bn.{theirs}"])
