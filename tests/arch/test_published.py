"""The eight published networks: counts exact, in both conventions."""

import pytest

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.arch.tinynas import from_structure
from tests.facts import PUBLISHED


def rows_of(fact):
    return layer_table(from_structure(fact["structure"], fact["name"], fact["resolution"], 1000))


published = pytest.mark.parametrize("fact", PUBLISHED, ids=lambda fact: fact["name"])


@published
def test_params_and_macs_are_the_published_counts(fact):
    rows = rows_of(fact)
    assert cost.params(rows) == fact["params"]
    assert cost.macs(rows) == fact["macs"]


@published
def test_classifier_and_squeeze_shares_are_the_published_counts(fact):
    rows = rows_of(fact)
    for name, branch in (("classifier", "head"), ("se", "se")):
        part = [row for row in rows if row.layer.branch == branch]
        assert cost.params(part) == fact[f"params_{name}"]
        assert cost.macs(part) == fact[f"macs_{name}"]


@published
def test_tinynas_counting_gives_the_released_numbers(fact):
    rows = rows_of(fact)
    assert cost.tinynas_params(rows) == fact["tinynas_convention"]["params"]
    assert cost.tinynas_flops(rows) == fact["tinynas_convention"]["flops"]
