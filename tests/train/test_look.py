"""Pictures and statistics on demand, beside NumPy and what the network itself gives."""

import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, TrainConfig, WatchConfig
from deepmad_jax.nets import Network
from deepmad_jax.tasks import run
from deepmad_jax.tasks.classify.task import CLASSIFY
from deepmad_jax.train.look import by_part, side_by_side

ARCH = Architecture("tiny", 8, 1, 6, Stem(8, 3, 1), (Stage("basic", 8, 8, 3, 1, 1),))
CONFIG = Config(
    data=DataConfig(source="fake", train_augment="none", fake_images=32),
    train=TrainConfig(
        epochs=2, batch_size=32, warmup_epochs=0, cooldown_epochs=0, dtype="float32",
        zero_init=False, log_every_steps=1,
    ),
    watch=WatchConfig(images=5, statistics_every=2, peak_tflops=0.1),
)  # fmt: skip


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Two steps on the same 32 images, watched."""
    workdir = tmp_path_factory.mktemp("watched")
    run.train(CLASSIFY, CONFIG, ARCH, workdir)
    return workdir


def batch_of(step):
    data = CLASSIFY.open(CONFIG, ARCH)
    batches = data.train_batches(CONFIG)
    for _ in range(step - 1):
        next(batches)
    return data.dataset, next(batches)


def events(workdir):
    """Of the one event file: a length of 8 bytes, its checksum of 4, the event, its checksum."""
    (path,) = (workdir / "tensorboard").iterdir()
    data, at = path.read_bytes(), 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        yield Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length


def test_tensorboard_shows_the_first_images_that_the_network_was_given(watched):
    pictures = [v for e in events(watched) for v in e.summary.value if v.HasField("image")]
    (picture,) = pictures
    assert picture.tag == "train/images"
    pixels = np.asarray(Image.open(io.BytesIO(picture.image.encoded_image_string)).convert("L"))
    assert pixels.shape == (2 * 8, 3 * 8)
    _, batch = batch_of(1)
    for place in range(5):
        row, column = divmod(place, 3)
        part = pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        # Through float32 and back, rounded.
        np.testing.assert_allclose(part, batch["image"][place, ..., 0], atol=1)
    assert not pixels[8:, 16:].any()


def test_statistics_are_those_of_the_batch_before_the_step(watched):
    lines = [json.loads(text) for text in (watched / "metrics.jsonl").read_text().splitlines()]
    (line,) = (line for line in lines if line["split"] == "statistics")
    assert line["step"] == 2
    parts = {"stem", "stages.0.first", "head"}
    for what in ("gradient_norm", "gradient_max", "parameter_norm"):
        assert {n.split("/")[0] for n in line if n.endswith(f"/{what}")} == parts
    # All parts together are the gradient that the step itself logged.
    norms = [line[f"{part}/gradient_norm"] for part in parts]
    (logged,) = (x for x in lines if x["split"] == "train" and x["step"] == 2)
    assert np.hypot.reduce(norms) == pytest.approx(logged["gradient_norm"], rel=1e-4)
    assert all(
        0 < line[f"{part}/gradient_max"] <= line[f"{part}/gradient_norm"] * (1 + 1e-6)
        for part in parts
    )
    assert 0 < line["level1/activation_zeros"] < 1  # of a ReLU
    assert line["level1/activation_max"] > line["level1/activation_mean"] > 0


def test_use_of_a_device_of_a_given_peak_is_logged(watched):
    lines = [json.loads(text) for text in (watched / "metrics.jsonl").read_text().splitlines()]
    (line,) = (x for x in lines if "mfu" in x)
    # Stem and two more 3x3 convs on 8x8 pixels, classifier; one device in this process.
    macs = 64 * (9 * 1 * 8 + 9 * 8 * 8 + 9 * 8 * 8) + 8 * 6
    assert macs == CLASSIFY.macs(ARCH, CONFIG)
    assert line["mfu"] == pytest.approx(6 * macs * line["images_per_second"] / 0.1e12)


def test_activations_are_those_of_the_network_in_training():
    dataset, batch = batch_of(1)
    net = Network(ARCH, rngs=nnx.Rngs(0))
    graphdef, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)
    maps = CLASSIFY.maps(graphdef, CLASSIFY.open(CONFIG, ARCH), CONFIG)
    variables = (nnx.to_pure_dict(params), nnx.to_pure_dict(stats))
    found = maps(*variables, batch, jax.random.key(0))
    images = (batch["image"] / 255.0 - dataset.mean[0]) / dataset.std[0]
    expected = net.features(images.astype(np.float32), train=True)
    assert list(found) == [feature.name for feature in net.feature_info]
    for ours, theirs in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_is_mixed_is_shown_mixed():
    mixing = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, mixup=1.0))
    _, batch = batch_of(1)
    seen = CLASSIFY.seen(CLASSIFY.open(mixing, ARCH), mixing)
    shown = np.asarray(seen(batch)) * 255.0
    # One share for the batch: each image and the mirrored one sum up to what they did before.
    whole = batch["image"].astype(float)
    np.testing.assert_allclose(shown + shown[::-1], whole + whole[::-1], atol=1e-2)
    assert np.abs(shown - whole).max() > 1.0


def test_parts_of_other_networks_are_named_by_two_words_at_most():
    tree = {"a": {"b": {"c": {"d": 1}}, "e": 2}, "f": 3}
    assert by_part(tree) == {"a.b": [1], "a": [2], "f": [3]}


def test_sheet_of_images_is_filled_row_by_row():
    images = np.linspace(0, 1, 3)[:, None, None, None] * np.ones((1, 1, 2, 1))
    sheet = side_by_side(images)
    assert sheet[..., 0].tolist() == [[0, 0, 128, 128], [255, 255, 0, 0]]
