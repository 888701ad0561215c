"""Readings: how the rows of a table of measurements become cases of the simulation, and which of them are fitted.

A published table has one beside it (models/published/NAME.yaml). A user's own CSV is read by its columns alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from models.clients import CLIENTS
from models.files.machine import load_machine, shipped_machines
from models.files.table import PublishedTable, load_table, read_cells, shipped_tables
from models.kernels import VERSIONS
from models.machine import Machine
from models.scenario import DEFAULT_VERSION, Scenario, build_scenario
from models.text.checks import FileKeys, validate
from models.text.document import locate, read
from models.text.problems import InputError, did_you_mean
from models.text.units import MIB, describe

# What every table may have, by column: where it goes in a scenario.
COLUMNS: Mapping[str, str] = {
    "nthreads": "kernel.max_threads",
    "size_gib": "task.size",
    "page_size": "task.page_size",
    "chunk": "kernel.chunk_size",
    "node": "task.caller_node",
}
# What a measured table may say of a row besides: how it is read, and what is known of its time.
_READ = (
    "time_s",
    "stdev_s",
    "rel_err_pct",
    "resolution_s",
    "kernel",
    "version",
    "config",
    "held_out",
    "client",
    "machine",
)
# Columns of published tables that are for people: nothing is read from them.
NOTES = (
    "source", "notes", "note", "comment", "cpus", "nodes", "cores_per_node", "threads_per_core", "memory", "speedup",
    "saved_pct", "node_pct", "init_ms", "init_stdev_ms", "init_saved_pct", "boot_ms", "boot_stdev_ms", "boot_saved_pct",
    "metric", "case", "workload", "multiplier", "threads_per_node", "memtype", "qemu_prealloc_threads",
    "lockedvm_cache_pages", "qemu_init_s", "qemu_init_stdev", "qemu_init_speedup", "physical_cores", "cpus_used",
    "GBps", "throughput_GBps", "event", "value_us", "kind",
)  # fmt: skip
_WITHOUT_HELP = re.compile(r"\b(baseline|no patch|unpatched|vanilla|serial)\b", re.IGNORECASE)
_COARSE = 4  # of the resolution: what is shorter is rounded by more than 12 %
_WORDS_TRUE = ("true", "yes", "1", "1.0")


class LeftOut(FileKeys):
    """Rows that no case is made of."""

    where: Annotated[dict[str, Any], Field(min_length=1, description="column: value pairs that select the rows")]
    reason: Annotated[str, Field(min_length=3, description="why")]


class Measure(FileKeys):
    """Rows with a time of something else than the job."""

    where: Annotated[dict[str, Any], Field(min_length=1, description="column: value pairs that select the rows")]
    column: Annotated[str, Field(description="column of the table of runs, such as stress_time_s")]


class MeasurementsFile(FileKeys):
    """A reading file."""

    table: Annotated[str, Field(description="name of the published table")]
    scenario: Annotated[dict[str, Any], Field(description="keys that all rows share, as in a scenario file")] = {}
    columns: Annotated[
        dict[str, str | None], Field(description="column of the table -> path of a scenario; null: it says nothing")
    ] = {}
    values: Annotated[
        dict[str, dict[str, dict[str, Any]]], Field(description="column -> its text -> values by path of a scenario")
    ] = {}
    measures: Annotated[
        list[Measure],
        Field(description="meaning of the time of some rows, if it is not that of the job; the last that fits counts"),
    ] = []
    left_out: Annotated[list[LeftOut], Field(description="rows that no case is made of")] = []
    doubtful: Annotated[
        list[LeftOut], Field(description="rows that contradict others of the table: shown, and not counted")
    ] = []
    resolution: Annotated[
        float,
        Field(
            ge=0,
            description="step of rounded times, in seconds: shorter ones are left out, under four steps not counted",
        ),
    ] = 0.0
    fitted: Annotated[
        list[dict[str, Any]], Field(description="rows that were fitted: column: value pairs that select one each")
    ] = []
    parameters: Annotated[list[str], Field(description="figures that were fitted to them")] = []
    notes: Annotated[str, Field(description="oddities of the table, and effects that the model leaves out")] = ""


@dataclass(frozen=True)
class Measurements:
    """A table as cases: its i-th row is case i.

    `rows` has the table's columns, and `fitted`, `held_out`, `doubtful` (it contradicts others of the table) and
    `measure` (the column of the table of runs that its time is compared with).
    """

    name: str
    rows: pd.DataFrame
    scenario: Scenario | None  # None: no case can be made of any row
    parameters: tuple[str, ...] = ()
    left_out: tuple[tuple[int, str], ...] = ()  # (number of rows, reason)
    doubts: tuple[tuple[int, str], ...] = ()  # likewise, of doubtful rows
    notes: str = ""


def tables_with_cases() -> tuple[str, ...]:
    """Return the names of the published tables that can be compared with."""
    folder = resources.files("models") / "published"
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_measurements(name: str, machine_of: Callable[[str], Machine] | None = None) -> Measurements:
    """Return the reading of a shipped table, on shipped machines, or on those that `machine_of` has for their names.

    Raises ValueError for an unknown table, InputError for its problems.
    """
    if name not in tables_with_cases():
        known = tables_with_cases()
        raise ValueError(f"found table {name!r}; allowed are {', '.join(known)}{did_you_mean(name, known)}")
    path = Path(str(resources.files("models") / "published" / f"{name}.yaml"))
    file = validate(MeasurementsFile, read(path), str(path))
    return _read(file, load_table(file.table, path.parent, of_times=False), path, machine_of or load_machine)


def _read(
    file: MeasurementsFile, table: PublishedTable, path: Path, machine_of: Callable[[str], Machine]
) -> Measurements:
    cells = table.cells
    left_out, used = [], pd.Series(True, index=cells.index)
    for part in file.left_out:
        chosen = _where(cells, part.where, path)
        left_out.append((int((chosen & used).sum()), part.reason))
        used &= ~chosen
    times = cells["time_s"] if "time_s" in cells else pd.Series(math.inf, index=cells.index)
    too_short = used & (times < (1 - 1e-9) * file.resolution)
    if too_short.any():
        left_out.append((int(too_short.sum()), f"times below {file.resolution:g} s, to which the source rounds"))
        used &= ~too_short
    rows = cells[used].reset_index(drop=True).assign(fitted=False, held_out=False, doubtful=False)
    rows["resolution_s"] = file.resolution
    rows["measure"] = "time_s"
    for measure in file.measures:
        rows.loc[_where(rows, measure.where, path), "measure"] = measure.column
    doubts = []
    for part in file.doubtful:
        chosen = _where(rows, part.where, path)
        doubts.append((int(chosen.sum()), part.reason))
        rows.loc[chosen, "doubtful"] = True
    coarse = (times[used].reset_index(drop=True) < (1 - 1e-9) * _COARSE * file.resolution) & ~rows["doubtful"]
    if coarse.any():
        doubts.append(
            (int(coarse.sum()), f"times below {_COARSE * file.resolution:g} s, which the source rounds too much")
        )
        rows.loc[coarse, "doubtful"] = True
    for cell in file.fitted:
        chosen = _where(rows, cell, path)
        if chosen.sum() != 1:
            raise ValueError(f"{path}: the fitted cell {cell} selects {chosen.sum()} rows; it must select one")
        rows.loc[chosen, "fitted"] = True
    machines = _machines_by_name()
    parts = []
    for _, row in rows.iterrows():
        known_as = str(file.scenario.get("machine", row["machine"]))
        machine = machines.get(known_as)
        if machine is None:
            raise ValueError(f"{path}: no shipped machine is known as {known_as!r}")
        values = _row_values(row, {**COLUMNS, **file.columns}, file.values)
        parts.append(_case(file.scenario, values, machine_of(machine.name), table.name, path))
    scenario = Scenario.combine(table.name, file.notes or table.name, parts) if parts else None
    return Measurements(table.name, rows, scenario, tuple(file.parameters), tuple(left_out), tuple(doubts), file.notes)


def _where(rows: pd.DataFrame, wanted: Mapping[str, Any], path: Path) -> pd.Series[bool]:
    chosen = pd.Series(True, index=rows.index)
    for column, value in wanted.items():
        if column not in rows.columns:
            known = [str(name) for name in rows.columns]
            raise ValueError(f"{path}: found column {column!r}; the table has {', '.join(known)}")
        found = rows[column]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        chosen &= (found == value) if number else (found.astype(str) == str(value))
    return chosen


def _machines_by_name() -> dict[str, Machine]:
    found: dict[str, Machine] = {}
    for name in shipped_machines():
        machine = load_machine(name)
        found |= dict.fromkeys((machine.name, *machine.also_known_as), machine)
    return found


def _row_values(
    row: pd.Series[Any], columns: Mapping[str, str | None], by_text: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, Any]:
    """Return the values that a row gives, by path of a scenario."""
    values: dict[str, Any] = {}
    for column, path in columns.items():
        if path is None or column not in row.index or pd.isna(row[column]):
            continue
        values[path] = _value(column, row[column])
        if column == "chunk":
            values["kernel.chunks"] = "fixed"
    for column, texts in by_text.items():
        text = str(row[column])
        values |= texts.get(text, texts.get(text.removesuffix(".0"), {}))
    return values


def _value(column: str, value: Any) -> Any:
    """Return a cell as a scenario file has it. In published tables 0 threads is the kernel without any helpers."""
    if column == "size_gib":
        return f"{round(float(value) * 2**20)}KiB"
    if column == "nthreads":
        return max(1, int(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = str(value)
    return f"{text}iB" if re.fullmatch(r"\d+[KMGT]", text) else value


def _case(shared: Mapping[str, Any], values: Mapping[str, Any], machine: Machine, name: str, path: Path) -> Scenario:
    """Return the scenario of one row."""
    plain: dict[str, Any] = {"title": name, "question": name, "machine": machine.name, "replications": 1, "seed": 1}
    for key, part in shared.items():
        plain[key] = dict(part) if isinstance(part, Mapping) else part
    for at, value in values.items():
        *outer, last = at.split(".")
        here = plain
        for key in outer:
            here = here.setdefault(key, {})
        here[last] = value
    return build_scenario(locate(plain), path, machine=machine)


def read_measurements(
    path: str | Path,
    machine: Machine,
    client: str,
    kernel: str | None = None,
    *,
    notes: Sequence[str] = (),
    resolution_s: float = 0.0,
) -> Measurements:
    r"""Return somebody's table of times as cases of a client on a machine.

    Columns: time_s, and as far as there are any: nthreads, size_gib, page_size, chunk (with its unit), node, stdev_s or
    rel_err_pct, resolution_s (to which a time is rounded, so that a time of 0 is below it), kernel or config (a
    version, or `baseline`), held_out (rows that are only predicted), and any path of a scenario with a dot in it
    (task.state). Other columns are errors, except those of published tables that are for people, and `notes`. Rows of
    another machine or client are left out. A job without a size is all memory of the machine.

    Args:
        path: A CSV file.
        machine: The facts of the machine.
        client: The name of the client.
        kernel: The name of a kernel version. None takes that of the columns kernel or version, else ktask-v1; also
        where
            the posted code of a version could not have had so many threads (v2 to v4 print figures of v1).
        notes: Names of columns to leave alone.
        resolution_s: To which times are rounded, in seconds, in rows that don't state it.

    Returns:
        The rows, their cases, and which rows are fitted.

    Raises:
        ValueError: The table has a problem. The message has its place and the allowed values.

    Example:
        >>> text = "nthreads,size_gib,time_s\n1,8,3.3\n4,8,0.9\n"
        >>> _ = __import__("pathlib").Path("times.csv").write_text(text)
        >>> measured = read_measurements("times.csv", load_machine("xeon-e7-8895v3-8s"), "clear_gigantic_page")
        >>> len(measured.rows)
        2
    """
    path = Path(path)
    cells = _table(path, resolution_s, notes)
    if client not in CLIENTS:
        raise ValueError(
            f"found client {client!r}; allowed are {', '.join(CLIENTS)}{did_you_mean(client, tuple(CLIENTS))}"
        )
    if kernel is not None and kernel not in VERSIONS:
        raise ValueError(
            f"found kernel {kernel!r}; allowed are {', '.join(VERSIONS)}{did_you_mean(kernel, tuple(VERSIONS))}"
        )
    rows, left_out = _own_rows(cells, machine, client, path)
    whole = CLIENTS[client].model_fields["size"].is_required() if "size" in CLIENTS[client].model_fields else False
    sizes = {"size": f"{machine.memory_bytes // MIB}MiB"} if whole and "size_gib" not in rows else {}
    columns: dict[str, str | None] = {**COLUMNS, **{str(n): str(n) for n in rows.columns if "." in str(n)}}
    of_every_node = CLIENTS[client].on_every_node and "node" in rows.columns
    if of_every_node:
        columns["node"] = None
    parts = []
    for number, (index, row) in enumerate(rows.iterrows(), 2):
        shared = {"task": {"client": client} | sizes, "kernel": {"as_posted": False}}
        values = _row_values(row, columns, {})
        version = kernel or _version_of(row)
        try:
            values |= {"kernel.version": version, **_baseline_of(row, client)}
            part = _case(shared, values, machine, path.stem, path)
            wanted = part.cases[0].kernel.max_threads or 1
            if kernel is None and part.cases[0].n_works < wanted:
                values |= {"kernel.version": DEFAULT_VERSION}
                part = _case(shared, values, machine, path.stem, path)
            parts.append(part)
        except InputError as error:
            line = int(index) + 2 if isinstance(index, int) else number
            said = "; ".join(_said(problem.path, problem.message) for problem in error.problems)
            raise ValueError(f"{path}, line {line}: {said}") from None
    held_out = rows["held_out"].astype(str).str.lower().isin(_WORDS_TRUE) if "held_out" in rows else False
    rows = rows.assign(held_out=held_out).reset_index(drop=True)
    rows = rows.assign(fitted=~rows["held_out"], doubtful=False, measure="time_s")
    if not rows["fitted"].any():
        raise ValueError(f"{path}: every row is held out; at least one is needed to fit to")
    scenario = Scenario.combine(path.stem, f"What of {path.stem} does the model explain?", parts)
    remarks = [f"No size is stated: {sizes['size']}, all memory of {machine.name}, is taken."] if sizes else []
    if of_every_node:
        remarks.append(
            f"The column node says nothing here: {client} has a thread of its own on every node, all at once."
        )
    return Measurements(path.stem, rows, scenario, left_out=tuple(left_out), notes=" ".join(remarks))


def _said(at: str, message: str) -> str:
    return f"{at}: {message}" if at else message


def _check_columns(cells: pd.DataFrame, notes: Sequence[str], path: Path) -> None:
    """Refuse columns that mean nothing: a mistyped one would be ignored without a word."""
    known = (*COLUMNS, *_READ)
    strange = [str(n) for n in cells.columns if str(n) not in (*known, *NOTES, *notes) and "." not in str(n)]
    if strange:
        found = strange[0]
        raise ValueError(
            f"{path}, line 1: found column {found!r}; allowed are {', '.join(known)}, paths of a scenario with a dot "
            f"(task.state), and columns for people that you name with --note{did_you_mean(found, known)}"
        )


# What people call columns, by their names here. Units are not converted: seconds and GiB are meant.
_OTHER_NAMES = {
    "time_s": ("time", "seconds", "secs", "elapsed", "real", "runtime", "duration", "time (s)", "s"),
    "nthreads": ("threads", "n_threads", "thread", "workers", "cpus"),
    "size_gib": ("size", "gib", "gb", "size_gb", "memory", "size (gib)"),
}


def _table(path: Path, resolution_s: float, notes: Sequence[str]) -> pd.DataFrame:
    cells = read_cells(path)
    if "time_s" not in cells.columns:
        known = [str(name) for name in cells.columns]
        renamed = {name: right for name in known for right, others in _OTHER_NAMES.items() if name.lower() in others}
        hint = "; rename " + ", ".join(f"{name} to {right}" for name, right in renamed.items()) if renamed else ""
        hint = hint or did_you_mean("time_s", known)
        raise ValueError(f"{path} has no column time_s; it has {', '.join(known)}{hint}")
    _check_columns(cells, notes, path)
    times = pd.to_numeric(cells["time_s"], errors="coerce")
    for column in ("nthreads", "size_gib", "stdev_s", "rel_err_pct", "resolution_s"):
        if column in cells.columns:
            numbers = pd.to_numeric(cells[column], errors="coerce")
            wrong = cells[numbers.isna() & cells[column].notna() | (numbers < 0)]
            if len(wrong):
                index = int(wrong.index[0])
                found = describe(cells[column].tolist()[index])
                raise ValueError(f"{path}, line {index + 2}: found {column} {found}; allowed are numbers from 0 on")
            cells[column] = numbers
    stated = cells["resolution_s"] if "resolution_s" in cells else pd.Series(math.nan, index=cells.index)
    resolutions = stated.fillna(resolution_s)
    below = (times == 0) & (resolutions > 0)
    wrong = cells[~(times > 0) & ~below]
    if len(wrong):
        index = int(wrong.index[0])
        found = describe(cells["time_s"].tolist()[index])
        rounded = "; if it was rounded to 0, say to what in a column resolution_s, or with --resolution"
        allowed = f"allowed is more than 0 s{rounded if times[index] == 0 else ''}"
        raise ValueError(f"{path}, line {index + 2}: found time_s {found}; {allowed}")
    if "stdev_s" in cells:
        wide = cells[(cells["stdev_s"] >= times) & ~below]
        if len(wide):
            index = int(wide.index[0])
            found = f"found stdev_s {wide['stdev_s'].iloc[0]:g} beside time_s {times[index]:g}"
            raise ValueError(f"{path}, line {index + 2}: {found}; allowed is less than the time: is it in other units?")
    cells["time_s"] = times.where(~below, resolutions)
    if (resolutions > 0).any():
        cells["resolution_s"] = resolutions
    cells["below"] = below
    if cells.empty:
        raise ValueError(f"{path} has no rows; at least one is needed")
    return cells


def _own_rows(
    cells: pd.DataFrame, machine: Machine, client: str, path: Path
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """Return the rows that are of this client and machine, and how many are not."""
    left_out = []
    rows = cells
    if "client" in rows.columns and (rows["client"] == client).any():
        others = rows["client"] != client
        if others.any():
            left_out.append((int(others.sum()), f"not of client {client}"))
        rows = rows[~others]
    if "machine" in rows.columns:
        names = (machine.name, *machine.also_known_as)
        own = rows["machine"].isin(names)
        if own.any():
            if (~own).any():
                left_out.append((int((~own).sum()), f"not of machine {machine.name}"))
            rows = rows[own]
        elif rows["machine"].nunique() > 1:
            found = "; ".join(sorted(map(str, rows["machine"].unique())))
            raise ValueError(
                f"{path} has rows of several machines ({found}); keep those of one, or name it in also_known_as of the "
                "machine file"
            )
    return rows, left_out


def _version_of(row: pd.Series[Any]) -> str:
    """Return the version that a row names in its columns kernel or version, as ours or as published tables do."""
    text = " ".join(str(row[name]) for name in ("kernel", "version") if name in row.index and pd.notna(row[name]))
    for name in VERSIONS:
        if name in text.split():
            return name
    posted = re.search(r"ktask RFC (v[1-4])\b", text)
    if posted:
        return f"ktask-{posted[1]}"
    return "padata-5.8" if "padata" in text else DEFAULT_VERSION


def _baseline_of(row: pd.Series[Any], client: str) -> Mapping[str, Any]:
    """Return the kernel without the framework for a client, for a row that is called a baseline."""
    text = " ".join(str(row[name]) for name in ("kernel", "config") if name in row.index and pd.notna(row[name]))
    return CLIENTS[client].baseline if _WITHOUT_HELP.search(text) else {}


def spread_of(rows: pd.DataFrame) -> pd.Series[float]:
    """Return the spread of each row's measurement as a share of it, or NaN where it is not stated.

    It is at least half of the step to which times are rounded.
    """
    found = pd.Series(math.nan, index=rows.index)
    if "stdev_s" in rows:
        found = rows["stdev_s"] / rows["time_s"]
    if "rel_err_pct" in rows:
        found = found.fillna(rows["rel_err_pct"] / 100)
    if "resolution_s" in rows:
        rounding = rows["resolution_s"] / 2 / rows["time_s"]
        found = found.where(rounding <= 0.0, found.fillna(0.0).clip(lower=rounding))
    return found


def known_tables(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of tables to compare with, all of them for none. Raises ValueError for an unknown one."""
    known = tables_with_cases()
    for name in names:
        if name not in known:
            without = name in shipped_tables()
            what = "has no cases: it is a source of parameters" if without else "is not known"
            raise ValueError(f"table {name!r} {what}; allowed are {', '.join(known)}{did_you_mean(name, known)}")
    return tuple(names) or known
