"""The command line, as a user types it: the design job, its files, and every refusal."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deepmad_jax as dm
from deepmad_jax.arch import Architecture, Stage, Stem, cost, layer_table
from deepmad_jax.config.load import parse
from deepmad_jax.design import sample_architectures
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.interop import from_network
from deepmad_jax.main import main
from deepmad_jax.train import Checkpoints

ROOT = Path(__file__).parent.parent
R18 = str(ROOT / "configs/r18.py")
DIGITS = str(ROOT / "configs/digits.py")
ZOO = str(ROOT / "configs/zoo.py")


def command(*arguments, config=DIGITS):
    return ["main", "--config", config, *arguments]


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail; returns what it said."""

    def run(*arguments, config=DIGITS):
        assert main(command(*arguments, config=config)) == 2
        return capsys.readouterr().err

    return run


def test_design_job_leaves_its_files_and_prints_the_table(tmp_path, capsys):
    assert main(command("--config.jobs=design", "--workdir", str(tmp_path))) == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        "config.json",
        "architecture.json",
        "design.json",
        "report.html",
        "network.png",
        "entropy.png",
        "convergence.png",
    }
    design = json.loads((tmp_path / "design.json").read_text())
    architecture = Architecture.load(tmp_path / "architecture.json")
    out = capsys.readouterr().out
    assert f"{design['params']:,}" in out
    assert architecture.resolution == 16
    assert design["budgets"] == {"macs": 5e6, "params": 5e4, "rho": 0.2}


def test_certify_job_adds_a_bound_above_the_design(tmp_path):
    workdir = ["--workdir", str(tmp_path)]
    jobs = ["--config.jobs=design,certify", "--config.certify_seconds=1"]
    assert main(command(*jobs, *workdir)) == 0
    design = json.loads((tmp_path / "design.json").read_text())
    assert design["upper_bound"] >= design["objective"]
    expected = (design["upper_bound"] - design["objective"]) / abs(design["objective"])
    assert design["gap"] == pytest.approx(expected)


# So few networks that the bound is proved whole, however long that takes.
SMALL = ("--config.design.max_width=32", "--config.design.max_depth=3", "--config.design.kernels=3")


def test_certify_job_ends_with_the_better_network(tmp_path, capsys):
    workdir = [*SMALL, "--config.certify_seconds=inf", "--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    best = Architecture.load(tmp_path / "architecture.json")
    shallow = [dataclasses.replace(stage, depth=1) for stage in best.stages]
    worse = dataclasses.replace(best, stages=tuple(shallow))
    (tmp_path / "architecture.json").write_text(worse.to_json())
    assert main(command("--config.jobs=certify", *workdir)) == 0
    assert "it now is the design" in capsys.readouterr().out
    found = Architecture.load(tmp_path / "architecture.json")
    design = json.loads((tmp_path / "design.json").read_text())
    assert found.stages != worse.stages
    assert design["params"] == cost.params(layer_table(found))


def test_certify_job_leaves_the_architecture_of_checkpoints(tmp_path, capsys):
    workdir = [*SMALL, "--config.certify_seconds=inf", "--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    best = Architecture.load(tmp_path / "architecture.json")
    shallow = [dataclasses.replace(stage, depth=1) for stage in best.stages]
    worse = dataclasses.replace(best, stages=tuple(shallow)).to_json()
    (tmp_path / "architecture.json").write_text(worse)
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    assert main(command("--config.jobs=certify", *workdir)) == 0
    assert "stays the design" in capsys.readouterr().out
    assert (tmp_path / "architecture.json").read_text() == worse
    assert Architecture.load(tmp_path / "better.json").stages != shallow


def test_certify_refuses_a_design_of_other_budgets(tmp_path, refused):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    said = refused("--config.jobs=certify", "--config.design.params=3e4", *workdir)
    assert "run the design job with this config first" in said


def test_certify_refuses_a_design_of_another_space(tmp_path, refused):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    said = refused(
        "--config.jobs=certify", "--config.design.max_width=32", "--config.design.seed=3", *workdir
    )
    assert "design.max_width: [2048] -> [32]" in said
    assert "seed" not in said
    assert json.loads((tmp_path / "design.json").read_text())["gap"] is None


def test_a_full_disk_leaves_what_was_there_and_says_so(tmp_path):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    before = (tmp_path / "design.json").read_text()
    done = subprocess.run(
        [
            *("bash", "-c", 'ulimit -f 0; trap "" XFSZ; exec "$@"', "bash"),
            *(sys.executable, "-m", "deepmad_jax.main"),
            *command("--config.jobs=design", *workdir)[1:],
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "could not be written: File too large" in done.stderr
    assert (tmp_path / "design.json").read_text() == before


def test_fields_set_on_the_command_line_reach_the_design(tmp_path):
    arguments = ["--config.design.params=3e4", "--config.design.rho", "0.3"]
    assert main(command("--config.jobs=design", *arguments, "--workdir", str(tmp_path))) == 0
    design = json.loads((tmp_path / "design.json").read_text())
    assert design["budgets"]["params"] == 3e4
    assert design["budgets"]["rho"] == 0.3
    assert design["params"] <= 3e4


def test_sensitivity_job_adds_its_numbers_to_the_design(tmp_path, capsys, refused):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design,sensitivity", *workdir)) == 0
    moved = json.loads((tmp_path / "design.json").read_text())["elasticities"]
    assert list(moved) == ["macs", "params", "rho"]
    assert len(moved["rho"]["depth"]) == 3
    assert moved["rho"]["depth"][0] > 0  # a larger rho buys depth
    printed = capsys.readouterr().out
    assert "stage 3 depth" in printed
    assert "What each constraint costs" in printed
    assert "Elasticities" in (tmp_path / "report.html").read_text()
    other = "--config.design.params=3e4"
    assert "a design of another problem" in refused("--config.jobs=sensitivity", other, *workdir)


RANDOM = ("--config.jobs=sample", "--config.design.rho=inf", "--config.sample.count=4")


def test_sample_job_takes_the_network_of_its_stratum(tmp_path, capsys):
    space = parse(command(*RANDOM))[0].design
    drawn = sample_architectures(space, 4, 0.1, 1.0)
    for index in (0, 3):
        workdir = tmp_path / str(index)
        flags = [f"--config.sample.index={index}", "--workdir", str(workdir)]
        assert main(command(*RANDOM, *flags)) == 0
        taken = Architecture.load(workdir / "architecture.json")
        assert dataclasses.replace(taken, name=drawn[index].name) == drawn[index]
        assert 0.1 + 0.225 * index <= levels_of(taken)[-1]["rho"] < 0.1 + 0.225 * (index + 1)
    assert "width growth" in capsys.readouterr().out


def test_sample_refuses_an_index_beyond_the_draw_and_a_rho_that_excludes_it(refused):
    assert "sample.index is 4, but must be one of 0 to 3" in refused(
        *RANDOM, "--config.sample.index=4"
    )
    assert "design.rho allows 0.2 at most" in refused("--config.jobs=sample")


def test_describe_prints_the_table_of_a_file(tmp_path, capsys):
    assert main(command("--config.jobs=design", "--workdir", str(tmp_path / "a"))) == 0
    file = tmp_path / "a" / "architecture.json"
    capsys.readouterr()
    arguments = ["--config.jobs=describe", f"--config.architecture={file}"]
    assert main(command(*arguments, "--workdir", str(tmp_path / "b"))) == 0
    assert "classifier" in capsys.readouterr().out


def test_describe_prints_any_published_network(tmp_path, capsys):
    arguments = ["--config.name=resnet50", "--config.jobs=describe", "--workdir", str(tmp_path)]
    assert main(command(*arguments, config=ZOO)) == 0
    out = capsys.readouterr().out
    assert "25,557,032" in out  # torchvision's count
    assert "77.4 %" in out  # the paper's accuracy
    assert "0.0868" in out  # its rho
    assert list(tmp_path.iterdir()) == []


def test_compare_puts_published_networks_and_files_side_by_side(tmp_path, capsys):
    file = tmp_path / "mine.json"
    file.write_text(Architecture("x", 8, 1, 2, Stem(4), (Stage("basic", 4, 4, 3, 1, 1),)).to_json())
    names = f"--config.names=resnet34,deepmad_r34,{file}:classes=3"
    arguments = ["--config.jobs=compare", names, "--workdir", str(tmp_path)]
    assert main(command(*arguments, config=ZOO)) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("resnet34"))
    resnet, deepmad, mine = (line.split() for line in lines[first : first + 3])
    assert resnet[3:5] + resnet[6:7] + resnet[-1:] == [
        "21,797,672",
        "3,663,761,408",
        "0.0222",
        "74.4",
    ]
    assert deepmad[3:5] + deepmad[6:8] == ["21,690,160", "3,634,913,856", "0.3000", "86,285.3"]
    assert mine[0].endswith("mine.json:classes=3")
    # By hand: convs 36 + 144 + 144, norms 8 each, classifier 15.
    assert mine[2:4] == ["3", f"{36 + 2 * 144 + 3 * 8 + 15}"]
    assert mine[-1] == "-"


def test_a_config_may_name_a_published_network_instead_of_a_design(tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(
        "from deepmad_jax.config import default_config, published\n"
        "def get_config():\n"
        "    config = default_config()\n"
        "    config.architecture = published('deepmad_r50', classes=10)\n"
        "    config.jobs = ('design', 'describe')\n"
        "    return config\n"
    )
    assert main([*command(config=str(file)), "--workdir", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "Nothing to design: the config names the architecture deepmad_r50:classes=10" in out
    assert f"{25_441_144 - 1233 * 990:,}" in out  # 990 classes fewer, with their biases
    assert not (tmp_path / "run" / "design.json").exists()


def test_an_unknown_published_network_names_the_nearest(tmp_path, refused):
    said = refused("--config.name=resnet_50", "--workdir", str(tmp_path), config=ZOO)
    assert "did you mean 'resnet50'" in said


def test_the_cifar_variant_trains_for_its_classes():
    config, _ = parse(command("--config.name=resnet56", config=f"{ZOO}:cifar100"))
    assert config.architecture == "resnet56:classes=100"
    config, workdir = parse(command("--config.architecture=resnet18", config=ZOO))
    assert (config.architecture, workdir) == ("resnet18", Path("runs/resnet50"))


def test_a_baseline_trains_and_leaves_its_report(tmp_path):
    # Patches and LayerNorm only: a network without any running statistics.
    stages = (Stage("convnext", 8, 16, 3, 2, 1), Stage("convnext", 12, 24, 3, 1, 2))
    stem = Stem(8, 4, 4, "patch")
    file = tmp_path / "convnext.json"
    file.write_text(Architecture("convnext", 16, 1, 10, stem, stages, head_norm=True).to_json())
    arguments = [
        "--config.jobs=train,evaluate",
        f"--config.architecture={file}",
        "--config.data.source=fake",
        "--config.data.fake_images=64",
        "--config.train.epochs=1",
        "--config.train.warmup_epochs=0",
        "--workdir",
        str(tmp_path / "run"),
    ]
    assert main(command(*arguments)) == 0
    assert (tmp_path / "run" / "architecture.json").read_text() == file.read_text()
    assert (tmp_path / "run" / "network.png").exists()


def test_a_misspelt_field_names_the_nearest(refused):
    assert "did you mean 'macs'" in refused("--config.design.mcas=3")


def test_a_wrong_type_says_what_was_expected(refused):
    said = refused("--config.design.macs=lots")
    assert "'lots'" in said
    assert "a number" in said


def test_an_unknown_flag_is_refused(refused):
    assert "workdirr" in refused("--workdirr=x")


def test_a_missing_config_file_is_named(refused):
    assert "nowhere.py" in refused(config="configs/nowhere.py")


def test_an_unknown_variant_is_refused(refused):
    assert "quick" in refused(config=f"{R18}:quik")


def test_a_typo_inside_a_config_file_names_the_nearest(tmp_path, refused):
    file = tmp_path / "typo.py"
    file.write_text(
        "from deepmad_jax.config import default_config\n"
        "def get_config():\n"
        "    config = default_config()\n"
        "    config.design.kernals = (3,)\n"
        "    return config\n"
    )
    assert "kernels" in refused(config=str(file))


def test_an_infeasible_budget_exits_with_its_reason(tmp_path, refused):
    said = refused("--config.design.macs=1000", "--workdir", str(tmp_path))
    assert "1,000 MACs" in said
    assert not (tmp_path / "architecture.json").exists()


def test_train_without_an_architecture_says_to_design_first(tmp_path, refused):
    said = refused("--config.jobs=train", "--workdir", str(tmp_path))
    assert "Run the design job first" in said


def test_a_new_design_does_not_orphan_checkpoints(tmp_path, refused):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    before = (tmp_path / "architecture.json").read_text()
    said = refused("--config.jobs=design", "--config.design.params=2e4", *workdir)
    assert "design.params: 50000.0 -> 20000.0" in said
    assert (tmp_path / "architecture.json").read_text() == before


def test_a_refused_design_leaves_the_runs_config_alone(tmp_path, refused):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    before = (tmp_path / "config.json").read_text()
    refused("--config.jobs=design", "--config.design.params=2e4", *workdir)
    assert (tmp_path / "config.json").read_text() == before


def test_training_refuses_to_go_on_with_another_recipe(tmp_path, refused):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    said = refused(
        "--config.jobs=train",
        "--config.train.learning_rate=0.5",
        "--config.data.source=fake",
        *workdir,
    )
    assert "train.learning_rate: 0.1 -> 0.5" in said
    assert "data.source: 'digits' -> 'fake'" in said


def test_default_jobs_refuse_to_go_on_with_another_recipe(tmp_path, refused):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    # The design job comes first; it must not write the new config down as if it were the old one.
    assert "train.seed: 0 -> 1" in refused("--config.train.seed=1", *workdir)
    assert "train.seed: 0 -> 1" in refused("--config.train.seed=1", *workdir)


def test_config_of_an_older_version_without_new_fields_still_goes_on(tmp_path):
    workdir = ["--workdir", str(tmp_path)]
    assert main(command("--config.jobs=design", *workdir)) == 0
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["train"]["clip_norm"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(command("--config.jobs=design", *workdir)) == 0


@pytest.mark.parametrize("spec", ["here", "localhost:1,2", "localhost:1,2,2"])
def test_a_wrong_way_to_join_other_processes_is_refused(tmp_path, refused, spec):
    said = refused(f"--distributed={spec}", "--workdir", str(tmp_path))
    assert "HOST:PORT,COUNT,INDEX" in said or "must be below 2" in said


def test_an_architecture_from_elsewhere_becomes_the_workdirs(tmp_path):
    assert main(command("--config.jobs=design", "--workdir", str(tmp_path / "a"))) == 0
    file = tmp_path / "a" / "architecture.json"
    arguments = [
        "--config.jobs=train,evaluate,export",
        "--config.export=npz,tinynas",
        "--config.train.ema_decay=0.5",
        f"--config.architecture={file}",
        "--config.data.source=fake",
        "--config.data.fake_images=64",
        "--config.train.epochs=1",
        "--config.train.warmup_epochs=0",
        "--workdir",
        str(tmp_path / "b"),
    ]
    assert main(command(*arguments)) == 0
    assert (tmp_path / "b" / "architecture.json").read_text() == file.read_text()
    assert (tmp_path / "b" / "report.html").exists()
    metrics = (tmp_path / "b" / "metrics.jsonl").read_text()
    assert metrics.count('"eval"') == 1  # the evaluate job repeats nothing
    # The export job wrote the averages, which differ from the parameters after a step.
    with Checkpoints(tmp_path / "b" / "checkpoints") as checkpoints:
        averages = checkpoints.restore_variables()
    exported = from_network(dm.load(tmp_path / "b" / "digits.npz"))
    kernel = averages["head", "layers", "head1_dense", "kernel"]
    np.testing.assert_array_equal(exported["fc_linear.weight"], np.asarray(kernel).T)
    structure = dm.load(tmp_path / "b" / "digits.txt", resolution=16, classes=10)
    assert structure == Architecture.load(file)


def test_evaluate_and_export_take_the_best_checkpoint(tmp_path, capsys):
    arch = Architecture("tiny", 16, 1, 10, Stem(4), (Stage("k1kx", 4, 4, 3, 1, 2),))
    (tmp_path / "architecture.json").write_text(arch.to_json())
    # At a rate of 1 it learns and forgets: the best of the four evaluations is the second.
    fields = [
        "data.train_augment=none", "train.epochs=4", "train.batch_size=256",
        "train.warmup_epochs=0", "train.learning_rate=1", "train.final_learning_rate=1",
        "train.eval_every_epochs=1", "train.checkpoint_every_epochs=1",
    ]  # fmt: skip
    flags = [*(f"--config.{field}" for field in fields), "--workdir", str(tmp_path)]
    assert main(command(*flags, "--config.jobs=train")) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    evaluated = {line["step"]: line["top1"] for line in lines if line["split"] == "eval"}
    newest, best = max(evaluated), max(evaluated, key=evaluated.get)
    assert best < newest
    capsys.readouterr()
    jobs = ("--config.jobs=evaluate,export", "--config.export=npz", "--config.checkpoint=best")
    assert main(command(*flags, *jobs)) == 0
    assert f"top-1 {evaluated[best]:.2%}" in (out := capsys.readouterr().out)
    assert f"after {best} steps" in out
    # A finished run's own last evaluation counts, not what was evaluated besides.
    assert main(command(*flags, "--config.jobs=train,evaluate")) == 0
    assert f"top-1 {evaluated[newest]:.2%}" in capsys.readouterr().out
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        expected = checkpoints.restore_variables(best)
    exported = from_network(dm.load(tmp_path / "tiny.npz"))["fc_linear.weight"]
    kernel = expected["head", "layers", "head1_dense", "kernel"]
    np.testing.assert_array_equal(exported, np.asarray(kernel).T)


def test_an_export_without_a_checkpoint_says_to_train_first(tmp_path, refused):
    arch = Architecture("tiny", 16, 1, 10, Stem(4), (Stage("k1kx", 4, 4, 3, 1, 2),))
    (tmp_path / "architecture.json").write_text(arch.to_json())
    said = refused("--config.jobs=export", "--workdir", str(tmp_path))
    assert "--config.jobs=train,export" in said
    assert "did you mean 'onnx'" in refused("--config.jobs=export", "--config.export=onx")


@pytest.mark.parametrize(
    "address", ["gs://bucket/run", "s3://bucket/run", "memory://x", "file:///tmp/run"]
)
def test_an_address_as_workdir_is_refused_and_makes_no_folder(
    tmp_path, refused, address, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    said = refused(f"--workdir={address}")
    assert f"{address} is an address, but only folders and files of this machine" in said
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_and_a_config_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.py").write_text(Path(DIGITS).read_text())
    config, workdir = parse(["main", "--config=~/own.py", "--workdir=~/runs/x"])
    assert (config.name, workdir) == ("digits", tmp_path / "runs" / "x")


@pytest.mark.parametrize("below", ["", "/sub"])
def test_a_workdir_that_is_a_file_is_refused(tmp_path, refused, below):
    file = tmp_path / "file"
    file.write_text("")
    assert f"Cannot use {file}{below} as workdir: " in refused("--workdir", f"{file}{below}")


def test_a_workdir_where_nothing_may_be_written_is_refused_before_the_design(
    tmp_path, refused, monkeypatch
):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    said = refused("--workdir", str(tmp_path))
    assert f"Cannot use {tmp_path} as workdir: nothing may be written there" in said
    # A job that only reads needs no more than that.
    assert "There is no architecture" in refused("--config.jobs=describe", "--workdir", ".")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "No config was given: add --config FILE"),
        (["--config"], "argument --config: expected one argument"),
        (["--config="], "No config was given: add --config FILE"),
        (["--config", "--workdir", "x"], "argument --config: expected one argument"),
        ([DIGITS], f"did you mean --config {DIGITS}"),
        (["--config", DIGITS, "extra"], "'extra' means nothing"),
        (["--config", DIGITS, "--wrokdir=x"], "'--wrokdir=x' means nothing: did you mean '--workd"),
        (["--config", DIGITS, "--config_name=x"], "fields of the config are set as --config.GROUP"),
        (["--config", DIGITS, "--workdir"], "argument --workdir: expected one argument"),
        (["--config", DIGITS, "--workdir="], "--workdir is empty"),
        (["--config", DIGITS, "--workdir", "a\0b"], "as workdir: embedded null byte"),
        (["--config", DIGITS, "--distributed"], "--distributed needs a value"),
        (["--config", DIGITS, "--distributed="], "--distributed needs a value"),
        (["--config", DIGITS, "--distributed", "--workdir=x"], "--distributed needs a value"),
        (
            ["--config", DIGITS, "--config.jobs=describ"],
            "config.jobs holds 'describ'; did you mean",
        ),
        (["--config", DIGITS, "--config.jobs="], "config.jobs is empty"),
        (["--config", DIGITS, "--config.design=3"], "config.design is a group of fields"),
        (["--config", DIGITS, "--config.design.macs"], "--config.design.macs needs a value"),
        (["--config", DIGITS, "--config.name", "--workdir=x"], "--config.name needs a value"),
        (["--config", DIGITS, "--config.design.macs=1,000,000"], "a comma separates the items"),
        (["--config", DIGITS, "--config.train.epochs=1"], "leaves nothing of epochs=1"),
    ],
)
def test_a_command_that_means_nothing_says_what_would(
    tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    assert main(["main", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_of_a_field_set_twice_the_last_value_counts():
    macs = ["--config.design.macs=1G", "--config.design.macs", "2.5M"]
    assert parse(command(*macs))[0].design.macs == 2.5e6


def test_a_broken_design_file_is_named(tmp_path, refused):
    assert main(command("--config.jobs=design", "--workdir", str(tmp_path))) == 0
    (tmp_path / "design.json").write_text("{")
    said = refused("--config.jobs=describe", "--workdir", str(tmp_path))
    assert "design.json" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [("x = 1\n", "no function get_config"), ("def get_config(:\n", "SyntaxError")],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, refused, text, words):
    file = tmp_path / "bad.py"
    file.write_text(text)
    assert words in refused(config=str(file))


def test_a_variant_of_a_file_without_variants_is_refused(refused):
    assert "has no variants" in refused(config=f"{DIGITS}:quick")


def test_missing_imagenet_is_explained_after_the_design_is_saved(tmp_path, refused):
    said = refused(
        "--workdir", str(tmp_path), f"--config.data.data_dir={tmp_path / 'data'}", config=R18
    )
    assert (tmp_path / "architecture.json").exists()
    assert str(tmp_path / "data") in said
    assert "imagenet2012" in said
    assert "--config.data.source=fake" in said


def test_help_lists_jobs_and_fields():
    done = subprocess.run(
        [sys.executable, "-m", "deepmad_jax.main", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--config.design.kernels=3,5" in done.stdout
    assert "design, train, evaluate" in done.stdout
