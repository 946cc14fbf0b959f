"""What an architecture costs as a backbone: without its classifier, on images of any two sides.

Papers on detection print what mmcv's counter gives: the multiply-adds of convs, 2 an element for
BatchNorm, and 1 an element that enters a ReLU or a pool, which `backbone_flops` adds up.
"""

import dataclasses
from collections.abc import Iterator

from deepmad_jax.arch.cost import is_linear, layer_params
from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.rows import Row, num_taps
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
    total = 0
    for row, given_px, made_px in _at_two_sides(arch, height, width):
        layer = row.layer
        given, made = layer.c_in * given_px, layer.c_out * made_px
        if layer.kind == "conv":
            each = num_taps(layer) * (layer.c_in // layer.groups) * made
        elif layer.kind in ("norm", "layer_norm"):
            each = 2 * made
        elif layer.kind == "act":
            each = given if layer.function in COUNTED else 0
        else:
            each = given if layer.kind in ("pool", "max_pool") else 0
        total += row.repeat * each
    return int(total)


def backbone_macs(arch: Architecture, height: int, width: int) -> dict[str, int]:
    """MACs of everything before the head: of ``conv``, ``linear`` and ``attention``.

    What is printed for Swin under detectors is the first two, in which one MAC is one FLOP.

    >>> from deepmad_jax.arch.compared_nets import swin
    >>> found = backbone_macs(
    ...     swin("a", 96, (2, 2, 6, 2), (3, 6, 12, 24), stage_norms=True), 512, 2048)
    >>> found["conv"] + found["linear"]
    95744212992
    """
    found = {"conv": 0, "linear": 0, "attention": 0}
    for row, given_px, made_px in _at_two_sides(arch, height, width):
        layer = row.layer
        made = layer.c_out * (made_px + layer.extra)
        if layer.kind == "conv":
            kind = "linear" if is_linear(layer) else "conv"
            found[kind] += row.repeat * num_taps(layer) * (layer.c_in // layer.groups) * made
        elif layer.kind in ("attention", "window_attention"):
            keys = layer.window**2 if layer.window else given_px + layer.extra
            found["attention"] += row.repeat * 2 * keys * made
    return found


def _at_two_sides(arch: Architecture, height: int, width: int) -> Iterator[tuple[Row, int, int]]:
    """Every row before the head, with the pixels of its input and of its output."""
    tall, wide = (
        layer_table(dataclasses.replace(arch, resolution=px, resolution_w=0))
        for px in (height, width)
    )
    for row, other in zip(tall, wide, strict=True):
        if row.section != "head":
            given = row.layer.r_in * other.layer.r_in
            yield row, int(given), int(row.layer.r_out * other.layer.r_out)
