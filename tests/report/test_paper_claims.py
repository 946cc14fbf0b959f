"""Claims of the paper on networks made for it, tau beside SciPy's, and the tables' cells."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import kendalltau

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.arch.zoo import ZOO, zoo
from deepmad_jax.paper import TABLES, Printed, Row
from deepmad_jax.report.accuracy import FIGURE_1, accuracy_figure
from deepmad_jax.report.paper.claims import BASELINE_RHO, claims_of, claims_table
from deepmad_jax.report.paper.figures import (
    add_stars,
    entropy_picture,
    rho_picture,
    shape_picture,
)
from deepmad_jax.report.paper.lines import Counts, Designed, Line
from deepmad_jax.report.paper.ranking import LEAST, Network, by_group
from deepmad_jax.report.paper.tables import ranking_table, results_table, search_table


def network(widths, depths, name="net"):
    """Level by level: the stem of 8, then a stage of stride 2 for each width."""
    stages = tuple(
        Stage("basic", width, 8, 3, depth, 2) for width, depth in zip(widths, depths, strict=True)
    )
    return Architecture(name, 64, 3, 10, Stem(8), stages)


def line(label, widths, depths, rho=0.3, entropy=1000.0, layers=20.0, cost=100, **fields):
    counts = Counts(cost, cost, rho, entropy)
    budgets = (100.0, 100.0, rho)
    arch = network(widths, depths, label)
    designed = Designed(arch, counts, budgets, layers, layers / rho, fields.pop("seconds", 1.0))
    return Line(Row(label, 77.0, "r18"), designed=designed, **fields)


GOOD = [
    line("DeepMAD-R18, rho 0.1", (20, 26, 36), (1, 2, 3), 0.1, 1000.0, 10.0),
    line("DeepMAD-R18, rho 0.3", (16, 20, 30), (2, 4, 4), 0.3, 2000.0, 20.0),
]
THEIRS = Line(
    Row("DeepMAD-R18", 77.7, "", "deepmad_r18", 11.7e6, 1.8e9),
    theirs=Counts(11_826_088, 1_811_574_016),
    architecture=zoo("deepmad_r18"),
)
PRINTED_RHO = {name: printed + 1e-4 for name, printed in BASELINE_RHO.items()}


def verdicts(*lines, rho=PRINTED_RHO, **tables):
    tables = {"table1": [THEIRS, *lines], "table7": [], "table8": [], **tables}
    return {claim.words: claim.holds for claim in claims_of(tables, rho)}


GROWTH = "Our designs: widths grow 1.2 to 1.5 fold at each downsampling"
LAST = "No stage of our designs is deeper than the last"
BUDGETS = "Designs keep params, MACs and rho"
MINUTES = "A design takes a few minutes on a CPU"


def test_claims_hold_of_networks_that_are_as_the_paper_says():
    found = verdicts(*GOOD)
    ours = (GROWTH, LAST, BUDGETS, MINUTES, "rho of the five baselines is as printed")
    family = [f"DeepMAD-R18: {what} with rho" for what in ("depth rises", "entropy rises")]
    assert all(found[words] is True for words in (*ours, *family))
    # The published R18: 96, 384, 384, 672 at the downsamplings, 12 blocks in the last stage.
    assert found["The paper's networks: widths grow 1.2 to 1.5 fold at each downsampling"] is False
    assert found["No stage of the paper's networks is deeper than the last"] is True
    assert found["Printed params of all rows are ours within 5%"] is True


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (line("DeepMAD-R34", (16, 26, 36), (1, 1, 1)), GROWTH),
        (line("DeepMAD-R34", (16, 20, 26), (3, 1, 2)), LAST),
        (line("DeepMAD-R34", (16, 20, 26), (1, 1, 1), cost=101), BUDGETS),
        (line("DeepMAD-R34", (16, 20, 26), (1, 1, 1), seconds=301.0), MINUTES),
        (line("DeepMAD-R18, rho 0.5", (16, 20, 26), (1, 1, 1), 0.5, 1500.0, 30.0),
         "DeepMAD-R18: entropy rises with rho"),
        (line("DeepMAD-R18, rho 0.5", (16, 20, 26), (1, 1, 1), 0.5, 2500.0, 15.0),
         "DeepMAD-R18: depth rises with rho"),
        (line("DeepMAD-R18, rho 0.5", (16, 20, 26), (1, 1, 1), 0.5, 2500.0, 50.0),
         "DeepMAD-R18: width falls with rho"),
    ],
)  # fmt: skip
def test_one_network_that_is_otherwise_breaks_its_claim_and_no_other(broken, words):
    before, after = verdicts(*GOOD), verdicts(*GOOD, broken)
    assert before[words] is True
    assert {claim for claim in after if before[claim] != after[claim]} == {words}


def test_a_cost_printed_otherwise_and_a_wrong_rho_break_their_claims():
    row = dataclasses.replace(THEIRS.row, flops=1.7e9)
    found = verdicts(*GOOD, dataclasses.replace(THEIRS, row=row))
    assert found["Printed FLOPs of all rows are ours within 5%"] is False
    found = verdicts(*GOOD, rho={**PRINTED_RHO, "resnet50": 0.084})
    assert found["rho of the five baselines is as printed"] is False


def test_a_claim_on_accuracies_is_open_until_all_of_its_rows_are_trained():
    words = "A greater weight of the last level is better on ImageNet"

    def rows(*means):
        pairs = zip((1, 8, 16), means, strict=True)
        return [Line(Row(f"DeepMAD-R18, alpha {a}", 0.0), values=values) for a, values in pairs]

    assert verdicts(*GOOD, table7=rows((0.7,), (), (0.8,)))[words] is None
    assert verdicts(*GOOD, table7=rows((0.7,), (0.75,), (0.8, 0.76)))[words] is True
    assert verdicts(*GOOD, table7=rows((0.7,), (0.75,), (0.8, 0.69)))[words] is False


def test_published_networks_that_keep_zeros_are_counted_as_the_paper_counts():
    row = next(row for row in TABLES["table3"].rows if row.network == "slak_t")
    found = Line(row, theirs=Counts(50_703_838, 8_704_776_370), architecture=zoo("slak_t"))
    assert verdicts(*GOOD, found)["Printed params of all rows are ours within 5%"] is True


def test_each_claim_has_its_verdict_and_figure_in_the_table():
    tables = {"table1": [THEIRS, *GOOD], "table7": [], "table8": []}
    claims = claims_of(tables, PRINTED_RHO)
    rows = claims_table(claims).rows
    assert [row[1] for row in rows if row[0]] == [claim.words for claim in claims]
    assert {row[0] for row in rows} == {"holds", "does not hold", "not run", ""}
    text = " ".join(row[1].strip() for row in rows if not row[0])
    assert text == " ".join(claim.ours for claim in claims)


def test_a_row_shows_the_papers_figure_and_ours_never_one_for_the_other():
    printed = Printed("Nets", "top-1, %", ())
    ran = dataclasses.replace(GOOD[0], values=(0.71, 0.73))
    quoted = dataclasses.replace(THEIRS, row=dataclasses.replace(THEIRS.row, published=True))
    rows = results_table("table1", printed, [quoted, *GOOD[1:], ran]).rows
    assert rows[0] == ("DeepMAD-R18", "11,826,088", "1,811,574,016", "-", "-", "77.7", "-")
    assert rows[2][1:] == ("100", "100", "0.3000", "1,000.0".replace("1", "2"), "", "not run")
    assert [row[5:] for row in rows[1:]] == [
        ("77.0", ""),
        ("", "not run"),
        ("77.0", ""),
        ("", "72.00 ± 12.71 (n = 2)"),
    ]


def test_costs_of_searching_are_sorted_and_ours_are_seconds():
    table = search_table([("DeepMAD-B0", GOOD[0].designed)])
    hours = [float(row[2].split()[0].replace(",", "")) for row in table.rows[:-2]]
    assert hours == sorted(hours, reverse=True)
    assert table.rows[-1][1] == "1.0 CPU-seconds"
    # 500 GPUs for four days, 450 for seven.
    found = {row[0].split(",")[0]: row[2] for row in table.rows}
    assert found["NASNet"] == f"{500 * 4 * 24:,} h"
    assert found["AmoebaNet"] == f"{450 * 7 * 24:,} h"


@pytest.fixture(scope="module")
def networks():
    rng = np.random.default_rng(0)
    rho = np.sort(rng.uniform(0.1, 1.0, 34))
    top1 = np.round(0.8 + 0.1 * rng.random(34), 2)  # with ties
    return [
        Network(float(r), float(1000 * r + rng.normal(0, 100)), 50 * r, 100.0, float(t), 0.01)
        for r, t in zip(rho, top1, strict=True)
    ]


def test_tau_of_every_group_is_scipys_and_lies_in_its_interval(networks):
    *groups, everyone = by_group(networks, 4)
    assert [group.count for group in groups] == [9, 9, 8, 8]
    for group in (*groups, everyone):
        mine = [n for n in networks if group.low <= n.rho <= group.high]
        expected = kendalltau([n.entropy_nats for n in mine], [n.top1 for n in mine]).statistic
        assert group.tau == pytest.approx(expected)
        assert group.ends[0] < group.tau < group.ends[1]


def test_too_few_networks_make_no_groups(networks):
    assert by_group(networks[: LEAST - 1], 4) == []
    assert len(by_group(networks[: 2 * LEAST], 4)) == 3
    untrained = [dataclasses.replace(network, top1=None) for network in networks]
    assert ranking_table(untrained, "nothing").rows == (("all", "34", "not run", ""),)


def test_the_figures_are_drawn_with_and_without_accuracies(networks):
    untrained = [dataclasses.replace(network, top1=None, half=None) for network in networks]
    pictures = [
        rho_picture(networks, "a"),
        rho_picture(untrained, "a", "fig2_b"),
        entropy_picture(networks, "a"),
        entropy_picture(networks[:3], "a", "fig3_few"),
        shape_picture(untrained, "a"),
    ]
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures)
    assert len({picture.svg for picture in pictures}) == 5


def test_only_designs_that_were_trained_get_a_star_at_their_own_costs():
    fig = accuracy_figure({name: ZOO[name] for name in ("swin_t", "deepmad_29m")}, FIGURE_1)
    before = [len(axes.lines) for axes in fig.axes]
    ran = dataclasses.replace(line("DeepMAD-29M", (16,), (1,), cost=4_400_000), values=(0.8, 0.82))
    add_stars(fig, [*GOOD, THEIRS])
    assert [len(axes.lines) for axes in fig.axes] == before
    add_stars(fig, [*GOOD, THEIRS, ran])
    stars = [axes.lines[-1].get_xydata().tolist() for axes in fig.axes]
    assert stars == [
        [[pytest.approx(0.0044), pytest.approx(81)]],
        [[pytest.approx(4.4), pytest.approx(81)]],
    ]
    named = [text.get_text() for text in fig.axes[1].get_legend().get_texts()]
    assert named[-1] == "trained here"
