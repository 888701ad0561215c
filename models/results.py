"""What running a scenario gives: tidy tables, and the folder that holds them with all that is needed to repeat them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from models.machine import Machine
from models.scenario import Case, Scenario
from models.units import GIB

SCHEMA_VERSION = 1
_PACKAGES = ("ktask-sim", "simpy", "numpy", "pandas", "pyarrow")
# What has a column of its own, or is no property of a case's outcome.
_NOT_EXTRA = ("machine", "task.client", "task.size", "kernel", "kernel.version", "kernel.max_threads", "replications")


class FolderTakenError(Exception):
    """The folder holds something else, which would be lost."""


@dataclass(frozen=True)
class Results:
    """The tables of a scenario's runs, tidy: one row for each observation, units in the names.

    * ``summary``: a row for each case, over its replications, beside the published figure.
    * ``runs``: a row for each run. Waits are sums over the works of all tasks.
    * ``workers``: a row for each run and worker (0 is the caller).
    * ``resources``: a row for each run and resource that was used: its mean utilisation, 0 to 1.
    * ``traces``, ``loads``: with tracing, replication 0 of each case: who did what when; utilisation over time.
    * ``provenance``: versions, seed and digest of what was run.
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

    def save(self, folder: Path) -> None:
        """Write the result folder, whole or not at all. Replaces an earlier result of the very same runs.

        Raises FolderTakenError if `folder` holds anything else, OSError if it can't be written.
        """
        check_folder(folder, self.provenance)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            new.chmod(0o755)
            for name in _TABLES:
                table: pd.DataFrame | None = getattr(self, name)
                if table is not None:
                    table.to_parquet(new / f"{name}.parquet", index=False)
            self.summary.to_csv(new / "summary.csv", index=False)
            self.runs.to_csv(new / "runs.csv", index=False)
            (new / "scenario.yaml").write_text(yaml.safe_dump(dict(self.scenario), sort_keys=False, allow_unicode=True))
            for machine in self.machines:
                (new / f"machine-{machine['name']}.json").write_text(json.dumps(machine, indent=1) + "\n")
            (new / "provenance.json").write_text(json.dumps(dict(self.provenance), indent=1) + "\n")
            if folder.exists():  # with the very same results: what else somebody keeps there stays
                for path in new.iterdir():
                    path.replace(folder / path.name)
            else:
                new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)


_TABLES = ("summary", "runs", "workers", "resources", "traces", "loads")


def load_results(folder: str | Path) -> Results:
    """Read a result folder. Raises FileNotFoundError or ValueError if it is none, or of another schema version."""
    folder = Path(folder)
    provenance = json.loads((folder / "provenance.json").read_text())
    if provenance["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"{folder} has schema version {provenance['schema_version']}; this program reads {SCHEMA_VERSION}"
        )
    scenario = yaml.safe_load((folder / "scenario.yaml").read_text())
    tables: dict[str, Any] = {
        name: pd.read_parquet(path) if (path := folder / f"{name}.parquet").exists() else None for name in _TABLES
    }
    machines = tuple(json.loads(path.read_text()) for path in sorted(folder.glob("machine-*.json")))
    return Results(
        title=scenario["title"],
        question=scenario["question"],
        **tables,
        scenario=scenario,
        machines=machines,
        provenance=provenance,
    )


def check_folder(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Make sure, best before a long run, that results can be saved to `folder`; makes the folders above it.

    Raises FolderTakenError if it holds anything else, OSError if nothing can be written there.
    """
    if not may_replace(folder, provenance):
        raise FolderTakenError(f"{folder} holds something else; give another folder (-o) or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(folder.parent, os.W_OK):
        raise PermissionError(f"nothing can be written to {folder.parent}; give another folder (-o)")


def may_replace(folder: Path, provenance: Mapping[str, Any]) -> bool:
    """Return whether nothing is lost by writing these results to `folder`: it is new, empty or the same result."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        found = json.loads((folder / "provenance.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(found == dict(provenance))


def provenance_of(scenario: Scenario, *, with_traces: bool) -> dict[str, Any]:
    """Return what identifies the runs of a scenario: digest, seeds and versions. Nothing in it depends on the clock."""
    machines = [machine_as_data(machine) for machine in machines_of(scenario)]
    published = None if scenario.compare_with is None else scenario.compare_with.cells.to_csv(index=False)
    content = json.dumps([scenario.document.plain(), machines, published], sort_keys=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "digest": hashlib.sha256(content.encode()).hexdigest(),
        "seeds": sorted({case.seed for case in scenario.cases}),
        "traces": with_traces,
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


def case_columns(case: Case) -> dict[str, Any]:
    """Return the columns that identify a case, in order: machine, client, kernel, nthreads, size_gib, then the rest."""
    size_gib = case.task.size / GIB
    columns: dict[str, Any] = {
        "machine": case.machine.name,
        "client": case.task.client,
        "kernel": case.kernel.version,
        "nthreads": case.kernel.max_threads,
        "size_gib": int(size_gib) if size_gib.is_integer() else size_gib,
    }
    for path, value in case.choices.items():
        if path not in _NOT_EXTRA:
            columns[path.rpartition(".")[2]] = value
    return columns


def summarise(scenario: Scenario, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the table of cases: mean, spread and least time over replications, speed-up, published figure and error.

    `speedup` is against the case with one thread that is otherwise the same; `error_pct` is of the mean time. `fitted`
    says whether the machine's rates were fitted to that published cell. Empty where there is nothing to compare with.
    """
    rows = []
    for number, case in enumerate(scenario.cases):
        own = runs[runs["case"] == number]
        published = _published_cell(scenario, case)
        time_s = float(own["time_s"].mean())
        rows.append(
            {
                **case_columns(case),
                "replications": len(own),
                "time_s": time_s,
                "time_stdev_s": float(own["time_s"].std()) if len(own) > 1 else 0.0,
                "time_min_s": float(own["time_s"].min()),
                "speedup": float("nan"),
                "published_time_s": float("nan") if published is None else float(published["time_s"]),
                "error_pct": float("nan") if published is None else (time_s / float(published["time_s"]) - 1) * 100,
                "published_stdev_s": float("nan") if published is None else float(published.get("stdev_s", "nan")),
                "published_speedup": float("nan") if published is None else float(published.get("speedup", "nan")),
                "fitted": published is not None and _was_fitted(scenario, case, published),
                "cpu_s": float(own["cpu_s"].mean()),
                "imbalance": float(own["imbalance"].mean()),
            }
        )
    summary = pd.DataFrame(rows)
    same = [name for name in case_columns(scenario.cases[0]) if name != "nthreads"]
    single = summary[summary["nthreads"] == 1].drop_duplicates(same).set_index(same)["time_s"]
    keys = [tuple(row) if len(same) > 1 else row[0] for row in summary[same].itertuples(index=False)]
    summary["speedup"] = [single.get(key, float("nan")) for key in keys] / summary["time_s"]
    return summary


def _published_cell(scenario: Scenario, case: Case) -> Mapping[str, Any] | None:
    """Return the row of the scenario's table that measures this case, if there is exactly one."""
    if scenario.compare_with is None:
        return None
    cells = scenario.compare_with.cells
    if not {"nthreads", "size_gib"} <= set(cells.columns):
        return None
    columns = case_columns(case)
    rows = cells[
        cells["machine"].isin([case.machine.name, *case.machine.also_known_as])
        & (cells["client"] == columns["client"])
        & (cells["nthreads"] == columns["nthreads"])
        & (cells["size_gib"] == columns["size_gib"])
    ]
    if len(rows) != 1:
        return None
    found: Mapping[str, Any] = {str(key): value for key, value in rows.iloc[0].items()}
    return found


def _was_fitted(scenario: Scenario, case: Case, published: Mapping[str, Any]) -> bool:
    assert scenario.compare_with is not None
    return any(
        all(published.get(column) == value for column, value in cell.items())
        for fit in case.machine.fits
        if fit.table == scenario.compare_with.name
        for cell in fit.cells
    )


def unmatched_note(scenario: Scenario, summary: pd.DataFrame) -> str | None:
    """Return a note if a table was to be compared with and not one case matches a row of it."""
    if scenario.compare_with is None or summary["published_time_s"].notna().any():
        return None
    machines: Sequence[str] = sorted(set(scenario.compare_with.cells["machine"]))
    return (
        f"no case matches a row of {scenario.compare_with.name}, which has machine {'; '.join(machines)}; "
        "a row matches by machine (name or also_known_as of the machine file), client, nthreads and size_gib"
    )
