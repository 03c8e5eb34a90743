"""Quantities as users write them ("50ms", "80GiB"), as plain seconds and bytes inside."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ]*)\s*")


def parse_quantity(value: Any, units: dict[str, float] | dict[str, int], kind: str) -> Any:
    """Turn "50ms" into 0.05; numbers and anything that is not text pass through untouched.

    Raises ValueError naming the known units when the text is no number with one of them.
    """
    if not isinstance(value, str):
        return value
    match = _NUMBER_AND_UNIT.fullmatch(value)
    known = ", ".join(units)
    if not match:
        raise ValueError(f"{value!r} is not a {kind}; write a number, or a number with a unit of {known}")
    number, unit = match.groups()
    if unit and unit not in units:
        raise ValueError(f"{value!r} has no known unit of {kind}; use one of {known}")
    return float(number) * units[unit] if unit else float(number)


def _seconds(value: Any) -> Any:
    return parse_quantity(value, _SECONDS, "time")


def _bytes(value: Any) -> Any:
    amount = parse_quantity(value, _BYTES, "size")
    return round(amount) if isinstance(amount, float) else amount


Seconds = Annotated[
    float, BeforeValidator(_seconds, json_schema_input_type=float | str), Field(ge=0, allow_inf_nan=False)
]
"""A time of at least zero, in seconds; "50ms", "2s", "5min", "1h" are understood."""

Bytes = Annotated[int, BeforeValidator(_bytes, json_schema_input_type=int | str), Field(ge=0)]
"""A size in bytes; "16GB" is 16e9 and "16GiB" is 16 * 2**30."""


def _name(value: Any) -> Any:
    return str(value) if type(value) in (int, float) else value


Name = Annotated[str, BeforeValidator(_name)]
"""A name of the user's own; a bare number will do: `512` is "512"."""
