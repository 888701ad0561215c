"""Scenarios: YAML files that say what is simulated. A list in place of a value spans several cases."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from models.clients import CLIENTS, ClearGigantic, Client
from models.cpu_list import format_cpu_list
from models.document import NOTHING, KeyPath, Located, combinations, format_path, leaves, locate, read
from models.groups import Group
from models.kernels import VERSIONS, Kernel
from models.loads import LOADS, Load
from models.machine import Cpu, Machine
from models.machine_file import find_machine_file, load_machine
from models.policies import ChunkRule, Policy, WorksRule
from models.problems import InputError, Problem, did_you_mean
from models.published_table import PublishedTable, load_table
from models.units import describe, format_size
from models.validation import Checker, validate

MAX_CASES = 100_000
_LISTS: tuple[KeyPath, ...] = (("title",), ("question",), ("compare_with",))  # of which all cases have the same

DEFAULT_VERSION = "ktask-v1"

_TAKEN = ("published",)  # what its columns would be called, others are
NAME, NAME_WORDS = (
    r"[A-Za-z][A-Za-z0-9_-]{0,39}",
    "allowed are letters, digits, - and _, a letter first, 40 at most, and not published",
)

EMPTY = Located({}, 0, 0, {})


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ScenarioFile(_Part):
    """A scenario file."""

    title: Annotated[str, StringConstraints(strip_whitespace=True), Field(min_length=1, description="its heading")]
    question: Annotated[
        str,
        StringConstraints(strip_whitespace=True),
        Field(min_length=1, description="what the scenario is to answer"),
    ]
    machine: Annotated[str, Field(description="a shipped machine, or the path of a machine file")]
    task: Annotated[Client, Field(description="the job")]
    kernel: Annotated[Kernel, Field(description="a version, or a version and what differs from it")]
    background: Annotated[
        dict[str, Any], Field(description="other work on the machine, each by a name of its own; default none")
    ] = {}
    groups: Annotated[
        dict[str, Any], Field(description="cgroups that the job and other work may be in, by name; default none")
    ] = {}
    replications: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of all random streams")] = 1
    compare_with: Annotated[
        str | None, Field(description="a published table (a shipped name, or the path of a CSV file)")
    ] = None


def _first(_count: int) -> int:
    return 0


@dataclass(frozen=True)
class Case:
    """One combination of a scenario's values: what is run `replications` times."""

    machine: Machine
    task: Client
    kernel: Kernel
    replications: int
    seed: int
    background: Mapping[str, Load] = field(default_factory=dict)  # by name, those with at least one thread
    groups: Mapping[str, Group] = field(default_factory=dict)
    rules: Mapping[str, type[Any]] = field(default_factory=dict)  # a user's own, in place of kernel.works or .chunks
    document: Located = EMPTY  # the values it was made of, with their places
    choices: Mapping[str, Any] = field(default_factory=dict)  # path -> value, of what differs between cases

    def policy(self, pick: Callable[[int], int]) -> Policy:
        """Return the policy of a run; `pick(n)` returns a random number in [0, n)."""
        quota = None if self.task.group is None else self.groups[self.task.group].quota
        unit_bytes = self.task.unit_bytes(self.machine)
        return Policy(self.kernel, self.machine, pick, self.rules, unit_bytes, self.caller_cpu_ids, quota)

    @property
    def caller_cpu_ids(self) -> tuple[int, ...] | None:
        """The ids of the CPUs that the calling thread may use, those of its cgroup; None for all."""
        own = self.task.cpus
        return own if self.task.group is None else self.groups[self.task.group].limit(own)

    @property
    def clearing(self) -> ClearGigantic:
        """The task as one that clears pages, which is what a host can be measured by. Raises TypeError for others."""
        if not isinstance(self.task, ClearGigantic):
            raise TypeError(f"client {self.task.client} clears no pages")
        return self.task

    @property
    def size_bytes(self) -> int:
        """The size of the whole job."""
        return self.task.size_bytes(self.machine)

    @property
    def caller_cpus(self) -> tuple[Cpu, ...]:
        """The CPUs that the calling thread may use."""
        return self.task.caller_cpus(self.machine)

    @property
    def caller_nids(self) -> tuple[int, ...]:
        """The nodes that the calling thread may start on, ascending."""
        return self.task.caller_nids(self.machine)

    @property
    def _task_size(self) -> int:
        return self.task.task_bytes(self.machine) // self.task.unit_bytes(self.machine)

    @property
    def n_works(self) -> int:
        """The number of works of the first task, its data near the caller (on the first possible node, if random)."""
        nid = self.task.data_nid(self.machine)
        return self.policy(_first).n_works(self._task_size, nid)

    def chunk_bytes(self) -> list[int]:
        """Return the chunks of the first task, as works that are all alike would take them in turn."""
        unit = self.task.unit_bytes(self.machine)
        return [size * unit for size in self.policy(_first).chunk_sizes(self._task_size, self.n_works)]


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

    def with_team_costs(self) -> Scenario:
        """Return the scenario with the costs of the real backend's threads, where the machine's file has them.

        So it simulates what `real.run` does, and not what a kernel would.
        """
        return replace(
            self,
            cases=tuple(
                replace(case, kernel=case.kernel.model_copy(update={**case.machine.team, "pinned": True}))
                if case.machine.team
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


def _values(document: Located) -> dict[str, Any]:
    """Return the values of a case by path. A list of CPUs is a text, though one CPU may be written as a number."""
    return {
        format_path(at): str(value) if at[-1] == "cpus" and isinstance(value, int) else value
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
    changed = _set(inner.get(str(keys[0]), Located({}, 0, 0, {})), keys[1:], value, (*at, keys[0]))
    places = {**dict.fromkeys(inner, (document.line, document.column)), **(document.keys or {}), str(keys[0]): (0, 0)}
    return Located({**inner, str(keys[0]): changed}, document.line, document.column, places)


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file. Raises InputError with everything that is wrong in it."""
    path = Path(path)
    return build_scenario(read(path), path)


def build_scenario(document: Located, path: Path, *, machine: Machine | None = None) -> Scenario:
    """Make a scenario of a document; machine files and tables are looked up beside `path`. Raises InputError.

    With `machine`, that is the one that the document names.
    """
    name = str(path)
    if not isinstance(document.value, dict):
        found = describe(document.plain())
        message = f"found {found}; allowed is a mapping with the keys {', '.join(ScenarioFile.model_fields)}"
        raise InputError([Problem(name, document.line, document.column, "", message)])
    n_cases = _count(document, ())
    if n_cases > MAX_CASES:
        many = f"{n_cases:,}" if n_cases < 10**12 else "countless"
        message = f"the lists span {many} cases; allowed are at most {MAX_CASES:,}"
        raise InputError([Problem(name, document.line, document.column, "", message)])
    problems: list[Problem] = []
    _find_doubles(document, (), name, problems)
    machines = {machine.name: machine} if machine else _find_machines(document.value.get("machine"), path, problems)
    table = _find_table(document.value.get("compare_with"), path, problems)
    cases: list[Case] = []
    values: list[dict[str, Any]] = []
    first: ScenarioFile | None = None
    for chosen in combinations(document, _LISTS):
        spelled = _spell_out(chosen)
        check = Checker(spelled, name)
        background, groups = _loads(spelled, check), _groups(spelled, check)
        try:
            file = validate(_model_of(spelled), spelled, name)
        except InputError as error:
            problems += [*error.problems, *check.problems]
            continue
        first = first or file
        where = machines.get(file.machine)
        if where is not None:
            _check_case(file, where, background, groups, check)
            values.append(_values(spelled))
            cases.append(
                Case(
                    where,
                    file.task,
                    file.kernel.for_client(file.task.client),
                    file.replications,
                    file.seed,
                    {at: load for at, load in background.items() if load.n_threads},
                    groups,
                    document=spelled,
                )
            )
        problems += check.problems
    problems += _find_unused(cases, name)
    if problems:
        raise InputError(problems)
    assert first is not None
    return Scenario(first.title, first.question, _with_choices(cases, values), table, document, path)


def _with_choices(cases: Sequence[Case], values: Sequence[Mapping[str, Any]]) -> tuple[Case, ...]:
    """Return the cases with what differs between them, of the values (by path) that each was made of."""
    varying = [at for at in dict.fromkeys(itertools.chain(*values)) if len({each.get(at) for each in values}) > 1]
    return tuple(
        replace(case, choices={at: each.get(at) for at in varying}) for case, each in zip(cases, values, strict=True)
    )


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


def _count(document: Located, path: KeyPath) -> int:
    """Return how many cases a document spans, as `combinations` yields them."""
    if path in _LISTS or document.value == []:
        return 1
    if isinstance(document.value, list):
        return sum(1 if isinstance(item.value, list) else _count(item, path) for item in document.value)
    if isinstance(document.value, dict):
        return math.prod(_count(item, (*path, key)) for key, item in document.value.items())
    return 1


def _find_doubles(document: Located, path: KeyPath, name: str, problems: list[Problem]) -> None:
    """Find values that stand twice in a list: the same case again."""
    inner = document.value
    if isinstance(inner, dict):
        for key, item in inner.items():
            _find_doubles(item, (*path, key), name, problems)
    elif isinstance(inner, list) and path not in _LISTS:
        seen: set[str] = set()
        for item in inner:
            _find_doubles(item, path, name, problems)
            text = repr(item.plain())
            if text in seen and item.value is not NOTHING:
                message = f"found {describe(item.plain())} a second time in the list; allowed is each value once"
                problems.append(Problem(name, item.line, item.column, format_path(path), message))
            seen.add(text)


def _spell_out(document: Located) -> Located:
    """Return the document with `kernel: ktask-v1` written as the mapping that it is short for."""
    kernel = document.value.get("kernel")
    if kernel is None or not isinstance(kernel.value, str):
        return document
    spelled = Located({"version": kernel}, kernel.line, kernel.column, {"version": (kernel.line, kernel.column)})
    return replace(document, value={**document.value, "kernel": spelled})


@cache
def scenario_model(client: str | None, version: str | None) -> type[ScenarioFile]:
    """Return the model of a scenario file with this client and kernel version; for unknown ones, one that says so."""
    task = CLIENTS.get(client or "") or _one_of(Client, "client", CLIENTS)
    kernel = VERSIONS.get(version or "") or _one_of(Kernel, "version", VERSIONS)
    return _scenario_model(task, kernel)


def _scenario_model(task: Any, kernel: Any) -> type[ScenarioFile]:
    parts: dict[str, Any] = {
        name: (Annotated[kind, Field(description=ScenarioFile.model_fields[name].description)], ...)
        for name, kind in (("task", task), ("kernel", kernel))
    }
    return create_model("ScenarioFile", __base__=ScenarioFile, **parts)


def _one_of(base: type[BaseModel], key: str, names: Iterable[str]) -> type[BaseModel]:
    """Return what stands for a part whose `key` is missing or unknown: only that is found wrong with it."""
    words: Any = Literal[tuple(names)]
    free = type("_Free", (base,), {"model_config": ConfigDict(extra="allow"), "__module__": __name__})
    field: Any = (Annotated[words, Field(description=base.model_fields[key].description)], ...)
    return create_model(base.__name__, __base__=free, **{key: field})


def _model_of(document: Located) -> type[ScenarioFile]:
    names: list[str | None] = []
    for part, key, default in (("task", "client", None), ("kernel", "version", DEFAULT_VERSION)):
        mapping = _mapping(document, part)
        given = mapping[key].value if key in mapping else default
        names.append(given if isinstance(given, str) else None)
    return scenario_model(*names)


def _mapping(document: Located, key: str) -> Mapping[str, Located]:
    """Return the mapping at a key of a document; an empty one if there is something else, or nothing."""
    part = document.value.get(key)
    return part.value if part is not None and isinstance(part.value, dict) else {}


def _parts(document: Located, key: str, of_one: Callable[[Located], Any], check: Checker) -> dict[str, Any]:
    """Return the parts of a mapping from names of their own, each as its model."""
    found: dict[str, Any] = {}
    for name, part in _mapping(document, key).items():
        if not re.fullmatch(NAME, name) or name in _TAKEN:
            check.problem((key, name), f"found the name {name!r}; {NAME_WORDS}", of_key=True)
        try:
            found[name] = validate(of_one(part), part, check.file, (key, name))
        except InputError as error:
            check.problems += error.problems
    return found


def _loads(document: Located, check: Checker) -> dict[str, Load]:
    kind = _mapping(document, "background").get("load")
    if kind is not None and not isinstance(kind.value, dict):
        message = (
            "found a load without a name; allowed is a name for each, such as "
            'background: {other: {load: spin, cpus: "1"}}; for no load, background: {} or threads: 0'
        )
        check.problem(("background",), message)
        return {}

    def of_one(part: Located) -> Any:
        kind = part.value.get("load") if isinstance(part.value, dict) else None
        return LOADS.get(str(kind.value) if kind is not None else "") or _one_of(Load, "load", LOADS)

    return _parts(document, "background", of_one, check)


def _groups(document: Located, check: Checker) -> dict[str, Group]:
    return _parts(document, "groups", lambda _part: Group, check)


def _check_case(
    file: ScenarioFile, machine: Machine, background: Mapping[str, Load], groups: Mapping[str, Group], check: Checker
) -> None:
    """Find what is impossible in one case: values that are fine alone and wrong together."""
    for name, load in background.items():
        load.check(machine, check, ("background", name))
        _check_group(load.group, load.cpus, groups, check, ("background", name))
    for name, group in groups.items():
        group.check(machine, check, ("groups", name))
    _check_group(file.task.group, file.task.cpus, groups, check, ("task",))
    before = len(check.problems)
    _check_caller_node(file.task, machine, groups, check)
    file.task.check(machine, check)
    if len(check.problems) == before:
        _check_policy(file, machine, check)


# Options of a policy, and the rules that use them.
_USED_BY = {
    "chunk_size": ("chunks", ("fixed",)),
    "align": ("chunks", ("padata",)),
    "chunks_per_work": ("chunks", ("ktask", "padata")),
    "growth_threshold": ("works", ("adaptive",)),
    "node_share": ("helper_node", ("page", "caller", "round-robin")),
}


def _find_unused(cases: Sequence[Case], name: str) -> Iterator[Problem]:
    """Find options of a policy that no case uses: in a list of rules, one that does is enough."""
    for option, (part, rules) in _USED_BY.items():
        given = [case for case in cases if case.document.has(("kernel", option))]
        given = [case for case in given if getattr(case.kernel, option) is not None]
        found = sorted({case.kernel.rule(part) for case in given})
        if given and not set(found) & set(rules):
            document = given[0].document
            value = describe(document.at(("kernel", option)))
            message = (
                f"found {value}; it is used by {part}: {' or '.join(rules)}, and {part} is {', '.join(found)} here"
            )
            yield Problem(name, *document.place(("kernel", option)), f"kernel.{option}", message)


def _check_policy(file: ScenarioFile, machine: Machine, check: Checker) -> None:
    """Find sizes of a policy that don't fit the task: only those that the scenario gives itself."""
    task_bytes, unit = file.task.task_bytes(machine), file.task.unit_bytes(machine)
    for name in ("min_chunk", "chunk_size", "align"):
        size: int | None = getattr(file.kernel, name)
        if size is None or (name not in file.kernel.model_fields_set and size <= task_bytes):
            continue
        found = check.found(("kernel", name), format_size(size))
        if size > task_bytes:
            check.problem(
                ("kernel", name),
                f"found {found}, more than a task, which is {format_size(task_bytes)} here; allowed is at most that",
            )
        elif size % unit:
            check.problem(
                ("kernel", name), f"found {found}; allowed is a multiple of what tasks are made of, {format_size(unit)}"
            )


def _check_caller_node(task: Client, machine: Machine, groups: Mapping[str, Group], check: Checker) -> None:
    """Find a calling thread that starts on a node on which its cgroup has no CPU."""
    group = groups.get(task.group or "")
    if task.caller_node is None or group is None or group.cpus is None:
        return
    nids = {cpu.nid for cpu in machine.cpus if cpu.cpu_id in group.cpus}
    if nids and task.caller_node not in nids:
        check.problem(
            ("task", "caller_node"),
            f"found node {task.caller_node}; group {task.group} may use CPUs {format_cpu_list(group.cpus)}, of node"
            f"{'s' * (len(nids) > 1)} {format_cpu_list(sorted(nids))}",
        )


def _check_group(
    wanted: str | None, cpus: Sequence[int] | None, groups: Mapping[str, Group], check: Checker, at: KeyPath
) -> None:
    """Find a group that there is not, or one that may use none of the CPUs of who is in it."""
    if wanted is None:
        return
    if wanted not in groups:
        known = ", ".join(groups) or "none: give it under `groups`"
        check.problem((*at, "group"), f"found {wanted!r}; the groups are {known}{did_you_mean(wanted, tuple(groups))}")
        return
    allowed = groups[wanted].cpus
    if cpus is not None and allowed is not None and not set(cpus) & set(allowed):
        check.problem(
            (*at, "cpus"), f"found {format_cpu_list(cpus)}; group {wanted} may use {format_cpu_list(allowed)} only"
        )


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file: each value may be a list, and `kernel` a version's name."""
    every = _scenario_model(
        Annotated[Union[tuple(CLIENTS.values())], Field(discriminator="client")],  # noqa: UP007
        Annotated[Union[tuple(VERSIONS.values())], Field(discriminator="version")],  # noqa: UP007
    )
    loads: Any = Annotated[Union[tuple(LOADS.values())], Field(discriminator="load")]  # noqa: UP007
    parts: dict[str, Any] = {
        name: (Annotated[kind, Field(description=ScenarioFile.model_fields[name].description)], {})
        for name, kind in (("background", dict[str, loads]), ("groups", dict[str, Group]))
    }
    every = create_model("ScenarioFile", __base__=every, **parts)
    schema = every.model_json_schema()
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
