"""Learning from another network's answers: DeiT's hard and soft distillation.

    loss = (1 - share) loss of the labels + share (loss of the teacher's answers)
    hard: cross-entropy of the teacher's first choice
    soft: tau^2 KL(teacher / tau || student / tau), the mean over the images

The teacher sees the same images, mixed and erased, and does not learn. There is no distillation
token: both losses are of the one classifier.

Source: Touvron et al. 2021 (arXiv 2012.12877), Eq. 2 and 3; the soft one is of Hinton et al. 2015
(arXiv 1503.02531). DeiT's code divides its soft term by the number of classes too, its paper does
not, nor is it done here.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch.reference import resolve
from deepmad_jax.config import TrainConfig
from deepmad_jax.data import Dataset
from deepmad_jax.errors import InvalidConfig, MissingData
from deepmad_jax.paths import local
from deepmad_jax.tasks.classify.loss import cross_entropy
from deepmad_jax.tasks.task import split_network
from deepmad_jax.trained import from_weights, from_workdir, is_file_of_weights


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A network that does not learn, its arrays apart from its graph.

    Attributes:
        graphdef: its graph.
        variables: its params and BatchNorm statistics.
    """

    graphdef: nnx.GraphDef
    variables: tuple[Any, Any]

    def answers(self, variables: tuple[Any, Any], images: jax.Array) -> jax.Array:
        """Its logits; the variables are its own, as the compiled step was given them."""
        net = nnx.merge(self.graphdef, *(nnx.State(tree) for tree in variables))
        return net(images)


def load_teacher(config: TrainConfig, dataset: Dataset) -> Teacher | None:
    """The network of ``config.teacher``, or None where no teacher is named.

    Raises:
        MissingData: there is none.
        InvalidConfig: it was trained on other data than ``dataset``.
    """
    if config.teacher is None:
        return None
    path = local(config.teacher)
    arch = config.teacher_architecture and resolve(config.teacher_architecture)
    if is_file_of_weights(path):
        net = from_weights(path, arch or None, jnp.float32, None)
    else:
        found = from_workdir(path, arch or None, jnp.float32, "newest")
        if found is None:
            raise MissingData(
                f"train.teacher is {path}, but that run has no checkpoint yet: train it first."
            )
        net = found
    expected = (dataset.channels, dataset.classes)
    if (net.arch.in_channels, net.arch.classes) != expected:
        raise InvalidConfig(
            f"The teacher {net.arch.name} takes {net.arch.in_channels} channel(s) and tells "
            f"{net.arch.classes} classes apart, but the {dataset.name} data has {expected[0]} "
            f"channel(s) and {expected[1]} classes: take one that was trained on these data."
        )
    graphdef, *variables = split_network(net)
    return Teacher(graphdef, tuple(variables))


def distilled(logits: jax.Array, answers: jax.Array, config: TrainConfig) -> jax.Array:
    """The loss of the teacher's answers, shape (batch,).

    Args:
        logits, answers: of student and teacher, shape (batch, classes).
        config: ``distillation`` and ``distillation_temperature``.
    """
    if config.distillation == "hard":
        choice = jax.nn.one_hot(answers.argmax(-1), answers.shape[-1])
        return cross_entropy(logits, choice)
    tau = config.distillation_temperature
    theirs, ours = (jax.nn.log_softmax(x / tau) for x in (answers, logits))
    return tau**2 * (jnp.exp(theirs) * (theirs - ours)).sum(-1)
