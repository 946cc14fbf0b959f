import collections
import dataclasses

import numpy as np
import pytest
from coco_set import SIZES, picture, write_set
from PIL import Image

from deepmad_jax.config import DataConfig, DetectConfig
from deepmad_jax.data import boxed
from deepmad_jax.data.coco import open_coco
from deepmad_jax.data.coco_index import read_index
from deepmad_jax.data.corrupt import CorruptData
from deepmad_jax.train.place import joined

DETECT = DetectConfig(
    short_sides=(48, 64), eval_short_side=64, long_side=96, most_boxes=4, mask_px=28
)
CONFIG = DataConfig(train_split="train", eval_split="val", corrupt_share=0.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = write_set(tmp_path_factory.mktemp("boxed") / "set")
    return open_coco(dataclasses.replace(CONFIG, data_dir=str(root)))


def batches(dataset, number, **fields):
    config = dataclasses.replace(CONFIG, **fields)
    stream = boxed.train_batches(
        dataset, config, DETECT, masks=True, batch_size=2, seed=3, process_index=0, process_count=1
    )
    found = [next(stream) for _ in range(number)]
    stream.close()
    return found


def evaluated(dataset, **fields):
    arguments = {"batch_size": 2, "process_index": 0, "process_count": 1} | fields
    return list(boxed.eval_batches(dataset, CONFIG, DETECT, **arguments))


def test_batches_have_two_shapes_and_no_more(dataset):
    shapes = {b["image"].shape[1:3] for b in batches(dataset, 12)}
    assert shapes == {(64, 96), (96, 64)}
    assert boxed.num_canvases(dataset.train) == 2


def test_kinds_come_as_often_as_their_images(dataset):
    upright = [b["image"].shape[1] > b["image"].shape[2] for b in batches(dataset, 12)]
    assert sum(upright) == 4  # one image of three is higher than wide


def test_boxes_and_masks_move_with_their_image_as_pillow_moves_it(dataset):
    seen = collections.Counter()
    for batch in batches(dataset, 16):
        for slot in range(2):
            number = int(batch["index"][slot])
            annotated = read_index(dataset.train.annotations)[number]
            height, width = batch["size"][slot].tolist()
            whole = Image.fromarray(picture(*SIZES[annotated.id], annotated.id))
            whole = whole.resize((width, height), Image.Resampling.BILINEAR)
            ours = batch["image"][slot, :height, :width].astype(int)
            # The picture's red grows to the right.
            mirrored = bool(ours[0, 0, 0] > ours[0, -1, 0])
            if mirrored:
                whole = whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            # Both are bilinear, Pillow's over a wider window where it shrinks.
            assert np.abs(ours - np.asarray(whole).astype(int)).mean() < 2
            assert not batch["image"][slot, height:].any()
            assert not batch["image"][slot, :, width:].any()
            learned = np.flatnonzero(annotated.usable())
            assert (batch["label"][slot] >= 0).sum() == len(learned)
            for place, i in enumerate(learned):
                x1, y1, x2, y2 = np.clip(
                    annotated.boxes[i], 0, [annotated.width, annotated.height] * 2
                )
                marked = Image.new("L", (annotated.width, annotated.height))
                marked.paste(255, (int(x1), int(y1), int(x2), int(y2)))
                moved = marked.resize((width, height), Image.Resampling.BILINEAR)
                if mirrored:
                    moved = moved.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                rows, columns = np.nonzero(np.asarray(moved) >= 128)
                wanted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_allclose(batch["boxes"][slot, place], wanted, atol=1)
            seen[mirrored] += 1
    assert min(seen[False], seen[True]) > 5


def test_masks_are_mirrored_where_the_boxes_are(dataset):
    # The object of two parts has one at the top left, none at the top right.
    for batch in batches(dataset, 16):
        for slot in range(2):
            if read_index(dataset.train.annotations).ids[batch["index"][slot]] != 30:
                continue
            ours = batch["image"][slot].astype(int)
            width = batch["size"][slot, 1]
            mirrored = bool(ours[0, 0, 0] > ours[0, width - 1, 0])
            corner = batch["masks"][slot, 0, 2, 25 if mirrored else 2]
            other = batch["masks"][slot, 0, 2, 2 if mirrored else 25]
            assert (corner, other) == (1, 0)


def test_evaluation_has_every_image_once(dataset):
    found = evaluated(dataset)
    counted = [int(i) for b in found for i, m in zip(b["index"], b["mask"], strict=True) if m]
    assert sorted(counted) == list(range(len(SIZES)))
    assert {b["image"].shape for b in found} == {(2, 64, 96, 3), (2, 96, 64, 3)}
    for batch in found:
        for i, mask, size, ratio in zip(
            batch["index"], batch["mask"], batch["size"], batch["ratio"], strict=True
        ):
            if mask:
                annotated = read_index(dataset.evaluation.annotations)[int(i)]
                np.testing.assert_allclose(ratio, size / [annotated.height, annotated.width])


def test_processes_share_every_batch(dataset):
    whole = evaluated(dataset)
    parts = [evaluated(dataset, process_index=i, process_count=2) for i in range(2)]
    for one, *shares in zip(whole, *parts, strict=True):
        joined = np.stack([s["index"] for s in shares], 1).ravel()
        np.testing.assert_array_equal(joined, one["index"])


def test_a_place_that_two_processes_left_is_taken_up_by_one(dataset):
    def stream(index, count):
        return boxed.train_batches(
            dataset, CONFIG, DETECT, batch_size=2, seed=3, process_index=index, process_count=count
        )

    both = [stream(index, 2) for index in range(2)]
    for part in both:
        [next(part) for _ in range(4)]
    state = joined([part.get_state() for part in both])
    alone, whole = stream(0, 1), stream(0, 1)
    alone.set_state(state)
    [next(whole) for _ in range(4)]
    for _ in range(3):
        ours, wanted = next(alone), next(whole)
        np.testing.assert_array_equal(ours["image"], wanted["image"])
    for part in (*both, alone, whole):
        part.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_moved_to_a_place_goes_on_as_if_it_had_been_read(dataset, workers):
    config = dataclasses.replace(CONFIG, workers=workers)

    def stream():
        return boxed.train_batches(
            dataset, config, DETECT, batch_size=2, seed=3, process_index=0, process_count=1
        )

    whole = batches(dataset, 7)
    moved = stream()
    first = [next(moved) for _ in range(4)]
    state = moved.get_state()
    moved.close()
    again = stream()
    again.set_state(state)
    rest = [next(again) for _ in range(3)]
    again.close()
    for ours, wanted in zip(first + rest, whole, strict=True):
        for name, value in ours.items():
            np.testing.assert_array_equal(value, wanted[name])


def test_an_image_of_another_size_than_annotated_is_corrupt(tmp_path):
    root = write_set(tmp_path / "set")
    Image.fromarray(picture(60, 40, 7)).save(root / "val" / "7.png")
    found = open_coco(dataclasses.replace(CONFIG, data_dir=str(root)))
    with pytest.raises(CorruptData, match=r"7\.png"):
        evaluated(found)


def test_corrupt_images_are_counted_by_kind(tmp_path, capfd):
    root = write_set(tmp_path / "set")
    (root / "val" / "30.png").unlink()
    found = open_coco(dataclasses.replace(CONFIG, data_dir=str(root)))
    with pytest.raises(CorruptData, match=r"1 of the 1 images of set \(upright\) cannot be read"):
        evaluated(found)
    assert "30.png" in capfd.readouterr().err


def test_the_largest_boxes_are_learned_where_there_are_too_many(dataset):
    annotated = read_index(dataset.train.annotations)[1]
    assert boxed.most_of(annotated, 1).tolist() == [1]
    assert boxed.most_of(annotated, 5).tolist() == [0, 1]
