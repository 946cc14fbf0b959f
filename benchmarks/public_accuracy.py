"""Does entropy rank networks? Three public tables of accuracy beside the package's own numbers.

    python -m benchmarks.public_accuracy [--referee]

Entropy, rho, depth, params and MACs of every network come from the package's layer table
(`public_nets`), accuracies from ``data/``. Writes ``results/public_accuracy.json`` (every number),
``results/public_accuracy.csv`` (the networks that are no code of NAS-Bench-Macro), and the picture
``docs/evidence.png``. ``--referee`` counts each network of the ImageNet table by timm as well, and
stops at a difference. Two minutes on one core. What it shows stands in docs/evidence.md.
"""

import argparse
import csv
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import public_fit, ranking
from benchmarks.public_tables import (
    ALL_OF_IMAGENET,
    SCORES,
    Group,
    imagenet_groups,
    macro_group,
    read,
    vit_groups,
)
from benchmarks.record import write_result

HERE = Path(__file__).parent
RESULT, TABLE = HERE / "results" / "public_accuracy.json", HERE / "results" / "public_accuracy.csv"
PICTURE = HERE.parent / "docs" / "evidence.png"

MACRO_WITHIN, FEW_WITHIN, VIT_WITHIN = 0.02, 0.2, 0.02
"""How far MACs and params of a pair may differ; small tables have no pairs within 2 %."""


def main() -> None:
    args = _arguments()
    load, start = os.getloadavg()[0], time.process_time()
    macro, imagenet, vit = macro_group(), imagenet_groups(), vit_groups()
    if args.referee:
        _compare_with_timm()
    rows = [
        *(_ranked(group, FEW_WITHIN) for group in imagenet),
        _ranked(macro, MACRO_WITHIN),
        _ranked(_best_tenth(macro), MACRO_WITHIN),
        *(_ranked(group, VIT_WITHIN) for group in vit),
    ]
    few = imagenet[-1]
    pit = next(group for group in vit if group.name == "pit, c100_kd")
    fits = [
        *public_fit.study(
            macro, MACRO_WITHIN, [(few, FEW_WITHIN), (imagenet[0], FEW_WITHIN), (pit, FEW_WITHIN)]
        ),
        *public_fit.study(few, FEW_WITHIN, [(macro, MACRO_WITHIN)]),
    ]
    write_result(
        RESULT, load, command="python -m benchmarks.public_accuracy",
        cpu_seconds=round(time.process_time() - start), draws=ranking.DRAWS,
        rankings=rows, regret=_regrets(macro), fits=fits, gain_in_regret=_less_regret(macro),
    )  # fmt: skip
    _tabulate([few, *(group for group in vit if group.name.endswith("c100_kd"))])
    _draw(macro, few, rows)
    for row in rows:
        print(row["table"], {name: row[name]["tau"].value for name in SCORES})
    for row in fits:
        print(row)


def _ranked(group: Group, within: float) -> dict[str, Any]:
    """Tau and the share of pairs of equal cost of each score, with intervals."""
    pairs = ranking.equal_cost(group.costs, group.accuracy, within)
    row: dict[str, Any] = {
        "table": group.name,
        "networks": len(group.nets),
        "as architectures": sum(net.built == "arch" for net in group.nets.values()),
        "accuracy": [float(group.accuracy.min()), float(group.accuracy.max())],
        "pairs within": within,
    }
    for name in SCORES:
        score = group.score(name)
        _, told = ranking.share_right(score, pairs)
        row[name] = {
            "tau": ranking.tau_interval(score, group.accuracy),
            "share": ranking.share_interval(score, pairs),
            "pairs": told,
        }
    return row


def _best_tenth(group: Group) -> Group:
    kept = group.accuracy >= np.quantile(group.accuracy, 0.9)
    nets = {name: net for (name, net), keep in zip(group.nets.items(), kept, strict=True) if keep}
    return Group(f"{group.name}, the best tenth", nets, group.accuracy[kept])


def _regrets(group: Group) -> dict[str, float]:
    """Score -> how far the network it chooses in a budget is below the best, percent."""
    fits = ranking.budgets(group.costs)
    found = {
        name: round(ranking.regret(group.score(name), group.accuracy, fits), 3) for name in SCORES
    }
    medians = [np.median(group.accuracy[fit]) for fit in fits]
    best = [group.accuracy[fit].max() for fit in fits]
    found["the median network"] = round(float(np.mean(np.subtract(best, medians))), 3)
    for last, beta, rho in ((8, 10, 0.3), (1, 10, np.inf), (1, 0, np.inf), (0.5, 0, np.inf)):
        score = public_fit.score(group, (last, beta, rho))
        name = f"last level {last:g}, beta {beta:g}, rho at most {rho:g}"
        found[name] = round(ranking.regret(score, group.accuracy, fits), 3)
    return found | {"budgets": len(fits)}


def _less_regret(group: Group) -> dict[str, ranking.Interval]:
    """Weights that the ImageNet table prefers -> by how much they lower the paper's regret."""
    paper = public_fit.score(group, public_fit.PAPER)
    return {
        f"last level {last:g}, beta {beta:g}": ranking.regret_gain(
            public_fit.score(group, (last, beta, np.inf)), paper, group.accuracy, group.costs
        )
        for last, beta in ((1, 10), (1, 0), (0.5, 0))
    }


def _compare_with_timm() -> None:
    from benchmarks.public_nets import imagenet
    from benchmarks.timm_counts import counts

    for line in {line["net"]: line for line in read("imagenet_top1")}.values():
        ours, theirs = imagenet(line["net"], 224), counts(line["net"], 224)
        if (ours.params, ours.macs) != theirs:
            raise SystemExit(f"{line['net']}: {ours.params}, {ours.macs} here, {theirs} by timm.")
    print("Params and MACs of every network of the ImageNet table are timm's.")


def _tabulate(groups: Iterable[Group]) -> None:
    columns = (
        "table",
        "network",
        "accuracy",
        "entropy",
        "rho",
        "layers",
        "params",
        "macs",
        "built",
    )
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for group in groups:
            for (name, net), accuracy in zip(group.nets.items(), group.accuracy, strict=True):
                numbers = (f"{net.entropy:.2f}", f"{net.rho:.4f}", net.layers)
                cost = (net.params, net.macs, net.built)
                writer.writerow((group.name, name, accuracy, *numbers, *cost))


def _draw(macro: Group, few: Group, rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
    points = axes[0].scatter(
        macro.score("entropy"), macro.accuracy, c=macro.score("MACs") / 1e6, s=3, cmap="viridis"
    )
    axes[0].set(xlabel="entropy (1, ..., 1, 8), nats", ylabel="CIFAR-10 accuracy, %")
    axes[0].set_title("NAS-Bench-Macro: 3,969 networks", fontsize=10)
    figure.colorbar(points, label="MACs, M")
    families = {
        "RegNet": "regnet", "ConvNeXt": "convnext", "EfficientNet, mobile": ("eff", "mob", "mnas"),
        "ResNet, ResNeXt, wide": ("res", "wide"),
    }  # fmt: skip
    names = list(few.nets)
    for family, starts in families.items():
        chosen = [i for i, name in enumerate(names) if name.startswith(starts)]
        entropy, accuracy = few.score("entropy")[chosen], few.accuracy[chosen]
        axes[1].plot(entropy, accuracy, "o", ms=4, label=family)
    axes[1].set(xlabel="entropy (1, ..., 1, 8), nats", ylabel="ImageNet top-1, %", xscale="log")
    axes[1].set_xticks([15_000, 30_000, 60_000, 100_000], ["15,000", "30,000", "60,000", "100,000"])
    axes[1].minorticks_off()
    axes[1].set_title(f"ImageNet: {len(names)} networks, recipes mixed", fontsize=10)
    axes[1].legend(fontsize=7)
    _bars(axes[2], {row["table"]: row for row in rows}, macro.name)
    figure.savefig(PICTURE, dpi=110)


def _bars(axes: Any, rows: dict[str, dict[str, Any]], macro: str) -> None:
    """Shares of pairs of equal cost, with intervals."""
    tables = {macro: "NAS-Bench-Macro, within 2 %", ALL_OF_IMAGENET: "ImageNet, within 20 %"}
    for i, (table, label) in enumerate(tables.items()):
        shares = [rows[table][name]["share"] for name in SCORES]
        y = np.arange(len(SCORES)) + 0.2 * (1 if i else -1)
        errors = [
            [100 * (x.value - x.low) for x in shares],
            [100 * (x.high - x.value) for x in shares],
        ]
        axes.errorbar(
            [100 * x.value for x in shares], y, xerr=errors, fmt="o", ms=4, lw=1.2, label=label
        )
    axes.axvline(50, color="#9a9a9a", lw=0.8)
    axes.set_yticks(range(len(SCORES)), SCORES)
    axes.set(xlabel="% of pairs ranked right (50 is chance)", ylim=(5.6, -1.4))
    axes.set_title("At equal cost, with 95 % intervals", fontsize=10)
    axes.legend(fontsize=7, loc="upper left")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--referee", action="store_true", help="count by timm as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
