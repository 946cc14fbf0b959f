"""Checkpoints of which any file is cut short, emptied, changed by one bit or gone."""

import functools
import json
import os
import shutil

import grain
import numpy as np
import optax
import pytest
import tiny

from deepmad_jax.errors import UserError
from deepmad_jax.train import Checkpoints, create_state, make_mesh, place

OF = {
    "network": {"resolution": 16, "stages": [{"block": "basic", "width": 8}]},
    "stream": {"batch": 16},
}
PROGRESS = {"best": {"value": 1.5, "saved_step": 1}, "window": []}
OPTIMIZER = optax.sgd(0.1)


class Place:
    def __init__(self, iterator):
        self.state = json.dumps(iterator.get_state()).encode()

    def get_state(self):
        return self.state


def images():
    """A stream of batches that starts no threads: many of them are opened here."""
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return iter(grain.MapDataset.range(100).to_iter_dataset(options))


def after(count):
    batches = images()
    for _ in range(count):
        next(batches)
    return batches


@functools.cache
def state(step):
    """Arrays that Orbax puts into its tables, and one that it puts beside them."""
    rng = np.random.default_rng(step)
    params = {
        "small": rng.normal(size=3).astype(np.float32),
        "large": rng.normal(size=(64, 64)).astype(np.float32),
    }
    return place(make_mesh(), create_state(params, {}, OPTIMIZER, ema=True))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The checkpoints of step 1 and of step 2."""
    directory = tmp_path_factory.mktemp("damage") / "two"
    with Checkpoints(directory, 2, **OF) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state(step), Place(after(step)), step, PROGRESS)
    return directory


@pytest.fixture(scope="module")
def reader(two):
    """Only reads, so that files can be damaged and mended where they are."""
    with Checkpoints(two, 2, read_only=True, **OF) as checkpoints:
        yield checkpoints


@pytest.fixture
def copy(two, tmp_path):
    shutil.copytree(two, tmp_path / "copy")
    return tmp_path / "copy"


def files_of(directory):
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


def restored(directory):
    batches = images()
    with Checkpoints(directory, 2, **OF) as checkpoints:
        return checkpoints.restore(state(0), batches), batches


def assert_is_step(step, found, batches):
    assert found.step == step
    assert found.progress == PROGRESS
    assert batches.get_state() == after(step).get_state()
    expected = tiny.leaves(state(step))
    for name, value in tiny.leaves(found.state).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def flip(path, bit):
    contents = bytearray(path.read_bytes())
    contents[bit // 8] ^= 1 << bit % 8
    path.write_bytes(contents)


def flip_one(path):
    flip(path, int(np.random.default_rng(path.stat().st_size).integers(8 * path.stat().st_size)))


DAMAGES = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "flipped": flip_one,
    "deleted": lambda path: path.unlink(),
}


BROKEN_SUMS = [(damage, "checksums.json") for damage in ("cut", "emptied", "flipped")]


def test_whole_checkpoints_give_the_newest(copy):
    found, batches = restored(copy)
    assert_is_step(2, found, batches)
    assert found.notes == ()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_file_gives_way_to_the_checkpoint_before(two, reader, damage):
    files = files_of(two / "2")
    assert {"checksums.json", "identity/metadata", "progress/metadata"} < set(files)
    for name in files:
        path, batches = two / "2" / name, images()
        contents = path.read_bytes()
        DAMAGES[damage](path)
        found = reader.restore(state(0), batches)
        path.write_bytes(contents)
        # Files beside the folders say nothing of what is restored; without checksums it is as an
        # older version left it.
        if "/" not in name and (damage, name) not in BROKEN_SUMS:
            assert_is_step(2, found, batches)
            continue
        assert_is_step(1, found, batches)
        (note,) = found.notes
        assert f"The checkpoint of step 2 in {two} cannot be read (" in note
        assert name in note or (damage, name) == ("flipped", "checksums.json")


def test_any_bit_of_the_identity_or_the_progress_counts(two, reader):
    for name in ("identity/metadata", "progress/metadata", "data/process_0-of-1.json"):
        path = two / "2" / name
        for bit in range(0, 8 * path.stat().st_size, 13):
            flip(path, bit)
            assert reader.restore(state(0), images()).step == 1
            flip(path, bit)
    assert reader.restore(state(0), images()).step == 2


def test_the_best_is_not_taken_from_a_broken_checkpoint(two, reader):
    progress = two / "2" / "progress" / "metadata"
    contents = progress.read_text()
    progress.write_text(contents.replace('"saved_step": 1', '"saved_step": 2'))
    assert progress.read_text() != contents
    assert reader.best_step() == 1
    progress.write_text(contents)


def test_the_broken_checkpoint_is_kept_aside_as_it_was(copy):
    flip_one(copy / "2" / "state" / "_METADATA")
    contents = {path: (copy / "2" / path).read_bytes() for path in files_of(copy / "2")}
    assert_is_step(1, *restored(copy))
    aside = copy / "unreadable-2"
    assert contents == {path: (aside / path).read_bytes() for path in files_of(aside)}
    assert not (copy / "2").exists()


@pytest.mark.parametrize("folder", ["data", "identity", "progress", "state", "state/d"])
def test_a_folder_that_is_gone_gives_way_too(copy, folder):
    shutil.rmtree(copy / "2" / folder)
    assert_is_step(1, *restored(copy))


@pytest.mark.parametrize("kind", ["identity/metadata", "state/_METADATA", "data", "progress"])
def test_checkpoints_of_an_older_version_without_checksums_give_way_as_they_did(copy, kind):
    for step in "12":
        (copy / step / "checksums.json").unlink()
    path = copy / "2" / kind
    shutil.rmtree(path) if path.is_dir() else os.truncate(path, 5)
    assert_is_step(1, *restored(copy))


def test_without_any_whole_checkpoint_nothing_starts_over_and_nothing_is_moved(copy):
    for step in "12":
        flip_one(copy / step / "identity" / "metadata")
    with pytest.raises(UserError, match=r"None of the checkpoints .* can be read.*start over") as e:
        restored(copy)
    assert all(f"step {step} in" in str(e.value) for step in (1, 2))
    assert {"1", "2"} <= {path.name for path in copy.iterdir()}


def test_a_genuine_difference_is_still_told_by_its_field(copy):
    other = OF | {"network": {"resolution": 32, "stages": [{"block": "basic", "width": 8}]}}
    words = "resolution=16, not 32, so it is of another architecture"
    with (
        Checkpoints(copy, 2, **other) as checkpoints,
        pytest.raises(UserError, match=words),
    ):
        checkpoints.restore(state(0), images())


def test_a_second_unreadable_checkpoint_of_a_step_finds_room_beside_the_first(copy):
    for folder in ("unreadable-2", "unreadable-2-2"):
        (copy / folder).mkdir()
    flip_one(copy / "2" / "progress" / "metadata")
    assert_is_step(1, *restored(copy))
    assert (copy / "unreadable-2-3" / "identity").is_dir()


def test_variables_come_from_the_newest_whole_checkpoint_with_a_warning(copy):
    flip_one(copy / "2" / "identity" / "metadata")
    with Checkpoints(copy, read_only=True) as checkpoints:
        with pytest.warns(UserWarning, match="checkpoint of step 2 .* cannot be read"):
            variables = checkpoints.restore_variables()
        with pytest.raises(UserError, match=r"step 2, cannot be read .*--config.checkpoint=newest"):
            checkpoints.restore_variables(2)
    np.testing.assert_array_equal(variables["large",], np.asarray(state(1).params["large"]))


def test_a_file_that_cannot_be_opened_gives_way_too(copy):
    (copy / "2" / "identity" / "metadata").unlink()
    (copy / "2" / "identity" / "metadata").mkdir()
    assert_is_step(1, *restored(copy))
