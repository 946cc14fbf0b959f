"""The same train and evaluation step in PyTorch, for a `Spec`: the peer.

channels_last, autocast, torch.compile over normalisation, network and loss, and a fused SGD with
Nesterov momentum whose decay touches kernels only. Where torch.compile fails the step runs eagerly,
and its facts say why.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

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
from benchmarks.torch_nets import check, decay_groups, peer_of
from deepmad_jax.config import TrainConfig
from deepmad_jax.data.dataset import GREY_MEAN, GREY_STD

LEARNING_RATE = 0.01


def prepare(spec: Spec) -> Prepared:
    """The step, run once."""
    kind, device = _device()
    dtype = spec.dtype_on(kind)
    arch = spec.architecture()
    net, made_by = peer_of(arch)
    check(net, arch)
    net = net.to(device, memory_format=torch.channels_last).train(spec.step == "train")
    batch = {n: torch.from_numpy(a).to(device) for n, a in arrays_of(arch, spec.batch).items()}
    batch["label"] = batch["label"].long()
    make = _train_step if spec.step == "train" else _eval_step

    def make_step(compiler: Callable[[Any], Any]) -> Callable[[int], None]:
        step = make(net, batch, compiler, dtype)

        def run(steps: int) -> None:
            for _ in range(steps):
                step()
            if kind == "gpu":
                torch.cuda.synchronize()

        return run

    run, how = make_step(lambda function: function), "eager"
    if spec.torch_mode != "eager":
        compiled = make_step(lambda function: torch.compile(function, mode=spec.torch_mode))
        how = f"torch.compile, mode {spec.torch_mode}"
        try:
            seconds, run = seconds_of(compiled, 1), compiled
        # Whatever the compiler dies of: the row says that it did.
        except Exception as error:
            torch._dynamo.reset()
            reason = " ".join(str(error).split())[:200]
            how = f"eager: torch.compile failed, {type(error).__name__}: {reason}"
    if how.startswith("eager"):
        seconds = seconds_of(run, 1)
    if kind == "gpu":
        torch.cuda.reset_peak_memory_stats()  # tuning may need more than running

    def peak_bytes() -> int:
        return torch.cuda.max_memory_allocated() if kind == "gpu" else peak_rss()

    facts = {"dtype": dtype, "first_step_seconds": seconds, "how": how, "made_by": made_by}
    return Prepared(run, peak_bytes, dict, facts)


def peaks(spec: Spec) -> dict[str, Any]:
    """The device as PyTorch sees it, and the best rates that PyTorch gets from it."""
    kind, device = _device()
    side, dtype = MATMUL_SIDE[kind], spec.dtype_on(kind)
    a = torch.ones(side, side, dtype=getattr(torch, dtype), device=device)
    x = torch.zeros(COPY_BYTES[kind] // 4, device=device)

    def done(function: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            function()
            if kind == "gpu":
                torch.cuda.synchronize()

        return run

    rates = best_rates(done(lambda: a @ a), done(lambda: x.add_(1)), kind)
    name = torch.cuda.get_device_name() if kind == "gpu" else "cpu"
    named = {"kind": kind, "name": name, "dtype": dtype}
    return named | {"version": f"torch {torch.__version__}"} | rates


def _device() -> tuple[str, torch.device]:
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
        return "gpu", torch.device("cuda")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return "cpu", torch.device("cpu")


def _logits(net: torch.nn.Module, images: torch.Tensor, dtype: str) -> torch.Tensor:
    # (batch, height, width, channels) seen as channels first is what channels_last means.
    x = (images.permute(0, 3, 1, 2).float() / 255.0 - GREY_MEAN) / GREY_STD
    with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
        return net(x).float()


def _train_step(
    net: torch.nn.Module,
    batch: dict[str, torch.Tensor],
    compiler: Callable[[Any], Any],
    dtype: str,
) -> Callable[[], None]:
    settings = TrainConfig()
    optimizer = torch.optim.SGD(
        decay_groups(net, settings.weight_decay),
        lr=LEARNING_RATE,
        momentum=settings.momentum,
        nesterov=True,
        fused=True,
    )

    @compiler
    def loss_and_top1(images: torch.Tensor, labels: torch.Tensor) -> Any:
        logits = _logits(net, images, dtype)
        loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        return loss, (logits.detach().argmax(1) == labels).float().mean()

    def step() -> None:
        loss, _ = loss_and_top1(batch["image"], batch["label"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _eval_step(
    net: torch.nn.Module,
    batch: dict[str, torch.Tensor],
    compiler: Callable[[Any], Any],
    dtype: str,
) -> Callable[[], None]:
    @compiler
    def sums(images: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> Any:
        logits = _logits(net, images, dtype)
        loss = F.cross_entropy(logits, labels, reduction="none")
        right = logits.topk(5).indices == labels[:, None]
        top1, top5 = right[:, 0].float(), right.any(1).float()
        return (loss * mask).sum(), (top1 * mask).sum(), (top5 * mask).sum(), mask.sum()

    @torch.no_grad()
    def step() -> None:
        sums(batch["image"], batch["label"], batch["mask"])

    return step
