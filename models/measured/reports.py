"""Public reports on preparing big memory, as cases of the simulation (models/reports/reports.yaml).

They are no tables: one or a few times each, of a machine that is named or must be guessed. Nothing is fitted to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from models.files.families import family_named, machine_of
from models.files.machine import build_machine, load_machine
from models.files.machine_keys import Source
from models.machine import Machine
from models.scenario import Scenario, build_scenario
from models.text.checks import FileKeys, validate
from models.text.document import locate, read

KNOWN_BAR, GUESSED_BAR = 2.0, 3.0  # within which factor a report should be predicted


class Guess(FileKeys):
    """A machine of a family. Cores and memory are those of a node."""

    family: str
    sockets: Annotated[int, Field(ge=1, le=8)]
    cores: Annotated[int, Field(ge=1)]
    threads_per_core: int = 2
    memory: str
    nodes_per_socket: int = 1
    caches_per_socket: int = 1
    base_page: str = "4KiB"
    host_page: str | None = None  # of the host, where the machine is a guest whose memory isn't there yet
    source: Source


class Cell(FileKeys):
    """One time that was told, and its own values, by path of a scenario."""

    values: dict[str, Any] = {}
    time_s: Annotated[float, Field(gt=0)]


class Report(FileKeys):
    """One report."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    source: Source
    told: Annotated[str, Field(min_length=10, description="the job and the machine, in words")]
    machine: Annotated[str | None, Field(description="a shipped machine")] = None
    guess: Annotated[Guess | None, Field(description="else one of a family")] = None
    known: Annotated[bool, Field(description="the processor is named, or the machine is")]
    seen: Annotated[
        str | None, Field(description="why it is no prediction: the figure that was made with it in view")
    ] = None
    scenario: dict[str, Any]
    cells: Annotated[list[Cell], Field(min_length=1)]
    missed: Annotated[str | None, Field(description="likely cause of a miss; None: it should be within the bar")] = None

    @property
    def bar(self) -> float:
        """Return within which factor the times should be predicted."""
        return KNOWN_BAR if self.known else GUESSED_BAR


class ReportsFile(FileKeys):
    """The file of reports."""

    reports: list[Report]


@dataclass(frozen=True)
class ReportCases:
    """A report and its cases: the i-th cell is case i."""

    report: Report
    scenario: Scenario


@cache
def load_reports() -> tuple[ReportCases, ...]:
    """Return all reports with their cases. Raises InputError for the problems of the file."""
    path = Path(str(resources.files("models") / "reports" / "reports.yaml"))
    file = validate(ReportsFile, read(path), str(path))
    return tuple(ReportCases(report, _scenario(report, path)) for report in file.reports)


def _machine(report: Report) -> Machine:
    if report.machine is not None:
        return load_machine(report.machine)
    if report.guess is None:
        raise ValueError(f"report {report.name} has neither a machine nor a guess")
    document = machine_of(family_named(report.guess.family), report.name, **report.guess.model_dump(exclude={"family"}))
    return build_machine(locate(document), report.name)


def _scenario(report: Report, path: Path) -> Scenario:
    machine = _machine(report)
    parts = []
    for cell in report.cells:
        plain: dict[str, Any] = {
            "title": report.name,
            "question": report.told,
            "machine": machine.name,
            "replications": 2,
            "seed": 1,
        } | {key: dict(part) if isinstance(part, dict) else part for key, part in report.scenario.items()}
        for at, value in cell.values.items():
            part, _, key = at.partition(".")
            plain.setdefault(part, {})[key] = value
        parts.append(build_scenario(locate(plain), path, machine=machine))
    return Scenario.combine(report.name, report.told, parts)
