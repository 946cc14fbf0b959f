"""Feature pyramid: a backbone's maps made maps of equal width, coarse ones added to fine ones.

Source: Lin et al. 2017 (arXiv 1612.03144); what stands above the backbone's last map, and where
ReLUs are, as FCOS (arXiv 1904.01355), GFL (arXiv 2006.04388) and Mask R-CNN (arXiv 1703.06870)
were trained in mmdetection.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.nets.parts import Making, conv, xavier_uniform


@dataclasses.dataclass(frozen=True)
class Extra:
    """The maps above the backbone's last one.

    Attributes:
        count: how many, each of half the side of the one below.
        convs: by 3x3 convs of stride 2 (the first on the pyramid's last map), or else by taking
            every second pixel.
        relu: before every such conv but the first.
    """

    count: int
    convs: bool = True
    relu: bool = False


FCOS_EXTRA = Extra(2, relu=True)
GFL_EXTRA = Extra(2)
MASK_RCNN_EXTRA = Extra(1, convs=False)


class FPN(nnx.Module):
    """Maps ``(batch, H_i, W_i, c_i)``, finest first, to as many plus `Extra.count` of ``width``.

    Args:
        channels: c_i of the maps that it is called with.
        width: of every map that it gives.
        extra: what stands above.
        making: how its convs are made; kernels start uniform (Xavier), biases at 0.
    """

    def __init__(self, channels: Sequence[int], width: int, extra: Extra, making: Making):
        self.extra = extra
        self.laterals = nnx.List(
            [conv(making, c_in, width, 1, draw=xavier_uniform) for c_in in channels]
        )
        self.outputs = nnx.List(
            [conv(making, width, width, 3, draw=xavier_uniform) for _ in channels]
        )
        self.above = nnx.List(
            [
                conv(making, width, width, 3, stride=2, draw=xavier_uniform)
                for _ in range(extra.count if extra.convs else 0)
            ]
        )

    def __call__(self, maps: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
        """The pyramid, finest first."""
        merged = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in reversed(range(len(merged) - 1)):
            merged[i] += enlarged(merged[i + 1], merged[i].shape[1:3])
        out = [conv_(x) for conv_, x in zip(self.outputs, merged, strict=True)]
        if not self.extra.convs:
            out += [out[-1][:, :: 2**i, :: 2**i] for i in range(1, self.extra.count + 1)]
        for i, conv_ in enumerate(self.above):
            out.append(conv_(jax.nn.relu(out[-1]) if self.extra.relu and i else out[-1]))
        return tuple(out)


def enlarged(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The map at exactly ``size``, each new pixel the old one that lies under its top left corner.

    >>> enlarged(jnp.arange(2.0).reshape(1, 1, 2, 1), (1, 3)).ravel()
    Array([0., 0., 1.], dtype=float32)
    """
    for axis, (new, old) in enumerate(zip(size, x.shape[1:3], strict=True), start=1):
        x = jnp.take(x, jnp.arange(new) * old // new, axis=axis)
    return x
