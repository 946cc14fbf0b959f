import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.profiler import ProfileData

from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.train import (
    Checkpoints,
    Diverged,
    Logbook,
    fit,
    sum_over_batches,
    to_device,
    variables_for_evaluation,
)
from deepmad_jax.train.prefetch import Prefetch
from deepmad_jax.train.speed import Speed, peak_tflops
from deepmad_jax.train.window import TIMED


class Stopped(Exception):
    """Stands for a run that is killed."""


def run(
    parts,
    workdir,
    *,
    at_evaluation=lambda step: None,
    result=lambda step: {"top1": step / 100},
    evaluate=None,
    train_step=None,
    profile_dir=None,
):
    """Trains in ``workdir``, from its newest checkpoint, as a task does."""
    state, stream = parts.state(), tiny.batches()

    def evaluate_step(state):
        step = int(jax.device_get(state.step))
        at_evaluation(step)
        return result(step)

    with Checkpoints(workdir / "checkpoints", parts.config.keep_checkpoints) as checkpoints:
        found = checkpoints.restore(state, stream)
        start = found.step if found else 0
        total = parts.plan.total_steps
        with Logbook(workdir, resumed_step=start, total_steps=total) as logbook:
            return fit(
                found.state if found else state,
                stream,
                train_step=train_step or parts.train_step,
                evaluate=evaluate or evaluate_step,
                plan=parts.plan,
                mesh=parts.mesh,
                checkpoints=checkpoints,
                logbook=logbook,
                progress=found.progress if found else None,
                profile_dir=profile_dir,
            )


def steps_saved(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def lines_of(workdir):
    lines = [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        # Times differ from run to run.
        for name in TIMED:
            line.pop(name, None)
    return lines


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    """An uninterrupted run: 20 steps; evaluates at 10 and 20, saves at 5, 10, 15 and 20."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, tiny.leaves(run(parts, workdir))


def assert_equal_bits(state, leaves):
    ours = tiny.leaves(state)
    assert ours.keys() == leaves.keys()
    for name, value in leaves.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_run_logs_evaluates_and_saves_by_its_plan(whole):
    workdir, _ = whole
    lines = lines_of(workdir)
    # Every third step, and where a checkpoint closes the window.
    trained = [line["step"] for line in lines if line["split"] == "train"]
    assert trained == [3, 5, 6, 9, 10, 12, 15, 18, 20]
    assert [line for line in lines if line["split"] == "eval"] == [
        {"split": "eval", "step": 10, "top1": 0.1, "best_top1": 0.1, "best_step": 10},
        {"split": "eval", "step": 20, "top1": 0.2, "best_top1": 0.2, "best_step": 20},
    ]
    norms = {"gradient_norm", "parameter_norm", "update_norm"}
    assert lines[0].keys() == {"split", "step", "epoch", "loss", "learning_rate"} | norms
    assert lines[0]["epoch"] == 0.6
    assert steps_saved(workdir) == [15, 20]  # keep_checkpoints is 2


def test_rate_and_share_of_waiting_are_logged_once_the_first_step_is_compiled(whole):
    workdir, _ = whole
    texts = (workdir / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(t) for t in texts if '"train"' in t]
    assert min(line["images_per_second"] for line in lines) > 0
    assert all(
        line["images_per_second_per_device"] == line["images_per_second"] / jax.device_count()
        for line in lines
    )
    assert {line["mfu"] for line in lines} == {None}  # no table knows this machine's CPU
    assert all(0 <= line["input_wait_share"] <= 1 for line in lines)


def test_use_of_the_devices_is_six_macs_an_image_over_their_peak():
    # 2 devices of 1 TFLOP/s, half busy: 10^12 operations a second are 100 images of 10^10.
    line = Speed(devices=2, macs=1e10 / 6, peak_tflops=1.0).line(100.0)
    assert line["mfu"] == pytest.approx(0.5)
    assert Speed(devices=2, macs=1e9).line(100.0)["mfu"] is None
    assert Speed(devices=2, peak_tflops=1.0).line(100.0)["mfu"] is None


@pytest.mark.parametrize(
    ("kind", "dtype", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312.0),
        ("NVIDIA A100-SXM4-80GB", "float32", None),
        ("NVIDIA H100 PCIe", "bfloat16", 756.0),
        ("NVIDIA L40S", "bfloat16", 362.0),
        ("NVIDIA L40", "bfloat16", None),
        ("TPU v5 lite", "bfloat16", 197.0),
        ("TPU v5p", "bfloat16", 459.0),
        ("cpu", "bfloat16", None),
    ],
)
def test_peak_is_that_of_the_devices_kind_alone(kind, dtype, tflops):
    assert peak_tflops(kind, dtype) == tflops


@pytest.mark.parametrize("stop_at", [10, 20])
def test_run_stopped_and_started_again_ends_with_the_same_bits(parts, whole, tmp_path, stop_at):
    whole_workdir, leaves = whole

    def stop(step):
        if step == stop_at:
            raise Stopped

    # The evaluation of a step comes before its checkpoint, so 5 or 15 is the newest one.
    with pytest.raises(Stopped):
        run(parts, tmp_path, at_evaluation=stop)
    assert steps_saved(tmp_path)[-1] == stop_at - 5
    assert lines_of(tmp_path)[-1]["step"] == stop_at
    assert_equal_bits(run(parts, tmp_path), leaves)
    assert lines_of(tmp_path) == lines_of(whole_workdir)


def test_finished_run_started_again_changes_nothing(parts, whole):
    workdir, leaves = whole
    before = lines_of(workdir)
    assert_equal_bits(run(parts, workdir), leaves)
    assert lines_of(workdir) == before


def test_sigterm_saves_and_the_run_goes_on_as_if_never_stopped(parts, whole, tmp_path):
    whole_workdir, leaves = whole

    def terminated_step(state, batch):
        if int(state.step) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return parts.train_step(state, batch)

    with pytest.raises(SystemExit) as stopped:
        run(parts, tmp_path, train_step=terminated_step)
    assert stopped.value.code == 143
    assert steps_saved(tmp_path)[-1] == 7
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert_equal_bits(run(parts, tmp_path), leaves)
    # Also the line of steps 7 to 9, of which the first was done before the signal.
    assert lines_of(tmp_path) == lines_of(whole_workdir)


@pytest.mark.parametrize("at", [10, 20])
def test_sigterm_in_an_evaluation_gives_it_up_and_the_run_goes_on_with_it(
    parts, whole, tmp_path, at
):
    whole_workdir, leaves = whole
    own = tiny.make()  # whose evaluation step is for these batches alone
    batches_evaluated = []

    def evaluate(state):
        step = int(jax.device_get(state.step))
        for number, images in enumerate(tiny.evaluation_batches(8)):
            if step == at and number == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            batches_evaluated.append(step)
            yield images

    def interrupted(state):
        variables = variables_for_evaluation(state)
        sum_over_batches(own.eval_step, variables, evaluate(state), own.mesh)
        return {"top1": int(jax.device_get(state.step)) / 100}

    with pytest.raises(SystemExit) as stopped:
        run(parts, tmp_path, evaluate=interrupted)
    assert stopped.value.code == 143
    assert batches_evaluated.count(at) == 3  # of five
    assert steps_saved(tmp_path)[-1] == at
    assert_equal_bits(run(parts, tmp_path), leaves)
    assert lines_of(tmp_path) == lines_of(whole_workdir)


PROGRAM = """
import sys, time
sys.path.insert(0, {folder!r})
import tiny, test_loop
from pathlib import Path
parts = tiny.make()
def step(state, batch):
    print("compiles", flush=True)
    time.sleep(600)
test_loop.run(parts, Path({workdir!r}), train_step=step)
"""


def test_sigterm_before_the_first_step_is_done_ends_the_run_at_once(tmp_path):
    code = PROGRAM.format(folder=str(Path(__file__).parent), workdir=str(tmp_path))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "compiles\n"
        process.terminate()
        assert process.wait(timeout=60) == -signal.SIGTERM


@pytest.mark.parametrize("what", ["loss", "gradient_norm"])
def test_divergence_names_its_step_and_leaves_the_last_good_checkpoint(parts, tmp_path, what):
    def poisoned_step(state, batch):
        bad = int(state.step) == 12
        state, metrics = parts.train_step(state, batch)
        if bad:
            metrics[what] = jnp.float32("nan")
        return state, metrics

    with pytest.raises(Diverged, match=r"diverged at step 13 \(epoch 2\.60\).*learning_rate"):
        run(parts, tmp_path, train_step=poisoned_step)
    assert issubclass(Diverged, UserError)
    assert steps_saved(tmp_path)[-1] == 10
    assert lines_of(tmp_path)[-1]["step"] <= 12
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        good = checkpoints.restore(parts.state()).state
    assert all(np.isfinite(value).all() for value in tiny.leaves(good).values())


def test_rate_that_is_far_too_high_is_stopped(tmp_path):
    config = dataclasses.replace(tiny.CONFIG, learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(Diverged, match=r"step \d.*Lower --config\.train\.learning_rate"):
        run(tiny.make(config), tmp_path)


def test_checkpoint_holds_the_state_as_it_was_when_saved(parts, tmp_path):
    state, stream = parts.state(), tiny.batches()
    expected = tiny.leaves(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, stream, 1)
        # The step takes the state's memory while the checkpoint is still being written.
        for _ in range(5):
            state, _ = parts.train_step(state, to_device(parts.mesh, next(stream)))
    with Checkpoints(tmp_path) as checkpoints:
        assert_equal_bits(checkpoints.restore(parts.state()).state, expected)


def test_checkpoint_of_another_network_or_average_is_refused(parts, tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(parts.state(), tiny.batches(), 1)
    state = parts.state()
    wider = dict(state.params, head={"kernel": jnp.ones((8, 2)), "bias": jnp.ones(2)})
    averaged = (state.params, state.batch_stats)
    for other, name in (({"params": wider}, "params.head.kernel"), ({"ema": averaged}, "ema.0")):
        like = dataclasses.replace(state, **other)
        with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match=name):
            checkpoints.restore(like)


def test_checkpoint_of_another_architecture_of_the_same_shapes_is_refused(parts, tmp_path):
    network = {"stages": [{"stride": 2, "kernel": 3}, {"stride": 1, "kernel": 3}]}
    other = {"stages": [{"stride": 1, "kernel": 3}, {"stride": 2, "kernel": 3}]}
    with Checkpoints(tmp_path, network=network) as checkpoints:
        checkpoints.save(parts.state(), tiny.batches(), 1)
    with Checkpoints(tmp_path, network=other, read_only=True) as checkpoints:
        message = r"stages.0.stride=2, not 1, stages.1.stride=1, not 2, so it is of another arch"
        with pytest.raises(UserError, match=message):
            checkpoints.restore(parts.state())


def test_best_checkpoint_stays_though_it_is_old(parts, tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(1, 7):
            best = {1: 0, 2: 2, 3: 2, 4: 2, 5: 2, 6: 2}[step]
            checkpoints.save(parts.state(), tiny.batches(), step, best_step=best)
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [2, 5, 6]


def test_best_evaluation_is_remembered_across_a_stop(parts, tmp_path):
    values = {10: 0.9, 20: 0.3}

    def stop(step):
        if step == 20 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise Stopped

    evaluate = lambda step: {"top1": values[step]}  # noqa: E731
    with pytest.raises(Stopped):
        run(parts, tmp_path, at_evaluation=stop, result=evaluate)
    run(parts, tmp_path, at_evaluation=stop, result=evaluate)
    last = lines_of(tmp_path)[-1]
    assert (last["top1"], last["best_top1"], last["best_step"]) == (0.3, 0.9, 10)
    assert steps_saved(tmp_path) == [10, 15, 20]  # keep_checkpoints is 2, and 10 is the best
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert (checkpoints.chosen_step("best"), checkpoints.chosen_step("newest")) == (10, 20)
        assert checkpoints.restore(parts.state(), only=10).step == 10
        with pytest.raises(UserError, match="did you mean 'newest'"):
            checkpoints.chosen_step("newst")


def test_best_of_checkpoints_that_were_never_evaluated_is_the_newest(parts, tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.chosen_step("best") is None
        checkpoints.save(parts.state(), tiny.batches(), step=1)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.chosen_step("best") == 1


def test_a_broken_best_checkpoint_is_named(parts, tmp_path):
    best = {"best": {"saved_step": 1}}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(parts.state(), tiny.batches(), 1, best, best_step=1)
        checkpoints.save(parts.state(), tiny.batches(), 2, best, best_step=1)
    shutil.rmtree(tmp_path / "1" / "state")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(UserError, match=r"best .* of step 1, cannot be read .*newest"):
            checkpoints.restore(parts.state(), only=checkpoints.chosen_step("best"))
        assert checkpoints.restore(parts.state()).step == 2


def test_nothing_compiles_after_the_first_evaluation_and_no_transfer_is_implicit(tmp_path):
    parts, compiled = tiny.make(), []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    counts = []

    def evaluate(state):
        with jax.transfer_guard("allow"):  # the sums of the test's own batches
            variables = variables_for_evaluation(state)
            images = tiny.evaluation_batches(8)
            sums = sum_over_batches(parts.eval_step, variables, images, parts.mesh)
        counts.append(len(compiled))
        return {"top1": sums["right"] / sums["images"]}

    def guarded_step(state, batch):
        with jax.transfer_guard("disallow"):
            return parts.train_step(state, batch)

    run(parts, tmp_path, train_step=guarded_step, evaluate=evaluate)
    counts.append(len(compiled))
    assert counts[0] > 0
    assert counts[0] == counts[1] == counts[2]


def test_profile_leaves_a_trace_that_names_the_step(parts, tmp_path):
    run(parts, tmp_path, profile_dir=tmp_path / "profile")
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    events = {
        event.name
        for plane in ProfileData.from_file(str(trace)).planes
        for line in plane.lines
        for event in line.events
    }
    assert any("train_step" in name for name in events)


def test_prefetched_batches_are_those_of_the_stream_and_so_is_their_place(parts):
    plain, stream = tiny.batches(), tiny.batches()
    with Prefetch(stream, parts.mesh, ahead=3) as ahead:
        for _ in range(5):
            ours, other = next(ahead), next(plain)
            np.testing.assert_array_equal(ours["image"], other["image"])
        assert json.loads(ahead.get_state()) == plain.get_state()


def test_broken_source_of_batches_is_reported_by_the_loop(parts, tmp_path):
    class Broken:
        def get_state(self):
            return {}

        def __next__(self):
            raise OSError("the disk is gone")

    with Prefetch(Broken(), parts.mesh, 2) as ahead, pytest.raises(OSError, match="disk is gone"):
        next(ahead)


def test_checkpoint_of_another_stream_of_batches_is_refused(parts, tmp_path):
    with Checkpoints(tmp_path, stream={"workers": 2, "seed": 0}) as checkpoints:
        checkpoints.save(parts.state(), tiny.batches(), 1)
    with Checkpoints(tmp_path, stream={"workers": 3, "seed": 0}) as checkpoints:
        with pytest.raises(UserError, match="was made with workers=2, not 3"):
            checkpoints.restore(parts.state(), tiny.batches())
        checkpoints.restore(parts.state())  # evaluation reads another stream


@pytest.mark.parametrize("averages", [False, True])
def test_variables_come_back_without_network_or_optimiser(parts, averages, tmp_path):
    _, params, batch_stats = tiny.variables()
    state = parts.state()
    if averages:
        params, batch_stats = jax.tree.map(lambda x: 2 * x, (params, batch_stats))
        state = dataclasses.replace(state, ema=(params, batch_stats))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, tiny.batches(), step=1)
    with Checkpoints(tmp_path) as checkpoints:
        found = checkpoints.restore_variables()
    expected = {
        tuple(str(key.key) for key in path): leaf
        for tree in (params, batch_stats)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf)


def test_variables_of_an_empty_folder_are_missing(tmp_path):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(MissingData, match="no checkpoint"):
        checkpoints.restore_variables()
