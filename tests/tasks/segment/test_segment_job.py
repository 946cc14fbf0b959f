import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, SegmentConfig, TrainConfig
from deepmad_jax.data.masked import decoded
from deepmad_jax.data.pairs import IGNORED, open_pairs
from deepmad_jax.data.scenes import CLASSES, draw_scenes
from deepmad_jax.errors import InvalidConfig, MissingData
from deepmad_jax.tasks import run
from deepmad_jax.tasks.colours import colour_of
from deepmad_jax.tasks.segment import evaluation
from deepmad_jax.tasks.segment.functions import make_loss_fn
from deepmad_jax.tasks.segment.pictures import fitted, painted, with_legend
from deepmad_jax.tasks.segment.scores import scores_of
from deepmad_jax.tasks.segment.task import SEGMENT
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train import to_device
from deepmad_jax.train.gradients import make_gradient_fn

STAGES = tuple(Stage("basic", 8, 8, 3, 1, 2) for _ in range(4))
ARCH = Architecture("tiny", 64, 3, 10, Stem(8, 3, 2), STAGES)
SIZES = ((48, 64), (40, 70))
CONFIG = Config(
    name="tiny",
    task="segment",
    data=DataConfig(train_split="training", eval_split="validation"),
    train=TrainConfig(
        epochs=4,
        batch_size=4,
        eval_batch_size=4,
        learning_rate=0.02,
        warmup_epochs=0,
        cooldown_epochs=0,
        weight_decay=0.0,  # what has changed was learned
        final_learning_rate=1e-4,
        zero_init=False,  # or nothing but the shortcuts would learn at first
        dtype="float32",
        ema_decay=0.9,
        log_every_steps=2,
        eval_every_epochs=2,
        checkpoint_every_epochs=1,
    ),
    segment=SegmentConfig(
        width=8,
        aux_width=8,
        pools=(1, 2),
        classes=len(CLASSES),
        short_side=48,
        long_side=96,
        crop=32,
        warmup_steps=2,
        aspects=(4 / 3,),
        overlays=2,
    ),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "set"
    draw_scenes(root, {"training": 15, "validation": 7}, sizes=SIZES)
    return root


def config_of(root, **fields):
    return dataclasses.replace(
        CONFIG,
        data=dataclasses.replace(CONFIG.data, data_dir=str(root)),
        segment=dataclasses.replace(CONFIG.segment, **fields),
    )


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    state = run.train(SEGMENT, config_of(root), ARCH, workdir)
    return SimpleNamespace(workdir=workdir, state=state)


def lines_of(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


def loss_and_gradients(root, mesh, **fields):
    """Of the first batch."""
    config = config_of(root, **fields)
    data = SEGMENT.open(config, ARCH)
    net = SEGMENT.build(ARCH, config, data, True)
    graphdef, params, stats = split_network(net)
    function = jax.jit(make_gradient_fn(make_loss_fn(graphdef), mesh))
    batches = data.train_batches(config)
    batch = next(batches)
    batches.close()
    return function(params, stats, to_device(mesh, batch), jax.random.key(0))


def test_training_leaves_the_files_of_a_run(trained):
    lines = lines_of(trained.workdir)
    fields = {"split", "step", "loss", "loss_pixels", "loss_auxiliary", "pixel_accuracy"}
    assert all(line.keys() >= fields for line in lines if line["split"] == "train")
    evaluations = [line for line in lines if line["split"] == "eval"]
    assert [line["step"] for line in evaluations] == [8, 15]
    assert all(line["images"] == 7 for line in evaluations)
    predictions = trained.workdir / "predictions"
    table = (predictions / "classes.txt").read_text()
    assert [line.split()[0] for line in table.splitlines()] == ["class", *CLASSES, "mean"]
    assert len(list(predictions.glob("overlay*.png"))) == 2


def test_scores_are_those_of_the_written_table_and_count_every_labelled_pixel(root, trained):
    numbers = json.loads((trained.workdir / "predictions" / "segmentation.json").read_text())
    table = np.array(numbers["confusion"])
    data = open_pairs(config_of(root).data, CONFIG.segment).evaluation
    labels = [decoded(data[i], CONFIG.segment)[1] for i in range(len(data))]
    counts = sum(np.bincount(x[x != IGNORED], minlength=len(CLASSES)) for x in labels)
    np.testing.assert_array_equal(table.sum(1), counts)
    last = [line for line in lines_of(trained.workdir) if line["split"] == "eval"][-1]
    assert last["miou"] == numbers["miou"] == scores_of(table).miou


@pytest.mark.slow
def test_stopped_training_goes_on_to_the_same_bits(root, trained, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*args):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "over_batches", stop)
        with pytest.raises(Stopped):
            run.train(SEGMENT, config_of(root), ARCH, tmp_path)
    assert (tmp_path / "checkpoints" / "4").exists()
    resumed = run.train(SEGMENT, config_of(root), ARCH, tmp_path)
    for ours, other in zip(jax.tree.leaves(resumed), jax.tree.leaves(trained.state), strict=True):
        np.testing.assert_array_equal(ours, other)
    name = "predictions/segmentation.json"
    assert (tmp_path / name).read_text() == (trained.workdir / name).read_text()


def test_evaluation_of_a_checkpoint_is_trainings_own(root, trained):
    result = run.evaluate(SEGMENT, config_of(root), ARCH, trained.workdir)
    last = [line for line in lines_of(trained.workdir) if line["split"] == "eval"][-1]
    assert result.items() <= last.items()


def test_every_part_learns_and_the_loss_is_the_sum_of_its_parts(root, trained):
    config = config_of(root)
    net = SEGMENT.build(ARCH, config, SEGMENT.open(config, ARCH), True)
    _, before, _ = split_network(net)
    pairs = zip(
        jax.tree_util.tree_flatten_with_path(before)[0],
        jax.tree.leaves(trained.state.params),
        strict=True,
    )
    still = {
        jax.tree_util.keystr(path, simple=True)
        for (path, old), new in pairs
        if (np.asarray(old) == np.asarray(new)).all()
    }
    assert not still
    line = lines_of(trained.workdir)[0]
    assert line["loss"] == pytest.approx(line["loss_pixels"] + line["loss_auxiliary"], rel=1e-5)


def test_any_size_of_image_and_no_trace_of_the_auxiliary_head(root):
    config = config_of(root, norm_maps=True)
    net = SEGMENT.build(ARCH, config, SEGMENT.open(config, ARCH), True)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 33, 47, 3)), jnp.float32)

    @nnx.jit
    def logits_and_maps(net, images):
        return net(images), net._maps(images, False, None)

    before, maps = logits_and_maps(net, images)
    # One pixel of logits for every four.
    assert before.shape == (1, 9, 12, len(CLASSES))
    for x in maps:
        np.testing.assert_allclose(x.mean(-1), 0, atol=1e-4)
    kernel = net.auxiliary.classes.kernel
    kernel[...] = kernel[...] + 1.0
    np.testing.assert_array_equal(logits_and_maps(net, images)[0], before)


def test_a_network_without_the_strides_is_refused(root):
    short = dataclasses.replace(ARCH, stages=STAGES[:2])
    config = config_of(root)
    with pytest.raises(InvalidConfig, match="UPerNet needs maps of strides 4, 8, 16, 32"):
        SEGMENT.build(short, config, SEGMENT.open(config, short), True)


def test_segment_command_gives_the_classes_of_the_evaluation(root, trained, monkeypatch, capsys):
    from deepmad_jax.cli import main
    from deepmad_jax.jobs.workdir import settle

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(trained.workdir / "cache"))
    settle(config_of(root), trained.workdir, ARCH)
    data = open_pairs(config_of(root).data, CONFIG.segment).evaluation
    files = [data.name_of(i) for i in range(len(data))]
    assert main(["segment", *files, "--workdir", str(trained.workdir)]) == 0
    assert "Saved" in capsys.readouterr().out
    table = np.zeros((len(CLASSES), len(CLASSES)), int)
    for i in range(len(data)):
        with Image.open(trained.workdir / "segmented" / f"{i:06}_classes.png") as image:
            assert image.mode == "P"
            found = np.asarray(image)
        label = decoded(data[i], CONFIG.segment)[1]
        assert found.shape == label.shape
        known = label != IGNORED
        np.add.at(table, (label[known], found[known]), 1)
    numbers = json.loads((trained.workdir / "predictions" / "segmentation.json").read_text())
    # A batch of four sums in another order than one image.
    assert abs(table - numbers["confusion"]).sum() < 0.01 * table.sum()
    scales = ["--scales", "0.75,1", "--mirrored", "--workdir", str(trained.workdir)]
    assert main(["segment", files[0], *scales]) == 0
    assert main(["segment", "gone.jpg", "--workdir", str(trained.workdir)]) == 2
    assert "There is no image gone.jpg" in capsys.readouterr().err


def test_a_workdir_without_a_checkpoint_is_told(root, tmp_path):
    from deepmad_jax.tasks.segment.loaded import load_segmenter

    with pytest.raises(MissingData, match="no checkpoint of a segmenter"):
        load_segmenter(config_of(root), ARCH, tmp_path)


def test_painted_pixels_have_their_classes_colour_and_ignored_ones_their_own():
    pixels = np.full((2, 2, 3), 100, np.uint8)
    classes = np.array([[0, 1], [IGNORED, 1]], np.uint8)
    found = painted(pixels, classes, 2)
    np.testing.assert_array_equal(found[1, 0], [100, 100, 100])
    np.testing.assert_allclose(found[0, 0], 40 + 0.6 * np.array(colour_of(0, 2)), atol=1)
    np.testing.assert_allclose(found[0, 1], 40 + 0.6 * np.array(colour_of(1, 2)), atol=1)


def test_pictures_of_a_report_are_neither_tiny_nor_huge_and_name_what_they_show():
    for size in ((3, 4), (40, 70), (300, 400), (900, 1200)):
        shown = fitted(np.zeros((*size, 3), np.uint8))
        assert 200 < max(shown.shape) <= 400
        assert shown.shape[1] / shown.shape[0] == pytest.approx(size[1] / size[0], rel=0.02)
    panel = np.zeros((20, 60, 3), np.uint8)
    labels = np.array([[0, 1], [1, IGNORED]], np.uint8)
    picture = np.asarray(with_legend([panel, panel], [labels], ("sky", "ground", "cat")))
    assert picture.shape[1] == 126
    below = picture[20:].reshape(-1, 3)
    found = {tuple(int(x) for x in pixel) for pixel in below}
    # The classes that are there have a swatch, the other has none.
    assert {colour_of(0, 3), colour_of(1, 3)} <= found
    assert colour_of(2, 3) not in found
