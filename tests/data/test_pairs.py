import dataclasses

import numpy as np
import pytest
from PIL import Image

from deepmad_jax.config import DataConfig, SegmentConfig
from deepmad_jax.data.corrupt import CorruptData
from deepmad_jax.data.masked import (
    Crops,
    choose_crop,
    classes_of,
    decoded,
    eval_batches,
    eval_sizes,
    forms_of,
    train_batches,
)
from deepmad_jax.data.pairs import IGNORED, label_pixels, open_pairs
from deepmad_jax.data.photometric import distort, in_other_colours
from deepmad_jax.data.scenes import CLASSES, draw_scenes
from deepmad_jax.errors import InvalidConfig, MissingData, UserError

SEGMENT = SegmentConfig(
    classes=len(CLASSES), short_side=64, long_side=128, crop=48, aspects=(1.0, 4 / 3, 1.5)
)


@pytest.fixture
def root(tmp_path):
    draw_scenes(tmp_path, {"training": 6, "validation": 5})
    return tmp_path


def data_of(root, **fields):
    return DataConfig(data_dir=str(root), train_split="training", eval_split="validation", **fields)


def replace_label(root, name, size, mode="L"):
    Image.new(mode, size).save(root / "annotations" / "training" / name)


def test_pairs_are_found_with_their_sizes_and_names(root):
    data = open_pairs(data_of(root), SEGMENT)
    assert (len(data.train), len(data.evaluation)) == (6, 5)
    assert data.train.sizes[:2] == ((96, 128), (128, 96))
    assert data.names == CLASSES


def test_names_of_ade20k_are_read_from_its_table(root):
    (root / "classes.txt").unlink()
    lines = ["Idx\tRatio\tTrain\tVal\tName"]
    lines += [f"{i}\t0.1\t9\t9\tthing {i}, item" for i in range(1, 7)]
    (root / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    assert open_pairs(data_of(root), SEGMENT).names[0] == "thing 1, item"


def test_another_number_of_classes_than_named_is_refused(root):
    with pytest.raises(InvalidConfig, match=r"names 6: --config\.segment\.classes=6"):
        open_pairs(data_of(root), SegmentConfig(classes=150))


def test_labels_of_other_sizes_are_named_in_one_error(root):
    replace_label(root, "000001.png", (20, 30))
    replace_label(root, "000004.png", (128, 95))
    with pytest.raises(UserError) as error:
        open_pairs(data_of(root), SEGMENT)
    text = str(error.value)
    assert text.startswith("2 of 6 labels in ")
    assert "000001.jpg is 96x128, its label 20x30; 000004.jpg is 128x96, its label 128x95" in text


def test_an_image_without_a_label_is_named(root):
    (root / "annotations" / "training" / "000002.png").unlink()
    with pytest.raises(MissingData, match=r"1 of 6 images .* 000002\.png"):
        open_pairs(data_of(root), SEGMENT)


def test_other_folders_and_names_can_be_given(root):
    (root / "images").rename(root / "photos")
    with pytest.raises(MissingData, match="There is no folder"):
        open_pairs(data_of(root), SEGMENT)
    segment = SegmentConfig(classes=6, image_folder="photos/{split}")
    assert len(open_pairs(data_of(root), segment).train) == 6


@pytest.mark.parametrize("mode", ["P", "L"])
def test_values_of_labels_are_indices_whatever_their_colours(tmp_path, mode):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette([200 - i for i in range(36)])
    image.save(tmp_path / "label.png")
    found = label_pixels((tmp_path / "label.png").read_bytes(), "label.png")
    np.testing.assert_array_equal(found, values)


def test_a_label_in_colours_is_refused(tmp_path):
    Image.new("RGB", (3, 4)).save(tmp_path / "label.png")
    with pytest.raises(UserError, match="kind RGB"):
        label_pixels((tmp_path / "label.png").read_bytes(), "label.png")


def test_zero_is_ignored_or_a_class():
    values = np.array([[0, 1, 6, 255]], np.uint8)
    np.testing.assert_array_equal(classes_of(values, "x.png", SEGMENT), [[IGNORED, 0, 5, IGNORED]])
    with_zero = SegmentConfig(classes=7, zero_ignored=False)
    np.testing.assert_array_equal(classes_of(values, "x.png", with_zero), values)
    with pytest.raises(UserError, match=r"x\.png has the value 6, but there are 6 classes"):
        classes_of(values, "x.png", SegmentConfig(classes=6, zero_ignored=False))


def test_a_crop_has_no_class_of_too_large_a_share():
    label = np.zeros((64, 80), np.uint8)
    label[:, 40:] = 1
    rng = np.random.default_rng(0)
    lefts = []
    for _ in range(50):
        top, left = choose_crop(rng, label, 40, 0.75)
        assert top <= 24
        lefts.append(left)
    # More than a quarter on both sides of the border.
    # Ten draws in a row fail in one of 600 cases, and then the last is taken.
    assert sum(10 < left < 30 for left in lefts) >= 48
    # Ignored pixels do not count, and one class alone never passes: the last draw is taken.
    label[:, 40:] = IGNORED
    lefts = {choose_crop(rng, label, 40, 0.75)[1] for _ in range(50)}
    assert min(lefts) < 10
    assert max(lefts) > 30


def test_an_image_smaller_than_the_crop_is_taken_whole():
    assert choose_crop(np.random.default_rng(0), np.zeros((3, 5), np.uint8), 40, 0.75) == (0, 0)


def test_training_crops_are_image_where_they_are_labelled(root):
    # Colour by class: the label must lie exactly where its image does, mirrored or not.
    data = open_pairs(data_of(root), SEGMENT)
    for name in data.train.names:
        label = root / "annotations" / "training" / name.replace("jpg", "png")
        with Image.open(label) as opened:
            values = np.asarray(opened)
        grey = Image.fromarray(np.stack([values * 40] * 3, -1))
        (root / "images" / "training" / name).unlink()
        grey.save((root / "images" / "training" / name).with_suffix(".png"))
    segment = SegmentConfig(
        classes=6, short_side=96, long_side=400, scale_range=(1.0, 1.0), crop=80, distort=False
    )
    data = open_pairs(data_of(root), segment)
    stream = train_batches(data, data_of(root, flip=0.5), segment, batch_size=6, seed=0)
    batch = next(stream)
    stream.close()
    known = batch["label"] != IGNORED
    shown = np.round(batch["image"][..., 0] / 40)
    # Edges are blurred where the short side is not 96 already.
    assert (shown[known] == batch["label"][known] + 1).mean() > 0.97


def test_padding_is_ignored_and_marked(root):
    segment = SegmentConfig(classes=6, short_side=32, long_side=64, scale_range=(1.0, 1.0), crop=48)
    data = open_pairs(data_of(root), segment)
    stream = train_batches(data, data_of(root), segment, batch_size=4, seed=0)
    batch = next(stream)
    stream.close()
    for label, size in zip(batch["label"], batch["size"], strict=True):
        assert min(size) == 32
        assert (label[size[0] :] == IGNORED).all()
        assert (label[:, size[1] :] == IGNORED).all()


def test_batches_are_a_function_of_seed_and_place(root):
    data = open_pairs(data_of(root), SEGMENT)
    two = [train_batches(data, data_of(root), SEGMENT, batch_size=4, seed=3) for _ in range(2)]
    batches = [next(two[0]) for _ in range(3)]
    two[1].set_state({"next_batch": 2, **_rest(two[0])})
    again = next(two[1])
    for name, values in batches[2].items():
        np.testing.assert_array_equal(again[name], values)
    for stream in two:
        stream.close()


def _rest(stream):
    return {k: v for k, v in stream.get_state().items() if k != "next_batch"}


def test_a_damaged_training_image_is_named_and_skipped(root, capfd):
    first = min((root / "images" / "training").iterdir())
    first.write_bytes(b"no image")
    config = dataclasses.replace(data_of(root), corrupt_share=0.9)
    stream = train_batches(open_pairs(config, SEGMENT), config, SEGMENT, batch_size=8, seed=0)
    next(stream)
    stream.close()
    assert f"skipped a corrupt image of {root.name}: {first}" in capfd.readouterr().err


def test_a_damaged_image_is_named_and_stops_a_run_of_damaged_ones(root):
    for path in (root / "images" / "training").iterdir():
        path.write_bytes(b"no image")
    data = open_pairs(data_of(root), SEGMENT)
    stream = train_batches(data, data_of(root), SEGMENT, batch_size=2, seed=0)
    with pytest.raises(CorruptData, match="images in a row"):
        next(stream)
    stream.close()


@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_has_every_image_and_every_labelled_pixel_once(root, count):
    data = open_pairs(data_of(root), SEGMENT)
    seen = {}
    for index in range(count):
        for batch in eval_batches(
            data,
            data_of(root),
            SEGMENT,
            batch_size=2,
            process_index=index,
            process_count=count,
        ):
            for row in np.flatnonzero(batch["mask"]):
                number = int(batch["index"][row])
                assert number not in seen
                height, width = batch["size"][row]
                seen[number] = batch["label"][row, :height, :width]
                assert (batch["label"][row, height:] == IGNORED).all()
                assert (batch["label"][row, :, width:] == IGNORED).all()
    assert sorted(seen) == list(range(5))
    for number, label in seen.items():
        _, wanted = decoded(data.evaluation.only([number])[0], SEGMENT)
        np.testing.assert_array_equal(label, wanted)


def test_evaluation_images_have_few_shapes(root):
    data = open_pairs(data_of(root), SEGMENT)
    shapes = {form.sizes[0] for form, _ in forms_of(data.evaluation, SEGMENT)}
    assert shapes == {(64, 96), (96, 64), (64, 64)}
    # However many sizes the images have: at most two for each aspect.
    segment = SegmentConfig()
    rng = np.random.default_rng(0)
    many = {eval_sizes(tuple(rng.integers(100, 2000, 2)), segment) for _ in range(3000)}
    assert len(many) <= 2 * len(segment.aspects) - 1
    assert all(side % 32 == 0 for sizes in many for side in sizes[0])


@pytest.mark.parametrize(
    ("size", "scale", "wanted"),
    # mmcv's rescale_size of a width and height within (2048, 512), by hand.
    [((480, 640), 1.0, (512, 683)), ((600, 3000), 1.0, (410, 2048)), ((683, 512), 0.5, (342, 256))],
)
def test_without_aspects_images_keep_their_own(size, scale, wanted):
    segment = SegmentConfig(aspects=(), scales=(scale,))
    assert eval_sizes(size, segment) == (wanted,)


def test_light_changes_within_its_ranges_and_leaves_some_images_alone():
    image = np.full((2, 2, 3), 100, np.uint8)
    found = [distort(np.random.default_rng(i), image) for i in range(400)]
    same = np.mean([np.array_equal(x, image) for x in found])
    # Grey has no hue or saturation: nothing happens where neither brightness nor contrast moves.
    assert 0.18 < same < 0.32
    values = np.array([x[0, 0, 0] for x in found])
    assert values.min() < 60
    assert values.max() > 140
    assert values.min() >= 34  # (100 - 32) / 2
    assert values.max() <= 198  # (100 + 32) * 1.5


def test_hue_turns_and_saturation_scales():
    red = np.array([[[200, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(in_other_colours(red, None, 60), [[[0, 200, 0]]])
    np.testing.assert_array_equal(in_other_colours(red, None, -60), [[[0, 0, 200]]])
    np.testing.assert_allclose(in_other_colours(red, 0.5, None), [[[200, 100, 100]]], atol=1)


def test_slots_of_a_chunk_keep_nothing_of_what_was_there(root):
    data = open_pairs(data_of(root), SEGMENT)
    samples = Crops(SEGMENT, 0.0)
    chunk = samples.empty(1)
    chunk["label"][:] = 3
    small = SegmentConfig(classes=6, short_side=20, long_side=40, scale_range=(1, 1), crop=48)
    Crops(small, 0.0).maker()(chunk, 0, data.train[0], np.random.default_rng(0))
    assert (chunk["label"][0, 20:] == IGNORED).all()
