"""Entropy against accuracy over random networks of one budget: the paper's section 5.3, reduced.

    python -m benchmarks.digits_entropy --seeds=1
    python -m benchmarks.digits_entropy --zero-init

The paper trains 65 random networks of ResNet-20's size on CIFAR-100 for 1,440 epochs. Here
`sample_architectures` draws 36 of at most 50,000 params and 5 million MACs with rho from 0.1 to 1
(one in each of 36 strata), and each is trained on the 1,437 digits for 6 epochs. An interrupted run
goes on where it was. Kendall's tau of entropy against mean accuracy (2026-11-25, two shared cores;
the results files have every network):

                               one seed                     two seeds, branches start at nothing
    all                  36    83.1-99.2 %, tau -0.56       27.4-94.7 %, tau +0.12 (p 0.29)
    rho 0.12-0.32         9    95.8-99.2 %, tau -0.42       27.4-94.7 %, tau +0.39 (p 0.18)
    rho 0.33-0.55         9    92.8-98.6 %, tau -0.09       49.4-90.6 %, tau -0.17 (p 0.61)
    rho 0.57-0.77         9    93.6-97.5 %, tau +0.42       56.0-93.3 %, tau +0.06 (p 0.92)
    rho 0.79-0.98         9    83.1-95.3 %, tau -0.67       33.5-93.8 %, tau +0.72 (p 0.01)
    last stage widens    22    83.1-99.2 %, tau -0.62       80.6-94.7 %, tau +0.30 (p 0.05)
    last stage does not  14    93.6-98.3 %, tau -0.48       27.4-67.2 %, tau -0.12 (p 0.59)

What it shows: in so short a training accuracy falls as rho, depth and with them entropy grow, as
rho is there to prevent. And where residual branches start at nothing, a last stage that does not
widen, so has no projection, learns far slower: all 14 such networks are below all 22 others.
What it does not show: the paper's tau of 0.77 around rho 0.5, which is of accuracy after 1,440
epochs on data that fill the network; within a group of nine, tau is mostly chance.
"""

import argparse
import dataclasses
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from benchmarks.digits_runs import CONFIG, describe, train_all, write_result
from deepmad_jax.design.studies.sample import sample_architectures

NETWORKS, GROUPS, EPOCHS = 36, 4, 6.0
RHO_LOW, RHO_HIGH, MAX_GROWTH = 0.1, 1.0, 2.0
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    args = _arguments()
    space = dataclasses.replace(CONFIG.design, rho=math.inf)
    networks = sample_architectures(space, NETWORKS, RHO_LOW, RHO_HIGH, max_growth=MAX_GROWTH)
    seeds = range(args.seeds)
    name = "digits_entropy_zero_init" if args.zero_init else "digits_entropy"
    trained = train_all(
        networks, seeds, EPOCHS, args.runs / name, args.workers, zero_init=args.zero_init
    )
    rows = []
    for arch in networks:
        lines = trained[arch.name]
        rows.append(
            describe(arch)
            | {
                "top1": round(statistics.mean(line["top1"] for line in lines), 5),
                "loss": round(statistics.mean(line["loss"] for line in lines), 5),
                "top1_by_seed": [round(line["top1"], 5) for line in lines],
            }
        )
    taus = _taus(rows)
    for tau in taus:
        print(
            f"{tau['group']:20} {tau['networks']:2} networks, "
            f"top-1 {tau['top1'][0]:.2%} to {tau['top1'][1]:.2%}, tau {tau['tau']:+.2f} "
            f"(p {tau['p']:.2f})"
        )
    write_result(
        RESULTS / f"{name}.json",
        " ".join(["python -m benchmarks.digits_entropy", *sys.argv[1:]]),
        rows,
        epochs=EPOCHS,
        seeds=list(seeds),
        zero_init=args.zero_init,
        kendall_tau=taus,
    )
    _draw(rows, RESULTS / f"{name}.png")


def _taus(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kendall's tau-b of entropy against mean top-1: of all, by rho and by the last stage."""
    size = len(rows) // GROUPS
    groups = {"all": rows}
    for group in (rows[i : i + size] for i in range(0, len(rows), size)):
        groups[f"rho {group[0]['rho']:.2f}-{group[-1]['rho']:.2f}"] = group
    groups["last stage widens"] = [row for row in rows if _widens(row)]
    groups["last stage does not"] = [row for row in rows if not _widens(row)]
    taus = []
    for name, group in groups.items():
        top1 = [row["top1"] for row in group]
        test = kendalltau([row["entropy"] for row in group], top1)
        taus.append(
            {
                "group": name,
                "networks": len(group),
                "top1": [min(top1), max(top1)],
                "tau": round(float(test.statistic), 3),
                "p": round(float(test.pvalue), 3),
            }
        )
    return taus


def _widens(row: dict[str, Any]) -> bool:
    """Whether the last stage's first block projects its shortcut to more channels."""
    before, last = row["architecture"]["stages"][-2:]
    return bool(last["width"] > before["width"])


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rho = np.array([row["rho"] for row in rows])
    top1 = 100 * np.array([row["top1_by_seed"] for row in rows])
    spread = np.abs(np.stack([top1.min(1), top1.max(1)]) - top1.mean(1))
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(9, 3.6), sharey=True, layout="constrained"
    )
    left.errorbar(rho, top1.mean(1), spread, fmt="o", ms=4, lw=0.8, color="#31688e")
    left.set(xlabel="effectiveness rho", ylabel="top-1 on 360 digits, %")
    entropy = [row["entropy"] for row in rows]
    points = right.scatter(entropy, top1.mean(1), c=rho, s=22, cmap="viridis")
    right.set(xlabel="entropy (1, 1, 8), nats")
    figure.colorbar(points, label="rho")
    left.set_title("mean and range of the seeds", fontsize=9)
    right.set_title("the same networks by entropy", fontsize=9)
    figure.savefig(path, dpi=130)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, default=2, help="of each network")
    parser.add_argument("--zero-init", action="store_true", help="branches start at nothing")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one a core")
    return parser.parse_args()


if __name__ == "__main__":
    main()
