"""A network made into another one of nearly the same function: less its classifier, BatchNorm
frozen, BatchNorm folded, convs side by side merged. The argument stays as it is; arrays that do not
change are shared.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepmad_jax.arch import Layer
from deepmad_jax.arch.large_kernel_blocks import merged
from deepmad_jax.errors import InvalidArchitecture, UserError
from deepmad_jax.nets.block import Block, layer_names

Net = Any  # a `Network`, which imports this module


def without_classifier(net: Net) -> Net:
    """The network up to its pooled last map: calls give ``(batch, channels)``, float32."""
    net = nnx.clone(net)
    kept = tuple((name, layer) for name, layer in net.head.plan if layer.kind != "dense")
    for name, layer in net.head.plan:
        if layer.kind == "dense":
            del net.head.layers[name]
    net.head.plan = kept
    return net


def with_frozen_batch_norm(net: Net, affine_trains: bool = False) -> Net:
    """The network with BatchNorm as an affine map of each channel, in training too.

    Scale and bias become `nnx.BatchStat`, as the statistics are: no gradient, no optimiser. With
    ``affine_trains`` they stay as they are, and only the statistics are fixed.
    """
    net = nnx.clone(net)
    for block in net.blocks:
        block.frozen = True
        for name, layer in block.plan:
            if layer.kind == "norm" and not affine_trains:
                norm = block.layers[name]
                norm.scale = nnx.BatchStat(norm.scale[...])
                norm.bias = nnx.BatchStat(norm.bias[...])
    return net


def freeze_before(net: Net, stride: int) -> Net:
    """The network whose stem and stages of up to this stride do not train; 0 changes nothing.

    Their params become `nnx.BatchStat`: no gradient, no optimiser, in checkpoints all the same.
    """
    net = nnx.clone(net)
    if net.arch.stem.reduction <= stride:
        _freeze(net.stem)
    reached = net.arch.stem.reduction
    for i, stage in enumerate(net.arch.stages):
        reached *= stage.stride
        if reached <= stride:
            _freeze(net.stages[i].first)
            if net.stages[i].rest is not None:
                _freeze(net.stages[i].rest)
    return net


def _freeze(block: Block) -> None:
    block.frozen = True
    for layer in block.layers.values():
        for name in ("kernel", "bias", "scale", "table", "token"):
            value = getattr(layer, name, None)
            if isinstance(value, nnx.Param):
                setattr(layer, name, nnx.BatchStat(value[...]))


def with_folded_batch_norm(net: Net) -> Net:
    """The network for inference with no BatchNorm that follows a conv: that conv has a bias.

    Its state has another layout: it can be run and exported, not trained or loaded into.
    """
    net = nnx.clone(net)
    for block in net.blocks:
        _fold(block)
    return net


def with_merged_kernels(net: Net) -> Net:
    """The network for inference with one conv for those side by side; ``arch.merged`` says so.

    Raises:
        UserError: a network of blocks that have none.
    """
    try:
        arch = dataclasses.replace(net.arch, merged=True)
    except InvalidArchitecture as error:
        raise UserError(f"{net.arch.name} cannot be merged: {error}") from error
    net = nnx.clone(net)
    for block in net.blocks:
        _merge(block)
    net.arch = arch
    return net


def _merge(block: Block) -> None:
    layers = [layer for _, layer in block.plan]
    kept = merged(layers)
    plan = tuple(zip(layer_names(kept), kept, strict=True))
    gone = {name: layer for name, layer in block.plan if name and name not in dict(plan)}
    parts = [name for name, layer in gone.items() if layer.kind == "conv"]
    if parts:
        after = {name: block.plan[i + 1][0] for i, (name, _) in enumerate(block.plan[:-1])}
        main = next(name for name, layer in block.plan if layer.kernel_w and layer.branch == "main")
        convs = [_with_bias(block.layers[p], block.layers[after[p]]) for p in (main, *parts)]
        block.layers[main] = _sum_of(*convs)
    for name in gone:
        del block.layers[name]
    block.plan = plan


def _sum_of(main: nnx.Conv, *others: nnx.Conv) -> nnx.Conv:
    """One conv that gives the sum of several: small kernels lie at the centre of the large one."""
    kernel, bias = main.kernel[...], main.bias[...]
    for conv in others:
        small = conv.kernel[...]
        margins = [(big - size) // 2 for big, size in zip(kernel.shape, small.shape, strict=True)]
        kernel = kernel + jnp.pad(small, [(margin, margin) for margin in margins])
        bias = bias + conv.bias[...]
    main.kernel, main.bias = nnx.Param(kernel), nnx.Param(bias)
    return main


def _fold(block: Block) -> None:
    plan: list[tuple[str | None, Layer]] = []
    for name, layer in block.plan:
        if layer.kind == "norm" and plan and _is_conv_of(plan[-1][1], layer.branch):
            conv_name = plan[-1][0]
            block.layers[conv_name] = _with_bias(block.layers[conv_name], block.layers[name])
            del block.layers[name]
        else:
            plan.append((name, layer))
    block.plan = tuple(plan)


def _is_conv_of(layer: Layer, branch: str) -> bool:
    return layer.kind == "conv" and layer.branch == branch


def _with_bias(conv: nnx.Conv, norm: nnx.BatchNorm) -> nnx.Conv:
    """``norm(conv(x))`` by the running statistics, as one conv.

    ``scale * (k x - mean) / std + bias = (k scale / std) x + (bias - mean scale / std)``, by output
    channel, which is the last axis of the kernel; a leading axis over repeated blocks goes along.
    """
    # NumPy: every shape of an eager JAX operation would compile its own program.
    scale, bias, mean, var = (
        np.asarray(value[...], np.float64) for value in (norm.scale, norm.bias, norm.mean, norm.var)
    )
    factor = scale / np.sqrt(var + norm.epsilon)
    kernel = np.asarray(conv.kernel[...])
    ones = (1,) * (kernel.ndim - factor.ndim)
    kernel = kernel * factor.reshape(*factor.shape[:-1], *ones, factor.shape[-1])
    bias = bias - mean * factor
    if conv.bias is not None:
        bias += np.asarray(conv.bias[...]) * factor
    folded = nnx.clone(conv)
    folded.kernel = nnx.Param(jnp.asarray(kernel, jnp.float32))
    folded.bias = nnx.Param(jnp.asarray(bias, jnp.float32))
    folded.use_bias = True
    return folded
