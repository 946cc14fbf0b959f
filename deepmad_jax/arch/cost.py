"""Costs of an architecture, each a sum over the rows of `layers.py`.

All functions take rows and give a number of the kind the rows hold: exact Python ints for a built
architecture, arrays (one entry per stage, summed by the caller) or traced values otherwise.

Conventions (the paper's): params are every trainable number: conv kernels, scale and bias of norms,
classifier weight and bias; MACs are the multiply-accumulates of all convs and of the classifier,
shortcuts and squeezes included, and the two products of every attention, which the paper calls
FLOPs. `tinynas_params` and `tinynas_flops`
count as the authors' released code does.
"""

from collections.abc import Callable, Iterable

from deepmad_jax.arch.layers import Layer, Number, Row
from deepmad_jax.arch.rows import ATTENTIONS, num_taps


def fan_in(layer: Layer) -> Number:
    """Layer width w: ``c_in * kernel^2 / groups``, of clips ``c_in * k_t * kernel^2 / groups``.

    Of a dense layer, whose kernel is 1, ``c_in`` (paper, section 3).
    """
    # A depthwise conv has groups == c_in as the same object or value; the ratio is then exactly 1.
    return layer.c_in / layer.groups * num_taps(layer)


def layer_params(layer: Layer) -> Number:
    """Trainable numbers of one layer."""
    if layer.kind == "conv":
        return _kernel_size(layer) + layer.c_out if layer.bias else _kernel_size(layer)
    if layer.kind in ("norm", "layer_norm"):
        return 2 * layer.c_out
    if layer.kind == "layer_scale":
        return layer.c_out
    if layer.kind == "dense":
        return (layer.c_in + 1) * layer.c_out
    if layer.kind == "window_attention":
        return (2 * layer.window - 1) ** 2 * layer.heads
    if layer.kind == "position":
        # The sinusoid is fixed, the class token beside it is not.
        rows = 0 if layer.function == "sinusoid" else _positions(layer)
        return (rows + layer.extra) * layer.c_out
    return 0


def layer_macs(layer: Layer) -> Number:
    """Multiply-accumulates of one layer."""
    if layer.kind == "conv":
        return _kernel_size(layer) * _tokens(layer)
    if layer.kind == "dense":
        return layer.c_in * layer.c_out
    if layer.kind in ("attention", "window_attention"):
        keys = layer.window**2 if layer.window else layer.r_in**2 + layer.extra
        # Queries times keys, and what comes of it times values; heads share the channels.
        return 2 * layer.c_out * keys * _tokens(layer)
    if layer.kind == "performer":
        features = layer.c_out // 2
        # Features of keys and of queries, their products with values, and the normaliser.
        return (4 * layer.c_out + 1) * features * _tokens(layer)
    return 0


def macs_by_kind(rows: Iterable[Row]) -> dict[str, int]:
    """MACs of ``conv`` (of which ``depthwise``), ``linear`` and ``attention``, which add up.

    Linear are the classifier and the 1x1 convs that the source of a network has as linear layers.
    """
    found = {"conv": 0, "depthwise": 0, "linear": 0, "attention": 0}
    for row in rows:
        layer, amount = row.layer, int(row.repeat * layer_macs(row.layer))
        if layer.kind in ATTENTIONS:
            found["attention"] += amount
        elif layer.kind == "dense" or is_linear(layer):
            found["linear"] += amount
        else:
            found["conv"] += amount
            found["depthwise"] += amount if 1 < layer.groups == layer.c_in else 0
    return found


def nonzero(rows: Iterable[Row], sparsity: float) -> tuple[int, int]:
    """Params and MACs that are left where that share of every kernel is zero.

    As the authors of SLaK count: weights of convs and linear layers can be zero, nothing else. A
    machine without sparse kernels stores and multiplies the zeros all the same.

    >>> from deepmad_jax.arch.layers import layer_table
    >>> from deepmad_jax.arch.zoo import zoo
    >>> nonzero(layer_table(zoo("slak_t")), 0.4)
    (30473228, 5222865822)
    """
    rows = list(rows)
    convs = total((row for row in rows if row.layer.kind == "conv"), _kernel_size)
    dense = total((row for row in rows if row.layer.kind == "dense"), layer_macs)
    left = params(rows) - sparsity * (convs + dense)
    return round(left), round((1 - sparsity) * macs(rows))


def is_linear(layer: Layer) -> bool:
    """Whether a conv is a linear layer in the source: of one pixel, and drawn as these are."""
    return bool(layer.kind == "conv" and layer.kernel == 1 and layer.draw == "normal")


def layer_activations(layer: Layer) -> Number:
    """Output elements of one conv or dense layer."""
    return layer.c_out * _tokens(layer) if layer.kind in ("conv", "dense") else 0


def total(rows: Iterable[Row], cost: Callable[[Layer], Number]) -> Number:
    """Sum of ``repeat * cost(layer)`` over the rows.

    >>> from deepmad_jax.arch import Architecture, Stage, Stem
    >>> from deepmad_jax.arch.layers import layer_table
    >>> arch = Architecture("tiny", 8, 1, 2, Stem(4, 3, 1), (Stage("basic", 4, 4, 3, 1, 1),))
    >>> total(layer_table(arch), layer_params)
    358
    """
    return sum(row.repeat * cost(row.layer) for row in rows)


def params(rows: Iterable[Row]) -> Number:
    """Trainable numbers of all rows."""
    return total(rows, layer_params)


def macs(rows: Iterable[Row]) -> Number:
    """Multiply-accumulates of all rows for one image."""
    return total(rows, layer_macs)


def activations(rows: Iterable[Row]) -> Number:
    """Elements written by convs and classifier for one image."""
    return total(rows, layer_activations)


def tinynas_params(rows: Iterable[Row]) -> Number:
    """Parameters as the released code counts them: without the classifier."""
    return total((row for row in rows if row.layer.branch != "head"), layer_params)


def tinynas_flops(rows: Iterable[Row]) -> Number:
    """FLOPs as the released code counts them, for one image.

    MACs of the convs without squeeze and classifier, and per element 2 for a BatchNorm output, 1
    for an activation, 1 for a projection's output and 1 for the input of a pooled shortcut.
    """
    return total((row for row in rows if row.layer.branch not in ("head", "se")), _flops)


def _flops(layer: Layer) -> Number:
    if layer.kind == "conv":
        extra = 1 if layer.branch == "shortcut" else 0
        return layer_macs(layer) + extra * layer.c_out * layer.r_out**2
    if layer.kind == "norm":
        return 2 * layer.c_out * layer.r_out**2
    if layer.kind == "act":
        return layer.c_out * layer.r_out**2
    if layer.kind == "pool":
        return layer.c_in * layer.r_in**2
    return 0


def _kernel_size(layer: Layer) -> Number:
    if isinstance(layer.c_in, int) and isinstance(layer.groups, int):
        return layer.c_in // layer.groups * layer.c_out * num_taps(layer)
    return layer.c_in / layer.groups * layer.c_out * num_taps(layer)


def _tokens(layer: Layer) -> Number:
    """Pixels of the output, and the class token where it is among them."""
    return layer.r_out**2 + layer.extra if layer.extra else layer.r_out**2


def _positions(layer: Layer) -> Number:
    return layer.window**2 if layer.function == "tile" else _tokens(layer)
