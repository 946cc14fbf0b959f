"""An architecture as a detector's backbone: its maps at some strides, parts of it held fixed."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
from flax import nnx

from deepmad_jax import trained
from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config, DetectConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.nets import Network
from deepmad_jax.nets.adapt import freeze_before
from deepmad_jax.tasks.classify.task import make_network


class Backbone(nnx.Module):
    """Images (batch, H, W, 3) to the maps at some strides, finest first.

    Args:
        net: what gives them; its classifier goes.
        strides: of the maps.
    Raises:
        InvalidConfig: it has no map of such a stride.
    """

    def __init__(self, net: Network, strides: Sequence[int]):
        known = {feature.stride: place for place, feature in enumerate(net.feature_info)}
        missing = [stride for stride in strides if stride not in known]
        if missing:
            raise InvalidConfig(
                f"The detector needs maps of strides {', '.join(map(str, strides))}, but "
                f"{net.arch.name} has {', '.join(map(str, known))}: take a network that halves the "
                "image five times, or --config.detect.head=fcos or gfl where stride 4 is missing."
            )
        self.places = tuple(known[stride] for stride in strides)
        self.channels = tuple(net.feature_info[place].channels for place in self.places)
        self.net = net
        del self.net.head

    def __call__(
        self, x: jax.Array, train: bool = False, key: jax.Array | None = None
    ) -> list[jax.Array]:
        """The maps; ``train`` and ``key`` as `Network.features` has them."""
        maps = self.net.features(x, train, key)
        return [maps[place] for place in self.places]


def make_backbone(
    arch: Architecture, config: Config, strides: Sequence[int], fresh: bool
) -> Backbone:
    """The backbone of ``config.detect``, with pretrained weights where it names some.

    Args:
        arch: what to build.
        config: of the run.
        strides: of its maps.
        fresh: its weights will be used; False leaves files of weights unread.
    Raises:
        InvalidConfig: no maps of these strides, or weights of another architecture.
        UserError: weights that cannot be read.
    """
    detect = config.detect
    net = make_network(arch, config.train)
    if detect.pretrained is not None and fresh:
        nnx.update(net, nnx.state(_pretrained(detect.pretrained, arch)))
    if detect.batch_norm != "trained":
        net = net.with_frozen_batch_norm(affine_trains=detect.batch_norm == "affine")
    return Backbone(freeze_before(net, _frozen_stride(detect)), strides)


def _frozen_stride(detect: DetectConfig) -> int:
    """What has this stride or a finer one does not train; 0: everything trains."""
    return 2 ** (detect.frozen_stages + 1) if detect.frozen_stages else 0


def _pretrained(source: str, arch: Architecture) -> Network:
    path = Path(source).expanduser()
    if trained.is_file_of_weights(path):
        net: Network | None = trained.from_weights(path, arch, "float32", None)
    else:
        net = trained.from_workdir(path, None, "float32", "newest")
    if net is None:
        raise InvalidConfig(
            f"config.detect.pretrained is {source}, which has no checkpoint: train there first, or "
            "leave it out for fresh weights."
        )
    alike = {"name": arch.name, "resolution": arch.resolution, "classes": arch.classes}
    if dataclasses.replace(net.arch, **alike) != arch:
        raise InvalidConfig(
            f"config.detect.pretrained is {source}, whose network {net.arch.name} has other layers "
            f"than {arch.name}: give weights of the same architecture, or name that network with "
            "--config.architecture."
        )
    return net
