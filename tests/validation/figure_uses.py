"""Which figure is used by which clients, and to which table it was fitted on which machine: each once."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tabulate import tabulate

from models.clients import CLIENTS
from models.files.families import families
from models.files.machine import iter_shipped
from models.memory.figures import PAGE_FIGURES, ClearFigures
from models.memory.figures import Costs as Group
from tests.validation.page_figures import clients_of as of_pages
from tests.validation.page_figures import stage_of

# Rates of a machine: what of a client uses them. The others serve every client that moves memory.
_OF_CLEARING = ("rates.clear_rate", "rates.serial_clear_rate")


@dataclass(frozen=True)
class FigureUse:
    """A figure by its path in a machine file. `fitted` has its tables by machine, one each."""

    figure: str
    stage: str
    clients: tuple[str, ...]
    fitted: Mapping[str, tuple[str, ...]]
    families: int  # of processors that have a figure of their own for it


def figure_uses() -> list[FigureUse]:
    """Return every figure that some machine's file was fitted for, or that several clients share.

    >>> [use.clients for use in figure_uses() if use.figure == "pages.init_rate"]
    [('deferred_struct_page_init',)]
    """
    fitted: dict[str, dict[str, tuple[str, ...]]] = {}
    for machine in iter_shipped():
        for fit in machine.fits:
            for name in fit.parameters:
                figure = name if "." in name else f"rates.{name}"
                tables = fitted.setdefault(figure, {})
                tables[machine.name] = (*tables.get(machine.name, ()), fit.table)
    found = []
    for figure in dict.fromkeys([*(f"pages.{name}" for name in PAGE_FIGURES), *sorted(fitted)]):
        clients = clients_of(figure)
        if figure in fitted or len(clients) > 1:
            own = sum(1 for family in families().values() if figure in family.figures)
            found.append(FigureUse(figure, _stage(figure), clients, fitted.get(figure, {}), own))
    return found


def clients_of(figure: str) -> tuple[str, ...]:
    """Return the clients whose costs have a figure: through the stages of their phases."""
    part, _, name = figure.partition(".")
    if part == "pages":
        return tuple(of_pages(name))
    if figure in _OF_CLEARING:
        return tuple(client for client, costs in _costs() if issubclass(costs, ClearFigures))
    if part == "clients":
        return (name.partition(".")[0],)
    return tuple(CLIENTS)


def _costs() -> Iterator[tuple[str, type[Group]]]:
    for name, client in CLIENTS.items():
        field = client.model_fields.get("costs")
        if field is not None and isinstance(field.default, Group):
            yield name, type(field.default)


def _stage(figure: str) -> str:
    """Return the stage of a page's life that a figure belongs to, or its other part."""
    part, _, name = figure.partition(".")
    if part == "pages":
        return stage_of(name)
    return {"rates": "machine", "links": "machine", "kernel": "kernel"}.get(part, "client")


def figures_section() -> str:
    """Return the table as Markdown: a row for figures of one stage that the same clients use."""
    groups: dict[tuple[str, tuple[str, ...]], list[FigureUse]] = {}
    for use in figure_uses():
        groups.setdefault((use.stage, use.clients), []).append(use)
    rows = []
    for (stage, names), uses in groups.items():
        clients = "all" if len(names) == len(CLIENTS) else ", ".join(names)
        told = "; ".join(
            f"`{_last(use)}` {', '.join(f'{machine} ({tables[0]})' for machine, tables in use.fitted.items())}"
            for use in uses
            if use.fitted
        )
        rows.append((stage, ", ".join(f"`{_last(use)}`" for use in uses), clients, told))
    heads = ["stage", "figures", "clients that use them", "fitted on (to)"]
    return f"{describe_twice()}\n\n{tabulate(rows, headers=heads, tablefmt='github', disable_numparse=True)}"


def _last(use: FigureUse) -> str:
    """Return a figure's name without its part of the file, where its stage implies that."""
    return use.figure.partition(".")[2] if use.figure.startswith("pages.") else use.figure


def twice_fitted() -> list[str]:
    """Return figures that a machine's file fits to more than one table, in words. There should be none."""
    return [
        f"{use.figure} on {machine}: {', '.join(tables)}"
        for use in figure_uses()
        for machine, tables in use.fitted.items()
        if len(tables) > 1
    ]


def describe_twice() -> str:
    """Return the sentence about figures that are fitted more than once."""
    twice = twice_fitted()
    words = "Each figure is fitted to one table of a machine." if not twice else f"Fitted twice: {'; '.join(twice)}."
    return "\n".join(textwrap.wrap(words, 118))
