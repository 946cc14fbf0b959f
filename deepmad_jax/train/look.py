"""What a run shows of itself on demand: pictures of a batch, and statistics of the network inside.

Statistics are of the batch that the next step learns from and of the state before it: of every part
of the network the norm of its gradient and its largest entry, the norm of its parameters, and of
every activation map its mean, deviation, largest value and share of zeros. The gradient is computed
a second time for them, over the whole batch at once, whatever ``accumulate_steps`` says; nothing of
the run changes.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from deepmad_jax.train.gradients import Batch, LossFn, LossWithArrays, Metrics, make_gradient_fn
from deepmad_jax.train.logbook import Logbook
from deepmad_jax.train.mesh import place, replicated, split_by_image
from deepmad_jax.train.state import PyTree, TrainState
from deepmad_jax.train.step import step_key
from deepmad_jax.unstacked import stacked

Maps = Callable[[PyTree, PyTree, Batch, jax.Array], dict[str, jax.Array]]
"""``(params, batch_stats, batch, key)`` to the activation maps of a training pass, by name."""


@dataclasses.dataclass(frozen=True)
class Look:
    """When a run shows what.

    Attributes:
        pictures: gives some images of a batch, float (n, height, width, channels) in [0, 1]; they
            go to TensorBoard at the first step after every start. None: none do.
        statistics: of `make_statistics`, or None.
        every: steps between two lines of them.
    """

    pictures: Callable[[Batch], jax.Array] | None = None
    statistics: Callable[[TrainState, Batch], Metrics] | None = None
    every: int = 1

    def before_step(
        self, step: int, first: bool, state: TrainState, batch: Batch, logbook: Logbook
    ) -> bool:
        """To be called before every step; whether something was shown, which takes its time."""
        pictures = self.pictures if first else None
        statistics = self.statistics if step % self.every == 0 else None
        if pictures is not None:
            logbook.picture("train/images", side_by_side(jax.device_get(pictures(batch))), step)
        if statistics is not None:
            found = jax.device_get(statistics(state, batch))
            line = {"split": "statistics", "step": step}
            logbook.write(line | {name: float(v) for name, v in found.items()}, shown=False)
        return pictures is not None or statistics is not None


def make_pictures(
    seen: Callable[[Batch], jax.Array], count: int, mesh: Mesh
) -> Callable[[Batch], jax.Array]:
    """The first ``count`` images that ``seen`` gives of a batch, on every device."""
    return jax.jit(
        lambda batch: seen(batch)[:count],
        in_shardings=split_by_image(mesh),
        out_shardings=replicated(mesh),
    )


def make_statistics(
    loss_fn: LossFn, maps: Maps | None, mesh: Mesh, seed: int
) -> Callable[[TrainState, Batch], Metrics]:
    """A compiled ``(state, batch) -> numbers by name``, which leaves the state where it is.

    Args:
        loss_fn: that of the training step.
        maps: the network's activations; None: they are left out.
        mesh, seed: those of the training step.
    """
    arrays = (place(mesh, loss_fn.arrays),) if isinstance(loss_fn, LossWithArrays) else ()

    def statistics(*given: Any) -> Metrics:
        *traced, state, batch = given
        loss_of = dataclasses.replace(loss_fn, arrays=traced[0]) if traced else loss_fn
        key = step_key(seed, state.step)
        variables = (state.params, state.batch_stats)
        _, gradients = make_gradient_fn(loss_of, mesh)(*variables, batch, key)
        found = {}
        for name, part in by_part(gradients).items():
            found[f"{name}/gradient_norm"] = optax.tree.norm(part)
            found[f"{name}/gradient_max"] = jnp.stack([jnp.abs(g).max() for g in part]).max()
        for name, part in by_part(state.params).items():
            found[f"{name}/parameter_norm"] = optax.tree.norm(part)
        for name, values in ({} if maps is None else maps(*variables, batch, key)).items():
            values = values.astype(jnp.float32)
            found[f"{name}/activation_mean"] = values.mean()
            found[f"{name}/activation_std"] = values.std()
            found[f"{name}/activation_max"] = jnp.abs(values).max()
            found[f"{name}/activation_zeros"] = (values == 0).mean()
        return found

    compiled = jax.jit(
        statistics,
        in_shardings=(*(None for _ in arrays), None, split_by_image(mesh)),
        out_shardings=replicated(mesh),
    )

    def of(state: TrainState, batch: Batch) -> Metrics:
        # Without what is not looked at, which would be stacked too.
        return compiled(*arrays, stacked(dataclasses.replace(state, opt_state=(), ema=None)), batch)

    return of


def by_part(tree: PyTree) -> dict[str, list[Any]]:
    """The arrays of each part of a network by its name: of the blocks, of stem and head.

    >>> by_part({"head": {"layers": {"fc": 1}}, "stages": {"0": {"first": {"layers": {"c": 2}}}}})
    {'head': [1], 'stages.0.first': [2]}
    """
    parts: dict[str, list[Any]] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        names = [str(key.key) for key in path]
        end = names.index("layers") if "layers" in names else min(2, len(names) - 1)
        parts.setdefault(".".join(names[: max(end, 1)]), []).append(leaf)
    return parts


def side_by_side(images: np.ndarray) -> np.ndarray:
    """The images on one sheet, row by row, as near to a square as it can be; uint8.

    Args:
        images: shape (n, height, width, 1 or 3), values in [0, 1].
    """
    count, height, width, channels = images.shape
    across = math.ceil(math.sqrt(count))
    down = -(-count // across)
    sheet = np.zeros((down * across, height, width, channels), np.float32)
    sheet[:count] = images
    sheet = sheet.reshape(down, across, height, width, channels).swapaxes(1, 2)
    sheet = sheet.reshape(down * height, across * width, channels)
    return (sheet.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
