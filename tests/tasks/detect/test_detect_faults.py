"""What may go wrong with a run of a detector: broken checkpoints, images and numbers.

The engine's own tests have every kind of damage (`tests/train`); here a detector goes through it.
"""

import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
from test_detect_job import ARCH, config_of, lines_of

from deepmad_jax.data.boxed import eval_batches
from deepmad_jax.data.coco import open_coco
from deepmad_jax.data.coco_index import read_index
from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.jobs.workdir import refuse_to_mix, settle
from deepmad_jax.tasks import run
from deepmad_jax.tasks.detect import task
from deepmad_jax.tasks.detect.evaluation import results_of
from deepmad_jax.tasks.detect.functions import make_detect_fn
from deepmad_jax.tasks.detect.task import DETECT
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train.window import TIMED, Diverged


@pytest.fixture
def copy(trained, tmp_path):
    shutil.copytree(trained.workdir, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def no_network(monkeypatch):
    """Fails where a network is built: nothing a user got wrong may cost that much."""

    def build(*args):
        raise AssertionError("a network was built before the error")

    monkeypatch.setattr(task, "make_detector", build)


def with_train(config, **fields):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **fields))


def with_data(config, **fields):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **fields))


def without_times(lines):
    return [{k: v for k, v in line.items() if k not in TIMED} for line in lines]


def steps_saved(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def test_a_broken_checkpoint_gives_way_and_the_run_ends_with_the_same_bits(
    root, trained, copy, capfd
):
    *_, newest = steps_saved(copy)
    for file in (p for p in (copy / "checkpoints" / str(newest)).rglob("*") if p.is_file()):
        os.truncate(file, file.stat().st_size // 2)
    state = run.train(DETECT, config_of(root), ARCH, copy)
    assert f"The checkpoint of step {newest} in" in capfd.readouterr().out
    for ours, other in zip(jax.tree.leaves(state), jax.tree.leaves(trained.state), strict=True):
        np.testing.assert_array_equal(ours, other)
    assert without_times(lines_of(copy)) == without_times(trained.lines)
    assert json.loads((copy / "predictions" / "boxes.json").read_text()) == trained.boxes


def test_without_a_whole_checkpoint_nothing_starts_over(root, copy):
    for step in steps_saved(copy):
        shutil.rmtree(copy / "checkpoints" / str(step) / "state")
    before = lines_of(copy)
    with pytest.raises(UserError, match="None of the checkpoints in"):
        run.train(DETECT, config_of(root), ARCH, copy)
    assert lines_of(copy) == before


@pytest.mark.slow
def test_a_rate_far_too_high_is_stopped_and_leaves_no_broken_checkpoint(root, tmp_path):
    config = with_train(config_of(root), learning_rate=1e30, clip_norm=None)
    with pytest.raises(Diverged, match=r"step \d.*Lower --config\.train\.learning_rate"):
        run.train(DETECT, config, ARCH, tmp_path)
    assert steps_saved(tmp_path) == []  # the first is of step 4


def test_corrupt_images_are_named_and_the_run_goes_on(root, trained, tmp_path, capfd):
    damaged = tmp_path / "set"
    shutil.copytree(root, damaged)
    for split in ("train", "val"):
        file = damaged / split / "000001.jpg"
        os.truncate(file, file.stat().st_size // 2)
    run.train(DETECT, with_data(config_of(damaged), corrupt_share=0.2), ARCH, tmp_path / "run")
    said = capfd.readouterr().err
    assert said.count(f"{damaged}/train/000001.jpg") == 1
    assert said.count(f"{damaged}/val/000001.jpg") == 2  # once an evaluation
    lines = [line for line in lines_of(tmp_path / "run") if line["split"] == "eval"]
    assert [line["images"] for line in lines] == [6, 6]
    boxes = json.loads((tmp_path / "run" / "predictions" / "boxes.json").read_text())
    corrupt = read_index(str(damaged / "annotations" / "instances_val.json")).ids[1]
    assert corrupt not in {box["image_id"] for box in boxes}


def test_evaluation_does_not_depend_on_its_batch_size(root, trained, copy):
    # Seven images: the run's batches of four leave three for the last, batches of three leave one.
    line = run.evaluate(DETECT, with_train(config_of(root), eval_batch_size=3), ARCH, copy)
    assert line["images"] == 7
    assert line["box_ap"] == pytest.approx(trained.lines[-1]["box_ap"], abs=1e-3)
    assert_same_boxes(json.loads((copy / "predictions" / "boxes.json").read_text()), trained.boxes)


def test_the_averages_are_evaluated_not_the_params(root, trained):
    config = config_of(root)
    dataset = open_coco(config.data)
    graphdef, _, _ = split_network(DETECT.build(ARCH, config, DETECT.open(config, ARCH), True))
    step = jax.jit(make_detect_fn(graphdef))
    batches = list(eval_batches(dataset, config.data, config.detect, batch_size=4))
    index = read_index(dataset.evaluation.annotations)

    def found(variables):
        return [r for b in batches for r in results_of(jax.device_get(step(*variables, b)), index)]

    averages = found(trained.state.ema)
    assert_same_boxes(averages, trained.boxes)
    params = found((trained.state.params, trained.state.batch_stats))
    assert [r["score"] for r in params] != [r["score"] for r in averages]


def assert_same_boxes(ours, wanted):
    """By image and score: neighbouring scores may trade places."""
    assert len(ours) == len(wanted)

    def ordered(boxes):
        return sorted(boxes, key=lambda r: (r["image_id"], r["category_id"], r["bbox"]))

    for a, b in zip(ordered(ours), ordered(wanted), strict=True):
        assert (a["image_id"], a["category_id"]) == (b["image_id"], b["category_id"])
        np.testing.assert_allclose(a["bbox"], b["bbox"], atol=0.05)
        assert a["score"] == pytest.approx(b["score"], abs=1e-4)


@pytest.mark.usefixtures("no_network")
def test_missing_data_are_told_before_a_network_is_built(tmp_path):
    with pytest.raises(MissingData, match=r"instances_train\.json"):
        run.train(DETECT, config_of(tmp_path), ARCH, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_network")
def test_evaluation_without_a_checkpoint_says_to_train_first(root, tmp_path):
    with pytest.raises(MissingData, match=r"no checkpoint in .*--config\.jobs=train"):
        run.evaluate(DETECT, config_of(root), ARCH, tmp_path)


def test_checkpoints_of_another_network_or_other_classes_are_refused(root, trained, tmp_path):
    wider = dataclasses.replace(ARCH, stem=dataclasses.replace(ARCH.stem, width=16))
    with pytest.raises(UserError, match="is of another architecture"):
        run.evaluate(DETECT, config_of(root), wider, trained.workdir)
    fewer = tmp_path / "set"
    shutil.copytree(root, fewer)
    for file in (fewer / "annotations").iterdir():
        values = json.loads(file.read_text())
        values["categories"] = values["categories"][:2]
        file.write_text(json.dumps(values))
    with pytest.raises(UserError, match="checkpoint"):
        run.evaluate(DETECT, config_of(fewer), ARCH, trained.workdir)


def test_a_run_goes_on_with_other_pictures_to_draw_but_not_with_another_recipe(root, copy):
    config = config_of(root)
    settle(config, copy, ARCH)

    def with_detect(**fields):
        detect = dataclasses.replace(config.detect, **fields)
        return dataclasses.replace(config, detect=detect)

    refuse_to_mix(with_detect(score=0.9, images=("a.jpg",), export_nms=False), copy, DETECT.parts)
    with pytest.raises(UserError, match=r"detect\.short_sides"):
        refuse_to_mix(with_detect(short_sides=(48,)), copy, DETECT.parts)


def test_every_evaluation_image_corrupt_is_refused(root, copy, tmp_path):
    damaged = tmp_path / "set"
    shutil.copytree(root, damaged)
    for file in (damaged / "val").iterdir():
        os.truncate(file, 100)
    config = with_data(config_of(damaged), corrupt_share=1.0)
    with pytest.raises(UserError, match="No image of the evaluation of set could be used"):
        run.evaluate(DETECT, config, ARCH, copy)
