"""Config fields: names, types, command-line text."""

import ast
import dataclasses
from pathlib import Path

import pytest

from deepmad_jax.config import (
    Config,
    DataConfig,
    TrainConfig,
    default_config,
    differing_fields,
    override,
    to_config,
    to_dict,
)
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import InvalidConfig


@pytest.fixture
def values():
    return default_config()


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("design.macs", "2.5e9", 2.5e9),
        ("design.macs", "3", 3.0),
        ("design.kernels", "3,5", (3, 5)),
        ("design.kernels", "3", (3,)),
        ("design.kernels", "(3, 5)", (3, 5)),
        ("design.resolution", "160", 160),
        ("design.resolution", "1.6e2", 160),
        ("design.final_width", "1792", 1792),
        ("design.final_width", "None", None),
        ("design.monotone", "false", False),
        ("design.alpha", "1,1,1,1,16", (1.0, 1.0, 1.0, 1.0, 16.0)),
        ("design.block", "mbconv_se", "mbconv_se"),
        ("design.rho", "inf", float("inf")),
        ("jobs", "design", ("design",)),
        ("jobs", "train,evaluate", ("train", "evaluate")),
        ("train.ema_decay", "0.999", 0.999),
    ],
)
def test_text_becomes_a_value_of_the_fields_type(values, path, text, expected):
    override(values, path, text)
    result = to_config(values)
    for name in path.split("."):
        result = getattr(result, name)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("design.mcas", "1", ["mcas", "did you mean 'macs'"]),
        ("desing.macs", "1", ["desing", "did you mean 'design'"]),
        ("design.macs", "many", ["config.design.macs", "'many'", "a number"]),
        ("design.kernels", "3,big", ["config.design.kernels", "'big'", "an integer"]),
        ("design.resolution", "2.5", ["config.design.resolution", "2.5", "an integer"]),
        ("design.monotone", "7", ["config.design.monotone", "True or False"]),
        ("train", "3", ["config.train", "group of fields"]),
        ("design.macs.x", "3", ["macs", "single field"]),
    ],
)
def test_a_typo_or_wrong_type_fails_at_once_with_a_hint(values, path, text, words):
    with pytest.raises(InvalidConfig) as error:
        override(values, path, text)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"block": "botleneck"}, "did you mean 'bottleneck'"),
        ({"block": "convnext"}, "only published networks have; one can design from basic, k1kx"),
        ({"kernels": (3, 4)}, "odd"),
        ({"strides": (2, 3)}, "1 or 2"),
        ({"alpha": (1.0, 2.0)}, "5 levels"),
        ({"inner_ratio": (2.0, 1.0)}, "inner_ratio"),
        ({"min_width": (64,), "max_width": (32,)}, "min_width 64 is above"),
        ({"min_depth": (1, 2)}, "one for each of the 5 stages"),
        ({"min_width": (9,), "max_width": (15,)}, "No multiple of 8"),
        ({"macs": 0.0}, "positive"),
        ({"rho": float("nan")}, "positive"),
        ({"convention": "papers"}, "did you mean 'paper'"),
        ({"beta": -1.0}, "not negative"),
        ({"seed": -1}, "must not be negative"),
        ({"max_width": 10**15}, "must not exceed"),
    ],
)
def test_an_impossible_problem_is_refused_with_what_to_give(fields, words):
    with pytest.raises(InvalidConfig, match=words):
        Problem(**fields)


def test_config_survives_a_round_trip_through_plain_values():
    config = Config(design=Problem(macs=1e9, kernels=(5,)))
    assert to_config(to_dict(config)) == config


def test_unknown_job_is_named():
    with pytest.raises(InvalidConfig, match="did you mean 'design'"):
        Config(jobs=("desing",))


def test_no_job_is_refused():
    with pytest.raises(InvalidConfig, match="jobs is empty"):
        Config(jobs=())


@pytest.mark.parametrize(
    "fields",
    [
        {"workers": -1},
        {"fake_images": 0},
        {"eval_crop": 1.5},
        {"crop_scale_min": 0.0},
        {"flip": 1.1},
        {"random_erasing": -0.1},
        {"switch_probability": 2.0},
        {"corrupt_share": -1.0},
        {"color_jitter": float("inf")},
        {"mixup": -0.2},
        {"cutmix": float("nan")},
        {"crop_interpolation": "cubic"},
        {"erasing_fill": "pixel"},
    ],
)
def test_impossible_data_settings_are_refused(fields):
    with pytest.raises(InvalidConfig, match=next(iter(fields))):
        DataConfig(**fields)


def test_differing_fields_are_named_with_both_values():
    old, new = to_dict(Config()), to_dict(Config(design=Problem(macs=1e9)))
    assert differing_fields(old, new) == ["design.macs: inf -> 1000000000.0"]


def test_a_field_that_no_code_reads_does_not_exist():
    root = Path(__file__).parent.parent / "deepmad_jax"
    read = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                read.add(node.value)  # getattr(problem, "min_width")
    # f"min_{kind}" in problem.py reads these.
    read |= {"min_depth", "max_depth"}
    for cls in (Config, DataConfig, TrainConfig, Problem):
        for field in dataclasses.fields(cls):
            assert field.name in read, f"{cls.__name__}.{field.name}"
