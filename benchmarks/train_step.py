"""Train and evaluation step beside PyTorch: images a second, memory, and what the device allows.

Ours is the step that the jobs compile (`step_ours.py`); the peer does the same work in PyTorch with
channels_last, autocast and torch.compile (`step_torch.py`) on a network whose parameters and MACs
are checked to be ours (`torch_nets.py`; for ResNet-50 timm's, where timm is installed). Both get
uint8 noise that lies on the device. The computation is in bfloat16 on a GPU and in float32 on a
CPU, unless ``--dtype`` says otherwise.

    python -m benchmarks.train_step --out=FILE.json                          # CPU or GPU, as found
    python -m benchmarks.train_step --networks=resnet50 --batch=128,256,512 --scan=false

Each side runs in a process of its own, so memory is its own: on a GPU the most the framework's
allocator had in use (ours from the start of the process, tuning included), on a CPU the most
resident memory while stepping. Of the batch sizes given each side keeps its fastest. Then rounds
take turns, so that other load on the machine falls on both; medians and their ratio are what to
read. The first step's time holds tracing and compilation.

The roofline line counts 3 times the forward pass's MACs for a train step, from the layer table, and
the bytes that XLA estimates for the program it compiled (in caches or not; a loop, as in the kernel
gradients of `deepmad_jax/nets/cpu_conv.py`, counts as one turn). What the device can do is measured
in the same run: a large matmul in the computation's dtype and adding one to a large array, the
better of the two frameworks in each.

On one core of a two-core Intel Xeon with AVX-512, the other one busy, jax 0.10.2 beside torch
2.13.0, float32, batches of 8 at 96 pixels, seven rounds (2026-12-01;
``results/train_step_cpu_2026-12-01.json`` has the command and every round):

    network      step   ours ms torch ms ours / torch  ours CPU ms torch CPU ms ours / torch
    resnet50     train    514.8    537.9         1.04        501.3        529.2         1.06
    resnet50     eval     116.6    135.4         1.16        114.7        133.7         1.17
    deepmad_r50  train    521.1    542.1         1.04        520.9        542.0         1.04
    deepmad_r50  eval     124.2    132.6         1.07        124.2        132.6         1.07
    deepmad_29m  train   1298.9   1614.8         1.24       1298.8       1614.3         1.24
    deepmad_29m  eval     228.0    265.2         1.16        227.6        265.1         1.16

Both sides keep freed memory (`deepmad_jax/freed_memory.py`). Ours also computes the norms of the
gradients, parameters and updates, which a run logs; the peer does not. ``--cpu-convs=false`` does
without the convs' forms for a CPU (`deepmad_jax/nets/cpu_conv.py`).

On GPU, where the target is 1.15: not yet run.
"""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import processor
from benchmarks.step import Spec
from benchmarks.step_worker import Worker, WorkerFailed, work
from deepmad_jax.arch import layer_table
from deepmad_jax.arch.cost import macs, params

FRAMEWORKS = ("ours", "torch")
BATCHES = {"cpu": "4,8", "gpu": "64,128,256"}
RESOLUTION_PX = {"cpu": 96, "gpu": None}
CHOICES = {"auto": None, "true": True, "false": False}
RATES = ("flops_per_second", "bytes_per_second")
PASSES = {"train": 3, "eval": 1}
"""MACs of a step over those of the forward pass: each conv has two gradients of its own cost."""


def main() -> None:
    args = _arguments()
    if args.worker:
        work(Spec(**json.loads(args.worker)))
        return
    if args.cores:
        # Of the workers too, and of the threads that either framework starts there.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    device = _device(args)
    batches = [int(b) for b in (args.batch or BATCHES[device["kind"]]).split(",")]
    resolution_px = args.resolution or RESOLUTION_PX[device["kind"]]
    print(_opening(device))
    settings = {
        "resolution_px": resolution_px,
        "dtype": args.dtype,
        "round_seconds": args.seconds,
        "scan": CHOICES[args.scan],
        "cpu_convs": CHOICES[args.cpu_convs],
        "torch_mode": args.torch_mode,
    }
    rows: list[dict[str, Any]] = []
    for network in args.networks.split(","):
        for step in args.steps.split(","):
            spec = Spec("ours", step, network, **settings)
            rows.append(_compare(spec, batches, args.rounds, device))
            print(_lines(rows[-1]), flush=True)
            if args.out:  # after every row: a long run may be cut short
                _write(Path(args.out), device, settings | {"rounds": args.rounds}, rows)


def _write(path: Path, device: dict[str, Any], settings: dict[str, Any], rows: list[Any]) -> None:
    result = {
        "date": datetime.date.today().isoformat(),
        "command": "python -m benchmarks.train_step " + " ".join(sys.argv[1:]),
        "device": device,
        "settings": settings,
        "rows": rows,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


def _device(args: argparse.Namespace) -> dict[str, Any]:
    """What both frameworks run on, and the best rate of either."""
    seen = {}
    for framework in FRAMEWORKS:
        worker = Worker(Spec(framework, "peak", dtype=args.dtype))
        seen[framework] = worker.facts
        worker.end()
    ours, torch = (seen[framework] for framework in FRAMEWORKS)
    if ours["kind"] != torch["kind"]:
        raise SystemExit(
            f"JAX runs on the {ours['kind']} and PyTorch on the {torch['kind']}: install builds of "
            "both for the same device, or hide the GPU with CUDA_VISIBLE_DEVICES= in front."
        )
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPU cores"
    return {
        "kind": ours["kind"],
        "name": processor() if ours["kind"] == "cpu" else torch["name"],
        "machine": machine,
        "load_average": os.getloadavg()[0],
        "versions": [ours["version"], torch["version"], f"Python {platform.python_version()}"],
        "dtype": ours["dtype"],
        "peaks": {
            framework: {key: seen[framework][key] for key in RATES} for framework in FRAMEWORKS
        },
    } | {key: max(ours[key], torch[key]) for key in RATES}


def _compare(spec: Spec, batches: list[int], rounds: int, device: dict[str, Any]) -> dict[str, Any]:
    """Each side at its best batch, in turns."""
    tuned = {framework: _tune(spec, framework, batches) for framework in FRAMEWORKS}
    workers = {framework: worker for framework, (worker, _) in tuned.items()}
    for worker in workers.values():
        worker.rounds.clear()  # those that chose the batch
    for _ in range(rounds):
        for worker in workers.values():
            worker.time()
    analysis = workers["ours"].ask("analyse")
    for worker in workers.values():
        worker.end()
    sides = {f: _side(worker) | {"tried": tuned[f][1]} for f, worker in workers.items()}
    table = layer_table(workers["ours"].spec.architecture())
    row = {
        "network": spec.network,
        "step": spec.step,
        "resolution_px": workers["ours"].spec.architecture().resolution,
        "params": params(table),
        "macs_an_image": macs(table),
        "ratio": sides["ours"]["images_per_second"] / sides["torch"]["images_per_second"],
        "ratio_by_cpu_seconds": sides["torch"]["cpu_seconds_an_image"]
        / sides["ours"]["cpu_seconds_an_image"],
    }
    return row | sides | {"roofline": _roofline(row, sides, analysis, device)}


def _tune(spec: Spec, framework: str, batches: list[int]) -> tuple[Worker, dict[str, Any]]:
    """The process of the batch with most images a second, waiting; and what each batch gave."""
    best, tried = None, {}
    for batch in batches:
        try:
            worker = Worker(dataclasses.replace(spec, framework=framework, batch=batch))
            if len(batches) == 1:
                return worker, tried
            # The better of two: one may have met other load.
            tried[str(batch)] = max(worker.time() for _ in range(2))
        except WorkerFailed as error:
            print(f"{framework}, batch {batch}: {error}", file=sys.stderr, flush=True)
            tried[str(batch)] = f"failed: {str(error).splitlines()[-1][:200]}"
            continue
        if best is None or tried[str(batch)] > tried[str(best.spec.batch)]:
            best, worker = worker, best
        if worker is not None:
            worker.end()
    if best is None:
        raise SystemExit(f"{framework} fails on {spec.network}, {spec.step}, at every batch size.")
    return best, tried


def _side(worker: Worker) -> dict[str, Any]:
    seconds = statistics.median(r["seconds"] for r in worker.rounds)
    cpu_seconds = statistics.median(r["cpu_seconds"] for r in worker.rounds)
    batch = worker.spec.batch
    return worker.facts | {
        "batch": batch,
        "step_seconds": seconds,
        "images_per_second": batch / seconds,
        "cpu_seconds_an_image": cpu_seconds / batch,
        "peak_bytes": max(r["peak_bytes"] for r in worker.rounds),
        "seconds_of_each_round": [r["seconds"] for r in worker.rounds],
    }


def _roofline(
    row: dict[str, Any], sides: dict[str, Any], analysis: dict[str, Any], device: dict[str, Any]
) -> dict[str, Any]:
    """What our step does a second, and its share of the best the device did."""
    ours = sides["ours"]
    step_macs = PASSES[row["step"]] * row["macs_an_image"] * ours["batch"]
    flops = 2 * step_macs / ours["step_seconds"]
    moved = analysis["bytes_accessed"] / ours["step_seconds"]
    return analysis | {
        "macs_a_step": step_macs,
        "flops_per_second": flops,
        "share_of_matmul": flops / device["flops_per_second"],
        "bytes_per_second": moved,
        "share_of_copy": moved / device["bytes_per_second"],
        "flops_a_byte": 2 * step_macs / analysis["bytes_accessed"],
        "flops_a_byte_of_the_device": device["flops_per_second"] / device["bytes_per_second"],
    }


def _opening(device: dict[str, Any]) -> str:
    rates = (
        f"best measured: {device['flops_per_second'] / 1e9:,.0f} GFLOP/s in a {device['dtype']} "
        f"matmul, {device['bytes_per_second'] / 1e9:,.1f} GB/s in a copy"
    )
    titles = (
        f"{'network':12} {'step':5} {'':5} {'batch':>5} {'ms/step':>9} {'images/s':>9} "
        f"{'ours/torch':>10} {'by CPU s':>8} {'memory MiB':>10} {'first step s':>12}"
    )
    head = f"{device['name']}; {device['machine']}; {', '.join(device['versions'])}"
    return f"{head}\n{rates}\n\n{titles}"


def _lines(row: dict[str, Any]) -> str:
    lines = []
    for framework in FRAMEWORKS:
        side = row[framework]
        ratio, by_cpu = "", ""
        if framework == "ours":
            ratio, by_cpu = f"{row['ratio']:.2f}", f"{row['ratio_by_cpu_seconds']:.2f}"
        lines.append(
            f"{row['network']:12} {row['step']:5} {framework:5} {side['batch']:5} "
            f"{1e3 * side['step_seconds']:9.1f} {side['images_per_second']:9.1f} {ratio:>10} "
            f"{by_cpu:>8} {side['peak_bytes'] / 2**20:10,.0f} {side['first_step_seconds']:12.1f}  "
            f"{side['how']}"
        )
    roof = row["roofline"]
    lines.append(
        f"  roofline, ours: {roof['macs_a_step'] / 1e9:,.1f} GMACs a step, "
        f"{roof['flops_per_second'] / 1e9:,.0f} GFLOP/s = {roof['share_of_matmul']:.2f} of the "
        f"matmul; {roof['bytes_accessed'] / 1e9:.2f} GB a step by XLA's estimate, "
        f"{roof['bytes_per_second'] / 1e9:,.1f} GB/s = {roof['share_of_copy']:.2f} of the copy"
    )
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default="resnet50,deepmad_r50,deepmad_29m", help="of the zoo")
    parser.add_argument("--steps", default="train,eval")
    parser.add_argument("--batch", help="sizes to choose from, by default as the device can bear")
    parser.add_argument("--resolution", type=int, help="pixels a side; by default 96 on a CPU")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round, about")
    parser.add_argument("--cores", type=int, help="CPU cores to use; by default all there are")
    parser.add_argument("--scan", choices=CHOICES, default="auto", help="of ours")
    parser.add_argument("--cpu-convs", choices=CHOICES, default="auto", help="of ours")
    parser.add_argument("--torch-mode", default="default", help="of torch.compile, or eager")
    parser.add_argument("--out", help="a JSON file for the result")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
