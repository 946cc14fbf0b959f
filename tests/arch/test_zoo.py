"""The zoo: none is missing, and each counts as its source does."""

import dataclasses
import math
import subprocess
import sys

import pytest

import deepmad_jax
from deepmad_jax.arch import Architecture, Stage, Stem, cost, layer_table
from deepmad_jax.arch.tinynas import from_structure
from deepmad_jax.arch.zoo import ZOO, entry, entry_of, zoo
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.errors import InvalidArchitecture
from tests.facts import BASELINES, COMPARED, PUBLISHED

# Name -> its record among the authors' networks.
AUTHORS = {
    "deepmad_r18": "deepmad-R18",
    "deepmad_r34": "deepmad-R34",
    "deepmad_r50": "deepmad-R50",
    "deepmad_29m": "deepmad-29M-224",
    "deepmad_29m_288": "deepmad-29M-288",
    "deepmad_50m": "deepmad-50M",
    "deepmad_89m": "deepmad-89M",
    "r18_like": "R18-like",
}
# Name -> its record among the baselines whose rho the paper prints.
RECORDED = {
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "mobilenet_v2": "MobileNetV2",
    "efficientnet_b0": "EfficientNet-B0",
}
# Name -> params and GMACs at 224 pixels, as torchvision lists its models.
LISTED = {
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "convnext_t": (28_589_128, 4.456),
    "convnext_s": (50_223_688, 8.684),
    "convnext_b": (88_591_464, 15.355),
}
# Name -> blocks in each of the three stages, and params with 10 classes.
CIFAR = {"resnet20": (3, 269_722), "resnet56": (9, 853_018), "resnet110": (18, 1_727_962)}


def test_no_network_is_missing_and_none_unaccounted_for():
    compared = {fact["name"] for fact in COMPARED["networks"]}
    assert set(ZOO) == {*AUTHORS, *RECORDED, *LISTED, *CIFAR, *compared}
    assert all(found.architecture.name == name for name, found in ZOO.items())


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_networks_are_the_released_structures(name):
    fact = next(fact for fact in PUBLISHED if fact["name"] == AUTHORS[name])
    released = from_structure(fact["structure"], name, fact["resolution"], 1000)
    assert zoo(name) == released
    assert entry(name).top1 == fact["imagenet_top1"]
    rows = layer_table(zoo(name))
    assert (cost.params(rows), cost.macs(rows)) == (fact["params"], fact["macs"])
    for key in ("paper_params_millions", "paper_flops_giga"):
        assert f"{fact[key]:g}" in entry(name).counting


@pytest.mark.parametrize("name", RECORDED)
def test_baselines_have_the_recorded_costs_rho_and_entropy(name):
    fact = next(fact for fact in BASELINES if fact["name"] == RECORDED[name])
    rows, last = layer_table(zoo(name)), levels_of(zoo(name))[-1]
    assert (cost.params(rows), cost.macs(rows)) == (fact["params"], fact["macs"])
    assert last["layers"] == fact["layers"]
    assert last["rho"] == pytest.approx(fact["rho"], rel=1e-12)
    assert last["entropy"] == pytest.approx(fact["last_level_entropy"], rel=1e-12)
    # What the paper prints, in as many digits.
    digits = len(str(fact["paper_rho"]).partition(".")[2])
    assert round(last["rho"], digits) == fact["paper_rho"]


@pytest.mark.parametrize("name", LISTED)
def test_larger_baselines_have_the_listed_costs(name):
    rows = layer_table(zoo(name))
    params, giga = LISTED[name]
    assert cost.params(rows) == params
    assert round(cost.macs(rows) / 1e9, 3) == giga


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_networks_have_the_costs_of_their_formula(name):
    depth, params = CIFAR[name]
    rows = layer_table(zoo(name))
    assert cost.params(rows) == params
    macs, c_in = 3 * 16 * 9 * 32**2 + 64 * 10, 16
    for width, pixels in ((16, 32), (32, 16), (64, 8)):
        macs += (c_in * width + (2 * depth - 1) * width**2) * 9 * pixels**2
        c_in = width
    assert cost.macs(rows) == macs


def test_a_level_that_ends_in_a_max_pool_has_its_resolution():
    stages = (Stage("res_basic", 8, 8, 3, 1, 2),)
    arch = Architecture("a", 64, 3, 10, Stem(8, 7, 2, "max_pool"), stages)
    first, last = levels_of(arch)
    assert (first["resolution"], last["resolution"]) == (16, 8)
    assert first["entropy"] == pytest.approx(math.log(16**2 * 8) * math.log(3 * 49))


def test_other_data_change_the_ends_only():
    arch = zoo("resnet20", classes=100)
    assert cost.params(layer_table(arch)) == 275_572  # ResNet-20 on CIFAR-100
    assert arch.stages == zoo("resnet20").stages
    assert zoo("resnet50", resolution=160, in_channels=1).in_channels == 1


def test_an_entry_belongs_to_the_unchanged_network_only():
    assert entry_of(zoo("convnext_s")) is entry("convnext_s")
    assert entry_of(zoo("convnext_s", classes=10)) is None
    assert entry_of(dataclasses.replace(zoo("convnext_s"), name="mine")) is None


@pytest.mark.parametrize("name", ZOO)
def test_every_entry_says_where_it_comes_from_and_survives_json(name):
    found = entry(name)
    assert 70 < found.top1 < 94
    assert "ImageNet" in found.source or "CIFAR-10" in found.source
    assert found.counting
    assert Architecture.from_json(found.architecture.to_json()) == found.architecture


def test_an_unknown_network_names_the_nearest_and_all():
    with pytest.raises(InvalidArchitecture, match=r"did you mean 'resnet50'.*convnext_b") as error:
        zoo("resnet_50")
    assert all(name in str(error.value) for name in ZOO)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"clases": 3}, "did you mean 'classes'"), ({"classes": 0}, "classes must be an integer")],
)
def test_an_impossible_change_is_refused(changes, words):
    with pytest.raises(InvalidArchitecture, match=words):
        zoo("resnet20", **changes)


def test_the_package_offers_the_zoo_without_loading_jax():
    code = (
        "import sys, deepmad_jax\n"
        "assert 'deepmad_jax.arch' not in sys.modules\n"
        "assert deepmad_jax.zoo('deepmad_r18').classes == 1000\n"
        "sys.exit('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_the_package_offers_is_listed_and_nothing_else_is_found():
    assert "zoo" in dir(deepmad_jax)
    with pytest.raises(AttributeError, match="zooo"):
        _ = deepmad_jax.zooo
