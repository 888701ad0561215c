"""A machine file without some published tables: the figures fitted to them fall back on other sources.

The rule, for each figure that was fitted to a table, in this order:

1. The file's value under `otherwise`: from other tables of the machine, other machines, or other sources.
2. The geometric mean of the figures fitted to other tables on machines of its family. Else its family's figure, if that
   comes from other sources than the table. Else the same of its family's parent, and so on.
3. The model's own default, where the file need not have the figure.

A default of the model that was fitted on some machine counts, for machines whose files don't have the figure, as fitted
to that table too.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from models.files.families import (
    OF_SOCKET,
    UNKNOWN,
    Family,
    FamilyFigure,
    families,
    own_prior,
    per_node,
    remote_factor,
    words_of,
)
from models.files.machine import build_machine, find_machine_file, shipped_machines
from models.machine import Machine
from models.text.document import locate, read
from models.text.units import GIB, parse_rate, parse_time

_KERNEL = "kernel."
_LINKS = "links.bandwidth"
_FACTORS = "rates.remote_factors"
# Where a family has no figure of its own: which of its figures stands for it.
_SAME = {"rates.serial_clear_rate": "rates.clear_rate", "rates.memory_bandwidth": OF_SOCKET}
DEFAULT = "the model's default"

Document = dict[str, Any]


@dataclass(frozen=True)
class Fallback:
    """The replacement of a figure of a machine where a table isn't used (None: the model's default), and the reason."""

    figure: str
    value: Any
    source: str


@dataclass(frozen=True)
class MachineWithout:
    """A machine without some tables. `kernel` has parameters of the kernel that fall back as well."""

    machine: Machine
    fallbacks: tuple[Fallback, ...]
    kernel: Mapping[str, Any]


@cache
def machine_without(name: str, tables: frozenset[str]) -> MachineWithout:
    """Return a shipped machine as it would be had these tables never been published.

    Raises ValueError for an unknown machine.
    """
    document = copy.deepcopy(_document(name))
    fallbacks = tuple(_fallback(figure, name, tables) for figure in _fitted(name, tables))
    for each in fallbacks:
        _put(document, each)
    document["fits"] = [fit for fit in document.get("fits", []) if fit["table"] not in tables]
    machine = build_machine(locate(document), f"{name} without {', '.join(sorted(tables))}")
    kernel = {each.figure.removeprefix(_KERNEL): each.value for each in fallbacks if each.figure.startswith(_KERNEL)}
    return MachineWithout(machine, fallbacks, kernel)


@cache
def _document(name: str) -> Document:
    plain: Document = read(find_machine_file(name, Path.cwd())).plain()
    return plain


def _fits(name: str) -> Iterator[tuple[str, str]]:
    """Yield the fitted figures of a machine's file, each with its table."""
    for fit in _document(name).get("fits", []):
        for figure in fit["parameters"]:
            yield _path(figure), fit["table"]


def _path(figure: str) -> str:
    """Return where a figure stands in a machine file. A plain name is a rate."""
    return figure if "." in figure else f"rates.{figure}"


def _fitted(name: str, tables: frozenset[str]) -> list[str]:
    """Return the figures of a machine that were fitted to tables: its own, and defaults that were, on any machine."""
    own = [figure for figure, table in _fits(name) if table in tables]
    shared = [
        figure
        for other in shipped_machines()
        for figure, table in _fits(other)
        if table in tables and _get(_document(name), figure) is None
    ]
    return list(dict.fromkeys([*own, *shared]))


def _fallback(figure: str, name: str, tables: frozenset[str]) -> Fallback:
    said = _otherwise(figure, name, tables)
    if said is not None:
        return Fallback(figure, said["value"], said["source"])
    family = families()[_document(name).get("family") or UNKNOWN]
    for kin in (family.name, *family.parents):
        alike = _machines_of(kin, wide=kin != family.name)
        others = [other for other in alike if other != name and _is_fitted_elsewhere(other, figure, tables)]
        values = [_get(_document(other), figure)["value"] for other in others]
        if values and all(not isinstance(value, Mapping) for value in values):
            return Fallback(figure, _mean(values), f"fitted on {', '.join(others)}, of the family {kin}")
        prior = own_prior(kin, _SAME.get(figure, figure), tables)
        if prior is not None:
            return Fallback(figure, _of_prior(figure, name, prior), words_of(prior, families()[kin]))
    return Fallback(figure, None, DEFAULT)


def _of_prior(figure: str, name: str, prior: FamilyFigure) -> Any:
    """Return a family's figure as the file of a machine has it."""
    value = prior.value
    if figure == _FACTORS:
        known = _get(_document(name), figure)
        value = {text: remote_factor(prior.value, int(text)) for text in (known or {"value": {}})["value"]}
    elif _SAME.get(figure) == OF_SOCKET:
        value = per_node(prior.value, int(_document(name)["nodes"][0].get("nodes_per_socket", 1)))
    return value


def _otherwise(figure: str, name: str, tables: frozenset[str]) -> Mapping[str, Any] | None:
    """Return a figure's replacement by the machine's file, or else by the files of others for a default."""
    for each in (name, *(other for other in shipped_machines() if other != name)):
        if each != name and _get(_document(name), figure) is not None:
            break
        for fit in _document(each).get("fits", []):
            told = {_path(key): said for key, said in fit.get("otherwise", {}).items()}
            if fit["table"] in tables and figure in told:
                said: Mapping[str, Any] = told[figure]
                return said
    return None


def _machines_of(family: str, *, wide: bool) -> list[str]:
    """Return the shipped machines of a family, and with `wide` of its descendants too."""
    found = []
    for name in shipped_machines():
        own: Family = families()[_document(name).get("family") or UNKNOWN]
        if family == own.name or (wide and family in own.parents):
            found.append(name)
    return found


def _is_fitted_elsewhere(name: str, figure: str, tables: frozenset[str]) -> bool:
    own = [table for each, table in _fits(name) if each == figure]
    return bool(own) and not set(own) & tables and _get(_document(name), figure) is not None


def _mean(values: Sequence[Any]) -> Any:
    """Return the geometric mean of figures as files have them: plain numbers, rates or times."""
    if len(set(values)) == 1:
        return values[0]
    if not isinstance(values[0], str):
        return statistics.geometric_mean(values)
    if str(values[0]).endswith("/s"):
        return f"{statistics.geometric_mean(map(parse_rate, values)) / GIB:.4g}GiB/s"
    return f"{statistics.geometric_mean(map(parse_time, values)) * 1e9:.4g}ns"


def _get(document: Mapping[str, Any], figure: str) -> Any:
    """Return a machine file's value of a figure and its source, or None."""
    if figure == _LINKS:
        links = document.get("links") or []
        return {"value": links[0]["bandwidth"]} if links else None
    here: Any = document
    for key in figure.split("."):
        if not isinstance(here, Mapping) or key not in here:
            return None
        here = here[key]
    return here


def _put(document: Document, fallback: Fallback) -> None:
    """Put a fallback in place, or take the figure out where the model's default stands for it."""
    if fallback.figure.startswith(_KERNEL):
        return
    if fallback.figure == _LINKS:
        for group in document.get("links") or []:
            group |= {"bandwidth": fallback.value, "source": fallback.source}
        return
    *outer, last = fallback.figure.split(".")
    here = document
    for key in outer:
        here = here.setdefault(key, {})
    if fallback.value is None:
        here.pop(last, None)
    else:
        here[last] = {"value": fallback.value, "source": fallback.source}
