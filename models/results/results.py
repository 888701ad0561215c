"""The results of a scenario: tidy tables, and the folder that holds them with all that is needed to repeat them."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from models.results.code import code_identity, rule_identity
from models.results.differences import in_words, what_differs
from models.results.folder import write_inputs, write_json, written_whole

if TYPE_CHECKING:
    import pandas as pd

    from models.machine import Machine
    from models.scenario import Scenario

SCHEMA_VERSION = 1
RECORD = "provenance.json"
_PACKAGES = ("simpy", "numpy", "pandas", "pyarrow")


class FolderTakenError(Exception):
    """The folder holds something else, which would be lost."""


@dataclass(frozen=True)
class Results:
    """The tables of a scenario's runs: one row for each observation, units in the names of columns (`run`).

    * ``summary``: a row for each case, over its replications, beside the published figure.
    * ``runs``: a row for each run. Waits are sums over the works of all tasks.
    * ``workers``: a row for each run and worker (0 is the caller).
    * ``resources``: a row for each run and resource that was used: its mean utilisation, 0 to 1.
    * ``traces``, ``loads``: with tracing, replication 0 of each case: the work of each worker, and utilisation over
      time.
    * ``provenance``: backend, versions, code, seed and digest of the scenario.
    * ``host``: of a real run, the state of the host before and after.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> len(run(scenario).runs)
        2
    """

    title: str
    question: str
    summary: pd.DataFrame
    runs: pd.DataFrame
    workers: pd.DataFrame
    resources: pd.DataFrame
    traces: pd.DataFrame | None
    loads: pd.DataFrame | None
    scenario: Mapping[str, Any]
    machines: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, Any]
    host: Mapping[str, Any] | None = None

    def _repr_html_(self) -> str:
        """Return the table of cases for a notebook: the columns that vary, threads, times and others, rounded."""
        from models.results.regret_table import varying

        told = ["nthreads", "n_workers", "size_gib", "time_s", "time_stdev_s", "speedup", "cpu_s", "error_pct", "note"]
        names = [name for name in dict.fromkeys([*varying(self.summary), *told]) if name in self.summary]
        shown = self.summary[names].dropna(axis="columns", how="all")
        table = shown.to_html(float_format=lambda value: f"{value:.4g}", na_rep="", border=0)
        return f"<b>{html.escape(self.title)}</b><p>{html.escape(self.question)}</p>{table}"

    def save(self, folder: Path) -> None:
        """Write the result folder, whole or not at all. Replaces an earlier result of the very same runs.

        Raises FolderTakenError if `folder` holds anything else, OSError if it can't be written.
        """
        check_folder(folder, self.provenance, self.scenario)
        with written_whole(folder, RECORD) as new:
            self.write(new)

    def write(self, folder: Path) -> None:
        """Write the files of the results into an empty folder."""
        for name in _TABLES:
            table: pd.DataFrame | None = getattr(self, name)
            if table is not None:
                table.to_parquet(folder / f"{name}.parquet", index=False)
        self.summary.to_csv(folder / "summary.csv", index=False)
        self.runs.to_csv(folder / "runs.csv", index=False)
        write_inputs(folder, self.scenario, self.machines)
        if self.host is not None:
            write_json(folder / "host.json", self.host)
        write_json(folder / RECORD, self.provenance)


_TABLES = ("summary", "runs", "workers", "resources", "traces", "loads")


def load_results(folder: str | Path) -> Results:
    """Read a result folder.

    Args:
        folder: A folder that `ktask-sim run` or `Results.save` has written.

    Returns:
        The results.

    Raises:
        FileNotFoundError: There is no such folder, or it is no result folder.
        ValueError: It was written by a program with another schema version.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> from pathlib import Path
        >>> run(scenario).save(Path("folder"))
        >>> load_results("folder").title == scenario.title
        True
    """
    import pandas as pd  # takes a while, which most commands don't need

    folder = Path(folder)
    provenance = json.loads((folder / RECORD).read_text())
    if provenance["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"{folder} has schema version {provenance['schema_version']}; this program reads {SCHEMA_VERSION}"
        )
    scenario = yaml.safe_load((folder / "scenario.yaml").read_text())
    tables: dict[str, Any] = {
        name: pd.read_parquet(path) if (path := folder / f"{name}.parquet").exists() else None for name in _TABLES
    }
    machines = tuple(json.loads(path.read_text()) for path in sorted(folder.glob("machine-*.json")))
    host = folder / "host.json"
    return Results(
        title=scenario["title"],
        question=scenario.get("question", ""),
        **tables,
        scenario=scenario,
        machines=machines,
        provenance=provenance,
        host=json.loads(host.read_text()) if host.exists() else None,
    )


def check_folder(folder: Path, provenance: Mapping[str, Any], scenario: Mapping[str, Any] | None = None) -> None:
    """Make sure, best before a long run, that results can be saved to `folder`. Makes the folders above it.

    Raises FolderTakenError, with the differences, if it holds anything else, and OSError if nothing can be written
        there.
    """
    if not may_replace(folder, provenance):
        what = _what_it_holds(folder, provenance, scenario)
        raise FolderTakenError(f"{folder} holds something else{what}; give another folder (-o) or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(folder.parent, os.W_OK):
        raise PermissionError(f"nothing can be written to {folder.parent}; give another folder (-o)")


def _what_it_holds(folder: Path, provenance: Mapping[str, Any], scenario: Mapping[str, Any] | None) -> str:
    """Return in words how the results in a folder differ from these: in the scenario, else in how they were made."""
    try:
        found = json.loads((folder / RECORD).read_text())
        other = yaml.safe_load((folder / "scenario.yaml").read_text())
        differences = what_differs(other, scenario) if scenario is not None else []
        return f": {in_words(differences or what_differs(found, provenance))}"
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return ""


def may_replace(folder: Path, provenance: Mapping[str, Any]) -> bool:
    """Return whether nothing is lost by writing these results to `folder`: it is new, empty or the same result."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return False
    return bool(found == dict(provenance))


def provenance_of(scenario: Scenario, backend: str, *, with_traces: bool) -> dict[str, Any]:
    """Return the identity of a scenario's runs: backend (sim or real), digest, seeds and versions, but no time."""
    machines = [machine_as_data(machine) for machine in machines_of(scenario)]
    published = None if scenario.compare_with is None else scenario.compare_with.cells.to_csv(index=False)
    identity = [scenario.document.plain(), machines, published]
    own = [[rule_identity(rule) for rule in case.rules.values()] for case in scenario.cases]
    content = json.dumps([*identity, own] if any(own) else identity, sort_keys=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "backend": backend,
        "digest": hashlib.sha256(content.encode()).hexdigest(),
        "seeds": sorted({case.seed for case in scenario.cases}),
        "traces": with_traces,
        "code": code_identity(),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def machines_of(scenario: Scenario) -> list[Machine]:
    """Return the machines of a scenario, each once, by name."""
    return [machine for _, machine in sorted({case.machine.name: case.machine for case in scenario.cases}.items())]


def machine_as_data(machine: Machine) -> dict[str, Any]:
    """Return a machine as plain data for JSON, routes and distances by 'from-to'."""
    data = {item.name: getattr(machine, item.name) for item in dataclasses.fields(machine)}
    for name in ("routes", "distances"):
        data[name] = {f"{a}-{b}": value for (a, b), value in data[name].items()}
    plain: dict[str, Any] = json.loads(json.dumps(data, default=_as_plain))
    return plain


def _as_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    return dict(value)
