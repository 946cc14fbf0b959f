"""Published networks by name: the DeepMAD nets, and baselines to train under the same recipe.

    zoo("deepmad_r18")                   the architecture
    zoo("resnet20", classes=100)         the same for other data
    entry("deepmad_r18").top1            77.7, the percentage that was published

Accuracies are what the sources report, never ours. Costs are not stored: they are counted from the
layer table, whole network, as everywhere in this package (`cost.py`); an entry says how its source
counts. No weights: `interop` reads those of the authors' checkpoints.
"""

import dataclasses
from typing import Any

from deepmad_jax.arch.compared_nets import COMPARED
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.zoo_nets import ARCHITECTURES
from deepmad_jax.errors import InvalidArchitecture, did_you_mean


@dataclasses.dataclass(frozen=True)
class ZooEntry:
    """A published network.

    Attributes:
        architecture: named by its key in `ZOO`.
        top1: published accuracy, percent.
        source: where the accuracy stands, on which data, and who gives the structure.
        counting: how the source counts, where it differs from the whole network counted here.
        sparsity: share of the weights that the source keeps at zero and does not count.
    """

    architecture: Architecture
    top1: float
    source: str
    counting: str
    sparsity: float = 0.0


def table_3() -> tuple[str, ...]:
    """Names of the networks of the paper's Table 3: the small, the middle and the large ones, each
    by rising accuracy."""
    found = {name: e for name, e in ZOO.items() if "Table 3" in e.source or name == "resnet50"}
    sizes = [_TABLE_3_SMALL, _TABLE_3_LARGE]
    place = {name: 0 if name in sizes[0] else 2 if name in sizes[1] else 1 for name in found}
    return tuple(sorted(found, key=lambda name: (place[name], found[name].top1)))


def zoo(name: str, **changes: int) -> Architecture:
    """The architecture of a published network.

    Args:
        name: a key of `ZOO`.
        changes: other ``classes``, ``resolution`` or ``in_channels`` than the published ones.
    Raises:
        InvalidArchitecture: an unknown name or change.

    >>> zoo("resnet50").stages[0].depth
    3
    >>> zoo("resnet20", classes=100).classes
    100
    """
    return with_changes(entry(name).architecture, changes)


def entry(name: str) -> ZooEntry:
    """A published network with its source; raises `InvalidArchitecture` naming the nearest."""
    if name not in ZOO:
        hint = did_you_mean(str(name), ZOO)
        every = "" if hint.startswith("known") else f" Known: {', '.join(ZOO)}."
        raise InvalidArchitecture(f"There is no published network {name!r}; {hint}{every}")
    return ZOO[name]


def entry_of(arch: Architecture) -> ZooEntry | None:
    """The entry of exactly this architecture, name included, or None."""
    found = ZOO.get(arch.name)
    return found if found is not None and found.architecture == arch else None


def with_changes(arch: Architecture, changes: dict[str, Any]) -> Architecture:
    """The architecture for other data; raises `InvalidArchitecture` on any other change."""
    for field in changes:
        if field not in _CHANGEABLE:
            raise InvalidArchitecture(
                f"{field} of {arch.name} cannot be changed; {did_you_mean(field, _CHANGEABLE)}"
            )
    return dataclasses.replace(arch, **changes)


_TABLE_3_SMALL = (
    *("resnet50", "deit_s", "pvt_small", "swin_t", "tnt_s", "t2t_vit_t_14", "convnext_t", "slak_t"),
    *("deepmad_29m", "deepmad_29m_288"),
)
_TABLE_3_LARGE = ("deit_b", "replknet_31b", "swin_b", "convnext_b", "slak_b", "deepmad_89m")

_CHANGEABLE = ("classes", "resolution", "in_channels")

_RELEASED = "ImageNet; structure as released with TinyNAS"
_HE = "He et al. 2015 (arXiv 1512.03385), Table 6; CIFAR-10"
_SAME = "whole network, as torchvision counts its own"


def _printed(params: str, flops: str) -> str:
    left_out = "its code counts no classifier, and no squeezes in FLOPs"
    return f"the source prints {params} M, {flops} G; {left_out}"


_TABLE_3 = "DeepMAD paper, Table 3; ImageNet"
_WITH_PRODUCTS = "whole network, the two products of every attention included"
_FROZEN = "whole network, attention included; the source adds {} to its params"
_SPARSE = "the source counts the 60 % of the weights that are not zero"
_SLAK_SPARSITY = 0.4


_PUBLISHED: dict[str, tuple[float, str, str] | tuple[float, str, str, float]] = {
    "deepmad_r18": (
        77.7,
        f"DeepMAD paper, Table 1, rho 0.3; {_RELEASED}",
        _printed("11.7", "1.8"),
    ),
    "deepmad_r34": (79.7, f"DeepMAD paper, Table 1; {_RELEASED}", _printed("21.8", "3.6")),
    "deepmad_r50": (80.6, f"DeepMAD paper, Table 1; {_RELEASED}", _printed("25.6", "4.1")),
    "deepmad_29m": (82.5, f"DeepMAD paper, Table 3; {_RELEASED}", _printed("29", "4.5")),
    "deepmad_29m_288": (
        82.8,
        f"DeepMAD paper, Table 3, at 288 pixels; {_RELEASED}",
        _printed("29", "4.5"),
    ),
    "deepmad_50m": (83.9, f"DeepMAD paper, Table 3; {_RELEASED}", _printed("50", "8.7")),
    "deepmad_89m": (84.0, f"DeepMAD paper, Table 3; {_RELEASED}", _printed("89", "15.4")),
    "r18_like": (
        78.44,
        f"TinyNAS's own list, not the DeepMAD paper's; {_RELEASED}",
        _printed("10.8", "1.7"),
    ),
    "resnet18": (70.9, "DeepMAD paper, Table 1 (72.2 under its recipe); ImageNet", _SAME),
    "resnet34": (74.4, "DeepMAD paper, Table 1 (75.6 under its recipe); ImageNet", _SAME),
    "resnet50": (77.4, "DeepMAD paper, Table 1 (79.3 under its recipe); ImageNet", _SAME),
    "resnet101": (78.3, "DeepMAD paper, Table 3; ImageNet", _SAME),
    "resnet152": (79.2, "DeepMAD paper, Table 3; ImageNet", _SAME),
    "resnet20": (91.25, _HE, "the source prints 0.27 M params"),
    "resnet56": (93.03, _HE, "the source prints 0.85 M params"),
    "resnet110": (93.57, f"{_HE}, best of five", "the source prints 1.7 M params"),
    "mobilenet_v2": (72.0, "DeepMAD paper, Table 2; ImageNet", _SAME),
    "efficientnet_b0": (76.3, "DeepMAD paper, Table 2; ImageNet", _SAME),
    "convnext_t": (82.1, "DeepMAD paper, Table 3; ImageNet", _SAME),
    "convnext_s": (83.1, "DeepMAD paper, Table 3; ImageNet", _SAME),
    "convnext_b": (83.8, "DeepMAD paper, Table 3; ImageNet", _SAME),
    "swin_t": (81.3, _TABLE_3, _WITH_PRODUCTS),
    "swin_s": (83.0, _TABLE_3, _WITH_PRODUCTS),
    "swin_b": (83.5, _TABLE_3, _WITH_PRODUCTS),
    "deit_s": (79.8, _TABLE_3, _WITH_PRODUCTS),
    "deit_b": (81.8, _TABLE_3, _WITH_PRODUCTS),
    "pvt_small": (79.8, _TABLE_3, _WITH_PRODUCTS),
    "pvt_large": (81.7, _TABLE_3, _WITH_PRODUCTS),
    "tnt_s": (81.3, _TABLE_3, _FROZEN.format("unused tokens")),
    "tnt_b": (82.9, _TABLE_3, _FROZEN.format("unused tokens")),
    "t2t_vit_t_14": (81.7, _TABLE_3, _FROZEN.format("its sinusoid")),
    "t2t_vit_t_19": (82.2, _TABLE_3, _FROZEN.format("its sinusoid")),
    "t2t_vit_t_24": (82.6, _TABLE_3, _FROZEN.format("its sinusoid")),
    "slak_t": (82.5, _TABLE_3, _SPARSE, _SLAK_SPARSITY),
    "slak_s": (83.8, _TABLE_3, _SPARSE, _SLAK_SPARSITY),
    "slak_b": (84.0, _TABLE_3, _SPARSE, _SLAK_SPARSITY),
    "replknet_31b": (
        83.5,
        _TABLE_3,
        "the source counts it after the small kernels were merged into the large ones",
    ),
}
"""Name -> top-1 in percent, source, how the source counts, and sparsity where there is any."""

ZOO = {arch.name: ZooEntry(arch, *_PUBLISHED[arch.name]) for arch in (*ARCHITECTURES, *COMPARED)}
"""Name -> published network."""
