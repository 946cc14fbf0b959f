import dataclasses
import re
import subprocess
import sys

import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.arch.zoo import ZOO, zoo
from deepmad_jax.report import compare_table, design_table, sensitivity_tables
from deepmad_jax.report.table import Table, to_html, to_text
from deepmad_jax.report.tables import level_weights, tables

# Params and MACs of the published networks as the released PyTorch code counts them (classifier
# and squeezes included); r18 is the best design known for the ResNet-18 budgets.
COUNTS = {
    "r18": (11_672_112, 1_819_586_048),
    "deepmad_r18": (11_826_088, 1_811_574_016),
    "deepmad_29m": (28_669_956, 4_323_768_752),
}


def cells(table: Table, row: int) -> dict[str, str]:
    # "%" occurs twice: the second is the one of the MACs.
    return dict(zip(table.header, table.rows[row], strict=True))


@pytest.mark.parametrize("name", COUNTS)
def test_totals_are_the_published_counts(sample, name):
    total = cells(tables(sample(name))[0], -1)
    assert (total["params"], total["MACs"]) == tuple(f"{n:,}" for n in COUNTS[name])


@pytest.mark.parametrize("name", [*COUNTS, "three_stages"])
def test_rows_add_up_to_the_totals(sample, name):
    layers = tables(sample(name))[0]
    for column in ("params", "MACs"):
        counts = [int(cells(layers, i)[column].replace(",", "")) for i in range(len(layers.rows))]
        assert sum(counts[:-1]) == counts[-1]
    shares = [[float(row[i]) for row in layers.rows[:-1]] for i in (-3, -1)]
    for column in shares:
        # Each share is rounded to a tenth.
        assert sum(column) == pytest.approx(100, abs=0.05 * len(column))


def test_params_of_the_stem_are_conv_and_batch_norm(sample):
    assert cells(tables(sample("r18"))[0], 0)["params"] == f"{3 * 3 * 3 * 40 + 2 * 40:,}"


def test_stage_rows_say_what_the_stage_is(sample):
    arch = sample("deepmad_29m")
    layers = tables(arch)[0]
    assert [row[0] for row in layers.rows] == (
        ["stem", *[f"stage {i}" for i in range(1, 6)], "final 1x1", "classifier", "total"]
    )
    for i, stage in enumerate(arch.stages, 1):
        row = cells(layers, i)
        assert row["block"] == stage.block
        numbers = [row[key] for key in ("kernel", "stride", "width", "inner", "depth")]
        assert numbers == [
            f"{n:,}" for n in (stage.kernel, stage.stride, stage.width, stage.inner, stage.depth)
        ]
    assert [row[7] for row in layers.rows[:-2]] == ["112", "112", "56", "28", "14", "7", "7"]


def test_budgets_show_use_limit_and_price(sample, r18_design):
    budgets = next(t for t in tables(sample("r18"), r18_design) if t.title == "Budgets")
    assert budgets.rows == (
        ("params", "11,672,112", "11,690,000", "99.85 %", "312.50"),
        ("MACs", "1,819,586,048", "1,820,000,000", "99.98 %", "1.25"),
        ("rho", "0.2986", "0.3000", "99.53 %", "95.10"),
    )


def test_weighted_entropies_add_up_to_the_stored_sum(sample, r18_design):
    entropy = next(t for t in tables(sample("r18"), r18_design) if t.title.startswith("Entropy"))
    *levels, total = [float(row[-1].replace(",", "")) for row in entropy.rows]
    assert total == 64525.22  # measured by long annealing
    assert sum(levels) == pytest.approx(total, abs=0.01 * len(levels))
    assert [row[1] for row in entropy.rows[:-1]] == ["112", "56", "28", "14", "7"]


def test_weights_not_stored_are_believed_only_if_they_give_the_stored_sum(r18_design):
    assert level_weights(r18_design) == [1, 1, 1, 1, 8]
    assert level_weights({**r18_design, "entropy": 64000.0}) == []
    assert level_weights({**r18_design, "alpha": [1, 1, 1, 1, 16.0]}) == [1, 1, 1, 1, 16]


def test_no_limit_is_said_and_bound_and_gap_show_once_certified(sample, r18_design):
    text = design_table(sample("r18"), r18_design)
    assert "upper bound" not in text
    assert "no limit" not in text
    r18_design["budgets"]["rho"] = None
    r18_design |= {"upper_bound": 64300.0, "gap": 0.003187}
    text = design_table(sample("r18"), r18_design)
    assert re.search(r"rho +0\.2986 +no limit", text)
    assert re.search(r"upper bound +64,300\.00", text)
    assert re.search(r"gap +0\.3187 %", text)


def test_width_growth_is_the_ratio_at_each_stride_2_stage(sample):
    assert "4.20  2.29  1.44  1.56" in design_table(sample("r18"))  # 168/40, 384/168, 552/384, ...


def test_elasticities_have_a_row_for_each_number_and_a_column_for_each_budget(r18_design):
    r18_design["elasticities"] = {
        "macs": {"stem": 1.1122, "width": [0.9, -1e-9], "inner": [0.1, 0.2], "depth": [0.3, 0.4]},
        "rho": {"stem": -0.5, "width": [0.1, 0.2], "inner": [0.0, 0.0], "depth": [1.0, 2.0]},
    }
    lines = sensitivity_tables(r18_design).splitlines()
    assert lines[1].split() == ["MACs", "rho"]
    rows = {line[:15].strip(): line[15:].split() for line in lines[3:10]}
    assert rows["stem width"] == ["+1.112", "-0.500"]
    assert rows["stage 2 width"] == ["+0.000", "+0.200"]
    assert rows["stage 2 depth"] == ["+0.400", "+2.000"]


def test_tinynas_counts_are_said_to_be_such(sample, r18_design):
    text = design_table(sample("r18"), {**r18_design, "convention": "tinynas", "params": 10551112})
    assert "tinynas convention" in text
    assert re.search(r"params +10,551,112", text)


@pytest.mark.parametrize(
    "design",
    [
        {},
        {"unheard_of": [1, {}]},
        {"budgets": [1, 2], "multipliers": 3, "entropy_per_level": "many", "convergence": None},
        {"params": "eleven", "macs": None, "rho": float("nan"), "budgets": {"rho": float("inf")}},
        {"entropy_per_level": [1.0, None], "alpha": [1], "objective": [], "convention": 7},
        {"entropy_per_level": [1.0, 2.0, 3.0], "entropy": 27.0, "gap": True, "seed": -1},
        {"elasticities": {"macs": {"width": "no", "depth": [None]}, "rho": 3}},
        {"alternatives": [3, {"architecture": {"stages": [1, {"width": None}]}, "macs": "many"}]},
        {"objective_without": {"macs": "no", "rho": None}, "relaxed_objective": 1.0},
    ],
)
def test_odd_results_are_passed_over(sample, design):
    text = design_table(sample("r18"), design)
    assert "11,672,112" in text
    assert not re.search(r"\bnan\b|\binf\b|None", text)


@pytest.mark.parametrize("name", [*COUNTS, "three_stages"])
def test_table_fits_100_columns(sample, r18_design, name):
    assert max(map(len, design_table(sample(name), r18_design).splitlines())) <= 100


def test_table_of_the_largest_network_in_the_spaces_fits_100_columns():
    stages = tuple(
        Stage("bottleneck", width, width, 5, 30, stride)
        for width, stride in (
            (64, 1),
            (128, 2),
            (256, 2),
            (512, 2),
            (1024, 1),
            (2048, 2),
            (2048, 1),
        )
    )
    arch = Architecture("n" * 500, 224, 3, 1000, Stem(64), stages, 2560)
    assert max(map(len, design_table(arch).splitlines())) <= 100


@pytest.mark.parametrize("name", ZOO)
def test_tables_of_published_networks_fit_100_columns(name):
    assert max(map(len, design_table(zoo(name)).splitlines())) <= 100


def test_published_accuracy_is_shown_as_such_and_of_the_unchanged_network_only():
    text = design_table(zoo("convnext_b"))
    assert re.search(
        r"Published \(not measured here\)\ntop-1 +83\.8 %\nsource +DeepMAD paper", text
    )
    assert "Published" not in design_table(zoo("convnext_b", classes=10))


def test_rho_of_a_network_that_was_not_designed_is_shown_once(sample, r18_design):
    assert re.search(r"rho +0\.1250 +depth over", design_table(sample("r18"), {"rho": 0.125}))
    assert design_table(sample("r18"), r18_design).count("0.2986") == 1


def test_comparison_fits_100_columns_and_keeps_the_end_of_a_long_path():
    numbers = {
        "layers": 151.0,
        "rho": 0.2,
        "entropy": 105683.7,
        "entropy_per_level": [1.0, 11396.7],
    }
    path = "runs/" + "x" * 200 + "/architecture.json"
    nets = {path: zoo("resnet152", classes=21843), **{name: zoo(name) for name in ZOO}}
    text = compare_table(nets, dict.fromkeys(nets, numbers))
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"\.\.\.\w+\.json 224 +21,843 ", text)
    assert re.search(r"resnet110 +32 +10 +1,727,962 .* 93\.57\n", text)


def test_columns_are_aligned():
    table = Table("T", ("", "much"), (("a", "1"), ("long", "1,000")), "lr", note="N")
    assert to_text(table) == "T\n       much\n-----------\na         1\nlong  1,000\nN"


def test_terminal_and_html_hold_the_same_cells(sample, r18_design):
    for table in tables(sample("r18"), r18_design):
        found = re.findall(r"<td[^>]*>(.*?)</td>", to_html(table))
        assert found == [cell for row in table.rows for cell in row]
        text = to_text(table)
        assert all(cell in text for cell in found)


def test_control_characters_do_not_reach_the_terminal(sample):
    arch = dataclasses.replace(sample("r18"), name="a\x1b[31mb\r\nc\u202e")
    text = design_table(arch, {"convention": "x\x1b]0;y\x07"})
    assert not re.search(r"[^\n -~]", text)


def test_table_needs_no_plotting_and_no_training_library():
    code = (
        "import sys; from deepmad_jax.report import design_table, write; "
        "print([m for m in ('matplotlib', 'jax', 'flax', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
