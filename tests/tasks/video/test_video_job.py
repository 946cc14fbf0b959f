import csv
import dataclasses
import json
import math
import os
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, TrainConfig, VideoConfig
from deepmad_jax.data.clips import eval_batches
from deepmad_jax.data.motion import CLASSES, draw_motion
from deepmad_jax.data.videos import open_videos
from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.jobs.workdir import refuse_to_mix, settle
from deepmad_jax.tasks import run
from deepmad_jax.tasks.task import split_network
from deepmad_jax.tasks.video import evaluation, task
from deepmad_jax.tasks.video.functions import make_loss_fn, make_score_fn
from deepmad_jax.tasks.video.task import VIDEO
from deepmad_jax.train import to_device
from deepmad_jax.train.gradients import make_gradient_fn

STAGES = tuple(Stage("basic", 8, 8, 3, 1, 2) for _ in range(2))
ARCH = Architecture("tiny", 32, 3, 10, Stem(8, 3, 2), STAGES)
CONFIG = Config(
    name="tiny",
    task="video",
    data=DataConfig(train_split="train", eval_split="val", flip=0.0),
    train=TrainConfig(
        epochs=4,
        batch_size=4,
        eval_batch_size=4,
        learning_rate=0.02,
        warmup_epochs=0,
        cooldown_epochs=0,
        weight_decay=0.0,  # what has changed was learned
        final_learning_rate=0.0,
        label_smoothing=0.0,
        zero_init=False,  # or nothing but the shortcuts would learn at first
        dropout=0.4,
        dtype="float32",
        ema_decay=0.9,
        log_every_steps=2,
        eval_every_epochs=2,
        checkpoint_every_epochs=1,
    ),
    video=VideoConfig(
        layout="folder",
        video_folder="{split}",
        short_side=32,
        crop=32,
        test_segments=3,
        test_crops="ten",
        test_crop=24,
        drop_epochs=(3.0,),
    ),
)
TRAIN, VAL = 15, 7


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("motion") / "set"
    draw_motion(root, {"train": TRAIN, "val": VAL})
    return root


def config_of(root, **fields):
    return dataclasses.replace(
        CONFIG,
        data=dataclasses.replace(CONFIG.data, data_dir=str(root)),
        video=dataclasses.replace(CONFIG.video, **fields),
    )


def with_train(config, **fields):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **fields))


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    state = run.train(VIDEO, config_of(root), ARCH, workdir)
    return SimpleNamespace(workdir=workdir, state=state)


@pytest.fixture
def copy(trained, tmp_path):
    shutil.copytree(trained.workdir, tmp_path / "run")
    return tmp_path / "run"


def lines_of(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


def steps_saved(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def found_in(workdir):
    with (workdir / "predictions" / "videos.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same_state(ours, other):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def loss_and_gradients(root, mesh):
    """Of the first batch."""
    config = config_of(root)
    data = VIDEO.open(config, ARCH)
    graphdef, params, stats = split_network(VIDEO.build(ARCH, config, data, True))
    function = jax.jit(make_gradient_fn(make_loss_fn(graphdef, config.train), mesh))
    batches = data.train_batches(config)
    batch = next(batches)
    batches.close()
    return function(params, stats, to_device(mesh, batch), jax.random.key(0))


def test_training_leaves_the_files_of_a_run(root, trained):
    lines = lines_of(trained.workdir)
    steps = [line for line in lines if line["split"] == "train"]
    assert all(line.keys() >= {"step", "loss", "top1"} for line in steps)
    assert math.isclose(steps[-1]["learning_rate"], 0.002, rel_tol=1e-6)
    evaluations = [line for line in lines if line["split"] == "eval"]
    assert [line["step"] for line in evaluations] == [8, 15]
    assert all(line["videos"] == VAL for line in evaluations)
    found = found_in(trained.workdir)
    assert [row["video"] for row in found] == list(open_videos(
        config_of(root).data, CONFIG.video
    ).evaluation.paths)  # fmt: skip
    right = np.mean([row["class"] == row["found"] for row in found])
    assert evaluations[-1]["top1"] == pytest.approx(right)
    table = (trained.workdir / "predictions" / "classes.txt").read_text()
    assert [line.split()[0] for line in table.splitlines()] == ["class", *CLASSES]


def test_every_part_learns(root, trained):
    config = config_of(root)
    _, before, _ = split_network(VIDEO.build(ARCH, config, VIDEO.open(config, ARCH), True))
    pairs = zip(
        jax.tree_util.tree_flatten_with_path(before)[0],
        jax.tree.leaves(trained.state.params),
        strict=True,
    )
    still = [
        jax.tree_util.keystr(path, simple=True)
        for (path, old), new in pairs
        if (np.asarray(old) == np.asarray(new)).all()
    ]
    assert not still


def test_stopped_training_goes_on_to_the_same_bits(root, trained, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*args):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "over_batches", stop)
        with pytest.raises(Stopped):
            run.train(VIDEO, config_of(root), ARCH, tmp_path)
    assert steps_saved(tmp_path) == [4]
    assert_same_state(run.train(VIDEO, config_of(root), ARCH, tmp_path), trained.state)
    assert found_in(tmp_path) == found_in(trained.workdir)


def test_evaluation_does_not_depend_on_its_batch_size(root, trained, copy):
    # Seven videos: the run's batches of four leave three for the last, batches of three leave one.
    line = run.evaluate(VIDEO, with_train(config_of(root), eval_batch_size=3), ARCH, copy)
    last = [line for line in lines_of(trained.workdir) if line["split"] == "eval"][-1]
    assert line["videos"] == VAL
    assert line["loss"] == pytest.approx(last["loss"], rel=1e-4)
    for ours, other in zip(found_in(copy), found_in(trained.workdir), strict=True):
        assert float(ours["probability"]) == pytest.approx(float(other["probability"]), abs=2e-4)


def test_ten_views_are_the_mean_of_five_and_their_mirror_images(root, trained):
    config = config_of(root)
    data = open_videos(config.data, config.video)
    net = VIDEO.build(ARCH, config, VIDEO.open(config, ARCH), True)
    graphdef, params, stats = split_network(net)
    (batch,) = eval_batches(data, config.data, config.video, batch_size=VAL)
    together = jax.jit(make_score_fn(graphdef, config.video, one_by_one=False))
    one_by_one = jax.jit(make_score_fn(graphdef, config.video, one_by_one=True))
    found = np.asarray(together(params, stats, batch)["scores"])
    # Other shapes of the same sums.
    np.testing.assert_allclose(one_by_one(params, stats, batch)["scores"], found, rtol=1e-4)
    # Mirrored pictures have the same ten views, as sets.
    mirrored = batch | {"clip": batch["clip"][:, :, :, :, ::-1].copy()}
    np.testing.assert_allclose(together(params, stats, mirrored)["scores"], found, rtol=1e-4)
    assert abs(np.diff(found, axis=0)).max() > 1e-3


def test_a_broken_checkpoint_gives_way_and_the_run_ends_with_the_same_bits(
    root, trained, copy, capfd
):
    *_, newest = steps_saved(copy)
    for file in (p for p in (copy / "checkpoints" / str(newest)).rglob("*") if p.is_file()):
        os.truncate(file, file.stat().st_size // 2)
    assert_same_state(run.train(VIDEO, config_of(root), ARCH, copy), trained.state)
    assert f"The checkpoint of step {newest} in" in capfd.readouterr().out
    assert found_in(copy) == found_in(trained.workdir)


def test_a_corrupt_video_is_not_counted_and_all_corrupt_are_refused(root, copy, tmp_path, capfd):
    damaged = tmp_path / "set"
    shutil.copytree(root, damaged)
    files = sorted((damaged / "val").rglob("*.mp4"))
    os.truncate(files[1], 200)
    config = config_of(damaged)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, corrupt_share=1.0))
    assert run.evaluate(VIDEO, config, ARCH, copy)["videos"] == VAL - 1
    assert f"skipped a corrupt video of set: {files[1]}" in capfd.readouterr().err
    assert len(found_in(copy)) == VAL - 1
    for file in files:
        os.truncate(file, 200)
    with pytest.raises(UserError, match="No video of the evaluation of set could be read"):
        run.evaluate(VIDEO, config, ARCH, copy)


def test_missing_data_and_library_are_told_before_a_network_is_built(tmp_path, monkeypatch, root):
    def build(*args):
        raise AssertionError("a network was built before the error")

    monkeypatch.setattr(task, "make_recogniser", build)
    with pytest.raises(MissingData, match="There is no folder"):
        run.train(VIDEO, config_of(tmp_path), ARCH, tmp_path / "run")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"deepmad_jax\[video\]"):
        run.train(VIDEO, config_of(root), ARCH, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_other_files_to_classify_but_not_with_another_recipe(root, copy):
    config = config_of(root)
    settle(config, copy, ARCH)
    others = dataclasses.replace(config.video, videos=("a.mp4",), missing_share=0.5)
    refuse_to_mix(dataclasses.replace(config, video=others), copy, VIDEO.parts)
    with pytest.raises(UserError, match=r"video\.segments"):
        refuse_to_mix(config_of(root, segments=5), copy, VIDEO.parts)
    # Its frames are JPEGs, which differ a little from those decoded.
    with pytest.raises(UserError, match=r"video\.cache"):
        refuse_to_mix(config_of(root, cache="cache"), copy, VIDEO.parts)


def test_checkpoints_of_other_classes_are_refused(root, trained, tmp_path):
    fewer = tmp_path / "set"
    shutil.copytree(root, fewer)
    for split in ("train", "val"):
        shutil.rmtree(fewer / split / "up")
    with pytest.raises(UserError, match="checkpoint"):
        run.evaluate(VIDEO, config_of(fewer), ARCH, trained.workdir)


def test_video_command_gives_the_classes_of_the_evaluation(root, copy, monkeypatch, capsys):
    from deepmad_jax.cli import main

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(copy / "cache"))
    settle(config_of(root), copy, ARCH)
    rows = found_in(copy)
    files = [str(root / "val" / row["video"]) for row in rows]
    assert main(["video", *files, "--workdir", str(copy)]) == 0
    said = capsys.readouterr().out
    for row, file in zip(rows, files, strict=True):
        best = said[said.index(file) + len(file) :].split("\n")[1]
        assert best.split()[0] == row["found"]
        # Printed to a hundredth of a per cent; a batch of four sums in another order than one.
        share = float(best.split()[1].rstrip("%")) / 100
        assert share == pytest.approx(float(row["probability"]), abs=5e-4)
    assert main(["video", "gone.mp4", "--workdir", str(copy)]) == 2
    assert "There is no video gone.mp4" in capsys.readouterr().err
    (copy / "text.mp4").write_text("no video")
    assert main(["video", str(copy / "text.mp4"), "--workdir", str(copy)]) == 2
    assert "is no video that can be read" in capsys.readouterr().err


def test_pretrained_weights_of_images_are_taken_less_their_classifier(root, tmp_path):
    from deepmad_jax import build, export

    images = build(ARCH, seed=7)
    export(images, tmp_path, ["safetensors"])
    (file,) = tmp_path.glob("*.safetensors")
    config = config_of(root, pretrained=str(file))
    net = VIDEO.build(ARCH, config, VIDEO.open(config, ARCH), True)
    np.testing.assert_array_equal(
        net.net.stem.layers["main1_conv"].kernel[...], images.stem.layers["main1_conv"].kernel[...]
    )
    assert net.classes.kernel[...].shape == (8, len(CLASSES))
