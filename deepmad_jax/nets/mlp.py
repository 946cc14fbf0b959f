"""The perceptron an `MlpArchitecture` describes, in Flax NNX: dense layers, ReLU, classifier.

No normalisation, so a large rho shows: gradients through a deep and narrow network fade or burst.
"""

import jax
from flax import nnx

from deepmad_jax.arch.mlp import MlpArchitecture
from deepmad_jax.errors import UserError
from deepmad_jax.nets.init import CLASSIFIER_STD


class Mlp(nnx.Module):
    """Inputs ``(batch, input_width)`` to logits ``(batch, classes)``, float32.

    Kernels start He normal by fan-in, the classifier's at normal(0.01), biases at 0.

    Args:
        arch: what to build.
        rngs: its ``params`` stream gives the initial kernels.
    Raises:
        UserError: when called, inputs of another width.
    """

    def __init__(self, arch: MlpArchitecture, *, rngs: nnx.Rngs):
        self.arch = arch
        fan_ins = (arch.input_width, *arch.widths[:-1])
        self.layers = nnx.List(
            nnx.Linear(c_in, width, kernel_init=nnx.initializers.he_normal(), rngs=rngs)
            for c_in, width in zip(fan_ins, arch.widths, strict=True)
        )
        self.head = nnx.Linear(
            arch.widths[-1],
            arch.classes,
            kernel_init=nnx.initializers.normal(CLASSIFIER_STD),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits."""
        if x.ndim != 2 or x.shape[-1] != self.arch.input_width:
            raise UserError(
                f"The inputs have shape {x.shape}, but {self.arch.name} takes (batch, "
                f"{self.arch.input_width}): flatten images first."
            )
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return self.head(x)


class ImageMlp(nnx.Module):
    """An `Mlp` over flattened images, called as `Network` is: ``(batch, height, width, channels)``.

    Args:
        arch, rngs: of the `Mlp`.
    """

    def __init__(self, arch: MlpArchitecture, *, rngs: nnx.Rngs):
        self.mlp = Mlp(arch, rngs=rngs)

    def __call__(
        self, images: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        """Logits; a perceptron does the same in training and needs no key."""
        return self.mlp(images.reshape(images.shape[0], -1))
