"""Tables that fit a terminal: long values shortened, columns left out that can be done without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

_LONGEST = 24  # characters of a value, in a table that is too wide


def table_text(columns: Mapping[str, Sequence[Any]], align: Sequence[str] | None = None) -> str:
    """Return a table as text. `align` has left or right for each column; without it all are right."""
    return tabulate(dict(columns), headers="keys", disable_numparse=True, stralign="right", colalign=align)


def fit_table(
    columns: Mapping[str, Sequence[Any]],
    width: int | None,
    dispensable: Sequence[str],
    align: Mapping[str, str] | None = None,
) -> str:
    """Return a table as text of at most `width` characters (None: any), if that can be had, and what was left out.

    First values are shortened, then columns are left out, the last of the `dispensable` ones first.

    >>> print(fit_table({"n": [1], "time": [2.5], "remark": ["a word"]}, 10, ["remark"]))
      n    time
    ---  ------
      1     2.5
    <BLANKLINE>
    Left out, to fit: remark; --wide has all.
    """
    shown: dict[str, Sequence[Any]] = dict(columns)

    def text() -> str:
        given = None if align is None else [align.get(name, "right") for name in shown]
        return table_text(shown, given)

    def is_too_wide() -> bool:
        return width is not None and max(map(len, text().splitlines()), default=0) > width

    if is_too_wide():
        shown = {name: [_short(value) for value in values] for name, values in shown.items()}
    left_out: list[str] = []
    waiting = [name for name in dispensable if name in shown]
    while waiting and is_too_wide():
        left_out.insert(0, waiting.pop())
        del shown[left_out[0]]
    if not left_out:
        return text()
    named = ", ".join(" ".join(name.split()) for name in left_out)
    return f"{text()}\n\nLeft out, to fit: {named}; --wide has all."


def _short(value: Any) -> Any:
    text = str(value)
    return value if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
