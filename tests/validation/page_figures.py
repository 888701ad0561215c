"""The figures of a page's life as a table: the jobs that use each, its meaning, and the tables of its fit."""

from __future__ import annotations

from tabulate import tabulate

from models.clients import CLIENTS
from models.files.machine import load_machine, shipped_machines
from models.memory import figures
from models.memory.figures import PAGE_FIGURES, PageFigures, page_figures_of
from models.text.units import format_rate, format_time

# The stages in the order of a page's life, each with the class that has its figures.
STAGES = (
    ("take", "TakeFigures"),
    ("take, by the host of a guest", "HostFigures"),
    ("take, of the hugetlb pool", "PoolFigures"),
    ("clear", "ClearFigures"),
    ("map, by a fault", "FaultFigures"),
    ("a line that several CPUs write", "LineFigures"),
    ("cache", "CacheFigures"),
    ("pin", "PinFigures"),
    ("register", "RegisterFigures"),
    ("account", "WakeFigures"),
    ("initialise", "InitFigures"),
    ("set aside at boot", "BootFigures"),
    ("copy, to another node", "CopyFigures"),
    ("undo", "UndoFigures"),
)


def stage_of(name: str) -> str:
    """Return the stage that a figure belongs to."""
    owners = [stage for stage, owner in STAGES if name in vars(getattr(figures, owner)).get("__annotations__", {})]
    return owners[0]


def clients_of(name: str) -> list[str]:
    """Return the jobs whose phases go through the stage of a figure, by name."""
    return [
        client
        for client, kind in CLIENTS.items()
        if "costs" in kind.model_fields and name in page_figures_of(type(kind.model_fields["costs"].default))
    ]


def fits_of(name: str) -> list[tuple[str, str]]:
    """Return the machines on which a figure was fitted, each with the table."""
    return [
        (machine, fit.table)
        for machine in shipped_machines()
        for fit in load_machine(machine).fits
        if f"pages.{name}" in fit.parameters
    ]


def figures_table() -> str:
    """Return all figures of a page's life as a Markdown table."""
    order = [stage for stage, _ in STAGES]
    rows = []
    for name in sorted(PAGE_FIGURES, key=lambda name: (order.index(stage_of(name)), PAGE_FIGURES.index(name))):
        value = getattr(PageFigures(), name)
        number = f"{value:g}"
        if name.endswith("rate"):
            number = format_rate(value)
        elif any(
            "Time" in str(part) or getattr(part, "func", None) for part in PageFigures.model_fields[name].metadata
        ):
            number = format_time(value)
        fitted = "; ".join(f"{machine}: {table}" for machine, table in fits_of(name))
        rows.append((stage_of(name), f"`{name}`", number, ", ".join(clients_of(name)), fitted))
    heads = ["stage", "figure", "prior", "jobs that use it", "fitted"]
    return tabulate(rows, headers=heads, tablefmt="github", disable_numparse=True)
