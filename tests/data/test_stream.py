import dataclasses
import json

import numpy as np
import pytest

from deepmad_jax.config import DataConfig
from deepmad_jax.data import Dataset, eval_batches, train_batches
from deepmad_jax.data.digits import ArraySource
from deepmad_jax.errors import InvalidConfig

PLAIN = DataConfig(source="fake", train_augment="none")
SHIFT = DataConfig(source="fake", train_augment="shift")


def numbered(train_images=23, eval_images=10):
    """Images that carry their own number as label."""

    def source(count):
        images = np.arange(count)[:, None, None, None] + np.zeros((1, 16, 16, 1))
        images[:, 4:12, 4:12] += 100
        return ArraySource(images.astype(np.uint8), np.arange(count, dtype=np.int32))

    return Dataset(
        name="numbered",
        train=source(train_images),
        evaluation=source(eval_images),
        channels=1,
        classes=train_images,
        mean=(0.5,),
        std=(0.25,),
        resolution_px=16,
        framed=True,
    )


def take(batches, count):
    return [next(batches) for _ in range(count)]


def labels_of(batches):
    return np.concatenate([b["label"] for b in batches])


def assert_same(batches, others):
    for a, b in zip(batches, others, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_every_epoch_is_another_permutation_of_all_images():
    # 23 batches of 5 are 5 epochs of 23 images: batches run across the ends of epochs.
    labels = labels_of(take(train_batches(numbered(), PLAIN, batch_size=5, seed=1), 23))
    epochs = labels.reshape(5, 23)
    for epoch in epochs:
        assert sorted(epoch) == list(range(23))
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_same_seed_gives_the_same_batches_and_another_seed_others():
    one, two, three = (
        take(train_batches(numbered(), SHIFT, batch_size=5, seed=seed), 8) for seed in (1, 1, 2)
    )
    assert_same(one, two)
    assert (labels_of(one) != labels_of(three)).any()


def test_augmentation_differs_between_epochs():
    batches = take(train_batches(numbered(1), SHIFT, batch_size=1, seed=0), 12)
    assert len({b["image"].tobytes() for b in batches}) > 4  # of 25 shifts


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_each_batch_of_one_process_between_them(count):
    whole = take(train_batches(numbered(), SHIFT, batch_size=8, seed=3), 9)
    parts = [
        take(
            train_batches(
                numbered(), SHIFT, batch_size=8, seed=3, process_index=i, process_count=count
            ),
            9,
        )
        for i in range(count)
    ]
    for step, batch in enumerate(whole):
        for name in ("image", "label"):
            merged = np.stack([part[step][name] for part in parts], axis=1)
            np.testing.assert_array_equal(merged.reshape(batch[name].shape), batch[name])


def test_repeated_images_stand_together_differ_and_are_shared_by_the_processes():
    config = dataclasses.replace(SHIFT, repeats=3)
    batches = take(train_batches(numbered(), config, batch_size=6, seed=1), 3)
    labels = labels_of(batches)
    np.testing.assert_array_equal(labels, np.repeat(labels[::3], 3))
    assert len(set(labels)) == 6  # no more than a third of the images of as many places
    images = batches[0]["image"]
    assert not np.array_equal(images[0], images[1])
    shares = [
        take(train_batches(numbered(), config, batch_size=6, seed=1, **place), 3)
        for place in ({"process_index": i, "process_count": 3} for i in range(3))
    ]
    for share in shares:
        np.testing.assert_array_equal(labels_of(share), labels[::3])


def test_restored_iterator_goes_on_exactly():
    batches = train_batches(numbered(), SHIFT, batch_size=5, seed=1)
    take(batches, 6)
    state = batches.get_state()
    expected = take(batches, 6)
    again = train_batches(numbered(), SHIFT, batch_size=5, seed=1)
    again.set_state(state)
    assert_same(take(again, 6), expected)


def test_worker_processes_change_no_batch_and_a_place_fits_any_number_of_them():
    two = dataclasses.replace(SHIFT, workers=2)
    expected = take(train_batches(numbered(), SHIFT, batch_size=5, seed=1), 9)
    batches = train_batches(numbered(), two, batch_size=5, seed=1)
    assert_same(take(batches, 4), expected[:4])
    state = batches.get_state()
    batches.close()
    again = train_batches(numbered(), SHIFT, batch_size=5, seed=1)
    again.set_state(state)
    assert_same(take(again, 5), expected[4:])
    again.set_state({"next_batch": 2, "corrupt": []})  # backwards, while it runs
    assert_same(take(again, 2), expected[2:4])


def test_state_is_the_number_of_the_next_batch():
    batches = train_batches(numbered(), SHIFT, batch_size=5, seed=1)
    take(batches, 7)
    assert json.loads(json.dumps(batches.get_state())) == {"next_batch": 7, "corrupt": []}


def test_batches_of_many_chunks_are_the_stream_in_order():
    # 160 images are made as 4 chunks of 40, and 40 as one: the same stream cut elsewhere.
    (large,) = take(train_batches(numbered(), SHIFT, batch_size=160, seed=1), 1)
    small = take(train_batches(numbered(), SHIFT, batch_size=40, seed=1), 4)
    for name, values in large.items():
        np.testing.assert_array_equal(values, np.concatenate([b[name] for b in small]))


def test_every_image_has_its_own_key():
    batches = take(train_batches(numbered(), SHIFT, batch_size=40, seed=1), 4)
    keys = np.concatenate([b["key"] for b in batches])
    assert keys.shape == (160, 2)
    assert keys.dtype == np.uint32
    assert len(np.unique(keys, axis=0)) == 160
    # Bits of one batch's keys: half are set, five deviations of 160 * 64.
    assert np.unpackbits(keys.view(np.uint8)).mean() == pytest.approx(0.5, abs=0.025)


def test_images_are_flipped_with_the_probability():
    marked = np.zeros((200, 16, 16, 1), np.uint8)
    marked[:, :, :4] = 255
    dataset = dataclasses.replace(
        numbered(), train=ArraySource(marked, np.arange(200, dtype=np.int32)), classes=200
    )
    for probability in (0.0, 0.3, 1.0):
        config = dataclasses.replace(SHIFT, flip=probability)
        (batch,) = take(train_batches(dataset, config, batch_size=200, seed=0), 1)
        flipped = (batch["image"][..., 12:, 0].mean((1, 2)) > 50).mean()
        assert flipped == pytest.approx(probability, abs=0.17)  # five deviations


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_evaluation_counts_every_image_once(batch_size):
    batches = list(eval_batches(numbered(), PLAIN, batch_size=batch_size))
    assert {b["image"].shape for b in batches} == {(batch_size, 16, 16, 1)}
    mask = np.concatenate([b["mask"] for b in batches])
    assert sorted(labels_of(batches)[mask == 1]) == list(range(10))
    assert set(mask) <= {0.0, 1.0}


@pytest.mark.parametrize("batch_size", [4, 8, 32])
def test_evaluation_counts_every_image_once_over_four_processes(batch_size):
    parts = [
        list(
            eval_batches(numbered(), PLAIN, batch_size=batch_size, process_index=i, process_count=4)
        )
        for i in range(4)
    ]
    assert len({len(part) for part in parts}) == 1  # or the processes would wait for each other
    seen = [b["label"][b["mask"] == 1] for part in parts for b in part]
    assert sorted(np.concatenate(seen)) == list(range(10))


def test_evaluation_gives_the_images_as_they_are():
    dataset = numbered()
    (batch,) = eval_batches(dataset, PLAIN, batch_size=10)
    np.testing.assert_array_equal(batch["image"], dataset.evaluation.images)


def test_misspelt_augmentation_is_refused():
    with pytest.raises(InvalidConfig, match="did you mean 'crop'"):
        DataConfig(train_augment="crops")


def test_crop_share_outside_0_to_1_is_refused():
    with pytest.raises(InvalidConfig, match=r"eval_crop is 87\.5"):
        DataConfig(eval_crop=87.5)


def test_unknown_policy_is_refused_before_anything_is_read():
    config = dataclasses.replace(SHIFT, auto_augment="rand-m99")
    with pytest.raises(InvalidConfig, match="auto_augment is 'rand-m99'"):
        train_batches(numbered(), config, batch_size=4, seed=0)


def test_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(InvalidConfig, match="choose a multiple of 3"):
        train_batches(numbered(), PLAIN, batch_size=8, seed=0, process_index=0, process_count=3)
