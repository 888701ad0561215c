"""Quantities with units, as they stand in files: 800GiB, 50us, 25.4GiB/s.

Inside the program sizes are whole bytes, times seconds and rates bytes per second, as plain numbers; names say which.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40

SIZE_UNITS = {
    "B": 1,
    "KiB": KIB,
    "MiB": MIB,
    "GiB": GIB,
    "TiB": TIB,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
TIME_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
}
RATE_UNITS = {f"{unit}/s": factor for unit, factor in SIZE_UNITS.items()}

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?"


def _parse(text: Any, kind: str, units: dict[str, Any], example: str) -> Decimal:
    """Return the quantity in base units. Raises ValueError saying what was found and what is allowed."""
    allowed = f"a {kind} with a unit, such as {example} (units: {', '.join(units)})"
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError(f"found {describe(text)}; allowed is {allowed}")
    match = re.fullmatch(rf"\s*({_NUMBER})\s*([A-Za-z/]*)\s*", str(text))
    if not match:
        raise ValueError(f"found {text!r}; allowed is {allowed}")
    number, unit = match.groups()
    if not unit:
        raise ValueError(f"found {text}, a number without a unit; allowed is {allowed}")
    if unit not in units:
        near = [known for known in units if known.lower() == unit.lower()]
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"found {text!r}, in which {unit!r} is no unit of a {kind}; allowed is {allowed}{hint}")
    return Decimal(number) * Decimal(units[unit])


def describe(value: Any) -> str:
    """Return how a value of a file is named in a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return repr(value)


def parse_size(text: Any) -> int:
    """Return the bytes of '800GiB' and the like. Raises ValueError, also for a fraction of a byte."""
    size_bytes = _parse(text, "size", SIZE_UNITS, "800GiB")
    if size_bytes != int(size_bytes):
        raise ValueError(f"found {text!r}, which is not a whole number of bytes")
    return int(size_bytes)


def parse_time(text: Any) -> float:
    """Return the seconds of '50us' and the like. Raises ValueError."""
    return float(_parse(text, "time", TIME_UNITS, "50us"))


def parse_rate(text: Any) -> float:
    """Return the bytes per second of '25.4GiB/s' and the like. Raises ValueError."""
    return float(_parse(text, "rate", RATE_UNITS, "25.4GiB/s"))


def format_size(size_bytes: float) -> str:
    """Return a size in the largest binary unit that leaves at least 1, such as '800 GiB' or '1.5 MiB'."""
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes >= factor and (unit != "TiB" or size_bytes % TIB == 0):
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.4g} B"


def format_time(time_s: float) -> str:
    """Return a time in the largest unit that leaves at least 1, such as '50 us' or '41.1 s'."""
    if time_s == 0:
        return "0 s"
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if time_s >= factor:
            return f"{time_s / factor:.4g} {unit}"
    return f"{time_s / 1e-9:.4g} ns"


def format_rate(rate_bytes_per_s: float) -> str:
    """Return a rate such as '25.4 GiB/s'."""
    return f"{format_size(rate_bytes_per_s)}/s"


def _validator(parse: Any) -> BeforeValidator:
    def validate(value: Any) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("quantity", "{problem}", {"problem": str(error)}) from None

    return BeforeValidator(validate)


def _schema(units: dict[str, Any], what: str) -> WithJsonSchema:
    pattern = rf"^\s*{_NUMBER}\s*({'|'.join(units)})\s*$"
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": what})


Size = Annotated[int, _validator(parse_size), _schema(SIZE_UNITS, "a size with its unit, such as 800GiB")]
Time = Annotated[float, _validator(parse_time), _schema(TIME_UNITS, "a time with its unit, such as 50us")]
Rate = Annotated[float, _validator(parse_rate), _schema(RATE_UNITS, "a rate with its unit, such as 25.4GiB/s")]
