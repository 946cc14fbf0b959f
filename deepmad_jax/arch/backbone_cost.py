"""What an architecture costs as a backbone: without its classifier, on images of any two sides.

Papers on detection print what mmcv's counter gives: the multiply-adds of convs, 2 an element for
BatchNorm, and 1 an element that enters a ReLU or a pool, which `backbone_flops` adds up.
"""

import dataclasses

from deepmad_jax.arch.cost import layer_params
from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.spec import Architecture

COUNTED = ("relu", "relu6")
"""Activations that the counter knows; it passes over SiLU, GELU and sigmoid."""


def backbone_params(arch: Architecture) -> int:
    """Trainable numbers of everything before the classifier.

    >>> from deepmad_jax.arch.zoo import zoo
    >>> backbone_params(zoo("resnet50"))
    23508032
    """
    rows = [row for row in layer_table(arch) if row.section != "head"]
    return int(sum(row.repeat * layer_params(row.layer) for row in rows))


def backbone_flops(arch: Architecture, height: int, width: int) -> int:
    """Operations of everything before the classifier, as mmcv's counter counts them.

    Args:
        arch: any.
        height, width: of the image, pixels.
    """
    tall, wide = (layer_table(dataclasses.replace(arch, resolution=px)) for px in (height, width))
    total = 0
    for row, other in zip(tall, wide, strict=True):
        if row.section == "head":
            continue
        layer = row.layer
        given = layer.c_in * layer.r_in * other.layer.r_in
        made = layer.c_out * layer.r_out * other.layer.r_out
        if layer.kind == "conv":
            each = layer.kernel**2 * (layer.c_in // layer.groups) * made
        elif layer.kind in ("norm", "layer_norm"):
            each = 2 * made
        elif layer.kind == "act":
            each = given if layer.function in COUNTED else 0
        else:
            each = given if layer.kind in ("pool", "max_pool") else 0
        total += row.repeat * each
    return int(total)
