"""Config fields: names, types, command-line text."""

import dataclasses
import functools
from pathlib import Path

import pytest

from deepmad_jax import config, fields
from deepmad_jax.config import (
    Config,
    DataConfig,
    DetectConfig,
    MeasureConfig,
    TrainConfig,
    default_config,
    differing_fields,
    override,
    to_config,
    to_dict,
)
from deepmad_jax.data import labelled, sources
from deepmad_jax.design.perceptron.problem import MlpProblem
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.studies.settings import Part, Sampling, Sweep
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields.groups import kinds_of
from deepmad_jax.tasks.classify.task import DTYPES
from tests.field_reads import fields_read

ROOT = Path(__file__).parent.parent / "deepmad_jax"
SOURCES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path.read_text(encoding="utf-8")
    for path in ROOT.rglob("*.py")
}
GROUPS = (
    *(Config, Problem, DataConfig, TrainConfig, DetectConfig, MeasureConfig, Sweep, Sampling),
    *(Part, MlpProblem),
)
MODULES = {cls.__name__: cls.__module__ for cls in GROUPS}


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
        ("design.macs", "1.8G", 1.8e9),
        ("design.params", "11.7M", 11.7e6),
        ("sweep.params", "50k, 1.5M", (5e4, 1.5e6)),
        ("data.fake_images", "50k", 50_000),
        ("train.weight_decay", "5e-5", 5e-5),
        ("data.auto_augment", "none", None),
        (
            "names",
            "resnet34,runs/a b/architecture.json",
            ("resnet34", "runs/a b/architecture.json"),
        ),
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
        ("design.macs", "1,000,000", ["config.design.macs", "a comma separates"]),
        ("design.macs", "1.8GFLOPs", ["config.design.macs", "once or twice"]),
        ("design.params", "11.7m", ["config.design.params", "write 11.7M for millions"]),
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
        ({"block": "inverted"}, "only published networks have; one can design from basic, k1kx"),
        ({"kernels": (3, 4)}, "odd"),
        ({"strides": (2, 3)}, "1 or 2"),
        ({"alpha": (1.0, 2.0)}, "5 levels"),
        ({"inner_ratio": (2.0, 1.0)}, "inner_ratio"),
        ({"min_width": (64,), "max_width": (32,)}, "min_width 64 is above"),
        ({"min_depth": (1, 2)}, "one for each of the 5 stages"),
        ({"min_width": (9,), "max_width": (15,)}, "no multiple of 8"),
        ({"macs": 0.0}, "more than 0"),
        ({"strides": ()}, "1 or 2"),
        ({"kernels": ()}, "odd sizes"),
        ({"latency": 1.0}, "no latency_table"),
        ({"convention": "papers"}, "did you mean 'paper'"),
        ({"max_width": 10**15}, "at most 1,048,576"),
    ],
)
def test_an_impossible_problem_is_refused_with_what_to_give(fields, words):
    with pytest.raises(InvalidConfig, match=words) as error:
        Problem(**fields)
    assert str(error.value).startswith(tuple(kinds_of(Problem)))


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
    ("path", "text"),
    [("train.weight_decay", "-1"), ("design.rho", "nan"), ("sweep.random", "-1"), ("name", "")],
)
def test_a_field_out_of_range_is_named_as_on_the_command_line(values, path, text):
    with pytest.raises(InvalidConfig, match=rf"^config\.{path} is "):
        override(values, path, text)
    *parents, leaf = path.split(".")
    setattr(functools.reduce(getattr, parents, values), leaf, text)  # as a config file does
    with pytest.raises(InvalidConfig, match=rf"^config\.{path} is "):
        to_config(values)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batch_size": 100, "accumulate_steps": 3}, "accumulate_steps=3 pieces.*change one"),
        ({"final_learning_rate": 1.0}, "must not be above learning_rate=0.8"),
        ({"warmup_epochs": 500}, "leaves nothing of epochs=480"),
        ({"dtype": "bf16"}, "did you mean 'bfloat16'"),
    ],
)
def test_impossible_training_is_refused(fields, words):
    with pytest.raises(InvalidConfig, match=words) as error:
        TrainConfig(**fields)
    assert str(error.value).startswith(tuple(kinds_of(TrainConfig)))


@pytest.mark.parametrize(
    "fields",
    [
        {"crop_interpolation": "cubic"},
        {"erasing_fill": "noisy"},
        {"source": "folders"},
        {"train_augment": "crops"},
    ],
)
def test_unknown_data_settings_are_refused_with_the_nearest(fields):
    with pytest.raises(InvalidConfig, match=f"{next(iter(fields))} is .*did you mean"):
        DataConfig(**fields)


def test_a_draw_of_no_range_or_beyond_its_end_is_refused():
    with pytest.raises(
        InvalidConfig, match=r"rho_low is 0\.5, but must be less than rho_high, 0\.5"
    ):
        Sampling(rho_low=0.5, rho_high=0.5)
    with pytest.raises(InvalidConfig, match="index is 4, but must be one of 0 to 3"):
        Sampling(count=4, index=4)


def test_words_of_the_config_are_those_the_code_knows():
    assert config.data.SOURCES == sources.SOURCES
    assert set(config.data.FRAMINGS) == set(labelled.FRAMINGS)
    assert set(fields.DTYPES) == set(DTYPES)


def test_differing_fields_are_named_with_both_values():
    old, new = to_dict(Config()), to_dict(Config(design=Problem(macs=1e9)))
    assert differing_fields(old, new) == ["design.macs: inf -> 1000000000.0"]


def test_a_field_that_no_code_reads_does_not_exist():
    read = fields_read(SOURCES, MODULES)
    fields = {(cls.__name__, field.name) for cls in GROUPS for field in dataclasses.fields(cls)}
    assert fields - read == set()


@pytest.mark.parametrize("group", MODULES)
def test_a_field_that_only_its_own_checks_read_would_be_found(group):
    # Names that nobody uses, methods of lists, and words that stand in many files.
    names = {"unheard_of", "count", "items", "path", "shape"}
    names -= {"count"} if group in ("Part", "Sampling") else set()
    before, start, after = SOURCES[MODULES[group]].partition(f"class {group}:")
    post_init = "    def __post_init__(self) -> None:\n"
    assert post_init in after
    fields = "".join(f"    {name}: int = 1\n" for name in names)
    reads = "".join(f"    assert group.{name} and getattr(group, '{name}')\n" for name in names)
    after = after.replace(post_init, f"{fields}\n{post_init}        _check_more(self)\n", 1)
    after += f"\n\ndef _check_more(group: {group}) -> None:\n{reads}"
    after += f"\n\ndef asked_by_nobody(group: {group}) -> None:\n{reads}"
    changed = SOURCES | {MODULES[group]: f"{before}{start}{after}"}
    new = {(group, name) for name in names}
    assert not new & fields_read(changed, MODULES)
    # One real use is enough.
    user = f"def use(group: {group}) -> None:\n{reads}"
    assert new <= fields_read(changed | {"deepmad_jax.user": user}, MODULES)
