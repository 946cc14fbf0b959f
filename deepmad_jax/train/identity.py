"""What a checkpoint is of: the refusal to go on with another network or other batches."""

from collections.abc import Mapping
from typing import Any

import jax

from deepmad_jax.errors import UserError

_WHY = {
    "network": "so it is of another architecture",
    "stream": "so its place in the data would mean other images",
}


def check_identity(
    where: str, saved: Mapping[str, Any], wanted: Mapping[str, Any], part: str
) -> None:
    """Raises `UserError` where a checkpoint is of another network or stream than the wanted one.

    Args:
        where: the checkpoint, as the subject of a sentence.
        saved, wanted: plain JSON values; nothing wanted fits everything.
        part: ``network``, or ``stream``, of which a checkpoint may say more than is asked.
    """
    was, now = _flat(saved[part]), _flat(wanted[part])
    differing = [name for name in now if name not in was or was[name] != now[name]]
    differing += [name for name in was if name not in now] if part == "network" else []
    if not now or not differing:
        return
    listed = ", ".join(f"{name}={was.get(name)}, not {now.get(name)}" for name in differing)
    raise UserError(
        f"{where} was made with {listed}, {_WHY[part]}. Give back those values to go on, or choose "
        "another workdir."
    )


def check_shapes(where: str, saved: Any, wanted: Any) -> None:
    """Raises `UserError` where the arrays of two states differ in name or shape."""
    was, now = _shapes(saved), _shapes(wanted)
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            raise UserError(
                f"{where} is of another architecture, or was made with another ema_decay: {name} "
                f"has shape {was.get(name)} there and {now.get(name)} here (None: not there). Give "
                "back what it was trained with, or choose another workdir."
            )


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested dicts and lists as one dict with dotted names."""
    if isinstance(values, Mapping):
        items: Any = values.items()
    elif isinstance(values, list | tuple):
        items = enumerate(values)
    else:
        return {name: values}
    flat = {}
    for key, value in items:
        flat |= _flat(value, f"{name}.{key}" if name else str(key))
    return flat


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in flat
    }
