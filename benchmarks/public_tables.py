"""The public tables of accuracy beside what is known of each network before it is trained.

Files, sources and licences: the first line of each in ``data/``. Networks that a table holds twice
are one here: NAS-Bench-Macro's codes that differ only in where an identity stands, and timm's
EfficientNets with and without TensorFlow's padding.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.public_macro import macro
from benchmarks.public_nets import Counted, imagenet
from benchmarks.public_tokens import autoformer, pit

DATA = Path(__file__).parent / "data"

SCORES: dict[str, Callable[[Counted], float]] = {
    "entropy": lambda net: net.entropy,
    "last level's entropy": lambda net: net.entropies[-1],
    "rho": lambda net: net.rho,
    "layers": lambda net: net.layers,
    "MACs": lambda net: net.macs,
    "params": lambda net: net.params,
}
"""What may rank networks; entropy is weighted 1 a level and 8 the last."""

OTHER_DATA = ("in22k", "in12k", "jft", "ig1b", "yfcc", "laion", "swag", "seer")
"""In a recipe's name: trained on more than ImageNet-1k."""


class Group(NamedTuple):
    """Networks that may be compared with each other.

    Attributes:
        name: of the networks and of how they were trained.
        nets: name -> what is known of it.
        accuracy: percent, in the same order.
    """

    name: str
    nets: dict[str, Counted]
    accuracy: np.ndarray

    def score(self, name: str) -> np.ndarray:
        """One of `SCORES`, to ten digits: sums in another order are no difference."""
        return rounded([SCORES[name](net) for net in self.nets.values()])

    @property
    def costs(self) -> np.ndarray:
        """MACs and params, shape (networks, 2)."""
        return np.array([(net.macs, net.params) for net in self.nets.values()], float)


def rounded(values: Any) -> np.ndarray:
    """To ten significant digits."""
    return np.array([float(f"{value:.10g}") for value in values])


def read(name: str) -> list[dict[str, str]]:
    """The lines of a table."""
    with (DATA / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


# --- NAS-Bench-Macro ------------------------------------------------------------------------------


def macro_group(every_code: bool = False) -> Group:
    """All distinct networks of NAS-Bench-Macro, or one a code."""
    nets, accuracy = {}, []
    seen = set()
    for line in read("nas_bench_macro_cifar10"):
        code = line["code"]
        same = tuple(
            # Where a stage does not stride, an identity is no layer at all.
            part[0] + part[1:].replace("0", "")
            for part in (code[:2], code[2:5], code[5:])
        )
        if same in seen and not every_code:
            continue
        seen.add(same)
        nets[code] = macro(code)
        accuracy.append(float(line["accuracy"]))
    return Group("NAS-Bench-Macro, CIFAR-10", nets, np.array(accuracy))


# --- ImageNet -------------------------------------------------------------------------------------

_RESNETS = ("resnet", "wide_resnet", "resnext")
_ANY = ("",)
_ONE_RECIPE: tuple[tuple[str, tuple[str, ...], tuple[str, ...], int | None], ...] = (
    ("RegNetX and Y, pycls", ("regnet",), ("pycls_in1k",), 224),
    ("RegNetX, pycls", ("regnetx",), ("pycls_in1k",), 224),
    ("RegNetY, pycls", ("regnety",), ("pycls_in1k",), 224),
    ("ResNet, ResNeXt, wide, torchvision 1", _RESNETS, ("tv_in1k",), 224),
    ("ResNet, ResNeXt, wide, RegNet, torchvision 2", _ANY, ("tv2_in1k",), 224),
    ("ResNet, ResNeXt, recipe A1", _RESNETS, ("a1_in1k",), 224),
    ("ResNet, ResNeXt, recipe A3", _RESNETS, ("a3_in1k",), 224),
    ("ConvNeXt, three recipes", ("convnext_",), ("fb_in1k", "d1_in1k", "d1h_in1k", "d2_in1k"), 224),
    ("ConvNeXt V2", ("convnextv2",), ("fcmae_ft_in1k",), 224),
    ("EfficientNet B0-B7, own pixels", ("tf_efficientnet_b",), ("aa_in1k",), None),
    ("EfficientNet Lite 0-4, own pixels", ("tf_efficientnet_lite",), ("in1k",), None),
)
"""Name, how the networks' names and which recipes begin, and the pixels; None for each its own."""

ALL_OF_IMAGENET = "every network once, recipes mixed"


def imagenet_groups() -> list[Group]:
    """Groups of one recipe, then all networks at the best that ImageNet-1k alone taught them."""
    lines = read("imagenet_top1")
    groups = [
        _group(
            name,
            [
                line
                for line in lines
                if line["net"].startswith(nets)
                and line["recipe"] in recipes
                and pixels in (None, int(line["pixels"]))
            ],
        )
        for name, nets, recipes, pixels in _ONE_RECIPE
    ]
    alone = [line for line in lines if not any(data in line["recipe"] for data in OTHER_DATA)]
    return [*groups, _group(ALL_OF_IMAGENET, alone)]


def _group(name: str, lines: list[dict[str, str]]) -> Group:
    best: dict[str, dict[str, str]] = {}
    for line in lines:
        net = line["net"].removeprefix("tf_")
        if net not in best or float(line["top1"]) > float(best[net]["top1"]):
            best[net] = line
    nets = {net: imagenet(line["net"], int(line["pixels"])) for net, line in best.items()}
    return Group(name, nets, np.array([float(line["top1"]) for line in best.values()]))


# --- ViT-Bench-101 --------------------------------------------------------------------------------

_VIT_TABLES = {
    "autoformer": ("c100_base", "c100_kd", "flowers_kd", "chaoyang_kd", "imagenet_super"),
    "pit": ("c100_base", "c100_kd", "flowers_kd", "chaoyang_kd"),
}


def vit_groups() -> list[Group]:
    """Each space of ViT-Bench-101 on each data set."""
    groups = []
    lines = read("vit_bench_101")
    for space, columns in _VIT_TABLES.items():
        for column in columns:
            chosen = [x for x in lines if x["space"] == space and x[column]]
            nets = {f"{space}_{i}": _vit(line) for i, line in enumerate(chosen)}
            accuracy = np.array([float(line[column]) for line in chosen])
            groups.append(Group(f"{space}, {column}", nets, accuracy))
    return groups


def _vit(line: dict[str, str]) -> Counted:
    heads = tuple(map(int, line["heads"].split("-")))
    ratios = tuple(map(float, line["mlp_ratio"].split("-")))
    if line["space"] == "autoformer":
        return autoformer(int(line["width"]), ratios, heads)
    depths = tuple(map(int, line["depth"].split("-")))
    return pit(int(line["width"]), ratios[0], depths, heads)
