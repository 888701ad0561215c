"""Names in figures: of cases, of columns with their unit, of values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from models.text.units import format_size, format_time, parse_size, parse_time

_OWN_WORDS = ("machine", "client", "kernel", "policy")  # columns whose values say what they are
_HEADS = {
    "nthreads": "threads allowed",
    "n_workers": "threads at work",
    "cpu_s": "CPU-seconds",
    "size_gib": "size (GiB)",
}
_SIZES = ("min_chunk", "chunk_size", "align", "page_size", "system_page_size")  # bytes, where they are numbers
_UNITS = {"s": "s", "pct": "%", "bytes": "bytes", "gib": "GiB", "j": "J"}


def axis_label(column: str) -> str:
    """Return the name of a column as a person reads it, with its unit: 'time (s)'."""
    if column in _HEADS:
        return _HEADS[column]
    name, _, unit = column.rpartition("_")
    return f"{name.replace('_', ' ')} ({_UNITS[unit]})" if name and unit in _UNITS else column


def amount(value: object) -> float:
    """Return the number of a value in a table: sizes in bytes, times in seconds, and NaN for a word."""
    if isinstance(value, (bool, type(None))):
        return float("nan")
    if not isinstance(value, str):
        return float(value)  # type: ignore[arg-type]
    for parse in (parse_size, parse_time):
        try:
            return float(parse(value))
        except ValueError:
            continue
    return float("nan")


def word(column: str, value: object) -> str:
    """Return a value as a person reads it: 16777216 bytes and '16MiB' are '16 MiB', nothing is 'default'."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "default"
    if isinstance(value, str):
        for parse, write in ((parse_size, format_size), (parse_time, format_time)):
            try:
                return write(parse(value))
            except ValueError:
                continue
        return value
    if column.endswith("_bytes") or column in _SIZES:
        return format_size(int(amount(value)))
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def decimals(least: float) -> int:
    """Return how many decimals leave four digits of the least of some numbers above 0."""
    return max(0, 3 - math.floor(math.log10(least)))


def case_name(columns: Sequence[str], values: Iterable[object]) -> str:
    """Return 'xeon, 16 threads, 100 GiB, min_chunk 1 MiB', without the columns that have their defaults."""
    parts = []
    for column, value in zip(columns, values, strict=True):
        text = word(column, value)
        if column == "nthreads":
            parts.append(f"{text} thread{'' if value == 1 else 's'}")
        elif column == "size_gib":
            parts.append(f"{text} GiB")
        elif column in _OWN_WORDS:
            parts.append(text)
        elif text != "default":
            parts.append(f"{column.removeprefix('background_').removesuffix('_bytes')} {text}")
    return ", ".join(parts)


def case_names(summary: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the name of each case by these columns, with both numbers where fewer threads worked than allowed."""
    names = [case_name(columns, values) for values in summary[list(columns)].itertuples(index=False, name=None)]
    if "nthreads" not in columns or "n_workers" not in summary:
        return names
    counts = zip(names, summary["nthreads"], summary["n_workers"], strict=True)
    return [f"{name} ({worked:.3g} at work)" if worked < allowed else name for name, allowed, worked in counts]
