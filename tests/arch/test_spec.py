"""Architectures: validation and JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmad_jax.arch import BLOCKS, Architecture, Stage, Stem
from deepmad_jax.errors import InvalidArchitecture

TINY = Architecture("tiny", 32, 3, 10, Stem(8), (Stage("bottleneck", 16, 8, 3, 2, 2),))

SIZES = {
    "width": st.integers(1, 300),
    "inner": st.integers(1, 300),
    "kernel": st.sampled_from([1, 3, 5, 7]),
    "depth": st.integers(1, 40),
    "stride": st.sampled_from([1, 2]),
}
stages = st.builds(
    Stage, block=st.sampled_from([b for b in BLOCKS if b != "attention"]), **SIZES
) | st.builds(
    Stage,
    block=st.just("attention"),
    heads=st.integers(1, 20),
    head_width=st.integers(1, 64),
    **SIZES,
)
architectures = st.builds(
    Architecture,
    name=st.text(max_size=20),
    resolution=st.integers(1, 400),
    in_channels=st.integers(1, 4),
    classes=st.integers(1, 1000),
    stem=st.builds(Stem, width=st.integers(1, 64), stride=st.sampled_from([1, 2])),
    stages=st.lists(stages, min_size=1, max_size=7).map(tuple),
    final_width=st.none() | st.integers(1, 2000),
    positions=st.booleans(),
)


@settings(derandomize=True, deadline=None)
@given(architectures)
def test_json_round_trip_is_the_identity(arch):
    assert Architecture.from_json(arch.to_json()) == arch


def test_what_only_baselines_need_is_written_only_where_it_is_needed():
    patches = Stem(8, 4, 4, "patch")
    stages = (Stage("convnext", 8, 32, 7, 1, 1),)
    arch = Architecture("a", 32, 3, 10, patches, stages, activation="silu", head_norm=True)
    data = arch.to_dict()
    assert data["stem"] == {"width": 8, "kernel": 4, "stride": 4, "kind": "patch"}
    assert (data["activation"], data["head_norm"]) == ("silu", True)
    assert Architecture.from_dict(data) == arch


@pytest.mark.parametrize(
    ("stem", "reduction"),
    [(Stem(8, 3, 1), 1), (Stem(8), 2), (Stem(8, 7, 2, "max_pool"), 4), (Stem(8, 3, 3, "patch"), 3)],
)
def test_reduction_of_the_stem(stem, reduction):
    assert stem.reduction == reduction


def test_json_has_the_documented_layout():
    assert json.loads(TINY.to_json()) == {
        "name": "tiny",
        "resolution": 32,
        "in_channels": 3,
        "classes": 10,
        "stem": {"width": 8, "kernel": 3, "stride": 2},
        "stages": [
            {
                "block": "bottleneck",
                "width": 16,
                "inner": 8,
                "kernel": 3,
                "depth": 2,
                "stride": 2,
                "groups": 1,
            }
        ],
        "final_width": None,
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": 0}, "classes must be an integer of at least 1, not 0"),
        ({"resolution": 2.5}, "resolution must be an integer"),
        ({"stages": []}, "at least one stage"),
        ({"final_widht": 3}, "did you mean 'final_width'"),
        ({"stem": {"width": 8, "kernel": 4}}, "only odd kernels"),
        ({"stem": {"kernel": 3}}, "lacks the key(s) width"),
        ({"stem": 3}, "named fields"),
        ({"stem": {"width": 8, "kind": "pach"}}, "did you mean 'patch'"),
        ({"stem": {"width": 8, "kernel": 4, "stride": 2, "kind": "patch"}}, "make them equal"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
        ({"head_norm": 1}, "head_norm must be true or false, not 1"),
    ],
)
def test_a_bad_file_says_what_is_wrong(change, words):
    data = TINY.to_dict() | change
    with pytest.raises(InvalidArchitecture) as error:
        Architecture.from_dict(data)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"block": "botleneck"}, "did you mean 'bottleneck'"),
        ({"stride": 3}, "stage stride must be 1 or 2"),
        ({"depth": 0}, "stage depth"),
        ({"width": True}, "stage width"),
        ({"groups": 3}, "3 groups do not divide"),
        ({"block": "mbconv", "groups": 2}, "depthwise already"),
        ({"block": "convnext", "groups": 2}, "depthwise already"),
        ({"block": "res_basic", "groups": 3}, "3 groups do not divide"),
        ({"block": "res_basic_pad", "width": 7}, "shrinks from 8 to 7 channels"),
        ({"block": "inverted", "width": 16, "inner": 9}, "no whole number of the 8"),
    ],
)
def test_a_bad_stage_says_what_is_wrong(change, words):
    stage = TINY.to_dict()["stages"][0] | change
    with pytest.raises(InvalidArchitecture, match=words):
        Architecture.from_dict(TINY.to_dict() | {"stages": [stage]})


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(InvalidArchitecture, match=r"nowhere\.json"):
        Architecture.load(tmp_path / "nowhere.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(InvalidArchitecture, match=r"broken\.json.*not JSON"):
        Architecture.load(broken)
