"""A training step of FCOS beside the same in plain PyTorch, on this CPU: time and memory.

Ours is the step that the train job compiles, with its optimiser; the peer is `torch_fcos.py`,
eager, with SGD. Both train a ResNet-50 whose stem, first stage and BatchNorm are fixed, the pyramid
and the head of 256 channels, in float32, on noise with five boxes an image.

    python -m benchmarks.detect_step --out=benchmarks/results/detect_step.json

Each side runs in a process of its own, which says CPU seconds and wall seconds of every step and
the most memory that was resident while it stepped; rounds take turns. Both keep to ``--cores``:
threads that wait for each other on cores with other work make PyTorch several times slower.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write_result
from benchmarks.step import peak_rss

CLASSES, BOXES = 80, 5
WIDTH, DEPTH, GROUPS = 256, 4, 32


def batch_of(images: int, height: int, width: int) -> dict[str, np.ndarray]:
    """Noise and boxes, as the pipeline makes them."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.6, (images, BOXES, 2)) * [width, height]
    sides = rng.uniform(0.1, 0.4, (images, BOXES, 2)) * [width, height]
    return {
        "image": rng.integers(0, 256, (images, height, width, 3), np.uint8),
        "size": np.tile(np.array([[height, width]], np.int32), (images, 1)),
        "ratio": np.ones((images, 2), np.float32),
        "index": np.zeros(images, np.int32),
        "boxes": np.concatenate([corner, corner + sides], -1).astype(np.float32),
        "label": rng.integers(0, CLASSES, (images, BOXES), np.int32),
        "key": np.zeros((images, 2), np.uint32),
    }


def ours(images: int, height: int, width: int) -> Any:
    """A function that does one step of ours and waits for it."""
    import jax

    from deepmad_jax.arch.zoo import zoo
    from deepmad_jax.config import Config, DetectConfig, TrainConfig
    from deepmad_jax.tasks.detect.detectors import make_detector
    from deepmad_jax.tasks.detect.functions import make_loss_fn
    from deepmad_jax.tasks.detect.optimizer import make_optimizer
    from deepmad_jax.tasks.task import split_network
    from deepmad_jax.train import Plan, create_state, make_mesh, make_train_step, place, to_device

    train = TrainConfig(
        epochs=24,
        batch_size=images,
        warmup_epochs=0,
        cooldown_epochs=0,
        learning_rate=0.01,
        clip_norm=35.0,
        dtype="float32",
    )
    config = Config(train=train, detect=DetectConfig(width=WIDTH, depth=DEPTH, groups=GROUPS))
    graphdef, params, stats = split_network(make_detector(zoo("resnet50"), config, CLASSES, True))
    optimizer, schedule = make_optimizer(config, Plan.of(train, num_images=1000))
    mesh = make_mesh()
    state = place(mesh, create_state(params, stats, optimizer, ema=False))
    step = make_train_step(make_loss_fn(graphdef), optimizer, schedule, mesh)
    batch = to_device(mesh, batch_of(images, height, width))

    def run() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))

    return run


def plain(images: int, height: int, width: int) -> Any:
    """The same of PyTorch's."""
    import torch

    from benchmarks.torch_fcos import TorchFcos
    from deepmad_jax.arch.zoo import zoo

    net = TorchFcos(zoo("resnet50"), CLASSES, WIDTH, DEPTH, GROUPS)
    net = net.to(memory_format=torch.channels_last)
    net.train()
    for name, module in net.backbone.named_modules():
        frozen = name.startswith(("stem", "stages_0"))
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
            frozen = True
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(not frozen)
    learned = [p for p in net.parameters() if p.requires_grad]
    sgd = torch.optim.SGD(learned, lr=0.01, momentum=0.9, weight_decay=1e-4)
    batch = batch_of(images, height, width)
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    boxes = list(torch.tensor(batch["boxes"]))
    labels = list(torch.tensor(batch["label"]).long())
    pixels = torch.tensor(batch["image"]).permute(0, 3, 1, 2)

    def run() -> None:
        images = ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
        sgd.zero_grad()
        net.loss(images, boxes, labels).backward()
        torch.nn.utils.clip_grad_norm_(learned, 35.0)
        sgd.step()

    return run


def child(args: argparse.Namespace) -> None:
    """Steps whenever a line comes in; tells seconds and memory in JSON."""
    os.sched_setaffinity(0, [int(core) for core in args.cores.split(",")])
    run = {"ours": ours, "torch": plain}[args.side](args.images, args.height, args.width)
    began = time.perf_counter()
    run()
    print(json.dumps({"first_seconds": time.perf_counter() - began}), flush=True)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of compiling
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        done = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(done | {"peak_bytes": peak_rss()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=("ours", "torch"))
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--cores", default="0", help="that both sides may use")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.side:
        child(args)
        return
    load = os.getloadavg()[0]
    size = [f"--{name}={getattr(args, name)}" for name in ("images", "height", "width", "cores")]
    sides, first, rounds = {}, {}, {"ours": [], "torch": []}
    for side in rounds:
        command = [sys.executable, "-m", "benchmarks.detect_step", f"--side={side}", *size]
        sides[side] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        first[side] = json.loads(sides[side].stdout.readline())["first_seconds"]
    for _ in range(args.rounds):
        for side, process in sides.items():
            process.stdin.write("\n")
            process.stdin.flush()
            rounds[side].append(json.loads(process.stdout.readline()))
    result = {}
    for side, process in sides.items():
        process.stdin.close()
        process.wait()
        result[side] = {
            "first_seconds": round(first[side], 2),
            "wall_seconds": round(statistics.median(r["wall"] for r in rounds[side]), 3),
            "cpu_seconds": round(statistics.median(r["cpu"] for r in rounds[side]), 3),
            "peak_mib": round(max(r["peak_bytes"] for r in rounds[side]) / 2**20),
        }
        print(f"{side:>6}: {result[side]}")
    if args.out:
        write_result(args.out, load, command=" ".join(sys.argv[1:]), size=size, **result)


if __name__ == "__main__":
    main()
