"""The public tables: what is counted of their networks, and how scores are judged on them."""

import csv
import importlib.util
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from benchmarks import public_fit, ranking
from benchmarks.public_macro import macro, macro_architecture
from benchmarks.public_nets import imagenet
from benchmarks.public_tables import SCORES, imagenet_groups, macro_group, read, vit_groups
from benchmarks.public_tokens import autoformer
from benchmarks.timm_counts import counts
from deepmad_jax.arch import cost
from deepmad_jax.arch.compared_nets import deit
from deepmad_jax.arch.layers import layer_table
from deepmad_jax.design.program.levels import numbers_of

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"

# Kendall's tau measured before this benchmark existed, by other code: entropy weighted 1, ..., 8,
# the last level's, rho, layers, params.
KNOWN = {
    "RegNetX and Y, pycls": (0.604, 0.589, -0.749, 0.305, 0.870),
    "RegNetX, pycls": (0.758, 0.727, -0.818, 0.426, 1.000),
    "RegNetY, pycls": (0.667, 0.636, -0.818, 0.333, 0.970),
    "ResNet, ResNeXt, wide, torchvision 1": (0.467, 0.467, 0.644, 0.596, 0.778),
    "ResNet, ResNeXt, wide, RegNet, torchvision 2": (0.569, 0.569, -0.569, 0.317, 0.804),
    "ResNet, ResNeXt, recipe A1": (0.867, 0.867, 0.867, 0.966, 0.867),
    "ConvNeXt V2": (1.000, 1.000, -0.214, 0.886, 1.000),
    "EfficientNet B0-B7, own pixels": (1.000, 1.000, 0.786, 0.982, 1.000),
    "EfficientNet Lite 0-4, own pixels": (1.000, 1.000, 0.600, 0.949, 1.000),
    "pit, c100_base": (0.743, 0.753, -0.732, 0.153, 0.716),
    "pit, flowers_kd": (0.814, 0.818, -0.853, 0.120, 0.865),
    "every code": (0.561, 0.522, 0.484, 0.558, 0.218),
}


@pytest.fixture(scope="module")
def groups():
    found = {group.name: group for group in (*imagenet_groups(), *vit_groups())}
    return found | {"every code": macro_group(every_code=True)}


@pytest.mark.parametrize("name", KNOWN)
def test_taus_are_those_that_other_code_measured(groups, name):
    group = groups[name]
    scores = [score for score in SCORES if score != "MACs"]
    found = [ranking.tau(group.score(score), group.accuracy) for score in scores]
    # Three digits were written down; ties of floating-point sums decide the last one.
    np.testing.assert_allclose(found, KNOWN[name], atol=1.5e-3)


def test_costs_of_every_network_of_nas_bench_macro_are_the_tables():
    for line in read("nas_bench_macro_cifar10"):
        net = macro(line["code"])
        assert (net.params, net.macs) == (int(line["params"]), int(line["macs"])), line["code"]


def test_params_of_every_imagenet_network_are_the_tables():
    for line in read("imagenet_top1"):
        net = imagenet(line["net"], int(line["pixels"]))
        assert round(net.params / 1e6, 2) == float(line["params_m"]), line["net"]


# One of each kind; the benchmark's --referee does all 78.
@pytest.mark.parametrize(
    ("net", "pixels"),
    [
        ("regnety_004", 224),
        ("convnextv2_atto", 288),
        ("resnext50_32x4d", 160),
        ("efficientnet_lite0", 224),
        ("mobilenetv2_110d", 224),
        ("mnasnet_100", 176),
    ],
)
def test_params_and_macs_are_those_of_timms_network(net, pixels):
    if importlib.util.find_spec("timm") is None:
        pytest.skip("needs timm (pip install --no-deps timm)")
    pytest.importorskip("torch")
    ours = imagenet(net, pixels)
    assert (ours.params, ours.macs) == counts(net, pixels)


@pytest.mark.parametrize("code", ["12112200", "20100101", "11111111"])
def test_network_of_nas_bench_macro_is_the_architecture_where_arch_holds_it(code):
    arch = macro_architecture(code)
    ours, rows = macro(code), layer_table(arch)
    assert ours.built == "arch"
    assert (ours.params, ours.macs) == (cost.params(rows), cost.macs(rows))
    numbers = numbers_of(arch)
    assert ours.layers == numbers["layers"]
    np.testing.assert_allclose(ours.entropies, numbers["entropy_per_level"], rtol=1e-12)
    assert ours.rho == pytest.approx(numbers["rho"], rel=1e-12)


def test_transformer_whose_heads_fill_its_width_costs_what_deit_of_arch_does():
    rows = layer_table(deit("tiny", 192, 3))
    ours = autoformer(192, (4.0,) * 12, (3,) * 12)
    assert (ours.params, ours.macs) == (cost.params(rows), cost.macs(rows))


def test_pairs_of_equal_cost_are_all_of_them():
    rng = np.random.default_rng(0)
    costs, accuracy = rng.uniform(1, 2, (60, 2)), rng.integers(0, 8, 60).astype(float)
    found = ranking.equal_cost(costs, accuracy, 0.1)
    expected = {
        frozenset((i, j))
        for i, j in itertools.combinations(range(60), 2)
        if accuracy[i] != accuracy[j]
        and all(max(a, b) <= 1.1 * min(a, b) for a, b in zip(costs[i], costs[j], strict=True))
    }
    assert len(found.first) == len(expected) > 10
    assert set(map(frozenset, zip(found.first, found.second, strict=True))) == expected
    np.testing.assert_array_equal(
        found.better, np.sign(accuracy[found.first] - accuracy[found.second])
    )
    share, told = ranking.share_right(accuracy, found)
    assert (share, told) == (1.0, len(expected))
    assert ranking.share_right(-accuracy, found)[0] == 0.0


def test_interval_holds_the_tau_of_the_population_it_was_drawn_from():
    rng, held = np.random.default_rng(1), 0
    for _ in range(40):
        x = rng.standard_normal(80)
        y = x + rng.standard_normal(80)
        found = ranking.tau_interval(x, y, draws=100)
        assert found.value == pytest.approx(kendalltau(x, y).statistic, abs=1e-3)
        # Of two normal variables of correlation r tau is 2 asin(r) / pi: here r is 1 / sqrt 2.
        held += found.low <= 0.5 <= found.high
    # 38 are expected; fewer than 32 has a chance below one in a thousand.
    assert held >= 32


def test_regret_is_what_the_chosen_network_lacks():
    accuracy, score = np.array([1.0, 5.0, 9.0]), np.array([3.0, 2.0, 1.0])
    fits = np.array([[True, True, False], [False, True, True]])
    # The first budget: 1 chosen, 5 possible. The second: 5 and 9.
    assert ranking.regret(score, accuracy, fits) == 4.0


def test_score_of_the_fit_is_the_objective_of_the_program(groups):
    group = groups["RegNetX, pycls"]
    net = next(iter(group.nets.values()))
    (value, *_) = public_fit.score(group, public_fit.PAPER)
    entropy = sum(net.entropies) + 7 * net.entropies[-1]
    assert value == pytest.approx(entropy - 10 * np.exp(np.var(net.depths)), rel=1e-9)
    bounded = public_fit.score(group, (8.0, 0.0, 0.2))
    within = np.array([net.rho <= 0.2 for net in group.nets.values()])
    assert 0 < within.sum() < len(within)
    assert bounded[within].min() > bounded[~within].max()


def test_committed_table_is_what_the_package_counts_today():
    with (RESULTS / "public_accuracy.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["table"].startswith("every")]
    groups = {group.name: group for group in imagenet_groups()}
    nets = groups[lines[0]["table"]].nets
    assert [line["network"] for line in lines] == list(nets)
    for line in lines:
        net = nets[line["network"]]
        assert (int(line["params"]), int(line["macs"])) == (net.params, net.macs)
        assert float(line["rho"]) == pytest.approx(net.rho, abs=6e-5)  # four digits are written
        assert float(line["entropy"]) == pytest.approx(net.entropy, abs=6e-3)  # and two here


def test_committed_rankings_are_those_of_the_tables(groups):
    rankings = json.loads((RESULTS / "public_accuracy.json").read_text())["rankings"]
    rows = {row["table"]: row for row in rankings}
    for name in set(rows) & set(groups):
        group = groups[name]
        tau = ranking.tau(group.score("entropy"), group.accuracy)
        assert rows[name]["entropy"]["tau"][0] == pytest.approx(tau, abs=6e-4), name
