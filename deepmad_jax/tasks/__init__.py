"""One folder a task; each joins data, a network and what is learned. `run` trains any of them."""

from deepmad_jax.tasks.classify.task import CLASSIFY
from deepmad_jax.tasks.detect.task import DETECT
from deepmad_jax.tasks.perceptron.task import PERCEPTRON
from deepmad_jax.tasks.segment.task import SEGMENT
from deepmad_jax.tasks.task import Task
from deepmad_jax.tasks.video.task import VIDEO

TASKS: dict[str, Task] = {
    "classify": CLASSIFY,
    "perceptron": PERCEPTRON,
    "detect": DETECT,
    "segment": SEGMENT,
    "video": VIDEO,
}
"""What ``config.task`` may be."""
