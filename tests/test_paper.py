"""The paper's tables as data and as a job: figures, runs behind them, what counts as a result."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import pytest

from deepmad_jax.arch import Architecture
from deepmad_jax.arch.zoo import zoo
from deepmad_jax.config import Config
from deepmad_jax.jobs.found import find
from deepmad_jax.jobs.paper_rows import config_of_run
from deepmad_jax.jobs.reduced import random_networks, reduced_table
from deepmad_jax.jobs.workdir import settle
from deepmad_jax.main import main
from deepmad_jax.paper import PARTS, TABLES, runs_of
from deepmad_jax.report.study import by_run
from tests.facts import COMPARED, PUBLISHED

PAPER = str(Path(__file__).parent.parent / "configs/paper.py")
DIGITS = "digits train.epochs=2 train.warmup_epochs=0"


def rows():
    return [row for table in TABLES.values() for row in table.rows]


def run(part, workdir, results, *flags):
    command = ["main", "--config", f"{PAPER}:{part}", "--workdir", str(workdir)]
    return main([*command, f"--config.paper.results={results}", *flags])


def test_rows_of_published_networks_print_what_was_recorded_of_the_paper():
    by_network = {row.network: row for row in TABLES["table3"].rows if row.network}
    for fact in COMPARED["networks"]:
        row, paper = by_network[fact["name"]], fact["paper"]
        assert row.label in (fact["paper_name"], fact["paper_name"].removesuffix("/16"))
        assert (row.value, row.params, row.flops) == (
            paper["top1"], paper["params_millions"] * 1e6, pytest.approx(paper["flops_giga"] * 1e9),
        )  # fmt: skip
    names = {"deepmad_29m_224": "deepmad_29m"}
    ours = {row.network: row for row in rows() if row.network.startswith("deepmad")}
    for fact in PUBLISHED:
        name = fact["name"].lower().replace("-", "_")
        row = {**by_network, **{r.network: r for r in TABLES["table1"].rows}}.get(
            names.get(name, name)
        )
        if name == "r18_like":
            continue
        assert row.network in ours
        assert row.value == fact["imagenet_top1"]
        assert row.params == pytest.approx(fact["paper_params_millions"] * 1e6)


@pytest.mark.parametrize("name", TABLES)
def test_every_run_behind_a_table_is_a_config_that_trains_the_rows_network(name):
    for row in TABLES[name].rows:
        if not row.run:
            assert row.published, row.label
            continue
        config = config_of_run(row.run)
        assert "train" in config.jobs
        if config.architecture is not None:
            assert zoo(row.network) == dataclasses.replace(
                zoo(config.architecture), name=row.network
            )
        else:  # budgets are what the paper's network costs, as printed
            assert config.design.params == pytest.approx(row.params, rel=0.005)
            assert config.design.macs == pytest.approx(row.flops, rel=0.03)
            found = re.search(r"rho ([\d.]+)", row.label)
            assert found is None or config.design.rho == float(found[1])


def test_runs_of_different_rows_do_not_share_a_folder():
    words = {run for table in TABLES.values() for run in runs_of(table)}
    assert len({config_of_run(run).name for run in words}) == len(words)


@pytest.fixture
def results(tmp_path):
    """A function that leaves a run of `DIGITS` as the train job does; gives the results' folder."""

    def leave(name, epoch=2.0, top1=0.9, **differing):
        config = config_of_run(DIGITS)
        train = dataclasses.replace(config.train, **differing)
        workdir = tmp_path / name
        workdir.mkdir()
        arch = dataclasses.replace(zoo("resnet20", classes=10), in_channels=1, resolution=16)
        settle(dataclasses.replace(config, train=train), workdir, arch)
        lines = [
            {"split": "train", "step": 44, "epoch": epoch, "loss": 1.0},
            {"split": "eval", "step": 44, "top1": top1, "best_step": 44, "best_top1": top1},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (workdir / "metrics.jsonl").write_text(text)
        return tmp_path

    return leave


def test_a_finished_run_counts_whatever_its_seed(results, tmp_path):
    assert find(config_of_run(DIGITS), tmp_path).values == ()
    results("digits", epoch=44 / 22.45)  # two epochs are 44.9 steps: 45, or 44 of them rounded
    results("digits_seed3", top1=0.8, seed=3)
    assert find(config_of_run(DIGITS), tmp_path).values == (0.9, 0.8)
    results("digits_seed0", top1=0.7)  # of the same seed as the first
    assert find(config_of_run(DIGITS), tmp_path).values == (0.9, 0.8)


def test_another_recipe_or_an_unfinished_run_is_no_result_and_says_why(results, tmp_path):
    results("digits", learning_rate=0.05)
    found = find(config_of_run(DIGITS), tmp_path)
    assert (found.values, found.why) == ((), "another config: train.learning_rate: 0.05 -> 0.1")
    results("digits_seed1", seed=1, top1=0.7)
    assert find(config_of_run(DIGITS), tmp_path).values == (0.7,)
    unfinished = config_of_run(f"{DIGITS} name=short")
    results("short", epoch=1.0)
    assert find(unfinished, tmp_path).why == "1 of 2 epochs"
    named = config_of_run(f"{DIGITS} name=short architecture=resnet20:classes=10")
    assert find(named, tmp_path).why == "another architecture"


def result(workdir, run, seed, top1, arch, index):
    folder = workdir / f"{run}_seed{seed}"
    folder.mkdir(parents=True)
    row = {
        "index": index, "run": run, "seed": seed, "rho": 0.1, "entropy": 1.0, "layers": 3,
        "params": 5, "macs": 7, "dataset": "digits", "top1": top1, "reason": None,
        "architecture": json.dumps(arch.to_dict()),
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(row))


def test_a_study_in_small_is_found_in_the_workdir_or_among_the_results(tmp_path):
    arch = zoo("resnet20")
    assert reduced_table("table1", tmp_path / "none", tmp_path) is None
    for seed, top1 in enumerate((0.5, 0.6, 0.7)):
        result(tmp_path / "paper_table1_digits", "rho0.1", seed, top1, arch, seed)
    table = reduced_table("table1", tmp_path / "none", tmp_path)
    assert table.title == "Table 1 in small, on digits"
    # Half of the interval: 4.3027, Student's 97.5 % with two degrees, times 0.1 / sqrt(3).
    assert [row[-1] for row in table.rows] == [f"60.00 ± {430.27 / 3**0.5 / 10:.2f} (n = 3)"]
    result(tmp_path / "own", "rho0.9", 0, 0.4, arch, 0)
    assert [row[0] for row in reduced_table("table1", tmp_path / "own", tmp_path).rows] == [
        "rho0.9"
    ]


def test_random_networks_are_the_papers_65_with_what_was_trained_of_them(tmp_path):
    (drawn,) = random_networks(tmp_path, tmp_path)
    assert len(drawn.networks) == 65
    assert all(network.top1 is None for network in drawn.networks)
    rho = [network.rho for network in drawn.networks]
    assert rho == sorted(rho)
    assert 0.1 <= rho[0] < rho[-1] <= 1.0
    for network in drawn.networks:
        assert network.rho == pytest.approx(network.layers / network.mean_width)


def test_parts_that_need_no_design_leave_their_tables_and_one_page_in_one_file(tmp_path, capsys):
    parts = "--config.paper.parts=table4,table6,table12,fig1"
    assert run("table6", tmp_path / "out", tmp_path, parts) == 0
    out = capsys.readouterr().out
    assert "ResNet-50, UCF101          23,508,032  7,301,054,464" in out
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"paper.html", "table4.csv", "table6.csv", "table12.csv", "fig1.png"}
    with (tmp_path / "out/table6.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["paper"], row["ours"]) for row in rows] == [
        (figure, "not run") for figure in ("83.0", "86.9", "70.6", "71.6")
    ]
    page = (tmp_path / "out/paper.html").read_text()
    assert "<svg" in page
    assert "DeepMAD-R50, Kinetics-400" in page
    assert not re.search(r'(?:src|href)="(?!#)', page)  # but for places on the page itself
    with (tmp_path / "out/table12.csv").open() as file:
        settings = list(csv.reader(file))[1:]
    assert all(row[1] == row[2] and row[3] == row[4] for row in settings)


@pytest.mark.slow
def test_every_part_is_made_and_every_design_keeps_its_budgets(tmp_path, capsys):
    command = ["main", "--config", PAPER, "--workdir", str(tmp_path / "out")]
    assert main([*command, f"--config.paper.results={tmp_path}"]) == 0
    out = capsys.readouterr().out
    for part in PARTS:
        assert (tmp_path / "out" / f"{part}.csv").exists() or part.startswith("fig")
    assert max(map(len, out.splitlines())) <= 100 + len(str(tmp_path))
    claims = (tmp_path / "out/claims.csv").read_text()
    assert 'holds,"Designs keep params, MACs and rho"' in claims
    assert "holds,Printed params of all rows are ours within 5%" in claims


def test_misspelt_part_is_refused(tmp_path, capsys):
    assert run("table6", tmp_path / "out", tmp_path, "--config.paper.parts=tabel1") == 2
    assert "did you mean 'table1'" in capsys.readouterr().err


def test_results_folder_must_be_named():
    with pytest.raises(ValueError, match="results"):
        dataclasses.replace(Config().paper, results="")


def test_an_architecture_that_only_its_name_tells_apart_is_the_same_network(tmp_path):
    arch = dataclasses.replace(Architecture.from_json(zoo("resnet20").to_json()), name="other")
    for seed, net in enumerate((zoo("resnet20"), arch)):
        result(tmp_path / "paper_fig2_digits", "0", seed, 0.5 + seed / 10, net, seed)
    drawn = random_networks(tmp_path / "none", tmp_path)[1]
    assert [network.top1 for network in drawn.networks] == [pytest.approx(0.55)]


@pytest.mark.parametrize("name", ["table1", "table7", "table8"])
def test_the_page_prints_what_the_committed_trainings_came_to(name):
    root = Path(__file__).parent.parent
    page = (root / "docs/paper.md").read_text()
    with (root / f"benchmarks/results/paper_{name}_digits.csv").open() as file:
        rows = list(csv.DictReader(file))
    runs = by_run(rows, "top1")
    assert sum(run["trained"] for run in runs) == len(rows) == 3 * len(runs)
    for run in runs:
        assert f"{run['spread'].percent().partition(' (')[0]} |" in page, run["run"]
