"""Numbers as people write them: 1.8G, 11.7M, 390e6, 50k, inf."""

import re

UNITS = {"k": 3, "K": 3, "M": 6, "G": 9, "B": 9, "T": 12}
"""Unit -> power of ten."""


class NotANumber(ValueError):
    """Text that is no number, or that may be two; says what to write, where something is near."""


def number_of(text: str) -> int | float:
    """The number a text stands for; a unit moves the decimal point and rounds nothing.

    Raises:
        NotANumber: see there.

    >>> number_of("1.8G"), number_of("390e6"), number_of("50 k"), number_of("-3"), number_of("inf")
    (1800000000.0, 390000000.0, 50000.0, -3, inf)
    """
    text = text.strip()
    if re.fullmatch(r"[+-]?(inf|infinity|nan)", text, re.IGNORECASE):
        return float(text)
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise NotANumber(_COMMA if re.fullmatch(r"[+-]?[\d.]+(,[\d.]+)+", text) else "")
    digits, exponent, unit = found["digits"].replace("_", ""), found["exponent"], found["unit"]
    if not unit:
        return float(f"{digits}{exponent}") if exponent or "." in digits else int(digits)
    if unit not in UNITS:
        raise NotANumber(_about_unit(digits, unit))
    if exponent:
        raise NotANumber("it has an exponent and a unit; write one of the two")
    return float(f"{digits}e{UNITS[unit]}")


_NUMBER = re.compile(
    r"(?P<digits>[+-]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+))(?P<exponent>e[+-]?[0-9]+|)"
    r"\s*(?P<unit>[^\W\d_]*)",
    re.IGNORECASE,
)
_COMMA = "a comma separates the items of a list; write it without, or with a unit such as 1M"


def _about_unit(digits: str, unit: str) -> str:
    if "flop" in unit.lower():
        return (
            "FLOPs may count a multiplication with its addition once or twice; give the number of "
            "multiply-accumulates, such as 1.8G"
        )
    if unit == "m":
        return f"m may be milli or million; write {digits}M for millions"
    if unit[0].upper() in UNITS:
        return f"write {digits}{unit[0].upper()}"
    return "the units are k, M, G (or B) and T, such as 1.8G"
