"""Single values of an architecture, checked; what fits together, `spec.py` checks."""

import dataclasses
from typing import Any

from deepmad_jax.errors import InvalidArchitecture, did_you_mean


def check_keys(what: str, data: Any, cls: type) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidArchitecture(f"{what} must be an object with named fields, not {data!r}.")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise InvalidArchitecture(
                f"{what} has an unknown key {key!r}; {did_you_mean(key, fields)}"
            )
    missing = [
        name for name, f in fields.items() if name not in data and f.default is dataclasses.MISSING
    ]
    if missing:
        raise InvalidArchitecture(f"{what} lacks the key(s) {', '.join(missing)}.")
    return data


def check_int(what: str, value: Any, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InvalidArchitecture(
            f"{what} must be an integer of at least {minimum}, not {value!r}."
        )


def check_known(what: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArchitecture(f"Unknown {what} {value!r}; {did_you_mean(str(value), known)}")


def check_kernel(what: str, value: Any) -> None:
    check_int(what, value, 1)
    if value % 2 == 0:
        raise InvalidArchitecture(
            f"{what} is {value}; only odd kernels are defined (padding is (k - 1) / 2)."
        )


def check_stride(what: str, value: Any) -> None:
    if isinstance(value, bool) or value not in (1, 2):
        raise InvalidArchitecture(f"{what} must be 1 or 2, not {value!r}.")
