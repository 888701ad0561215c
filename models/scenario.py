"""Scenarios: YAML files that say what is simulated. A list in place of a value spans several cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.document import KeyPath, Located, combinations, format_path, read
from models.kernels import VERSIONS, Kernel, KtaskV1
from models.machine import Machine
from models.machine_file import find_machine_file, load_machine
from models.problems import InputError, Problem
from models.published_table import PublishedTable, load_table
from models.units import GIB, Size, format_size
from models.validation import Checker, validate

MAX_CASES = 100_000
_LISTS: tuple[KeyPath, ...] = (("compare_with",),)  # lists that are one value, not a span


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Task(_Part):
    """The job."""

    client: Annotated[Literal["clear_gigantic_page"], Field(description="the kernel code that has the job done")]
    size: Annotated[Size, Field(gt=0, description="memory to clear")]
    page_size: Annotated[Size, Field(gt=0, description="size of a huge page; each page is one synchronous task")] = GIB
    pool: Annotated[
        Size | None,
        Field(description="huge pages set aside, spread evenly over the nodes; default: all memory of every node"),
    ] = None
    caller_node: Annotated[
        int | None, Field(ge=0, description="node on which the calling thread starts; default: a random one each time")
    ] = None


class ScenarioFile(_Part):
    """A scenario file."""

    title: Annotated[str, Field(min_length=1)]
    question: Annotated[str, Field(min_length=1, description="what the scenario is to answer")]
    machine: Annotated[str, Field(description="a shipped machine, or the path of a machine file")]
    task: Task
    kernel: Annotated[KtaskV1, Field(description="a version, or a version and what differs from it")]
    replications: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    seed: Annotated[int, Field(ge=0, description="seed of all random streams")] = 1
    compare_with: Annotated[
        str | None, Field(description="a published table (a shipped name, or the path of a CSV file)")
    ] = None


@dataclass(frozen=True)
class Case:
    """One combination of a scenario's values: what is run `replications` times."""

    machine: Machine
    task: Task
    kernel: Kernel
    replications: int
    seed: int
    choices: Mapping[str, Any] = field(default_factory=dict)  # the values of the file's lists: path -> value


@dataclass(frozen=True)
class Scenario:
    """A scenario: its cases in the order of the file, the last list varying fastest."""

    title: str
    question: str
    cases: tuple[Case, ...]
    compare_with: PublishedTable | None
    document: Located
    path: Path

    def with_values(self, values: Mapping[str, Any]) -> Scenario:
        """Return the scenario with other values, by path: {"kernel.max_threads": [1, 2, 4], "replications": 5}.

        Values are as in a file (sizes are strings with a unit). Raises InputError as reading a file does.
        """
        document = self.document
        for path, value in values.items():
            document = _set(document, tuple(path.split(".")), value, path)
        return build_scenario(document, self.path)

    def on(self, machine: Machine) -> Scenario:
        """Return the scenario with every case on `machine`."""
        return replace(self, cases=tuple(replace(case, machine=machine) for case in self.cases))


def _set(document: Located, keys: tuple[str, ...], value: Any, path: str) -> Located:
    if not keys:
        return _locate(value)
    inner = document.value
    if isinstance(inner, str) and keys[0] != "version":  # kernel: ktask-v1 is short for a mapping
        inner = {"version": Located(inner, document.line, document.column)}
    if not isinstance(inner, dict):
        raise InputError([Problem("<python>", 0, 0, path, f"there is no mapping to set {keys[0]!r} in")])
    changed = _set(inner.get(keys[0], Located({}, 0, 0, {})), keys[1:], value, path)
    places = {**dict.fromkeys(inner, (document.line, document.column)), **(document.keys or {}), keys[0]: (0, 0)}
    return Located({**inner, keys[0]: changed}, document.line, document.column, places)


def _locate(value: Any) -> Located:
    if isinstance(value, Mapping):
        return Located({str(k): _locate(v) for k, v in value.items()}, 0, 0, {str(k): (0, 0) for k in value})
    if isinstance(value, (list, tuple)):
        return Located([_locate(item) for item in value], 0, 0)
    return Located(value, 0, 0)


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file. Raises InputError with everything that is wrong in it."""
    path = Path(path)
    return build_scenario(read(path), path)


def build_scenario(document: Located, path: Path) -> Scenario:
    """Make a scenario of a document; machine files and tables are looked up beside `path`. Raises InputError."""
    name = str(path)
    if not isinstance(document.value, dict):
        raise InputError(
            [Problem(name, document.line, document.column, "", "found no mapping; see `ktask-sim schema`")]
        )
    n_cases = _count(document, ())
    if n_cases > MAX_CASES:
        message = f"the lists span {n_cases:,} cases; allowed are {MAX_CASES:,}"
        raise InputError([Problem(name, document.line, document.column, "", message)])
    if n_cases == 0:
        raise InputError([Problem(name, *_empty_list(document), "", "found an empty list; give at least one value")])
    problems: list[Problem] = []
    machines: dict[str, Machine | None] = {}
    cases: list[Case] = []
    first: ScenarioFile | None = None
    table: PublishedTable | None = None
    for chosen, choices in combinations(document, _LISTS):
        try:
            file = validate(ScenarioFile, _spell_out(chosen), name)
        except InputError as error:
            problems += error.problems
            continue
        check = Checker(chosen, name)
        if first is None:
            first = file
            if file.compare_with is not None:
                try:
                    table = load_table(file.compare_with, path.parent)
                except ValueError as wrong:
                    check.problem(("compare_with",), str(wrong))
        if file.machine not in machines:
            machines[file.machine] = None
            try:
                machines[file.machine] = load_machine(find_machine_file(file.machine, path.parent))
            except InputError as error:
                problems += error.problems
            except ValueError as wrong:
                check.problem(("machine",), str(wrong))
        machine = machines[file.machine]
        if machine is not None:
            _check_case(file, machine, check)
            values = {format_path(at): value for at, value in choices.items()}
            cases.append(Case(machine, file.task, file.kernel, file.replications, file.seed, values))
        problems += check.problems
    if problems:
        raise InputError(problems)
    assert first is not None
    return Scenario(first.title, first.question, tuple(cases), table, document, path)


def _count(document: Located, path: KeyPath) -> int:
    if path in _LISTS:
        return 1
    if isinstance(document.value, list):
        return sum(_count(item, path) for item in document.value)
    if isinstance(document.value, dict):
        return math.prod(_count(item, (*path, key)) for key, item in document.value.items())
    return 1


def _empty_list(document: Located) -> tuple[int, int]:
    if isinstance(document.value, list) and not document.value:
        return document.line, document.column
    items = document.value.values() if isinstance(document.value, dict) else document.value
    return next(
        (place for item in items if isinstance(item.value, (list, dict)) and (place := _empty_list(item)) != (0, 0)),
        (0, 0),
    )


def _spell_out(document: Located) -> Located:
    """Return the document with `kernel: ktask-v1` written as the mapping that it is short for."""
    kernel = document.value.get("kernel")
    if kernel is None or not isinstance(kernel.value, str):
        return document
    spelled = Located({"version": kernel}, kernel.line, kernel.column, {"version": (kernel.line, kernel.column)})
    return replace(document, value={**document.value, "kernel": spelled})


def _check_case(file: ScenarioFile, machine: Machine, check: Checker) -> None:
    """Find what is impossible in one case: values that are fine alone and wrong together."""
    task, kernel = file.task, file.kernel
    base = machine.base_page_bytes
    if task.page_size % base:
        check.problem(
            ("task", "page_size"),
            f"found {format_size(task.page_size)}; allowed is a multiple of the base page, {format_size(base)}",
        )
    elif task.size % task.page_size:
        check.problem(
            ("task", "size"),
            f"found {format_size(task.size)}; allowed is a whole number of pages of {format_size(task.page_size)}",
        )
    if kernel.min_chunk > task.page_size:
        check.problem(
            ("kernel", "min_chunk"),
            f"found {format_size(kernel.min_chunk)}, more than the task, a page of {format_size(task.page_size)}; "
            "allowed is at most the page",
        )
    elif kernel.min_chunk % base:
        check.problem(
            ("kernel", "min_chunk"),
            f"found {format_size(kernel.min_chunk)}; allowed is a multiple of the base page, {format_size(base)}",
        )
    room = sum(node.memory_bytes // task.page_size for node in machine.nodes) * task.page_size
    what = f"machine {machine.name} has room for {format_size(room)} in pages of {format_size(task.page_size)}"
    if task.pool is not None and task.pool > room:
        check.problem(("task", "pool"), f"found {format_size(task.pool)}; {what}")
    elif task.pool is not None and task.pool % task.page_size:
        check.problem(
            ("task", "pool"),
            f"found {format_size(task.pool)}; allowed is a whole number of pages of {format_size(task.page_size)}",
        )
    elif task.size > (room if task.pool is None else task.pool):
        limit = what if task.pool is None else f"the pool has {format_size(task.pool)}"
        check.problem(("task", "size"), f"found {format_size(task.size)}; {limit}")
    if task.caller_node is not None and task.caller_node not in machine.cpu_nids:
        nids = ", ".join(str(nid) for nid in machine.cpu_nids)
        check.problem(
            ("task", "caller_node"),
            f"found node {task.caller_node}; nodes with CPUs of machine {machine.name} are {nids}",
        )


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file: each value may be a list, and `kernel` a version's name."""
    schema = ScenarioFile.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        for key, value in part.get("properties", {}).items():
            if (key,) not in _LISTS:
                hint = {k: value.pop(k) for k in ("description", "default", "title") if k in value}
                names = [{"enum": list(VERSIONS)}] if key == "kernel" else []
                part["properties"][key] = {
                    **hint,
                    "anyOf": [value, *names, {"type": "array", "items": {"anyOf": [value, *names]}}],
                }
    return schema
