"""Scenarios: YAML files for simulations. A list in place of a value spans several cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.files.machine import find_machine_file, load_machine
from models.files.table import PublishedTable, load_table
from models.machine import Machine
from models.policies import ChunkRule, WorksRule
from models.scenario.case import Case
from models.scenario.checks import check_case, check_length, check_shape, find_doubles, find_unused
from models.scenario.keys import SHARED, ScenarioFile, read_groups, read_loads, scenario_model
from models.text.checks import Checker, validate
from models.text.document import EMPTY, KeyPath, Located, combinations, format_path, leaves, locate, read
from models.text.problems import InputError, Problem

DEFAULT_VERSION = "ktask-v1"


@dataclass(frozen=True)
class Scenario:
    """A scenario: its cases in the order of the file, the last list varying fastest (`load`).

    Example:
        >>> scenario = load("clear_gigantic_page").with_values({"kernel.max_threads": [1, 2], "task.size": "100GiB"})
        >>> [case.kernel.max_threads for case in scenario.cases]
        [1, 2]
    """

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
            try:
                document = _set(document, tuple(path.split(".")), locate(value))
            except KeyError as error:
                message = f"found no mapping to set {error.args[0]!r} in; allowed are the paths of a scenario's keys"
                raise InputError([Problem(str(self.path), 0, 0, path, message)]) from None
        built, own = build_scenario(document, self.path), self.cases[0].rules
        return built.with_rules(works=own.get("works"), chunks=own.get("chunks")) if own else built

    @staticmethod
    def combine(title: str, question: str, parts: Sequence[Scenario]) -> Scenario:
        """Return a scenario with the cases of several, in their order. Raises ValueError for no part."""
        if not parts:
            raise ValueError("parts must be at least one scenario; found none")
        plain = {"title": title, "question": question, "parts": [part.document.plain() for part in parts]}
        values = [_values(case.document) | _names(case.rules) for part in parts for case in part.cases]
        cases = _with_choices([case for part in parts for case in part.cases], values)
        return Scenario(title, question, cases, parts[0].compare_with, locate(plain), parts[0].path)

    def with_worker_costs(self) -> Scenario:
        """Return the scenario with the costs of the real backend's threads, where the machine's file has them.

        So it simulates the threads of `real.run`, and not those of a kernel.
        """
        return replace(
            self,
            cases=tuple(
                replace(case, kernel=case.kernel.model_copy(update={**case.machine.worker_costs, "pinned": True}))
                if case.machine.worker_costs
                else case
                for case in self.cases
            ),
        )

    def with_rules(self, *, works: type[WorksRule] | None = None, chunks: type[ChunkRule] | None = None) -> Scenario:
        """Return the scenario with rules of your own, subclasses of those of models.policies, in every case."""
        own: dict[str, type[Any]] = {name: rule for name, rule in (("works", works), ("chunks", chunks)) if rule}
        cases = (replace(case, rules=own, choices={**case.choices, **_names(own)}) for case in self.cases)
        return replace(self, cases=tuple(cases))

    def on(self, machine: Machine) -> Scenario:
        """Return the scenario with every case on `machine`."""
        return replace(self, cases=tuple(replace(case, machine=machine) for case in self.cases))


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file. Raises InputError with everything that is wrong in it."""
    path = Path(path)
    return build_scenario(read(path), path)


def build_scenario(document: Located, path: Path, *, machine: Machine | None = None) -> Scenario:
    """Make a scenario of a document. Machine files and tables are looked up beside `path`. Raises InputError.

    `machine`, if given, is the machine that the document names.
    """
    name = str(path)
    check_shape(document, name)
    problems = list(find_doubles(document, name))
    machines = {machine.name: machine} if machine else _find_machines(document.value.get("machine"), path, problems)
    table = _find_table(document.value.get("compare_with"), path, problems)
    cases: list[Case] = []
    values: list[dict[str, Any]] = []
    first: ScenarioFile | None = None
    for chosen in combinations(document, SHARED):
        spelled = _spell_out(chosen)
        check = Checker(spelled, name)
        background, groups = read_loads(spelled, check), read_groups(spelled, check)
        try:
            file = validate(_model_of(spelled), spelled, name)
        except InputError as error:
            problems += error.problems
            known = _despite(spelled, name)
            if known is None:
                problems += check.problems
                continue
            file = known
        first = first or file
        where = machines.get(file.machine)
        if where is not None:
            check_case(file, where, background, groups, check)
            values.append(_values(spelled))
            cases.append(
                Case(
                    where,
                    file.task,
                    file.kernel.for_client(file.task.rules_on(where)),
                    file.replications,
                    file.seed,
                    {at: load for at, load in background.items() if load.n_threads},
                    groups,
                    document=spelled,
                )
            )
            if not check.problems:
                check_length(cases[-1], check)
        problems += check.problems
    problems += find_unused(cases, name)
    if problems:
        raise InputError(problems)
    assert first is not None
    return Scenario(first.title, first.question, _with_choices(cases, values), table, document, path)


def _despite(document: Located, name: str) -> ScenarioFile | None:
    """Return a document that lacks only keys at its top, so that its other problems can be found."""
    missing: dict[str, Any] = {key: "?" for key in ("title", "machine") if key not in document.value}
    if "kernel" not in document.value:
        missing["kernel"] = {"version": DEFAULT_VERSION}
    filled = {**document.value, **{key: locate(value) for key, value in missing.items()}}
    places = {**(document.keys or {}), **dict.fromkeys(missing, (document.line, document.column))}
    try:
        return validate(_model_of(document), replace(document, value=filled, keys=places), name)
    except InputError:
        return None


def _find_machines(value: Located | None, path: Path, problems: list[Problem]) -> dict[str, Machine]:
    """Return the machines that a scenario names, as far as they can be read."""
    machines: dict[str, Machine] = {}
    for item in value.value if value is not None and isinstance(value.value, list) else [value]:
        if item is None or not isinstance(item.value, str) or item.value in machines:
            continue
        try:
            machine = load_machine(find_machine_file(item.value, path.parent))
        except InputError as error:
            problems += error.problems
        except ValueError as wrong:
            problems.append(Problem(str(path), item.line, item.column, "machine", str(wrong)))
        else:
            same = next((other for other, known in machines.items() if known.name == machine.name), None)
            if same is not None:
                message = (
                    f"found {item.value!r}, named {machine.name} like {same!r}; allowed are machines of different names"
                )
                problems.append(Problem(str(path), item.line, item.column, "machine", message))
            machines[item.value] = machine
    return machines


def _find_table(value: Located | None, path: Path, problems: list[Problem]) -> PublishedTable | None:
    """Return the table that a scenario is compared with, if it names one that can be read."""
    if value is None or not isinstance(value.value, str):
        return None
    try:
        return load_table(value.value, path.parent)
    except ValueError as wrong:
        problems.append(Problem(str(path), value.line, value.column, "compare_with", str(wrong)))
        return None


def _spell_out(document: Located) -> Located:
    """Return the document with `kernel: ktask-v1` written as the mapping that it is short for."""
    kernel = document.value.get("kernel")
    if kernel is None or not isinstance(kernel.value, str):
        return document
    spelled = Located({"version": kernel}, kernel.line, kernel.column, {"version": (kernel.line, kernel.column)})
    return replace(document, value={**document.value, "kernel": spelled})


def _model_of(document: Located) -> type[ScenarioFile]:
    """Return the model of a scenario file with the client and version that a document names."""
    names: list[str | None] = []
    for part, key, default in (("task", "client", None), ("kernel", "version", DEFAULT_VERSION)):
        mapping = document.mapping(part)
        given = mapping[key].value if key in mapping else default
        names.append(given if isinstance(given, str) else None)
    return scenario_model(*names)


def _with_choices(cases: Sequence[Case], values: Sequence[Mapping[str, Any]]) -> tuple[Case, ...]:
    """Return the cases with the values (by path) of each that differ between them."""
    varying = [at for at in dict.fromkeys(itertools.chain(*values)) if len({each.get(at) for each in values}) > 1]
    return tuple(
        replace(case, choices={at: each.get(at) for at in varying}) for case, each in zip(cases, values, strict=True)
    )


def _values(document: Located) -> dict[str, Any]:
    """Return the values of a case by path. A list of CPUs is a text, though one CPU may be written as a number."""
    return {
        format_path(at): str(value)
        if isinstance(value, list) or (at[-1] == "cpus" and isinstance(value, int))
        else value
        for at, value in leaves(document)
    }


def _names(rules: Mapping[str, type[Any]]) -> dict[str, str]:
    """Return the names of a user's own rules, by path."""
    return {f"kernel.{name}": rule.__name__ for name, rule in rules.items()}


def _set(document: Located, keys: KeyPath, value: Located, at: KeyPath = ()) -> Located:
    """Return the document with a value set, in every item where there is a list. Raises KeyError for a dead end."""
    if not keys:
        return value
    inner = document.value
    if isinstance(inner, list):
        return replace(document, value=[_set(item, keys, value, at) for item in inner])
    if at == ("kernel",) and isinstance(inner, str):  # short for a mapping
        inner = {"version": Located(inner, document.line, document.column)}
    if not isinstance(inner, dict):
        raise KeyError(keys[0])
    changed = _set(inner.get(str(keys[0]), EMPTY), keys[1:], value, (*at, keys[0]))
    places = {**dict.fromkeys(inner, (document.line, document.column)), **(document.keys or {}), str(keys[0]): (0, 0)}
    return Located({**inner, str(keys[0]): changed}, document.line, document.column, places)
