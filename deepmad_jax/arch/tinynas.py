"""Reads and writes the structure files of the authors' released code (TinyNAS).

A structure is a list of dicts: a ``ConvKXBNRELU`` stem, ``SuperRes...`` stages, and at most one
more ``ConvKXBNRELU`` of kernel 1, the final conv. A file holds it as Python literals, either alone
or as ``{'best_structures': [structure, ...], 'space_arch': 'CnnNet'}``. Name, resolution and number
of classes are in no file.

Keys of an entry, and our word for it:

    in, out        channels              s    stride, 1 where absent
    btn            inner                 p    padding, (k - 1) // 2 where absent and always here
    k              kernel                g    groups, 1 where absent
    L              depth                 act  the class's own where absent and always here

An entry that no block of ours is equal to is refused, never read as something near: quantised
(``nbitsA``, ``nbitsW``) and 3D blocks, other paddings and activations, and groups where the
released code would group the 1x1 convs too.
"""

import contextlib
import pprint
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepmad_jax.arch.checks import check_int
from deepmad_jax.arch.literals import LocatedDict, read_literal
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.stages import Stage, Stem
from deepmad_jax.arch.textfile import read_text
from deepmad_jax.errors import InvalidArchitecture, NotText, did_you_mean

CLASSES = {
    "SuperResKXKX": "basic",
    "SuperResK1KX": "k1kx",
    "SuperResK1KXK1": "bottleneck",
    "SuperResK1DWK1": "mbconv",
    "SuperResK1DWSEK1": "mbconv_se",
}
"""TinyNAS stage class -> block kind."""

OLD_CLASSES = {
    "SuperResConvKXKX": "SuperResKXKX",
    "SuperResConvK1KX": "SuperResK1KX",
    "SuperResConvK1KXK1": "SuperResK1KXK1",
}
"""Names of the first releases -> today's."""

CONV = "ConvKXBNRELU"
ACTIVATIONS = {CONV: "relu", **dict.fromkeys(CLASSES, "relu"), "SuperResK1DWSEK1": "swish"}
"""Class -> its activation, in TinyNAS's word."""

STAGE_KEYS = ("class", "in", "out", "s", "k", "p", "g", "act", "btn", "L", "inner_class")
CONV_KEYS = ("class", "in", "out", "s", "k", "p", "g", "act")
UNREAD_KEYS = ("inner_class", "force_resproj_skip")
"""Keys that change nothing: the released code sets the first itself, the second has no effect."""


def load(
    path: str | Path,
    *,
    name: str | None = None,
    resolution: int = 224,
    classes: int = 1000,
    index: int = 0,
) -> Architecture:
    """The architecture in a structure file; ``index`` where the file holds several.

    Raises:
        InvalidArchitecture: the message names file and line, and what is wrong there.
    """
    path = Path(path)
    try:
        text = read_text(path)
        return from_text(text, name or path.stem, resolution, classes, index)
    except OSError as error:
        raise InvalidArchitecture(f"Cannot read {path}: {error.strerror}.") from error
    except (InvalidArchitecture, NotText) as error:
        raise InvalidArchitecture(f"{path}: {error}") from error


def from_text(text: str, name: str, resolution: int, classes: int, index: int = 0) -> Architecture:
    """The architecture in the text of a structure file; raises `InvalidArchitecture`."""
    found = read_literal(text)
    if not isinstance(found, LocatedDict):
        return from_structure(found, name, resolution, classes)
    structures = _get(found, "best_structures", "The file")
    if not isinstance(structures, list) or not 0 <= index < len(structures):
        raise InvalidArchitecture(
            f"line {found.lines['best_structures']}: there is no structure number {index}; "
            "best_structures must be a list of structures, counted from 0."
        )
    # Its classes before the space, so that a refusal names the block that is missing here.
    arch = from_structure(structures[index], name, resolution, classes)
    if found.get("space_arch", "CnnNet") != "CnnNet":
        raise InvalidArchitecture(
            f"line {found.lines['space_arch']}: the networks are {found['space_arch']!r}; only "
            "'CnnNet', images in two dimensions, can be built here."
        )
    return arch


def to_text(arch: Architecture) -> str:
    """The text of a structure file that the released code loads; see `to_structure`.

    >>> arch = Architecture("tiny", 32, 3, 10, Stem(8), (Stage("basic", 8, 8, 3, 1, 1),))
    >>> from_text(to_text(arch), "tiny", 32, 10) == arch
    True
    """
    contents = {"best_structures": [to_structure(arch)], "space_arch": "CnnNet"}
    return pprint.pformat(contents, indent=2, width=120) + "\n"


def from_structure(
    structure: Sequence[dict[str, Any]], name: str, resolution: int, classes: int
) -> Architecture:
    """The architecture a TinyNAS structure describes.

    Args:
        structure: the list of dicts, in network order.
        name, resolution, classes: what the structure does not say.
    Raises:
        InvalidArchitecture: an unknown class, a key missing or unknown, a value no block of ours
            has, or widths that do not chain.
    """
    if not isinstance(structure, list | tuple) or not structure:
        raise InvalidArchitecture("A structure is a list of dicts, a stem first; this is none.")
    for i, entry in enumerate(structure, 1):
        if not isinstance(entry, dict):
            raise InvalidArchitecture(f"Entry {i} of the structure is {entry!r}, not a dict.")
        _check_class(entry, i)
    stem, *rest = structure
    _check_conv(stem, 1)
    final = rest.pop() if rest and rest[-1].get("class") == CONV else None
    stages = []
    width = stem["out"]
    for i, entry in enumerate(rest, 2):
        stages.append(_stage(entry, i, width))
        width = stages[-1].width
    if final is not None:
        _check_conv(final, len(structure), final=True)
        _check_chain(final, len(structure), width)
        with _placed(_where(final, "out", len(structure))):
            check_int("out", final["out"], 1)
    with _placed(_where(stem, "class", 1)):
        check_int("in", stem["in"], 1)
        first = Stem(stem["out"], stem["k"], stem.get("s", 1))
    return Architecture(
        name=name,
        resolution=resolution,
        in_channels=stem["in"],
        classes=classes,
        stem=first,
        stages=tuple(stages),
        final_width=final["out"] if final is not None else None,
    )


def to_structure(arch: Architecture) -> list[dict[str, Any]]:
    """The inverse of `from_structure`.

    Raises:
        InvalidArchitecture: a block kind, groups, a stem, an activation or a head that the
            released code does not have; one error names all of them.
    """
    _check_expressible(arch)
    names = {block: cls for cls, block in CLASSES.items()}
    stem = arch.stem
    structure = [_conv(arch.in_channels, stem.width, stem.kernel, stem.stride)]
    width = stem.width
    for i, stage in enumerate(arch.stages, 1):
        entry = {"class": names[stage.block], "in": width, "out": stage.width, "s": stage.stride}
        entry |= {"k": stage.kernel, "L": stage.depth, "btn": stage.inner}
        if stage.groups != 1:
            _check_groups(names[stage.block], stage.groups, f"Stage {i}")
            entry["g"] = stage.groups
        structure.append(entry)
        width = stage.width
    if arch.final_width is not None:
        structure.append(_conv(width, arch.final_width, 1, 1))
    return structure


def _check_expressible(arch: Architecture) -> None:
    blocks = dict.fromkeys(s.block for s in arch.stages if s.block not in CLASSES.values())
    found = [f"{block} blocks" for block in blocks]
    found += [f"a {arch.stem.kind} stem"] * (arch.stem.kind != "conv")
    # Whatever the blocks do: stem and final conv have it too, and theirs is a ReLU in that code.
    found += [f"{arch.activation} activations"] * (arch.activation != ACTIVATIONS[CONV])
    found += ["a LayerNorm in the head"] * arch.head_norm
    found += [f"clips of {arch.frames} frames"] * bool(arch.frames)
    if found:
        raise InvalidArchitecture(
            f"{arch.name} has {', '.join(found)}, which the released TinyNAS code does not have; "
            f"its blocks are {', '.join(CLASSES.values())}. Write its architecture as JSON instead "
            "(`to_json`; the safetensors export does so too)."
        )


def _conv(c_in: int, c_out: int, kernel: int, stride: int) -> dict[str, Any]:
    return {"class": CONV, "in": c_in, "out": c_out, "s": stride, "k": kernel}


def _stage(entry: dict[str, Any], index: int, width: int) -> Stage:
    where = _where(entry, "class", index)
    cls = OLD_CLASSES.get(entry["class"], entry["class"])
    if cls == CONV:
        raise InvalidArchitecture(f"{where}: a {CONV} can only come first or last.")
    _check_keys(entry, index, cls, STAGE_KEYS)
    _check_chain(entry, index, width)
    groups = entry.get("g", 1)
    if groups != 1:
        _check_groups(cls, groups, _where(entry, "g", index))
    with _placed(where):
        return Stage(
            block=CLASSES[cls],
            width=entry["out"],
            inner=_get(entry, "btn", where),
            kernel=entry["k"],
            depth=_get(entry, "L", where),
            stride=entry.get("s", 1),
            groups=groups,
        )


def _check_class(entry: dict[str, Any], index: int) -> None:
    where = _where(entry, "class", index)
    cls = _get(entry, "class", where)
    known = (CONV, *CLASSES, *OLD_CLASSES)
    if cls not in known:
        raise InvalidArchitecture(
            f"{where}: no block here is like the class {cls!r}; {did_you_mean(str(cls), known)}"
        )


def _check_conv(entry: dict[str, Any], index: int, final: bool = False) -> None:
    if entry["class"] != CONV:
        raise InvalidArchitecture(
            f"{_where(entry, 'class', index)}: a network starts with a {CONV}, not "
            f"{entry['class']!r}."
        )
    _check_keys(entry, index, CONV, CONV_KEYS)
    fixed = {"g": 1, **({"k": 1, "s": 1} if final else {})}
    for key, value in fixed.items():
        if entry.get(key, value) != value:
            raise InvalidArchitecture(
                f"{_where(entry, key, index)}: {key!r} of {'the last' if final else 'this'} {CONV} "
                f"is {entry[key]!r}; here it can only be {value}."
            )


def _check_keys(entry: dict[str, Any], index: int, cls: str, known: Sequence[str]) -> None:
    """Every key is known, and those that only restate the block's own value do."""
    for key in entry:
        if key in ("nbitsA", "nbitsW"):
            raise InvalidArchitecture(
                f"{_where(entry, key, index)}: {key!r} makes this a quantised {cls}; quantised "
                "blocks cannot be built here."
            )
        if key not in known and key not in UNREAD_KEYS:
            raise InvalidArchitecture(
                f"{_where(entry, key, index)}: unknown key {key!r}; {did_you_mean(key, known)}"
            )
    for key in ("in", "out", "k"):
        _get(entry, key, _where(entry, "class", index))
    expected = {"act": ACTIVATIONS[cls]}
    if isinstance(entry["k"], int):
        expected["p"] = (entry["k"] - 1) // 2  # type: ignore[assignment]
    for key, value in expected.items():
        if key in entry and entry[key] != value:
            raise InvalidArchitecture(
                f"{_where(entry, key, index)}: {key!r} is {entry[key]!r}, but a {cls} of kernel "
                f"{entry['k']} has {value!r} here and nothing else."
            )


def _check_chain(entry: dict[str, Any], index: int, width: int) -> None:
    if entry["in"] != width:
        raise InvalidArchitecture(
            f"{_where(entry, 'in', index)}: takes {entry['in']} channels, but the entry before "
            f"gives {width}."
        )


def _check_groups(cls: str, groups: Any, where: str) -> None:
    if cls != "SuperResKXKX":
        raise InvalidArchitecture(
            f"{where}: {groups!r} groups. The released code would group the 1x1 convs of a {cls} "
            "too, which no block here does: groups must be 1."
        )


def _get(entry: dict[str, Any], key: str, where: str) -> Any:
    if key not in entry:
        raise InvalidArchitecture(f"{where}: lacks {key!r}: {dict(entry)}.")
    return entry[key]


def _where(entry: dict[str, Any], key: str, index: int) -> str:
    """Line and entry of a value; the entry alone where the structure came from no file."""
    lines = getattr(entry, "lines", None)
    if lines is None:
        return f"entry {index}"
    return f"line {lines.get(key, entry.line)} (entry {index})"  # type: ignore[attr-defined]


@contextlib.contextmanager
def _placed(where: str) -> Iterator[None]:
    """What a constructor finds wrong is told with its place in the file."""
    try:
        yield
    except InvalidArchitecture as error:
        text = str(error)
        raise InvalidArchitecture(text if text.startswith(where) else f"{where}: {text}") from error
