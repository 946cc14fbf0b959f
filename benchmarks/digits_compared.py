"""A small network of each family that the paper compares with, trained on scikit-learn's digits.

    python -m benchmarks.digits_compared

Swin, DeiT, PVT, T2T-ViT_t, TNT, SLaK and RepLKNet, each cut down until it trains on a CPU, by the
product's own train job with AdamW (rate 3e-3, decay 0.05, stochastic depth 0.1, clip 5), 60 epochs
of the 1,437 training images, one seed. An interrupted run goes on where it was. What came out is in
``results/digits_compared.json`` and in docs/compared.md.

What it shows: that every family learns, whole, with its own layers, drop path and decay rules. What
it does not show: which is better. The networks differ in size, and 360 test images tell no such
differences apart.
"""

import argparse
from pathlib import Path

from benchmarks.digits_runs import train_all, write_result
from deepmad_jax.arch import Architecture, Stage, Stem, cost, layer_table

EPOCHS = 60.0
RESULT = Path(__file__).parent / "results" / "digits_compared.json"
RECIPE = {
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 0.05,
    "drop_path": 0.1,
    "clip_norm": 5.0,
}


def _network(name: str, resolution: int, stem: Stem, *stages: Stage, **more: bool) -> Architecture:
    return Architecture(name, resolution, 1, 10, stem, stages, **more)


NETWORKS = (
    _network(
        *("swin", 16, Stem(24, 2, 2, "patches")),
        Stage("swin", 24, 96, 4, 2, 1, heads=2),
        Stage("swin", 48, 192, 4, 2, 2, heads=4),
    ),
    _network("deit", 16, Stem(48, 4, 4, "class_token"), Stage("vit", 48, 192, 1, 4, 1, heads=4)),
    _network(
        *("pvt", 16, Stem(24, 2, 2, "patches")),
        Stage("pvt", 24, 96, 2, 2, 1, heads=2),
        Stage("pvt_class", 48, 192, 1, 2, 2, heads=4),
    ),
    _network("t2t_vit_t", 32, Stem(48, 7, 4, "t2t", 16), Stage("t2t", 48, 144, 1, 3, 1, heads=4)),
    _network("tnt", 32, Stem(48, 8, 8, "tnt", 8), Stage("tnt", 48, 192, 1, 2, 1, heads=4, words=8)),
    _network(
        *("slak", 16, Stem(24, 2, 2, "patch")),
        Stage("slak", 24, 96, 13, 2, 1),
        Stage("slak", 48, 192, 7, 2, 2),
        head_norm=True,
    ),
    _network(
        *("replknet", 16, Stem(24, 3, 2, "large_kernel")),
        Stage("replk", 24, 96, 7, 1, 1),
        Stage("replk", 48, 192, 5, 1, 2),
    ),
)


def main() -> None:
    args = _arguments()
    chosen = [arch for arch in NETWORKS if arch.name in (args.only or arch.name)]
    trained = train_all(chosen, (0,), EPOCHS, args.runs, args.workers, **RECIPE)
    rows = []
    for arch in chosen:
        (line,), table = trained[arch.name], layer_table(arch)
        rows.append(
            {
                "name": arch.name,
                "params": cost.params(table),
                "macs": cost.macs(table),
                "top1": round(line["top1"], 5),
                "loss": round(line["loss"], 5),
                "architecture": arch.to_dict(),
            }
        )
        print(f"{arch.name:10} {rows[-1]['params']:8,} {rows[-1]['macs']:11,} {line['top1']:.2%}")
    if not args.only:
        command = "python -m benchmarks.digits_compared"
        write_result(RESULT, command, rows, epochs=EPOCHS, seeds=[0], differing=RECIPE)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/digits_compared"))
    parser.add_argument("--only", nargs="*", help="names of some; nothing is written then")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one a core")
    return parser.parse_args()


if __name__ == "__main__":
    main()
