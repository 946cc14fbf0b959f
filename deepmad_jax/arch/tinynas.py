"""Reads and writes the structure lists of the authors' released code (TinyNAS).

A structure is a list of dicts: a ``ConvKXBNRELU`` stem, ``SuperRes...`` stages, and at most one
more ``ConvKXBNRELU`` of kernel 1, the final conv. Here the list itself, as JSON or Python gives
it.
"""

from typing import Any

from deepmad_jax.arch.spec import Architecture, Stage, Stem
from deepmad_jax.errors import InvalidArchitecture, did_you_mean

CLASSES = {
    "SuperResKXKX": "basic",
    "SuperResK1KX": "k1kx",
    "SuperResK1KXK1": "bottleneck",
    "SuperResK1DWK1": "mbconv",
    "SuperResK1DWSEK1": "mbconv_se",
}
"""TinyNAS stage class -> block kind."""


def from_structure(
    structure: list[dict[str, Any]], name: str, resolution: int, classes: int
) -> Architecture:
    """The architecture a TinyNAS structure describes.

    Args:
        structure: the list of dicts, in network order.
        name, resolution, classes: what the structure does not say.
    Raises:
        InvalidArchitecture: an unknown class, a missing key, or widths that do not chain.
    """
    stem, *rest = structure
    final_width = None
    if rest and rest[-1].get("class") == "ConvKXBNRELU":
        final_width = _get(rest[-1], "out", len(structure))
        rest = rest[:-1]
    stages = []
    width = _get(stem, "out", 1)
    for i, entry in enumerate(rest, 2):
        cls = _get(entry, "class", i)
        if cls not in CLASSES:
            raise InvalidArchitecture(
                f"Entry {i} has the unknown class {cls!r}; {did_you_mean(cls, CLASSES)}"
            )
        if _get(entry, "in", i) != width:
            raise InvalidArchitecture(
                f"Entry {i} takes {entry['in']} channels, but the entry before gives {width}."
            )
        width = _get(entry, "out", i)
        stages.append(
            Stage(
                block=CLASSES[cls],
                width=width,
                inner=_get(entry, "btn", i),
                kernel=_get(entry, "k", i),
                depth=_get(entry, "L", i),
                stride=_get(entry, "s", i),
            )
        )
    return Architecture(
        name=name,
        resolution=resolution,
        in_channels=_get(stem, "in", 1),
        classes=classes,
        stem=Stem(_get(stem, "out", 1), _get(stem, "k", 1), _get(stem, "s", 1)),
        stages=tuple(stages),
        final_width=final_width,
    )


def _get(entry: dict[str, Any], key: str, index: int) -> Any:
    if key not in entry:
        raise InvalidArchitecture(f"Entry {index} of the structure lacks {key!r}: {entry}.")
    return entry[key]
