"""PyTorch's keys of the networks that the paper compares with: those of their authors' code.

    modules(arch, "stage1.rest", 1)     ("layers.0.blocks.1.norm1", "layers.0.blocks.1.attn.qkv",
                                         ...)

One name for each layer that holds arrays, in the order of the layer table; what follows it is of
the layer's kind (`tinynas_weights.LEAVES`). timm has Swin and DeiT by nearly the same keys, see
`from_timm`. Its TNT and RepLKNet are other code: the first another network, the second not there.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from deepmad_jax.arch import Architecture

BUFFERS = (
    *("num_batches_tracked", "relative_position_index", "attn_mask"),
    "outer_tokens",
)
"""Ends of keys that are no weights: counters, what follows from the window's side, and a table that
TNT keeps and never uses. They are not read."""

_BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_SWIN = ("norm1", "attn.qkv", "attn", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_PERFORMER = ("norm1", "kqv", "", "proj", "norm2", "mlp.0", "mlp.2")
_MLP = ("{0}_norm2", "{0}_mlp.fc1", "{0}_mlp.fc2")
_TNT_HALF = ("{0}_norm1", "{0}_attn.qk", "{0}_attn.v", "{0}_attn.proj", *_MLP)
_TNT = (
    *(name.format("inner") for name in _TNT_HALF),
    *("proj_norm1", "proj", "proj_norm2"),
    *(name.format("outer") for name in _TNT_HALF),
)
_SLAK = (
    *(f"large_kernel.{conv}.{part}" for conv in ("LoRA1", "LoRA2", "small_conv")
      for part in ("conv", "bn")),
    *("norm", "pwconv1", "pwconv2", ""),
)  # fmt: skip
_REPLK = (
    *("{0}.prelkb_bn", "{0}.pw1.conv", "{0}.pw1.bn"),
    *("{0}.large_kernel.lkb_origin.conv", "{0}.large_kernel.lkb_origin.bn"),
    *("{0}.large_kernel.small_conv.conv", "{0}.large_kernel.small_conv.bn"),
    *("{0}.pw2.conv", "{0}.pw2.bn"),
    *("{1}.preffn_bn", "{1}.pw1.conv", "{1}.pw1.bn", "{1}.pw2.conv", "{1}.pw2.bn"),
)


def modules(arch: Architecture, section: str, place: int = 0) -> tuple[str, ...]:
    """The name of every layer with arrays in a section; ``place`` is a block's in its stage.

    Of a ``position`` it is the key of its table.
    """
    block = arch.stages[-1].block
    if section == "head":
        return () if arch.stage_norms else ("norm", "head")
    if section == "stem":
        return _stem(arch)
    if section.startswith("norm"):
        return (f"norm{int(section[4:]) - 1}",)
    stage = int(section.removeprefix("stage").split(".")[0]) - 1
    return _STAGES[block](arch, stage, place)


def from_timm(arch: Architecture, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The weights by the authors' keys, where timm's of today were given; else as they are.

    timm has Swin's merging in the stage that it opens and the classifier in ``head.fc``.
    """
    if arch.stages[-1].block != "swin" or "head.fc.weight" not in weights:
        return dict(weights)

    def renamed(key: str) -> str:
        key = key.replace("head.fc.", "head.")
        found = re.fullmatch(r"layers\.(\d+)\.(downsample\..*)", key)
        return f"layers.{int(found[1]) - 1}.{found[2]}" if found else key

    return {renamed(key): value for key, value in weights.items()}


def _stem(arch: Architecture) -> tuple[str, ...]:
    kind, block = arch.stem.kind, arch.stages[-1].block
    if kind == "patch":
        return ("downsample_layers.0.0", "downsample_layers.0.1")
    if kind == "large_kernel":
        return tuple(f"stem.{i}.{part}" for i in range(4) for part in ("conv", "bn"))
    if kind == "patches":
        prefix = "patch_embed" if block == "swin" else "patch_embed1"
        return (f"{prefix}.proj", f"{prefix}.norm")
    if kind == "class_token":
        return ("patch_embed.proj", "pos_embed")
    if kind == "tnt":
        words = ("patch_embed.proj", "inner_pos", "proj_norm1", "proj", "proj_norm2")
        return (*words, "outer_pos")
    names = _PERFORMER if kind == "t2t_performer" else _BLOCK
    prefixes = [f"tokens_to_token.attention{i}" for i in (1, 2)]
    transformers = tuple(_below(prefix, name) for prefix in prefixes for name in names)
    return (*transformers, "tokens_to_token.project", "pos_embed")


def _swin(arch: Architecture, stage: int, place: int) -> tuple[str, ...]:
    before = f"layers.{stage - 1}.downsample"
    merging = (f"{before}.norm", f"{before}.reduction") if stage and not place else ()
    return (*merging, *(f"layers.{stage}.blocks.{place}.{name}" for name in _SWIN))


def _pvt(arch: Architecture, stage: int, place: int) -> tuple[str, ...]:
    number, prefix = stage + 1, f"block{stage + 1}.{place}"
    opening: tuple[str, ...] = ()
    if not place:
        opening = (f"patch_embed{number}.proj", f"patch_embed{number}.norm") if stage else ()
        opening += (f"pos_embed{number}",)
    reduced = ("attn.sr", "attn.norm") if arch.stages[stage].kernel > 1 else ()
    names = ("norm1", "attn.q", *reduced, "attn.kv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    return (*opening, *(f"{prefix}.{name}" for name in names))


def _numbered(names: tuple[str, ...]) -> Callable[[Architecture, int, int], tuple[str, ...]]:
    """Blocks that are counted through, whatever the stage."""

    def found(arch: Architecture, stage: int, place: int) -> tuple[str, ...]:
        before = sum(earlier.depth for earlier in arch.stages[:stage])
        return tuple(f"blocks.{before + place}.{name}" for name in names)

    return found


def _slak(arch: Architecture, stage: int, place: int) -> tuple[str, ...]:
    opening = (f"downsample_layers.{stage}.0", f"downsample_layers.{stage}.1")
    names = tuple(_below(f"stages.{stage}.{place}", name) for name in _SLAK)
    return (*(opening if stage and not place else ()), *_merged(arch, names))


def _replk(arch: Architecture, stage: int, place: int) -> tuple[str, ...]:
    opening = [f"transitions.{stage - 1}.{i}.{part}" for i in (0, 1) for part in ("conv", "bn")]
    pair = (f"stages.{stage}.blocks.{2 * place}", f"stages.{stage}.blocks.{2 * place + 1}")
    names = _merged(arch, tuple(name.format(*pair) for name in _REPLK))
    return (*(opening if stage and not place else ()), *names)


def _merged(arch: Architecture, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a block whose small conv lies within the large one, which has no norm."""
    if not arch.merged:
        return names
    large = re.compile(r"(.*large_kernel)\.(lkb_origin|LoRA1)\.conv")
    gone = re.compile(r".*large_kernel\.((lkb_origin|LoRA1)\.bn|small_conv\..*)")
    return tuple(large.sub(r"\1.lkb_reparam", name) for name in names if not gone.fullmatch(name))


def _below(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if name else prefix


_STAGES: dict[str, Callable[[Architecture, int, int], tuple[str, ...]]] = {
    "swin": _swin,
    "vit": _numbered(_BLOCK),
    "t2t": _numbered(_BLOCK),
    "tnt": _numbered(_TNT),
    "pvt": _pvt,
    "pvt_class": _pvt,
    "slak": _slak,
    "replk": _replk,
}
"""Block kind of the last stage -> the names in a block."""
