"""The differences between two results: in the scenario, the machines, the versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Difference = tuple[str, Any, Any]  # path, the first one's value, the second one's; None where there is none


def what_differs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return the paths at which two documents differ, in their order.

    Parameters: two mappings of plain data, such as `results.scenario` or `results.provenance`. A list is one value.

    >>> what_differs({"task": {"size": "8GiB"}, "seed": 1}, {"task": {"size": "9GiB"}, "seed": 1})
    [('task.size', '8GiB', '9GiB')]
    """
    ours, theirs = dict(_leaves(first)), dict(_leaves(second))
    paths = dict.fromkeys([*ours, *theirs])
    return [(path, ours.get(path), theirs.get(path)) for path in paths if ours.get(path) != theirs.get(path)]


def _leaves(document: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        path = f"{at}.{key}" if at else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def in_words(differences: list[Difference], most: int = 4) -> str:
    """Return differences as one text: 'task.size 8GiB, not 9GiB; seed 1, not 2'."""
    words = [f"{path} {_short(first)}, not {_short(second)}" for path, first, second in differences[:most]]
    more = len(differences) - most
    return "; ".join([*words, *([f"{more} more"] if more > 0 else [])])


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
