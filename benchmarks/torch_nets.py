"""A PyTorch network for every architecture whose layers it knows, to measure ours beside.

It is an ordinary module of `torch.nn` layers, made from the layer table, so parameters and MACs are
the architecture's; `check` counts both on the module itself. Known are the layers of DeepMAD's
kinds, ResNets, MobileNetV2 and EfficientNet. Keys of the state dict are those of our state with the
number of the block, say ``stages_0_rest.2.main1_conv.weight``.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepmad_jax.arch import Architecture, Layer, layer_table
from deepmad_jax.arch.cost import macs, params

BATCH_NORM_MOMENTUM = 0.01  # the recipe's

FUNCTIONS = {
    # In place, as torchvision has them: what they overwrite no gradient needs.
    "relu": functools.partial(nn.ReLU, inplace=True),
    "relu6": functools.partial(nn.ReLU6, inplace=True),
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}
"""Activation modules by the name a row gives them."""


def peer_of(arch: Architecture) -> tuple[nn.Module, str]:
    """The network to measure beside ours, and whose it is: timm's ResNet-50 where timm works.

    timm asks for a torchvision that fits the torch at hand.

    Both take float images ``(batch, channels, height, width)`` and give logits.
    """
    if arch.name == "resnet50":
        try:
            import timm
        except ImportError:
            return TorchNet(arch), "benchmarks/torch_nets.py"
        net = timm.create_model("resnet50", num_classes=arch.classes)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = BATCH_NORM_MOMENTUM
        return net, f"timm {timm.__version__}"
    return TorchNet(arch), "benchmarks/torch_nets.py"


def check(net: nn.Module, arch: Architecture) -> None:
    """Stops unless the module has the parameters and the MACs that the layer table says."""
    rows = layer_table(arch)
    counted = sum(p.numel() for p in net.parameters())
    assert counted == params(rows), f"{arch.name}: {counted} parameters, not {params(rows)}"
    image = torch.zeros(1, arch.in_channels, arch.resolution, arch.resolution)
    image = image.to(next(net.parameters()).device)
    training = net.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(image)
    net.train(training)
    counted = counter.get_total_flops() // 2
    assert counted == macs(rows), f"{arch.name}: {counted} MACs, not {macs(rows)}"


class TorchNet(nn.Module):
    """Float images ``(batch, channels, height, width)`` to logits ``(batch, classes)``."""

    def __init__(self, arch: Architecture):
        super().__init__()
        sections = itertools.groupby(layer_table(arch), key=lambda row: row.section)
        for section, rows in sections:
            rows = list(rows)
            layers = [row.layer for row in rows]
            blocks = (Block(layers) for _ in range(rows[0].repeat))
            self.add_module(_module_name(section), nn.Sequential(*blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for section in self.children():
            x = section(x)
        return x


class Block(nn.Module):
    """The layers of one section in order, each on the branch it names (see `arch.rows`)."""

    def __init__(self, layers: Iterable[Layer]):
        super().__init__()
        self.plan = tuple(_named(layers))
        for name, layer in self.plan:
            self.add_module(name, _module(layer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = {"main": x, "shortcut": x}
        for name, layer in self.plan:
            if layer.kind == "mean":
                value = branches["main"].mean((2, 3), keepdim=True)
            elif layer.kind == "scale":
                branches["main"] = branches["main"] * branches["se"]
                continue
            elif layer.kind == "add":
                value = branches["main"] + branches["shortcut"]
            else:
                value = getattr(self, name)(branches[layer.branch])
            branches[layer.branch] = value
        return value


class Classifier(nn.Linear):
    """A linear layer on ``(batch, channels, 1, 1)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


def decay_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of an optimiser: kernels of convs and dense layers decay, nothing else."""
    kernels = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    chosen = {id(kernel) for kernel in kernels}
    others = [p for p in net.parameters() if id(p) not in chosen]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _module_name(section: str) -> str:
    """``stages_0_first`` for ``stage1.first``, as in the paths of our state; else as it is."""
    if "." not in section:
        return section
    stage, place = section.removeprefix("stage").split(".")
    return f"stages_{int(stage) - 1}_{place}"


def _named(layers: Iterable[Layer]) -> Iterator[tuple[str, Layer]]:
    """Layers with names as `nets.block.layer_names` gives them, which imports JAX."""
    places: dict[str, int] = {}
    for layer in layers:
        if layer.kind in ("conv", "dense"):
            places[layer.branch] = places.get(layer.branch, 0) + 1
        yield f"{layer.branch}{places.get(layer.branch, 0)}_{layer.kind}", layer


def _module(layer: Layer) -> nn.Module:
    if layer.kind == "conv":
        padding = (layer.kernel - 1) // 2
        return nn.Conv2d(
            layer.c_in, layer.c_out, layer.kernel, layer.stride, padding,
            groups=layer.groups, bias=layer.bias,
        )  # fmt: skip
    if layer.kind == "norm":
        return nn.BatchNorm2d(layer.c_out, momentum=BATCH_NORM_MOMENTUM)
    if layer.kind == "act":
        return FUNCTIONS[layer.function]()
    if layer.kind == "pool":
        return nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    if layer.kind == "max_pool":
        return nn.MaxPool2d(3, 2, 1)
    if layer.kind == "dense":
        return Classifier(layer.c_in, layer.c_out)
    if layer.kind in ("mean", "scale", "add"):
        return nn.Identity()  # its work is in `Block.forward`
    raise NotImplementedError(
        f"no PyTorch module here for a layer of kind {layer.kind!r}: measure a network without it, "
        "or add a rule"
    )
