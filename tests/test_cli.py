"""The console script: what its commands print and leave, its refusals, statuses and completion."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deepmad_jax as dm
from deepmad_jax import cli
from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.arch.zoo import ZOO
from deepmad_jax.cli import commands, options
from deepmad_jax.design.program.problem import Problem

ROOT = Path(__file__).parent.parent
SMALL = ("--params", "30k", "--macs", "3M", "--block", "basic", "--resolution", "16")
SMALL = (*SMALL, "--in-channels", "1", "--classes", "10", "--rho", "0.2")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def said(capsys):
    """Runs a command; gives its status, and what it wrote on stdout and stderr."""

    def run(*arguments):
        status = cli.main(arguments)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "net.json"
    arch = Architecture("tiny", 16, 1, 10, Stem(4), (Stage("k1kx", 4, 4, 3, 1, 2),))
    path.write_text(arch.to_json())
    return path


def without_seconds(table):
    return re.sub(r"\nseconds .*", "", table)


def test_design_prints_the_librarys_design_and_saves_where_it_is_told(said, tmp_path):
    status, out, err = said("design", *SMALL, "--out", "my.json")
    expected = dm.design(
        params=30e3, macs=3e6, block="basic", resolution=16, in_channels=1, classes=10, rho=0.2
    )
    assert (status, err) == (0, "")
    assert without_seconds(out) == without_seconds(f"{expected}\nSaved my.json.\n")
    assert dm.load("my.json") == expected.architecture
    assert [path.name for path in tmp_path.iterdir()] == ["my.json"]


def test_design_in_a_workdir_leaves_what_the_job_leaves(said, tmp_path):
    status, out, _ = said("design", *SMALL, "--name", "mine", "--workdir", "run", "-o", "my.json")
    assert status == 0
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"architecture.json", "design.json", "config.json", "report.html"} <= left
    assert dm.load("my.json") == dm.load("run")
    assert dm.load("run").name == "mine"
    numbers = json.loads((tmp_path / "run/design.json").read_text())
    assert f"{numbers['params']:,}" in out


def test_train_runs_a_config_with_fields_set(said, tmp_path):
    settings = [f"--set=design.{field}" for field in ("params=30k", "macs=3M")]
    arguments = ("train", "digits", "--jobs=design", "--workdir=run", *settings)
    status, _, _ = said(*arguments)
    assert status == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["name"], config["jobs"]) == ("digits", ["design"])
    assert (config["design"]["params"], config["design"]["macs"]) == (30e3, 3e6)


def test_compare_holds_files_against_published_networks(said, tiny):
    status, out, _ = said("compare", "resnet20", "resnet20:classes=100", "net.json")
    assert status == 0
    rows = [line.split() for line in out.splitlines()[3:6]]
    assert [row[0] for row in rows] == ["resnet20", "resnet20:classes=100", "net.json"]
    assert rows[1][3] == "275,572"  # 269,722 with 10 classes, and 90 of 65 more
    assert rows[0][3] == "269,722"


def test_compare_without_names_shows_all_that_are_published(said):
    status, out, _ = said("compare")
    assert status == 0
    assert {line.split()[0] for line in out.splitlines()[3:] if line} >= set(ZOO)


def test_export_of_an_architecture_says_that_the_weights_are_fresh(said, tiny, tmp_path):
    status, out, err = said("export", "net.json", "--to", "npz,tinynas", "--out", "there")
    assert status == 0
    assert "net.json holds no weights: they are fresh ones" in err
    assert out.splitlines() == [f"Saved there/tiny.{end}." for end in ("npz", "txt")]
    status, _, err = said("export", "there/tiny.npz", "--to=npz", "--architecture=net.json")
    assert (status, err) == (0, "")
    assert (tmp_path / "tiny.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("design",), "design needs a budget"),
        (("design", "--macs", "1.8Q"), "macs is '1.8Q', but must be a number"),
        (("design", "--macs", "1,8G"), "a comma separates the items of a list"),
        (("design", "--macs=1k", "--params=1k"), "No network"),
        (("design", "--params=1M", "--block=basik"), "did you mean 'basic'"),
        (("design", "--params=1M", "--kernels=4"), "kernels holds 4, but each must be odd"),
        (("design", "--parms=1M"), "No such option '--parms'. (Did you mean one of: "),
        (("train",), "Missing argument 'CONFIG'"),
        (("train", "nowhere"), "There is no config file nowhere; the project's own are b0, "),
        (("train", "digits", "--set", "design.macs"), "--set design.macs sets nothing"),
        (("train", "digits", "--set", "design.mcas=1"), "did you mean 'macs'"),
        (("train", "digits", "--jobs", "desing"), "did you mean 'design'"),
        (("compare", "resnet51"), "did you mean 'resnet5"),
        (("export", "net.json"), "Missing option '--to'"),
        (("export", "net.json", "--to", "onx"), "did you mean 'onnx'"),
        (("export", "nowhere.json", "--to", "npz"), "nowhere.json"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
        (("dseign",), "No such command 'dseign'"),
    ],
)
def test_a_command_that_means_nothing_says_what_would(said, tmp_path, arguments, words):
    status, out, err = said(*arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_without_a_command_the_help_is_shown_and_the_status_is_2(said):
    status, _, err = said()
    assert status == 2
    assert "design" in err
    assert said("--help")[0] == said("design", "--help")[0] == said("--version")[0] == 0


def test_an_interrupt_ends_with_status_130(said, monkeypatch):
    def interrupt(names):
        raise KeyboardInterrupt

    monkeypatch.setattr("deepmad_jax.jobs.show.comparison", interrupt)
    status, _, err = said("compare")
    assert status == 130
    assert "interrupted" in err


def test_every_field_of_a_problem_is_an_option_with_its_description():
    parameters = {parameter.name: parameter for parameter in commands.design.params}
    for name in Problem.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in parameters[name].opts
        assert len(parameters[name].help) > 5, name


# A shell asks by these variables; click's own scripts set them.
def completed(line):
    words = line.split(" ")
    asked = {"_DEEPMAD_COMPLETE": "bash_complete", "COMP_WORDS": line}
    asked["COMP_CWORD"] = str(len(words) - 1)
    done = subprocess.run(
        [sys.executable, "-c", "from deepmad_jax.cli import main; raise SystemExit(main())"],
        env={**os.environ, **asked, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deepmad des", ["design"]),
        ("deepmad design --par", ["--params"]),
        ("deepmad design --block bas", ["basic"]),
        ("deepmad compare deepmad_r", ["deepmad_r18", "deepmad_r34", "deepmad_r50"]),
        ("deepmad compare net", ["net.json"]),
        ("deepmad train st", ["st_gpu"]),
        ("deepmad train x --set train.ep", ["train.epochs="]),
        ("deepmad export net.json --to onnx,sa", ["onnx,safetensors"]),
    ],
)
def test_a_shell_can_complete(tiny, line, expected):
    assert completed(line) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_the_shells(said, shell):
    status, out, _ = said("completion", shell)
    assert status == 0
    assert f"_DEEPMAD_COMPLETE={shell}_complete" in out


def in_a_terminal(arguments, **environment):
    """What a command writes to a terminal."""
    main, other = pty.openpty()
    code = f"from deepmad_jax.cli import main; raise SystemExit(main({arguments!r}))"
    names = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    names |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", **environment}
    done = subprocess.Popen(
        [sys.executable, "-c", code], stdin=other, stdout=other, stderr=other, env=names
    )
    os.close(other)
    written = b""
    try:
        while part := os.read(main, 4096):
            written += part
    except OSError:  # Linux says so at the end
        pass
    os.close(main)
    done.wait()
    return written.decode()


def test_colours_are_for_terminals_alone(said):
    coloured = re.compile("\x1b\\[[0-9;]*m")
    assert coloured.search(in_a_terminal(["compare", "resnet51"]))
    assert coloured.search(in_a_terminal(["compare", "resnet50"]))
    assert not coloured.search(in_a_terminal(["compare", "resnet50"], NO_COLOR="1"))
    assert not coloured.search(in_a_terminal(["compare", "resnet51"], TERM="dumb"))
    for name in ("resnet50", "resnet51"):
        assert not coloured.search("".join(said("compare", name)[1:]))


def test_files_are_completed_below_their_folder(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/a.json").write_text("")
    (tmp_path / "runs/.hidden").write_text("")

    def found(start):
        kind = options.OneOfOrFile(lambda: ["resnet50"])
        return [item.value for item in kind.shell_complete(None, None, start)]

    assert found("r") == ["resnet50", "runs/"]
    assert found("runs/") == ["runs/a.json"]
    assert found("nowhere/x") == []
