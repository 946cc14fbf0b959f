"""An architecture as a backbone: its maps at some strides, with weights of an earlier run."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
from flax import nnx

from deepmad_jax import trained
from deepmad_jax.arch import Architecture
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.nets import Network


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


def pretrained(source: str, arch: Architecture, field: str) -> Network:
    """The network with the weights that ``field`` of the config names.

    Args:
        source: a run's workdir, or a file of weights.
        arch: what its layers must be; name, resolution and classes may differ.
        field: for messages, such as ``config.detect.pretrained``.
    Raises:
        InvalidConfig: no weights there, or of another architecture.
        UserError: weights that cannot be read.
    """
    path = Path(source).expanduser()
    if trained.is_file_of_weights(path):
        net: Network | None = trained.from_weights(path, arch, "float32", None)
    else:
        net = trained.from_workdir(path, None, "float32", "newest")
    if net is None:
        raise InvalidConfig(
            f"{field} is {source}, which has no checkpoint: train there first, or "
            "leave it out for fresh weights."
        )
    alike = {"name": arch.name, "resolution": arch.resolution, "classes": arch.classes}
    if dataclasses.replace(net.arch, **alike) != arch:
        raise InvalidConfig(
            f"{field} is {source}, whose network {net.arch.name} has other layers "
            f"than {arch.name}: give weights of the same architecture, or name that network with "
            "--config.architecture."
        )
    return net
