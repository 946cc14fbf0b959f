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


def test_restored_iterator_goes_on_exactly():
    batches = train_batches(numbered(), SHIFT, batch_size=5, seed=1)
    take(batches, 6)
    state = batches.get_state()
    expected = take(batches, 6)
    again = train_batches(numbered(), SHIFT, batch_size=5, seed=1)
    again.set_state(state)
    assert_same(take(again, 6), expected)


def test_worker_processes_change_no_batch_and_restore_exactly():
    config = DataConfig(source="fake", train_augment="shift", workers=2)
    expected = take(train_batches(numbered(), SHIFT, batch_size=5, seed=1), 9)
    batches = train_batches(numbered(), config, batch_size=5, seed=1)
    assert_same(take(batches, 4), expected[:4])
    state = batches.get_state()
    batches.close()
    again = train_batches(numbered(), config, batch_size=5, seed=1)
    again.set_state(state)
    assert_same(take(again, 5), expected[4:])
    again.close()


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
    config = DataConfig(train_augment="crops")
    with pytest.raises(InvalidConfig, match="did you mean 'crop'"):
        train_batches(numbered(), config, batch_size=4, seed=0)


def test_crop_share_outside_0_to_1_is_refused():
    with pytest.raises(InvalidConfig, match=r"eval_crop is 87\.5"):
        eval_batches(numbered(), DataConfig(eval_crop=87.5), batch_size=4)


def test_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(InvalidConfig, match="choose a multiple of 3"):
        train_batches(numbered(), PLAIN, batch_size=8, seed=0, process_index=0, process_count=3)
