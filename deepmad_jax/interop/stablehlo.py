"""A `Network` as StableHLO: one serialised function, weights inside, that needs only JAX to run.

    import jax, pathlib
    net = jax.export.deserialize(bytearray(pathlib.Path("r18.stablehlo").read_bytes()))
    logits = net.call(images)            # float32 (batch, height, width, channels)

The batch is free; height and width are the architecture's resolution. One file serves CPU, CUDA
and TPU. Later releases of JAX read it for six months at least (its own promise).
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from deepmad_jax.arch.rows import along_axes
from deepmad_jax.nets import Network

PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(net: Network, path: str | Path) -> None:
    """Writes the network for inference; give `Network.with_folded_batch_norm` for a folded one."""
    Path(path).write_bytes(to_stablehlo(net).serialize())


def to_stablehlo(net: Network, platforms: tuple[str, ...] = PLATFORMS) -> export.Exported:
    """The network's function of images or clips as `jax.export.Exported`, for any batch."""
    (batch,) = export.symbolic_shape("batch")
    shape = (batch, *along_axes(net.arch.image), net.arch.in_channels)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return export.export(jax.jit(lambda x: net(x)), platforms=platforms)(images)
