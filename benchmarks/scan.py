"""Scanned against unrolled stages: what a train step of DeepMAD-R18 costs to compile and to run.

Forward, backward and an SGD update of the published DeepMAD-R18 (38 blocks in five stages), with
the repeated blocks of a stage under `jax.lax.scan` and in a Python loop, each as the jobs run it:
on a CPU convs in the forms for one, and the loop's blocks held one by one. Both run in one process
and take turns, so that other load on the machine falls on both; medians and their ratio are what
to read. The choice made from it stands in `deepmad_jax/nets/stage.py`.

    python benchmarks/scan.py --batch=4 --resolution=224 --compiles=3 --steps=5

On one core of a two-core Intel Xeon with AVX-512, the other one busy, with jax 0.10.2, that printed
these medians (2026-12-01):

    trace    scan    1.12 s   loop    1.03 s   scan / loop 1.09
    compile  scan    8.78 s   loop    6.28 s   scan / loop 1.40
    step     scan    3.48 s   loop    0.63 s   scan / loop 5.57

On GPU and TPU: not yet run.
"""

import argparse
import os
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.compiler_options import network_options
from deepmad_jax.freed_memory import keep_freed_memory
from deepmad_jax.nets import Network
from deepmad_jax.tasks.task import split_network
from deepmad_jax.unstacked import unstacked

LEARNING_RATE = 0.01

DEEPMAD_R18 = Architecture(
    name="deepmad-r18",
    resolution=224,
    in_channels=3,
    classes=1000,
    stem=Stem(32),
    stages=(
        # block, width, inner, kernel, depth, stride: the authors' released structure
        Stage("bottleneck", 96, 40, 5, 1, 2),
        Stage("bottleneck", 384, 40, 5, 6, 2),
        Stage("bottleneck", 384, 64, 5, 9, 2),
        Stage("bottleneck", 1024, 104, 3, 10, 1),
        Stage("bottleneck", 672, 104, 5, 12, 2),
    ),
)


def main() -> None:
    args = _arguments()
    keep_freed_memory()  # as our commands do
    print(
        f"{jax.devices()[0].device_kind}, {len(jax.devices())} device(s), "
        f"{len(os.sched_getaffinity(0))} CPU cores, jax {jax.__version__}; {DEEPMAD_R18.name}, "
        f"batch {args.batch}, {args.resolution} pixels, {args.dtype}"
    )
    seconds: dict[str, dict[bool, list[float]]] = {"trace": {}, "compile": {}, "step": {}}
    runs = {}
    for _ in range(args.compiles):
        for scan in (True, False):
            trace, compilation, runs[scan] = _compile(args, scan)
            seconds["trace"].setdefault(scan, []).append(trace)
            seconds["compile"].setdefault(scan, []).append(compilation)
    states = {scan: state for scan, (_, state, _) in runs.items()}
    for repeat in range(args.steps + 1):
        for scan in (True, False):
            step, _, batch = runs[scan]
            start = time.perf_counter()
            states[scan] = jax.block_until_ready(step(states[scan], *batch))
            if repeat:  # the first one warms up
                seconds["step"].setdefault(scan, []).append(time.perf_counter() - start)
    for what, times in seconds.items():
        scanned, looped = (statistics.median(times[scan]) for scan in (True, False))
        spread = ", ".join(f"{'scan' if s else 'loop'} {_range(times[s])}" for s in (True, False))
        print(
            f"{what:8} scan {scanned:7.2f} s   loop {looped:7.2f} s   "
            f"scan / loop {scanned / looped:.2f}   ({spread})"
        )


def _compile(args: argparse.Namespace, scan: bool) -> tuple[float, float, tuple]:
    """Seconds to trace and to compile; then the step, its state and its batch."""
    jax.clear_caches()
    platform = jax.default_backend()
    on_cpu = platform == "cpu"
    net = Network(DEEPMAD_R18, rngs=nnx.Rngs(0), dtype=args.dtype, scan=scan, cpu_convs=on_cpu)
    graphdef, *variables = split_network(net)
    if on_cpu and not scan:
        variables = unstacked(variables)
    images = jax.random.normal(jax.random.key(1), (args.batch, args.resolution, args.resolution, 3))
    labels = jnp.arange(args.batch)

    def step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        params, stats = state

        def loss(params: Any) -> tuple[jax.Array, Any]:
            net = nnx.merge(graphdef, nnx.State(params), nnx.State(stats), copy=True)
            log_probs = jax.nn.log_softmax(net(images, train=True))
            picked = jnp.take_along_axis(log_probs, labels[:, None], axis=1)
            return -picked.mean(), nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))

        grads, stats = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, grads)
        return params, stats

    start = time.perf_counter()
    options = network_options(platform)
    compiled_for = jax.jit(step, donate_argnums=0, compiler_options=options)
    lowered = compiled_for.lower(tuple(variables), images, labels)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    return traced - start, done - traced, (compiled, tuple(variables), (images, labels))


def _range(times: list[float]) -> str:
    return f"{min(times):.2f}-{max(times):.2f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--resolution", type=int, default=224, help="pixels a side")
    parser.add_argument("--compiles", type=int, default=3, help="compilations of each kind")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each kind")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
