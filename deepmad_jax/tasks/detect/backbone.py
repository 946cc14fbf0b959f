"""An architecture as a detector's backbone: its maps at some strides, parts of it held fixed."""

from collections.abc import Sequence

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config, DetectConfig
from deepmad_jax.nets.adapt import freeze_before
from deepmad_jax.tasks.backbone import Backbone, as_backbone, take_pretrained
from deepmad_jax.tasks.classify.task import make_network


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
    net = make_network(as_backbone(arch), config.train)
    if detect.pretrained is not None and fresh:
        take_pretrained(net, detect.pretrained, "config.detect.pretrained")
    if detect.batch_norm != "trained":
        net = net.with_frozen_batch_norm(affine_trains=detect.batch_norm == "affine")
    return Backbone(
        freeze_before(net, _frozen_stride(detect)),
        strides,
        "The detector",
        "--config.detect.head=fcos or gfl where stride 4 is missing",
    )


def _frozen_stride(detect: DetectConfig) -> int:
    """What has this stride or a finer one does not train; 0: everything trains."""
    return 2 ** (detect.frozen_stages + 1) if detect.frozen_stages else 0
