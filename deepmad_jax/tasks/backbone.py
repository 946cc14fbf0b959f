"""An architecture as a backbone: its maps at some strides, with weights of an earlier run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from deepmad_jax import trained
from deepmad_jax.arch import Architecture
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fetched import fetched
from deepmad_jax.nets import Network
from deepmad_jax.tasks.canvas import on_canvas
from deepmad_jax.tasks.task import refuse_clips
from deepmad_jax.train.gradients import Batch
from deepmad_jax.train.look import Maps


class Backbone(nnx.Module):
    """Images (batch, H, W, 3) to the maps at some strides, finest first.

    Args:
        net: what gives them; its classifier goes.
        strides: of the maps.
        wanted_by: what needs them, for the message.
        advice: what else there is to do, after "or".
    Raises:
        InvalidConfig: it has no map of such a stride.
    """

    def __init__(
        self, net: Network, strides: Sequence[int], wanted_by: str, advice: str | None = None
    ):
        known = {feature.stride: place for place, feature in enumerate(net.feature_info)}
        missing = [stride for stride in strides if stride not in known]
        if missing:
            raise InvalidConfig(
                f"{wanted_by} needs maps of strides {', '.join(map(str, strides))}, but "
                f"{net.arch.name} has {', '.join(map(str, known))}: take a network that halves the "
                f"image five times{f', or {advice}' if advice else ''}."
            )
        self.strides = tuple(strides)
        self.places = tuple(known[stride] for stride in strides)
        self.names = tuple(net.feature_info[place].name for place in self.places)
        self.channels = tuple(net.feature_info[place].channels for place in self.places)
        self.net = net
        del self.net.head

    def __call__(
        self, x: jax.Array, train: bool = False, key: jax.Array | None = None
    ) -> list[jax.Array]:
        """The maps; ``train`` and ``key`` as `Network.features` has them."""
        maps = self.net.features(x, train, key)
        return [maps[place] for place in self.places]


def make_maps_fn(graphdef: nnx.GraphDef) -> Maps:
    """The maps of a training pass of a network on a backbone: the backbone's, and its pyramid's.

    Args:
        graphdef: of a network with a ``backbone`` and perhaps a ``neck`` that makes a pyramid.

    Returns:
        Gives ``backbone.level2``, ... as `Network.feature_info` names them, and ``pyramid.p3``,
        ... of stride 2^3 and so on.
    """

    def maps(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        net: Any = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        backbone = net.backbone
        given = backbone(on_canvas(batch["image"], batch["size"]), True, key)
        found = {f"backbone.{name}": x for name, x in zip(backbone.names, given, strict=True)}
        if hasattr(net, "neck"):
            finest = backbone.strides[0].bit_length() - 1
            found |= {f"pyramid.p{finest + i}": x for i, x in enumerate(net.neck(given))}
        return found

    return maps


def as_backbone(arch: Architecture) -> Architecture:
    """The form in which the architecture stands under other heads.

    Swin's has a LayerNorm on each of its maps, and windows that never shrink; others are as they
    are.

    Raises:
        InvalidConfig: a network of clips.
    """
    refuse_clips(arch)
    is_swin = arch.stages[-1].block == "swin"
    return dataclasses.replace(arch, stage_norms=True) if is_swin else arch


def take_pretrained(net: Network, source: str, field: str) -> None:
    """Gives a network the weights that ``field`` of the config names; those it lacks stay fresh.

    A classifier of other classes stays fresh too. The images may have another size: tables of
    positions are resized.

    Args:
        net: a backbone of an architecture as `as_backbone` gives it, or a whole classifier, changed
            in place.
        source: a run's workdir, or a file of weights, of a classifier; or the address of one.
        field: for messages, such as ``config.detect.pretrained``.
    Raises:
        InvalidConfig: no weights there, or of another architecture.
        UserError: weights that cannot be read.
    """
    found = _classifier(source, net.arch, field)
    weights = dict(nnx.to_flat_state(nnx.state(found)))
    taken = [path for path, _ in nnx.to_flat_state(nnx.state(net)) if path in weights]
    if found.arch.classes != net.arch.classes:
        taken = [path for path in taken if path[0] != "head"]
    nnx.update(net, nnx.from_flat_state([(path, weights[path]) for path in taken]))


def _classifier(source: str, arch: Architecture, field: str) -> Network:
    """The classifier on ``arch`` with the weights in ``source``."""
    arch = dataclasses.replace(arch, stage_norms=False)
    path = fetched(source)
    if trained.is_file_of_weights(path):
        net: Network | None = trained.from_weights(path, arch, "float32", None, True)
    else:
        net = trained.from_workdir(path, None, "float32", "newest")
    if net is None:
        raise InvalidConfig(
            f"{field} is {source}, which has no checkpoint: train there first, or "
            "leave it out for fresh weights."
        )
    fields = ("name", "resolution", "resolution_w", "classes")
    if arch.frames and net.arch.frames:
        fields = (*fields, "frames")
    alike = {field: getattr(arch, field) for field in fields}
    if dataclasses.replace(net.arch, **alike) != arch:
        raise InvalidConfig(
            f"{field} is {source}, whose network {net.arch.name} has other layers "
            f"than {arch.name}: give weights of the same architecture, or name that network with "
            "--config.architecture."
        )
    return trained.at_size(net, arch)
