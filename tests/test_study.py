"""The jobs that parts share: many designs, many trainings, one table, and a part that is lost."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from deepmad_jax.arch import Architecture
from deepmad_jax.jobs import studies
from deepmad_jax.main import main
from deepmad_jax.train import Diverged

DIGITS = str(Path(__file__).parent.parent / "configs/digits.py")
FOUR = (
    "--config.jobs=study", "--config.sample.count=4", "--config.design.rho=inf",
    "--config.design.macs=2e5", "--config.design.params=5e3", "--config.design.multiple_of=2",
    "--config.design.min_width=2", "--config.design.stem_width=2,8",
    "--config.train.epochs=1", "--config.train.warmup_epochs=0",
    "--config.train.checkpoint_every_epochs=1", "--config.train.eval_every_epochs=1",
)  # fmt: skip


def run(workdir, *flags):
    return main(["main", "--config", DIGITS, "--workdir", str(workdir), *FOUR, *flags])


def part(index, count):
    return f"--config.part.index={index}", f"--config.part.count={count}"


def table(workdir):
    with (workdir / "study.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trained(monkeypatch):
    """Trainings that take no time; the list of the folders they were asked for."""
    asked = []

    def train(config, workdir):
        asked.append(int(workdir.name))
        if workdir.name == "002":
            raise Diverged("The loss is not finite.")
        line = {"split": "eval", "step": 7, "top1": asked[-1] / 10, "best_top1": 1, "best_step": 7}
        (workdir / "metrics.jsonl").write_text(json.dumps(line) + "\n")

    monkeypatch.setattr(studies, "train", train)
    return asked


def test_parts_leave_one_table_and_a_lost_one_is_found_and_done_again(tmp_path, trained, capsys):
    assert run(tmp_path, *part(0, 3)) == 0
    said = capsys.readouterr().out
    assert "2 of 4 trainings are in" in said
    assert "Not yet: 1, 2, of part 1, 2 of 3" in said
    assert run(tmp_path, *part(2, 3)) == 0
    assert "Not yet: 1, of part 1 of 3" in capsys.readouterr().out
    assert trained == [0, 3, 2]
    assert run(tmp_path) == 0
    assert "4 of 4 trainings are in" in capsys.readouterr().out
    assert trained == [0, 3, 2, 1]

    rows = table(tmp_path)
    assert [row["index"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["top1"] for row in rows] == ["0.0", "0.1", "", "0.3"]
    assert [row["reason"] for row in rows] == ["", "", "The loss is not finite.", ""]
    rho = [float(row["rho"]) for row in rows]
    assert rho == sorted(rho)
    for row in rows:
        network = Architecture.from_json(row["architecture"])
        assert network == Architecture.load(tmp_path / f"00{row['index']}" / "architecture.json")
        assert int(row["params"]) <= 5e3


def test_folder_of_a_study_is_the_run_of_its_network_alone(tmp_path, trained):
    assert run(tmp_path / "study", *part(1, 4)) == 0
    alone = ("--config.jobs=sample", "--config.sample.index=1", "--config.name=digits_1")
    assert run(tmp_path / "alone", *alone) == 0
    for name in ("architecture.json", "config.json"):
        one, other = (json.loads((tmp_path / d / name).read_text()) for d in ("study/001", "alone"))
        for config in (one, other):
            config.pop("jobs", None)
        assert one == other


def test_study_of_other_networks_in_the_same_folder_is_refused(tmp_path, trained, capsys):
    assert run(tmp_path, *part(0, 4)) == 0
    (tmp_path / "000" / "checkpoints" / "7").mkdir(parents=True)
    assert run(tmp_path, *part(0, 4), "--config.design.seed=1") == 2
    assert "design.seed: 0 -> 1" in capsys.readouterr().err


@pytest.mark.slow
def test_lost_training_goes_on_and_the_table_has_its_result(tmp_path):
    assert run(tmp_path, *part(0, 2)) == 0
    before = table(tmp_path)
    assert [row["index"] for row in before] == ["0", "2"]
    assert all(0 <= float(row["top1"]) <= 1 and int(row["step"]) == 22 for row in before)
    shutil.rmtree(tmp_path / "002" / "checkpoints")  # a host lost in the middle of it
    (tmp_path / "002" / "result.json").unlink()
    (tmp_path / "study.csv").unlink()
    assert run(tmp_path) == 0
    after = table(tmp_path)
    assert [row["index"] for row in after] == ["0", "1", "2", "3"]
    assert [after[0], after[2]] == before


def test_parts_of_a_sweep_leave_one_table_when_all_are_there(tmp_path, capsys):
    def sweep(*flags):
        budgets = ("--config.sweep.macs=2e5,4e5", "--config.sweep.params=5e3,10e3")
        return run(tmp_path, "--config.jobs=sweep", "--config.sweep.workers=1", *budgets, *flags)

    assert sweep(*part(1, 2)) == 0
    assert "2 of 4 budgets have no design yet, those of part 0 of 2" in capsys.readouterr().out
    assert not (tmp_path / "sweep.csv").exists()
    assert sweep(*part(0, 2)) == 0
    assert "of 4 budgets can be met" in capsys.readouterr().out
    with (tmp_path / "sweep.csv").open() as file:
        rows = [(float(r["macs_budget"]), float(r["params_budget"])) for r in csv.DictReader(file)]
    assert rows == [(2e5, 5e3), (2e5, 10e3), (4e5, 5e3), (4e5, 10e3)]


LISTED = (
    "--config.study.runs=design.rho=0.2,design.rho=0.3 design.seed=1,zoo:cifar100 name=resnet56",
    "--config.study.seeds=3,5",
)


def test_listed_runs_are_trained_for_every_seed_each_in_the_folder_of_a_run_alone(
    tmp_path, monkeypatch
):
    configs = []

    def train(config, workdir):
        configs.append((workdir.name, config))
        top1 = {3: 0.5, 5: 0.7}[config.train.seed]
        line = {"split": "eval", "step": 7, "top1": top1, "best_top1": 1, "best_step": 7}
        (workdir / "metrics.jsonl").write_text(json.dumps(line) + "\n")

    monkeypatch.setattr(studies, "train", train)
    assert run(tmp_path, *LISTED, *part(0, 2)) == 0
    assert run(tmp_path, *LISTED, *part(1, 2)) == 0
    names = ["digits_rho0.2", "digits_rho0.3_seed1", "resnet56"]
    assert [name for name, _ in configs[:3]] == [f"{name}_seed3" for name in names]
    # A config file's run is that file's own, whatever the study's config says.
    assert (configs[2][1].architecture, configs[2][1].data.name) == (
        "resnet56:classes=100",
        "cifar100",
    )
    assert configs[2][1].train.epochs == 1440
    rho = [configs[i][1].design.rho for i in (0, 1)]
    assert (rho, configs[1][1].design.seed, configs[0][1].train.epochs) == ([0.2, 0.3], 1, 1)
    assert all(config.study.runs == () and config.part.count == 1 for _, config in configs)
    designed = Architecture.load(tmp_path / "digits_rho0.2_seed3" / "architecture.json")
    assert designed.classes == 10
    assert json.loads((tmp_path / "digits_rho0.2_seed5/design.json").read_text())["rho"] <= 0.2

    with (tmp_path / "study_runs.csv").open() as file:
        first = next(csv.DictReader(file))
    # Student's t with one degree of freedom: 12.706 at 95 %, of any table.
    half = 12.706 * (0.2 / 2**0.5) / 2**0.5
    assert first["run"] == "rho0.2"
    assert float(first["top1_mean"]) == pytest.approx(0.6)
    assert float(first["top1_low"]) == pytest.approx(0.6 - half, abs=1e-4)
    assert float(first["top1_deviation"]) == pytest.approx(0.2 / 2**0.5)
    page = (tmp_path / "study.html").read_text()
    assert "60.00 ± 127.06 (n = 2)" in page
    assert "6 of 6 trainings are done." in page


def test_parquet_has_the_rows_of_the_csv(tmp_path, trained):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run(tmp_path) == 0
    rows = parquet.read_table(tmp_path / "study.parquet").to_pylist()
    assert [row["top1"] for row in rows] == [0.0, 0.1, None, 0.3]
    assert [str(row["rho"]) for row in rows] == [row["rho"] for row in table(tmp_path)]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--config.study.seeds=1,1",), "seeds is (1, 1), where one stands twice"),
        (("--config.study.runs=design.rho=0.2 fast",), "'fast' sets no field"),
        (("--config.study.runs=design.rho=0.2,train.momentum=0.2 name=digits_rho0.2",),
         "two runs called digits_rho0.2"),
        (("--config.study.runs=nothing.py:x",), "There is no config file nothing.py"),
        (("--config.study.runs=design.roh=0.2",), "did you mean 'rho'?"),
    ],
)  # fmt: skip
def test_a_list_of_runs_that_cannot_be_is_refused(tmp_path, capsys, flags, said):
    assert run(tmp_path, *flags) == 2
    assert said in capsys.readouterr().err
