"""Quantities with units, as they stand in files: 800GiB, 50us, 25.4GiB/s.

Inside the program sizes are whole bytes, times seconds, rates bytes per second, powers watts and energies joules, as
plain numbers. Names say which.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from models.text.problems import did_you_mean

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
POWER_UNITS = {"mW": Decimal("1e-3"), "W": Decimal(1), "kW": Decimal(1000)}
TRAFFIC_ENERGY_UNITS = {"pJ/B": Decimal("1e-12"), "nJ/B": Decimal("1e-9"), "pJ/bit": Decimal("8e-12")}

MAX_SIZE_BYTES = 2**20 * TIB
MAX_TIME_S = 1000 * 3600.0
MIN_RATE_BYTES_PER_S, MAX_RATE_BYTES_PER_S = 1, 1024 * TIB
MAX_POWER_W = 1e6
MAX_TRAFFIC_J_PER_BYTE = 1e-6

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?"


def _parse(text: Any, kind: str, units: dict[str, Any], example: str) -> Decimal:
    """Return the quantity in base units. Raises ValueError with the value found and the values allowed."""
    allowed = f"a {kind} with a unit, such as {example} (units: {', '.join(units)})"
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError(f"found {describe(text)}; allowed is {allowed}")
    match = re.fullmatch(rf"\s*(-?)({_NUMBER})\s*([^\W\d_/]*(?:/[^\W\d_]*)?)\s*", str(text))
    if not match:
        raise ValueError(f"found {describe(text)}; allowed is {allowed}")
    sign, number, unit = match.groups()
    if not unit:
        raise ValueError(f"found {describe(text)}, a number without a unit; allowed is {allowed}")
    if unit not in units:
        hint = _near_unit(unit, units)
        raise ValueError(
            f"found {describe(text)}, in which {unit!r} is no unit of a {kind}; allowed is {allowed}{hint}"
        )
    if sign:
        raise ValueError(f"found {describe(text)}, which is negative; allowed is {allowed}")
    return Decimal(number) * Decimal(units[unit])


def _near_unit(unit: str, units: dict[str, Any]) -> str:
    """Return '; did you mean X?' for similar units: of other case, cut short or drawn out."""
    found = unit.replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u").lower()
    near = [known for known in units if known.lower() == found]
    near = near or [known for known in units if known.lower().startswith(found)]
    near = near or [max((known for known in units if found.startswith(known.lower())), key=len, default="")]
    return f"; did you mean {' or '.join(near)}?" if near[0] else did_you_mean(found, list(units))


def describe(value: Any) -> str:
    """Return the name of a file's value in a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        text = f"[{', '.join(describe(item) for item in value[:9])}]"
        plain = len(value) < 9 and len(text) < 50 and not any(isinstance(item, (dict, list)) for item in value)
        return ("a list" if not plain else text) if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def parse_size(text: Any) -> int:
    """Return the bytes of '800GiB' and the like. Raises ValueError, also for a fraction of a byte."""
    size_bytes = _parse(text, "size", SIZE_UNITS, "800GiB")
    if size_bytes > MAX_SIZE_BYTES:
        raise ValueError(f"found {describe(text)}; allowed is at most {MAX_SIZE_BYTES // TIB}TiB")
    if size_bytes != int(size_bytes):
        raise ValueError(f"found {describe(text)}; allowed is a whole number of bytes")
    return int(size_bytes)


def parse_time(text: Any) -> float:
    """Return the seconds of '50us' and the like. Raises ValueError."""
    time_s = float(_parse(text, "time", TIME_UNITS, "50us"))
    if time_s > MAX_TIME_S:
        raise ValueError(f"found {describe(text)}; allowed is at most {MAX_TIME_S / 3600:g}h")
    return time_s


def parse_rate(text: Any) -> float:
    """Return the bytes per second of '25.4GiB/s' and the like. Raises ValueError."""
    rate = float(_parse(text, "rate", RATE_UNITS, "25.4GiB/s"))
    if not MIN_RATE_BYTES_PER_S <= rate <= MAX_RATE_BYTES_PER_S:
        raise ValueError(f"found {describe(text)}; allowed is 1B/s to {MAX_RATE_BYTES_PER_S // TIB}TiB/s")
    return rate


def parse_power(text: Any) -> float:
    """Return the watts of '5.7W' and the like. Raises ValueError."""
    power_w = float(_parse(text, "power", POWER_UNITS, "5.7W"))
    if power_w > MAX_POWER_W:
        raise ValueError(f"found {describe(text)}; allowed is at most {MAX_POWER_W / 1e3:g}kW")
    return power_w


def parse_traffic_energy(text: Any) -> float:
    """Return the joules per byte of '0.3nJ/B', '38pJ/bit' and the like. Raises ValueError."""
    energy = float(_parse(text, "traffic energy", TRAFFIC_ENERGY_UNITS, "0.3nJ/B"))
    if energy > MAX_TRAFFIC_J_PER_BYTE:
        raise ValueError(f"found {describe(text)}; allowed is at most {MAX_TRAFFIC_J_PER_BYTE * 1e9:g}nJ/B")
    return energy


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


def format_like(text: object, value: float) -> str:
    """Return a number as a quantity in the style of a text, such as '1 s' beside '2000ms', or else as a number."""
    if not value:
        return "0"
    for parse, write in ((parse_size, format_size), (parse_time, format_time), (parse_rate, format_rate)):
        try:
            parse(text)
        except ValueError:
            continue
        return write(value)
    return str(value) if isinstance(value, int) else f"{value:g}"


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
Watts = Annotated[float, _validator(parse_power), _schema(POWER_UNITS, "a power with its unit, such as 5.7W")]
TrafficEnergy = Annotated[
    float,
    _validator(parse_traffic_energy),
    _schema(TRAFFIC_ENERGY_UNITS, "a traffic energy with its unit, such as 0.3nJ/B"),
]
