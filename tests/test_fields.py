"""Fields of settings: what they take, what they make of it, and that each number has its range."""

import json
import math
import re
import typing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.config import Config, DataConfig, TrainConfig
from deepmad_jax.design.perceptron.problem import MlpProblem
from deepmad_jax.design.program.problem import BUDGETS, EXTRAS, Problem
from deepmad_jax.design.studies.settings import Sampling, Sweep
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import Limit, convert
from deepmad_jax.fields.groups import kinds_of

GROUPS = (Config, Problem, DataConfig, TrainConfig, Sweep, Sampling, MlpProblem)

NUMBERS = [
    (cls, name, kind)
    for cls in GROUPS
    for name, kind in kinds_of(cls).items()
    if {"int", "float"} & set(re.findall(r"\w+", str(kind)))
]
NO_LIMIT = {
    *((Problem, name) for name in (*BUDGETS, *EXTRAS)),
    *((Sweep, name) for name in BUDGETS),
    *((MlpProblem, name) for name in ("params", "rho")),
    (Sampling, "max_growth"),
    (Config, "certify_seconds"),
}
"""Numbers of which inf is one, for no limit."""


def refusal(cls, name, value):
    with pytest.raises(InvalidConfig) as error:
        cls(**{name: value})
    return str(error.value)


@pytest.mark.parametrize(
    ("cls", "name", "kind"), NUMBERS, ids=lambda part: getattr(part, "__name__", str(part)[:30])
)
def test_every_number_of_every_group_has_a_range_and_is_named(cls, name, kind):
    # No number of ours means anything below zero, nor is one nan.
    for bad in (math.nan, -math.inf, -1, "-1", "nan", "x", True, 1j, object()):
        assert refusal(cls, name, bad).startswith(f"{name} ")
    if type(None) not in typing.get_args(kind):
        assert refusal(cls, name, None).startswith(f"{name} is None, but must be")
    if (cls, name) in NO_LIMIT:
        assert getattr(cls(**{name: "inf"}), name) in (math.inf, (math.inf,))
    else:
        assert refusal(cls, name, math.inf).startswith(f"{name} ")


def test_the_numbers_are_those_of_the_annotations():
    found = {(cls, name) for cls, name, _ in NUMBERS}
    assert found > NO_LIMIT
    assert {(TrainConfig, "clip_norm"), (Problem, "alpha"), (Sampling, "index")} < found
    assert (TrainConfig, "dtype") not in found


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("1.8G", 1.8e9),
        ("1.82 G", 1.82e9),
        ("8.7B", 8.7e9),
        ("11.7M", 11.7e6),
        ("50k", 5e4),
        ("50K", 5e4),
        ("2T", 2e12),
        ("390e6", 390e6),
        ("1E9", 1e9),
        ("+3", 3.0),
        (".5M", 5e5),
        ("5.M", 5e6),
        ("1_000_000", 1e6),
        (" 7 ", 7.0),
        ("inf", math.inf),
        ("Infinity", math.inf),
        (2**40, 2.0**40),
        (Decimal("1.8e9"), 1.8e9),
        (Fraction(1, 4), 0.25),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.array(3), 3.0),
        (jnp.float32(0.5), 0.5),
    ],
    ids=repr,
)
def test_a_number_may_be_written_in_many_ways_and_becomes_a_float(given, plain):
    (result,) = {convert(given, Limit, "macs"), Problem(macs=given).macs}
    assert result == plain
    assert type(result) is float


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("1.8g", "write 1.8G"),
        ("11.7m", "milli or million; write 11.7M"),
        ("3b", "write 3B"),
        ("1.8GMACs", "write 1.8G"),
        ("4Ki", "write 4K"),
        ("1.8GFLOPs", "once or twice"),
        ("3x", "the units are k, M, G"),
        ("1e9G", "an exponent and a unit"),
        ("1,000,000", "a comma separates"),
        ("1,5", "a comma separates"),
        ("1.8.2", "a number, such as"),
        ("0x10", "a number, such as"),
        ("1e", "the units are"),
        ("", "a number, such as"),
        ("many", "a number, such as"),
        (None, r"\(inf for no limit\)"),
        ([1, 2], "a number, such as"),
        (10**400, "a number, such as"),
        (True, "a number, such as"),
        (np.True_, "a number, such as"),
        (1 + 0j, "a number, such as"),
        ({}, "a number, such as"),
        (Decimal("sNaN"), "a number, such as"),
        (np.arange(100), "a number, such as"),
    ],
    ids=repr,
)
def test_an_unclear_number_is_refused_with_how_to_write_it(given, words):
    message = refusal(Problem, "macs", given)
    assert re.match(rf"macs is .*, but must be .*{words}", message)
    assert len(message) < 250


@pytest.mark.parametrize(
    "given",
    [
        (2, 2, 1),
        [2, 2, 1],
        "2,2,1",
        "(2, 2, 1)",
        "[2,2,1,]",
        np.array([2, 2, 1]),
        np.array([2.0, 2.0, 1.0]),
        [np.int32(2), "2", 1.0],
        (Decimal(2), Fraction(2), True + 0),
    ],
    ids=repr,
)
def test_a_list_may_be_written_in_many_ways_and_becomes_a_tuple_of_plain_values(given):
    strides = Problem(strides=given).strides
    assert strides == (2, 2, 1)
    assert {type(stride) for stride in strides} == {int}


@pytest.mark.parametrize("given", [7, "7", "7,", [7], np.int64(7), np.array(7), range(7, 8)])
def test_one_value_alone_is_a_list_of_one(given):
    assert Problem(kernels=given).kernels == (7,)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"strides": None}, "strides is None, but must be a list, such as 3,5"),
        ({"strides": {1, 2}}, r"strides is \{1, 2\}, but must be a list"),
        ({"strides": [[2, 2, 1]]}, r"strides holds \[2, 2, 1\], but each must be 1 or 2"),
        ({"strides": "2;2;1"}, "strides holds '2;2;1', but each must be 1 or 2"),
        ({"kernels": "3,,5"}, "kernels holds '', but each must be an integer"),
        ({"kernels": (3.5,)}, r"kernels holds 3\.5, but each must be an integer"),
        ({"stem_width": object}, "stem_width holds <class 'object'>, but each must be an integer"),
        ({"resolution": "224px"}, "resolution is '224px', but must be an integer: the units are"),
        ({"resolution": 224.5}, r"resolution is 224\.5, but must be an integer"),
        ({"seed": None}, "seed is None, but must be an integer"),
        ({"seed": 1.5}, r"seed is 1\.5, but must be an integer"),
        ({"seed": 2**32}, "seed is 4294967296, but must be at least 0 and at most 4,294,967,295"),
        ({"multiple_of": 4.5}, r"multiple_of is 4\.5, but must be an integer"),
        ({"monotone": "no"}, "monotone is 'no', but must be True or False"),
        ({"monotone": 1}, "monotone is 1, but must be True or False"),
        ({"block": None}, "block is None, but must be text"),
        ({"convention": b"paper"}, "convention is b'paper', but must be paper or tinynas"),
        ({"latency_table": 3}, "latency_table is 3, but must be a path"),
    ],
)
def test_what_is_no_such_value_is_refused_by_name(fields, words):
    with pytest.raises(InvalidConfig, match=f"^{words}"):
        Problem(**fields)


@pytest.mark.parametrize("given", ["False", "false", " FALSE ", False, np.False_])
def test_a_truth_value_may_be_text(given):
    assert Problem(monotone=given).monotone is False


def test_equal_problems_are_one_value_however_they_were_written():
    plain = Problem(
        macs=1.8e9, params=3e6, strides=(2, 2, 1), resolution=160, beta=0.0, final_width=64
    )
    written = Problem(
        macs="1.8G",
        params=np.float64(3e6),
        strides=np.array([2, 2, 1]),
        resolution="160",
        beta=-0.0,
        final_width=64.0,
        latency_table="",
    )
    assert written == plain
    assert hash(written) == hash(plain)
    assert json.dumps(vars(written)) == json.dumps(vars(plain))


def test_a_path_may_start_with_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert DataConfig(data_dir="~/data").data_dir == "/home/someone/data"
    assert DataConfig(data_dir=Path("~/data")).data_dir == "/home/someone/data"
    assert DataConfig(data_dir="gs://bucket/~data").data_dir == "gs://bucket/~data"
    assert Config(names="~/a.json,resnet34").names == ("/home/someone/a.json", "resnet34")
    with pytest.raises(InvalidConfig, match=r"home directory of 'no-such-user'.*write \./~no-such"):
        DataConfig(data_dir="~no-such-user/data")


def test_a_group_is_a_group():
    with pytest.raises(InvalidConfig, match="design is None, but must be a group of fields"):
        Config(design=None)
