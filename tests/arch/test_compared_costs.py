"""The networks the paper compares with cost exactly what their authors' code was counted to cost.

The facts were counted on PyTorch from the authors' code, layer by layer (`tests/facts`).
"""

import dataclasses

import pytest

from deepmad_jax.arch import Architecture, Stage, Stem, compared_nets, cost, layer_table
from deepmad_jax.arch.backbone_cost import backbone_macs, backbone_params
from deepmad_jax.arch.zoo import entry, zoo
from deepmad_jax.design.program.levels import numbers_of
from deepmad_jax.errors import InvalidArchitecture
from deepmad_jax.report import compare_table, design_table
from tests.facts import COMPARED

NETWORKS = {fact["name"]: fact for fact in COMPARED["networks"]}
LARGE_KERNELS = ("slak_t", "slak_s", "slak_b", "replknet_31b")


@pytest.mark.parametrize("name", NETWORKS)
def test_params_and_macs_of_every_kind_are_those_of_the_authors_code(name):
    fact, rows = NETWORKS[name], layer_table(zoo(name))
    found = cost.macs_by_kind(rows)
    assert cost.params(rows) == fact["params"]
    assert {
        "conv": found["conv"],
        "of_which_depthwise": found["depthwise"],
        "linear": found["linear"],
        "attention": found["attention"],
        "total": cost.macs(rows),
    } == fact["macs"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_zoo_has_the_accuracy_that_the_paper_prints(name):
    assert entry(name).top1 == NETWORKS[name]["paper"]["top1"]


def test_performer_tokens_and_slak_without_the_factor_cost_what_was_counted():
    others = {
        "t2t_vit_14": compared_nets.t2t("a", 384, 14, 6, performer=True),
        "slak_t_width1": compared_nets.slak("a", (96, 192, 384, 768), (3, 3, 9, 3)),
    }
    for name, arch in others.items():
        rows, fact = layer_table(arch), COMPARED["others"][name]
        assert (cost.params(rows), cost.macs(rows)) == (fact["params"], fact["macs"]["total"])


@pytest.mark.parametrize("name", ["slak_t", "slak_s", "slak_b"])
def test_slak_without_its_zeros_costs_what_its_authors_print(name):
    fact = NETWORKS[name]
    left = cost.nonzero(layer_table(zoo(name)), entry(name).sparsity)
    assert left == (fact["sparse"]["params_nonzero"], fact["sparse"]["macs_at_uniform_density"])
    assert round(left[0] / 1e6) == pytest.approx(fact["authors"]["params_millions"], abs=0.5)


def test_replknet_merged_costs_what_its_authors_print():
    rows = layer_table(dataclasses.replace(zoo("replknet_31b"), merged=True))
    fact = NETWORKS["replknet_31b"]["merged"]
    assert (cost.params(rows), cost.macs(rows)) == (fact["params"], fact["macs"]["total"])


@pytest.mark.parametrize("sides", ["512x512", "512x2048"])
def test_swin_under_a_detector_costs_what_table_5_prints(sides):
    arch = compared_nets.swin("a", 96, (2, 2, 6, 2), (3, 6, 12, 24), stage_norms=True)
    fact = COMPARED["table5"]
    assert backbone_params(arch) == cost.params(layer_table(arch)) == fact["params"]
    found = backbone_macs(arch, *map(int, sides.split("x")))
    assert found == fact["macs"][sides]


def test_padded_windows_are_counted_on_an_image_that_they_do_not_divide():
    # From the authors' code on an image of 72 by 100: tests/fixtures/compared/swin_features_a.json.
    arch = compared_nets.swin("a", 6, (2, 2, 2, 2), (1, 2, 3, 6), stage_norms=True)
    found = backbone_macs(arch, 72, 100)
    assert found == {"conv": 129_600, "linear": 2_947_104, "attention": 1_843_968}


@pytest.mark.parametrize("name", NETWORKS)
def test_entropy_and_rho_are_null_exactly_where_tokens_attend(name):
    numbers = numbers_of(zoo(name))
    is_null = {key: value is None for key, value in numbers.items()}
    assert set(is_null.values()) == {name not in LARGE_KERNELS}


def test_tables_print_a_dash_for_what_attention_does_not_have_and_both_costs_of_slak():
    nets = {name: zoo(name) for name in ("swin_t", "slak_t")}
    numbers = {name: numbers_of(arch) for name, arch in nets.items()}
    swin, slak, left = compare_table(nets, numbers).splitlines()[3:6]
    assert swin.split()[3:] == ["28,288,354", "4,490,566,656", *"----", "81.3"]
    assert "50,703,838" in slak
    assert left.split() == ["non-zero", "30,473,228", "5,222,865,822"]
    described = {name: design_table(arch, numbers[name]) for name, arch in nets.items()}
    assert "30,473,228 params and 5,222,865,822 MACs" in described["slak_t"]
    assert "attention    140,141,568" in described["swin_t"]
    assert "Entropy, nats" not in described["swin_t"]
    assert "Entropy, nats" in described["slak_t"]


SWIN = Stage("swin", 8, 32, 7, 1, 1, heads=2)


@pytest.mark.parametrize(
    ("stem", "stages", "more", "words"),
    [
        (Stem(8), (SWIN,), {}, "after a patches stem"),
        (Stem(8, 4, 4, "patches"), (SWIN, Stage("vit", 8, 8, 1, 1, 1)), {}, "after a class_token"),
        (Stem(8, 4, 4, "patches"), (SWIN,), {"final_width": 8}, "no family has a final conv"),
        (Stem(8, 4, 4, "patches"), (Stage("pvt", 8, 8, 2, 1, 1),), {}, "end in a stage of pvt_cl"),
        (Stem(8, 4, 4, "patches"), (Stage("convnext", 8, 8, 7, 1, 1),), {}, "patches stem"),
        (Stem(8, 16, 16, "class_token"), (Stage("vit", 8, 8, 1, 1, 2),), {}, "set 1"),
        (
            *(Stem(8, 4, 4, "patch"), (Stage("slak", 8, 8, 7, 1, 1),)),
            *({"stage_norms": True}, "only swin has that form"),
        ),
    ],
)
def test_an_architecture_that_no_family_has_is_refused(stem, stages, more, words):
    with pytest.raises(InvalidArchitecture, match=words):
        Architecture("a", 32, 3, 10, stem, stages, **more)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Stem(8, 7, 2, "t2t", 4), "has 7 and 4"),
        (lambda: Stem(8, 7, 4, "t2t"), "token_width must be an integer of at least 1"),
        (lambda: Stem(8, 4, 4, "patch", 4), "no tokens of their own"),
        (lambda: Stem(8, 6, 6, "tnt", 4), "a multiple of 4"),
        (lambda: Stage("vit", 8, 8, 1, 1, 1, heads=3), "3 heads do not divide"),
        (lambda: Stage("tnt", 8, 8, 1, 1, 1), "TNT's words have a multiple of 4"),
    ],
)
def test_numbers_that_do_not_fit_each_other_are_refused(make, words):
    with pytest.raises(InvalidArchitecture, match=words):
        make()
