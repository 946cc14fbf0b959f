"""A run on one CPU holds the state of equal blocks without stacks; what it leaves has them."""

import json
import shutil

import jax
import numpy as np
import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, TrainConfig, WatchConfig
from deepmad_jax.tasks import run
from deepmad_jax.tasks.classify.task import CLASSIFY
from deepmad_jax.train import Checkpoints
from deepmad_jax.train import state as train_state
from deepmad_jax.unstacked import is_unstacked

DEPTH = 4
ARCH = Architecture("deep", 8, 1, 6, Stem(8, 3, 1), (Stage("basic", 8, 8, 3, DEPTH, 2),))
CONFIG = Config(
    name="deep",
    data=DataConfig(source="fake", fake_images=64),
    train=TrainConfig(
        epochs=2,
        batch_size=32,
        eval_batch_size=20,
        learning_rate=0.01,
        warmup_epochs=0,
        cooldown_epochs=0,
        dtype="float32",
        ema_decay=0.5,
        log_every_steps=1,
        eval_every_epochs=2,
        checkpoint_every_epochs=1,
        keep_checkpoints=2,
    ),
    watch=WatchConfig(statistics_every=2),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By whether blocks were held one by one: the run's folder, its last state, what was held."""
    found = {}
    for one_by_one in (True, False):
        workdir, held = tmp_path_factory.mktemp("run"), []
        with pytest.MonkeyPatch.context() as patch:
            if not one_by_one:
                patch.setattr(train_state, "goes_one_by_one", lambda *_: False)
            patch.setattr(run, "fit", noting(run.fit, held))
            found[one_by_one] = (workdir, run.train(CLASSIFY, CONFIG, ARCH, workdir), held)
    return found


def noting(fit, held):
    def noted(state, *args, **kwargs):
        held.extend(jax.tree.leaves(state, is_leaf=is_unstacked))
        return fit(state, *args, **kwargs)

    return noted


def lines_of(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_the_run_holds_no_stacks_and_ends_with_them(runs):
    for one_by_one, (_, state, held) in runs.items():
        assert any(map(is_unstacked, held)) == one_by_one
        leaves = jax.tree_util.tree_leaves_with_path(state)
        stacks = [leaf for path, leaf in leaves if "'rest'" in jax.tree_util.keystr(path)]
        assert {leaf.shape[0] for leaf in stacks} == {DEPTH - 1}


def test_it_learns_the_same(runs):
    (_, one_by_one, _), (_, together, _) = runs[True], runs[False]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one_by_one, together
    )
    for mine, theirs in zip(*(lines_of(workdir) for workdir, _, _ in runs.values()), strict=True):
        assert mine.keys() == theirs.keys()
        for name in ("loss", "gradient_norm", "update_norm", "stages.0.rest/gradient_norm"):
            if name in mine:
                assert mine[name] == pytest.approx(theirs[name], rel=1e-3)


def test_its_checkpoints_are_read_as_those_of_any_run(runs):
    workdir, state, _ = runs[True]
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        found = checkpoints.restore_variables()
    assert len(found) == len(jax.tree.leaves(state.ema))
    numbers = run.evaluate(CLASSIFY, CONFIG, ARCH, workdir)
    last = next(line for line in reversed(lines_of(workdir)) if line["split"] == "eval")
    assert numbers["loss"] == pytest.approx(last["loss"], rel=1e-6)


def test_going_on_from_a_checkpoint_gives_the_state_of_a_run_at_once(runs, tmp_path, capsys):
    workdir, state, _ = runs[True]
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    shutil.rmtree(again / "checkpoints" / "4")
    went_on = run.train(CLASSIFY, CONFIG, ARCH, again)
    jax.tree.map(np.testing.assert_array_equal, went_on, state)
    assert "going on from step 2" in capsys.readouterr().out
