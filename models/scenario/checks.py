"""The checks of a scenario: its lists, values that don't go together, options without effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from models.clients import Client
from models.loads import Load
from models.loads.groups import Group
from models.machine import Machine
from models.scenario.case import Case
from models.scenario.keys import SHARED, ScenarioFile
from models.text.checks import Checker
from models.text.cpu_list import format_cpu_list
from models.text.document import NOTHING, KeyPath, Located, format_path
from models.text.problems import InputError, Problem, did_you_mean
from models.text.units import describe, format_size

MAX_CASES = 100_000


MAX_CHUNKS = 50_000_000  # of a run, which then takes some half an hour
MAX_STEPS_BEFORE = 50_000_000  # of other work, until the job starts: an hour


def check_shape(document: Located, name: str) -> None:
    """Raise InputError for a document that is no mapping, or spans too many cases."""
    if not isinstance(document.value, dict):
        found = describe(document.plain())
        message = f"found {found}; allowed is a mapping with the keys {', '.join(ScenarioFile.model_fields)}"
        raise InputError([Problem(name, document.line, document.column, "", message)])
    n_cases = _count(document, ())
    if n_cases > MAX_CASES:
        many = f"{n_cases:,}" if n_cases < 10**12 else "countless"
        message = f"the lists span {many} cases; allowed are at most {MAX_CASES:,}"
        raise InputError([Problem(name, document.line, document.column, "", message)])


def _count(document: Located, path: KeyPath) -> int:
    """Return how many cases a document spans, as `combinations` yields them."""
    if path in SHARED or document.value == []:
        return 1
    if isinstance(document.value, list):
        return sum(1 if isinstance(item.value, list) else _count(item, path) for item in document.value)
    if isinstance(document.value, dict):
        return math.prod(_count(item, (*path, key)) for key, item in document.value.items())
    return 1


def find_doubles(document: Located, name: str, path: KeyPath = ()) -> Iterator[Problem]:
    """Find values that stand twice in a list: the same case again."""
    inner = document.value
    if isinstance(inner, dict):
        for key, item in inner.items():
            yield from find_doubles(item, name, (*path, key))
    elif isinstance(inner, list) and path not in SHARED:
        seen: set[str] = set()
        for item in inner:
            yield from find_doubles(item, name, path)
            text = repr(item.plain())
            if text in seen and item.value is not NOTHING:
                message = f"found {describe(item.plain())} a second time in the list; allowed is each value once"
                yield Problem(name, item.line, item.column, format_path(path), message)
            seen.add(text)


def check_case(
    file: ScenarioFile, machine: Machine, background: Mapping[str, Load], groups: Mapping[str, Group], check: Checker
) -> None:
    """Find values of one case that are fine alone and wrong together."""
    for name, load in background.items():
        check.add(("background", name), load.check(machine, groups.get(load.group or "")))
        _check_group(load.group, load.cpus, groups, check, ("background", name))
    for name, group in groups.items():
        check.add(("groups", name), group.check(machine))
    _check_group(file.task.group, file.task.cpus, groups, check, ("task",))
    before = len(check.problems)
    _check_caller_node(file.task, machine, groups, check)
    check.add(("task",), file.task.check(machine))
    if len(check.problems) == before:
        _check_policy(file, machine, check)


def check_length(case: Case, check: Checker) -> None:
    """Find a job cut into more chunks, or other work of more steps before it, than a run can go through."""
    n_steps = case.n_steps_before
    if n_steps > MAX_STEPS_BEFORE:
        check.problem(
            ("task", "start"),
            f"other work has about {n_steps:,.0f} bursts and requests before the job starts; allowed are at most "
            f"{MAX_STEPS_BEFORE:,}, so let the job start sooner, or other work later",
        )
    # No chunk is smaller than what tasks are made of.
    if case.size_bytes <= MAX_CHUNKS * case.task.unit_bytes(case.machine):
        return
    found = case.least_chunks
    if found > MAX_CHUNKS:
        check.problem(
            ("kernel",),
            f"the job has {found:,} chunks or more; allowed are at most {MAX_CHUNKS:,}, so give a larger min_chunk or "
            "chunk_size, or a smaller job",
        )


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
    """Find a group that doesn't exist, or one that may use none of the CPUs of its members."""
    if wanted is None or (wanted not in groups and check.has(("groups", wanted))):
        return  # none, or one in which something is wrong
    if wanted not in groups:
        known = ", ".join(groups) or "none: give it under `groups`"
        check.problem((*at, "group"), f"found {wanted!r}; the groups are {known}{did_you_mean(wanted, tuple(groups))}")
        return
    allowed = groups[wanted].cpus
    if cpus is not None and allowed is not None and not set(cpus) & set(allowed):
        check.problem(
            (*at, "cpus"), f"found {format_cpu_list(cpus)}; group {wanted} may use {format_cpu_list(allowed)} only"
        )


# Options of a policy, and the rules that use them.
_USED_BY = {
    "chunk_size": ("chunks", ("fixed",)),
    "align": ("chunks", ("padata", "hugetlb")),
    "chunks_per_work": ("chunks", ("ktask", "padata", "hugetlb")),
    "growth_threshold": ("works", ("adaptive",)),
    "node_share": ("helper_node", ("page", "caller", "round-robin")),
    "helper_nice": ("priority", ("nice", "raise", "raise-most")),
}


def find_unused(cases: Sequence[Case], name: str) -> Iterator[Problem]:
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
    inside = [case for case in cases if case.document.has(("kernel", "helper_group"))]
    inside = [case for case in inside if case.kernel.rule("helper_group") != "outside"]
    if inside and not any(case.task.group for case in inside):
        rule, place = inside[0].kernel.rule("helper_group"), inside[0].document.place(("kernel", "helper_group"))
        message = f"found {rule!r}; the caller is in no group: give task.group, one of `groups`"
        yield Problem(name, *place, "kernel.helper_group", message)
