"""The product's train and evaluation step on one device, as the jobs make them, for a `Spec`.

Network, loss, optimiser, schedule and mesh are the package's own, and the state is donated; only
the batch lies on the device from the outset.
"""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.step import (
    COPY_BYTES,
    MATMUL_SIDE,
    Prepared,
    Spec,
    arrays_of,
    best_rates,
    peak_rss,
    seconds_of,
)
from deepmad_jax.config import DataConfig, TrainConfig
from deepmad_jax.data import open_dataset
from deepmad_jax.nets.stage import SCAN_BY_BACKEND
from deepmad_jax.tasks.classify.functions import make_loss_fn, make_sums_fn
from deepmad_jax.tasks.classify.task import make_network
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train import (
    Plan,
    TrainState,
    as_run,
    create_state,
    make_eval_step,
    make_mesh,
    make_optimizer,
    make_schedule,
    make_train_step,
    place,
    to_device,
)

IMAGENET_IMAGES = 1_281_167
"""Of one epoch: the schedule counts in epochs."""


def prepare(spec: Spec) -> Prepared:
    """The step, run once."""
    step, state, batch = _step_state_batch(spec, spec.scan)
    device = jax.devices()[0]
    scans = SCAN_BY_BACKEND.get(device.platform, True) if spec.scan is None else spec.scan

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            if spec.step == "train":
                state, metrics = step(state, batch)
            else:
                metrics = step(state.params, state.batch_stats, batch)
        jax.block_until_ready((state, metrics))

    def peak_bytes() -> int:
        stats = device.memory_stats()
        return int(stats["peak_bytes_in_use"]) if stats else peak_rss()

    facts = {
        "dtype": spec.dtype_on(_kind(device)),
        "first_step_seconds": seconds_of(run, 1),
        "how": "scanned" if scans else "unrolled",
        "made_by": "deepmad_jax",
    }

    def analyse() -> dict[str, Any]:
        # Unrolled whatever runs: XLA counts the body of a loop once, however often it goes round.
        if scans:
            return _analysis(spec, *_step_state_batch(spec, scan=False))
        return _analysis(spec, step, state, batch)

    return Prepared(run, peak_bytes, analyse, facts)


def peaks(spec: Spec) -> dict[str, Any]:
    """The device as JAX sees it, and the best rates that JAX gets from it."""
    device = jax.devices()[0]
    kind = _kind(device)
    side, dtype = MATMUL_SIDE[kind], spec.dtype_on(kind)
    a = jnp.ones((side, side), dtype)
    x = jnp.zeros(COPY_BYTES[kind] // 4, jnp.float32)
    multiply = jax.jit(jnp.matmul)
    add_one = jax.jit(lambda x: x + 1, donate_argnums=0)

    def matmul() -> None:
        jax.block_until_ready(multiply(a, a))

    def copy() -> None:
        nonlocal x
        x = jax.block_until_ready(add_one(x))

    rates = best_rates(matmul, copy, kind)
    named = {"kind": kind, "name": device.device_kind, "dtype": dtype}
    return named | {"version": f"jax {jax.__version__}"} | rates


def _kind(device: jax.Device) -> str:
    return "cpu" if device.platform == "cpu" else "gpu"


def _step_state_batch(spec: Spec, scan: bool | None) -> tuple[Any, TrainState, Any]:
    """The product's compiled function, the state it starts from, and a batch on the device."""
    device = jax.devices()[0]
    arch, dtype = spec.architecture(), spec.dtype_on(_kind(device))
    data = DataConfig(source="fake", fake_images=spec.batch)
    dataset = open_dataset(
        data, resolution_px=arch.resolution, channels=arch.in_channels, classes=arch.classes
    )
    settings = TrainConfig(batch_size=spec.batch, dtype=dtype, scan=scan)
    schedule = make_schedule(settings, Plan.of(settings, IMAGENET_IMAGES))
    optimizer = make_optimizer(settings, schedule)
    mesh = make_mesh([device])
    net = make_network(arch, settings, cpu_convs=spec.cpu_convs)
    graphdef, params, batch_stats = split_network(net)
    state = place(mesh, create_state(params, batch_stats, optimizer, ema=False))
    state = as_run(state, optimizer, mesh, scan)
    arrays = arrays_of(arch, spec.batch)
    if spec.step == "eval":
        step = make_eval_step(make_sums_fn(graphdef, dataset), mesh)
        return step, state, to_device(mesh, arrays)
    del arrays["mask"]
    loss_fn = make_loss_fn(graphdef, dataset, data, settings)
    step = make_train_step(loss_fn, optimizer, schedule, mesh, seed=settings.seed)
    return step, state, to_device(mesh, arrays)


def _analysis(spec: Spec, step: Any, state: TrainState, batch: Any) -> dict[str, Any]:
    """XLA's estimate of the bytes a step reads and writes, and what it needs besides its inputs."""
    inputs = (state,) if spec.step == "train" else (state.params, state.batch_stats)
    compiled = step.lower(*inputs, batch).compile()
    return {
        "bytes_accessed": compiled.cost_analysis()["bytes accessed"],
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }
