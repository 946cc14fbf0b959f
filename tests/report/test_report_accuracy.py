"""The paper's Figures 1 and 4, and Table 3 by one name."""

import pytest

from deepmad_jax.arch.zoo import ZOO, table_3
from deepmad_jax.jobs.show import comparison, draw_table_3
from deepmad_jax.report.accuracy import FIGURE_1, accuracy_figure
from tests.facts import COMPARED


def drawn(families, panel):
    """Points of the lines with a label, by label."""
    axes = accuracy_figure({name: ZOO[name] for name in table_3()}, families).axes[panel]
    return {
        line.get_label(): sorted(map(tuple, line.get_xydata()))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_table_3_is_every_network_the_paper_lists_there():
    # 16 whose facts were recorded, 3 ConvNeXts, 3 ResNets and 4 of the authors' own.
    names = {fact["name"] for fact in COMPARED["networks"]}
    assert names < set(table_3())
    assert len(table_3()) == len(set(table_3())) == 16 + 3 + 3 + 4
    lines = comparison(["table3"]).splitlines()
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in table_3())


def test_figures_show_printed_accuracies_at_exact_costs():
    of_macs, of_params = (drawn(FIGURE_1, panel) for panel in (0, 1))
    assert set(of_macs) == set(FIGURE_1)
    facts = {fact["name"]: fact for fact in COMPARED["networks"]}
    swins = [facts[name] for name in ("swin_t", "swin_s", "swin_b")]
    expected = [(fact["macs"]["total"] / 1e9, fact["paper"]["top1"]) for fact in swins]
    assert of_macs["Swin"] == [pytest.approx(point) for point in expected]
    expected = [(fact["params"] / 1e6, fact["paper"]["top1"]) for fact in swins]
    assert of_params["Swin"] == [pytest.approx(point) for point in expected]


def test_both_figures_are_written(tmp_path):
    paths = draw_table_3(tmp_path / "new")
    assert [path.name for path in paths] == ["figure1.png", "figure4.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
