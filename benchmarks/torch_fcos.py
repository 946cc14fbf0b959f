"""FCOS in plain PyTorch, to measure and check ours beside: one module and its loss.

Written from the paper (arXiv 1904.01355) as one would write it in PyTorch: targets image by image,
losses over the positive points alone. The backbone is `torch_nets.TorchNet`.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_nets import TorchNet
from deepmad_jax.arch import Architecture

STRIDES = (8, 16, 32, 64, 128)
RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, math.inf))


class TorchFcos(nn.Module):
    """Images ``(batch, 3, H, W)`` to class logits, distances and centreness of every map."""

    def __init__(self, arch: Architecture, classes: int, width: int, depth: int, groups: int):
        super().__init__()
        self.backbone = TorchNet(arch)
        del self.backbone.head
        self.strides = [stage.stride for stage in arch.stages]
        channels = self._channels(arch)
        self.laterals = nn.ModuleList([nn.Conv2d(c, width, 1) for c in channels])
        self.outputs = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in channels])
        self.above = nn.ModuleList([nn.Conv2d(width, width, 3, 2, 1) for _ in range(2)])
        self.class_branch = _branch(width, depth, groups)
        self.box_branch = _branch(width, depth, groups)
        self.class_conv = nn.Conv2d(width, classes, 3, padding=1)
        self.box_conv = nn.Conv2d(width, 4, 3, padding=1)
        self.centre_conv = nn.Conv2d(width, 1, 3, padding=1)
        self.factors = nn.ParameterList([nn.Parameter(torch.ones(())) for _ in STRIDES])

    def forward(self, x: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        c3, c4, c5 = self._features(x)
        p5 = self.laterals[2](c5)
        p4 = self.laterals[1](c4) + F.interpolate(p5, size=c4.shape[2:], mode="nearest")
        p3 = self.laterals[0](c3) + F.interpolate(p4, size=c3.shape[2:], mode="nearest")
        maps = [conv(p) for conv, p in zip(self.outputs, (p3, p4, p5), strict=True)]
        maps.append(self.above[0](maps[-1]))
        maps.append(self.above[1](F.relu(maps[-1])))
        out = []
        for p, factor in zip(maps, self.factors, strict=True):
            for_classes, for_boxes = self.class_branch(p), self.box_branch(p)
            distances = torch.exp(factor * self.box_conv(for_boxes))
            out.append((self.class_conv(for_classes), distances, self.centre_conv(for_classes)))
        return out

    def loss(self, x: torch.Tensor, boxes: list[Any], labels: list[Any]) -> torch.Tensor:
        """The sum of the three losses; boxes (n, 4) and labels (n,) of each image."""
        found = self(x)
        logits, distances, centres = (
            torch.cat([maps[k].flatten(2).transpose(1, 2) for maps in found], 1) for k in range(3)
        )
        points, low, high = _points([maps[0].shape[2:] for maps in found], x.device)
        classes = logits.shape[-1]
        targets, wanted = zip(
            *(_targets(points, low, high, b, c) for b, c in zip(boxes, labels, strict=True)),
            strict=True,
        )
        label, want = torch.stack(targets).flatten(), torch.stack(wanted).flatten(0, 1)
        logits, distances, centres = (
            logits.flatten(0, 1),
            distances.flatten(0, 1),
            centres.flatten(),
        )
        positive = torch.nonzero(label >= 0)[:, 0]
        number = max(len(positive), 1)
        one_hot = torch.zeros_like(logits)
        one_hot[positive, label[positive]] = 1
        p = torch.sigmoid(logits)
        entropy = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
        missing = (1 - p) * one_hot + p * (1 - one_hot)
        alpha = 0.25 * one_hot + 0.75 * (1 - one_hot)
        loss_class = (alpha * missing**2 * entropy).sum() / number
        assert classes > 0
        if not len(positive):
            return loss_class + 0 * distances.sum() + 0 * centres.sum()
        d, t = distances[positive], want[positive]
        sides = torch.minimum(d, t)
        shared = (sides[:, 0] + sides[:, 2]) * (sides[:, 1] + sides[:, 3])
        area = (d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3])
        other = (t[:, 0] + t[:, 2]) * (t[:, 1] + t[:, 3])
        iou = shared / (area + other - shared).clamp(min=1e-6)
        across, along = t[:, [0, 2]], t[:, [1, 3]]
        centre = torch.sqrt(across.amin(1) / across.amax(1) * (along.amin(1) / along.amax(1)))
        loss_box = (-torch.log(iou.clamp(min=1e-6)) * centre).sum() / centre.sum()
        entropy = F.binary_cross_entropy_with_logits(centres[positive], centre, reduction="sum")
        return loss_class + loss_box + entropy / number

    def _features(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels: list[torch.Tensor] = []
        for name, section in self.backbone.named_children():
            x = section(x)
            starts = name.endswith("_first") and self.strides[int(name.split("_")[1])] == 2
            if starts or not levels:
                levels.append(x)
            else:
                levels[-1] = x
        return levels[-3:]

    @staticmethod
    def _channels(arch: Architecture) -> list[int]:
        widths = [arch.stem.width]
        for stage in arch.stages:
            if stage.stride == 1:
                widths.pop()
            widths.append(stage.width)
        if arch.final_width is not None:
            widths[-1] = arch.final_width
        return widths[-3:]


def weights_of(params: dict[str, Any], stats: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Our detector's arrays, nested by name as the engine has them, as `TorchFcos`'s state."""
    found: dict[str, torch.Tensor] = {}
    for path, value in [*_flat(params), *_flat(stats)]:
        leaf = _LEAVES.get(path[-1], path[-1])
        array = np.asarray(value)
        if path[0] == "backbone":
            _put_backbone(found, path[2:-1], leaf, array)
            continue
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        if path[1] == "factors":
            found[f"factors.{path[2]}"] = torch.tensor(array)
        elif path[1].endswith("branch"):
            place = 3 * int(path[3]) + (path[2] == "norms")
            found[f"{path[1]}.{place}.{leaf}"] = torch.tensor(array)
        else:
            found[".".join([*path[1:-1], leaf])] = torch.tensor(array)
    return found


_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def _put_backbone(
    found: dict[str, torch.Tensor], path: tuple[str, ...], leaf: str, array: np.ndarray
) -> None:
    section = "_".join(path[: path.index("layers")])
    repeats = [array] if not section.endswith("_rest") else list(array)
    for i, one in enumerate(repeats):
        one = one.transpose(3, 2, 0, 1) if one.ndim == 4 else one
        found[f"backbone.{section}.{i}.{path[-1]}.{leaf}"] = torch.tensor(np.array(one))


def _flat(tree: dict[Any, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(tree, dict):
        return [(path, tree)]
    return [item for name, value in tree.items() for item in _flat(value, (*path, str(name)))]


def _branch(width: int, depth: int, groups: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width)]
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _points(sizes: list[Any], device: Any) -> tuple[torch.Tensor, ...]:
    points, low, high = [], [], []
    for (height, width), stride, (least, most) in zip(sizes, STRIDES, RANGES, strict=True):
        y = (torch.arange(height, device=device) + 0.5) * stride
        x = (torch.arange(width, device=device) + 0.5) * stride
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack([columns.flatten(), rows.flatten()], 1))
        low.append(torch.full((height * width,), float(least), device=device))
        high.append(torch.full((height * width,), float(most), device=device))
    return torch.cat(points), torch.cat(low), torch.cat(high)


def _targets(
    points: torch.Tensor, low: torch.Tensor, high: torch.Tensor, boxes: Any, labels: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Label of each point, -1 for background, and its distances."""
    if not len(boxes):
        return points.new_full((len(points),), -1, dtype=torch.long), points.new_zeros(
            (len(points), 4)
        )
    first, last = points[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - points[:, None]
    distances = torch.cat([first, last], 2)
    largest = distances.amax(2)
    fits = (distances.amin(2) > 0) & (largest >= low[:, None]) & (largest <= high[:, None])
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = torch.where(fits, (sides[:, 0] * sides[:, 1])[None], torch.inf)
    least, chosen = areas.min(1)
    label = torch.where(least < torch.inf, labels[chosen], -1)
    return label, distances[torch.arange(len(points)), chosen]
