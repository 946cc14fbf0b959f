import dataclasses
import pathlib

import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_segment_job import ARCH, CONFIG

from deepmad_jax.config import TrainConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.jobs.export import export
from deepmad_jax.nets.resize import resized
from deepmad_jax.tasks.segment.exports import write_segmenter_onnx, write_segmenter_stablehlo
from deepmad_jax.tasks.segment.segmenter import make_segmenter

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

# No multiple of 32: maps have odd sides, and pooled parts overlap.
SIZE = (50, 77)


@pytest.fixture(scope="module")
def net():
    segment = dataclasses.replace(CONFIG.segment, norm_maps=True, pools=(1, 2, 3))
    train = TrainConfig(dtype="float32", zero_init=False)
    net = make_segmenter(ARCH, dataclasses.replace(CONFIG, segment=segment, train=train), True)
    rng = np.random.default_rng(1)
    # Statistics as training leaves them: fresh ones would hide a mean or variance left out.
    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.BatchNorm):
            shape = module.mean[...].shape
            module.mean[...] = jnp.asarray(rng.normal(0, 0.1, shape), jnp.float32)
            module.var[...] = jnp.asarray(rng.uniform(0.5, 2, shape), jnp.float32)
    net.head.classes.kernel[...] *= 50.0
    return net


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, *SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def logits(net, images):
    return np.asarray(nnx.jit(lambda net, x: resized(net(x), SIZE))(net, images))


def test_onnx_gives_the_logits_of_every_pixel(net, images, logits, tmp_path):
    write_segmenter_onnx(net, tmp_path / "net.onnx", SIZE)
    session = onnxruntime.InferenceSession(
        str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["logits"], {"images": images.transpose(0, 3, 1, 2)})
    assert abs(logits).max() > 0.5
    # float32, and sums in another order.
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), logits, rtol=1e-4, atol=1e-4)


def test_stablehlo_gives_the_logits_of_every_pixel(net, images, logits, tmp_path):
    write_segmenter_stablehlo(net, tmp_path / "net.stablehlo", SIZE)
    code = bytearray(pathlib.Path(tmp_path / "net.stablehlo").read_bytes())
    found = jax.export.deserialize(code).call(images)
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-4)


def test_other_formats_are_refused(tmp_path):
    (tmp_path / "architecture.json").write_text(ARCH.to_json())
    config = dataclasses.replace(CONFIG, export=("safetensors",))
    with pytest.raises(InvalidConfig, match="exported as onnx and stablehlo only"):
        export(config, tmp_path)
