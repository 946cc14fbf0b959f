import json
import struct
import sys
from types import SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event

from deepmad_jax.errors import UserError
from deepmad_jax.train import Logbook, record


def lines_of(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


def events_of(workdir):
    """Every event in the event files, read record by record."""
    found = []
    for file in sorted((workdir / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[12 + length + 4 :]
    return found


def scalars_of(workdir):
    """(tag, step, value) of every scalar."""
    return [(v.tag, e.step, v.simple_value) for e in events_of(workdir) for v in e.summary.value]


def train_line(step, **numbers):
    return {"split": "train", "step": step, **numbers}


def test_lines_are_on_disk_as_soon_as_they_are_written(tmp_path):
    with Logbook(tmp_path, resumed_step=0, total_steps=10) as logbook:
        logbook.write(train_line(1, loss=2.5))
        assert lines_of(tmp_path) == [{"split": "train", "step": 1, "loss": 2.5}]
        logbook.write({"split": "eval", "step": 1, "top1": 0.5, "images": 360})
        assert lines_of(tmp_path)[1]["images"] == 360


def test_tensorboard_has_every_number_under_its_split(tmp_path):
    with Logbook(tmp_path, resumed_step=0, total_steps=10) as logbook:
        logbook.write(train_line(3, loss=2.5))
        logbook.write({"split": "eval", "step": 4, "top1": 0.75})
    assert scalars_of(tmp_path) == [("train/loss", 3, 2.5), ("eval/top1", 4, 0.75)]


def test_resumed_run_drops_the_lines_beyond_its_checkpoint(tmp_path):
    with Logbook(tmp_path, resumed_step=0, total_steps=10) as logbook:
        for step in range(1, 7):
            logbook.write(train_line(step, loss=1.0))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"split": "train", "st')  # killed while writing
    with Logbook(tmp_path, resumed_step=4, total_steps=10) as logbook:
        logbook.write(train_line(5, loss=0.5))
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4, 5]
    assert lines_of(tmp_path)[-1]["loss"] == 0.5


def test_recording_keeps_what_was_measured_before(tmp_path):
    old = [
        {"split": "eval", "step": 2, "top1": 0.5},
        train_line(2, loss=1.0),
        train_line(3, loss=1),
    ]
    for line in old:
        record(tmp_path, line)
    assert lines_of(tmp_path) == old
    new = {"split": "eval", "step": 2, "top1": 0.6}
    record(tmp_path, new)
    assert lines_of(tmp_path) == [*old, new]


def test_recording_does_not_cut_off_a_run_that_is_writing(tmp_path):
    with Logbook(tmp_path, resumed_step=0, total_steps=10) as logbook:
        logbook.write(train_line(1, loss=1.0))
        record(tmp_path, {"split": "eval", "step": 1, "top1": 0.5})
        logbook.write(train_line(2, loss=0.5))
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 1, 2]


def test_recording_closes_a_line_that_was_cut_short(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"split": "tra')
    record(tmp_path, {"split": "eval", "step": 1, "top1": 0.5})
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last) == {"split": "eval", "step": 1, "top1": 0.5}


def test_recording_what_is_there_leaves_the_file_to_the_run_that_writes_it(tmp_path):
    line = {"split": "eval", "step": 2, "top1": 0.5, "loss": float("nan")}
    with Logbook(tmp_path, resumed_step=0, total_steps=10) as logbook:
        logbook.write(line)
        record(tmp_path, line)
        logbook.write(train_line(3, loss=1.0))
    assert [line["step"] for line in lines_of(tmp_path)] == [2, 3]


def test_tensorboard_is_told_from_which_step_a_resumed_run_writes_again(tmp_path):
    for resumed_step in (0, 4):
        with Logbook(tmp_path, resumed_step=resumed_step, total_steps=10) as logbook:
            logbook.write(train_line(resumed_step + 1, loss=1.0))
    starts = [event.step for event in events_of(tmp_path) if event.HasField("session_log")]
    assert starts == [1, 5]


def test_asking_for_an_absent_weights_and_biases_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="pip install wandb"):
        Logbook(tmp_path, resumed_step=0, total_steps=1, wandb_project="p")


def test_weights_and_biases_gets_every_number_by_our_step(tmp_path, monkeypatch):
    calls = []
    run = SimpleNamespace(
        log=lambda values: calls.append(values),
        define_metric=lambda name, step_metric: calls.append((name, step_metric)),
        finish=lambda: calls.append("finished"),
    )
    ids = []
    init = lambda **given: ids.append(given["id"]) or run  # noqa: E731
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for _ in range(2):
        with Logbook(tmp_path, resumed_step=0, total_steps=1, wandb_project="p") as logbook:
            logbook.write(train_line(1, loss=0.5) | {"dataset": "digits"})
    assert calls[:3] == [("*", "step"), {"train/loss": 0.5, "step": 1}, "finished"]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_become_null(tmp_path, value):
    with Logbook(tmp_path, resumed_step=0, total_steps=2) as logbook:
        logbook.write({"split": "eval", "step": 1, "loss": value})
    assert lines_of(tmp_path) == [{"split": "eval", "step": 1, "loss": None}]


def test_screen_gets_plain_lines_where_there_is_no_terminal(tmp_path, capsys):
    with Logbook(tmp_path, resumed_step=0, total_steps=200) as logbook:
        logbook.advance(100)
        logbook.write(train_line(100, loss=0.125, images_per_second=12345.6))
        logbook.say("a word")
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("train step 100/200  loss 0.125  images_per_second 12,346")
    assert first.endswith("left")
    assert second == "a word"
    assert "\r" not in out + err


def test_terminal_gets_a_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Logbook(tmp_path, resumed_step=0, total_steps=200) as logbook:
        logbook.advance(100)
        logbook.write(train_line(100, loss=0.125))
    assert "loss 0.125" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe{", b"[1]", b"null", b'{"split": "train"}', b'{"step": 1}', b'{"split": "eval", '],
)
def test_a_line_that_a_disk_has_changed_is_left_out_of_a_resumed_run(tmp_path, line):
    whole = [json.dumps(train_line(step)).encode() for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([whole[0], line, whole[1], b""]))
    record(tmp_path, {"split": "eval", "step": 2, "top1": 0.5})
    with Logbook(tmp_path, resumed_step=2, total_steps=4) as logbook:
        logbook.write(train_line(3))
    assert [(entry["split"], entry["step"]) for entry in lines_of(tmp_path)] == [
        ("train", 1),
        ("train", 2),
        ("eval", 2),
        ("train", 3),
    ]


def test_a_result_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"could not be added to .*It is: .*0\.5"):
        record(tmp_path, {"split": "eval", "step": 2, "top1": 0.5})
