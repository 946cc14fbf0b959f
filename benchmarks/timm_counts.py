"""Params and MACs as PyTorch sees them: timm's own networks, run on shapes without numbers.

The referee of `public_nets`: nothing here reads this project's code. A network is made on PyTorch's
meta device and given an image of it, so that the largest costs no memory and no time.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any


def counts(net: Any, pixels: int = 224) -> tuple[int, int]:
    """Trainable numbers, and multiply-accumulates of every conv and linear layer for one image.

    What attention multiplies outside such layers is not among them.

    Args:
        net: timm's name, or a function that makes a ``torch.nn.Module``.
        pixels: of the image, a side.
    """
    import torch

    with torch.device("meta"):
        model = models().create_model(net) if isinstance(net, str) else net()
        model.eval()
        macs = [0]

        def count(layer: Any, inputs: Any, output: torch.Tensor) -> None:
            # Each number that comes out took one multiplication for each weight it is made of.
            macs[0] += output.numel() * (layer.weight.numel() // layer.weight.shape[0])

        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.register_forward_hook(count)
        with torch.no_grad():
            model(torch.empty(1, 3, pixels, pixels))
    return sum(p.numel() for p in model.parameters() if p.requires_grad), macs[0]


def models() -> types.ModuleType:
    """``timm.models``, also where torchvision is not installed, of which no network has a part."""
    if importlib.util.find_spec("torchvision") is None:
        finder = _StandIns()
        sys.meta_path.append(finder)
        try:
            return importlib.import_module("timm.models")
        finally:
            sys.meta_path.remove(finder)
            for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
    return importlib.import_module("timm.models")


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules in torchvision's place, in which every name is a class of its own."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Empty(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(
            name,
            (),
            {"BICUBIC": 3, "BILINEAR": 2, "NEAREST": 0, "BOX": 4, "HAMMING": 5, "LANCZOS": 1},
        )
