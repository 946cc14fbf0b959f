"""The perceptron job, from the command line to a trained network on real digits."""

import json

import pytest

from deepmad_jax.arch.mlp import MlpArchitecture
from deepmad_jax.design.perceptron.program import numbers_of_mlp
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.main import main
from deepmad_jax.tasks.perceptron.task import FlatImages

COMMAND = ["main", "--config", "configs/mlp_digits.py"]
SHORT = ["--config.train.epochs=4", "--config.train.warmup_epochs=1"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("perceptron")
    assert main([*COMMAND, *SHORT, "--workdir", str(directory)]) == 0
    return directory


def test_job_designs_within_the_budgets_and_learns(workdir):
    design = json.loads((workdir / "perceptron.json").read_text())
    arch = MlpArchitecture(**design["architecture"])
    assert arch.num_params == design["params"] <= 20_000
    assert numbers_of_mlp(arch).rho == pytest.approx(design["rho"])
    assert design["rho"] <= 0.1
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["split"] == "eval"][-1]
    assert last["images"] == 360
    assert last["top1"] > 0.8  # chance is 0.1


def test_job_goes_on_where_it_stopped_and_refuses_another_budget(workdir, capsys):
    assert main([*COMMAND, *SHORT, "--workdir", str(workdir)]) == 0
    assert "going on from step" in capsys.readouterr().out
    other = "--config.perceptron.params=10000"
    assert main([*COMMAND, *SHORT, other, "--workdir", str(workdir)]) == 2
    assert "perceptron.params: 20000.0 -> 10000.0" in capsys.readouterr().err


def test_inputs_that_are_no_square_image_are_refused():
    assert FlatImages.of(MlpArchitecture("rgb", 3072, (8,), 10)).resolution == 32
    with pytest.raises(InvalidConfig, match="input_width is 50"):
        FlatImages.of(MlpArchitecture("odd", 50, (8,), 10))
