"""The chunk that the threads of a case take first: its size, how many there are, and which others to try."""

from __future__ import annotations

from models.scenario.case import Case

_STEP = 8  # ratio of chunks that are tried
_LARGER = 3  # of them, at most
_EACH = 16  # for each thread, at least: one that comes late for a reason not modelled costs little


def first_chunk(case: Case) -> int:
    """Return the bytes of the first chunk."""
    unit = case.task.unit_bytes(case.machine)
    size = case.task.task_bytes(case.machine) // unit
    rule = case.policy(lambda _count: 0).chunk_rule(size, case.n_works)
    return min(size, rule.next_size(size, 0, 0)) * unit


def has_chunk(case: Case) -> bool:
    """Return whether it is a program whose chunk its user can choose."""
    return case.kernel.rule("chunks") == "fixed"


def count_chunks(case: Case) -> int:
    """Return about how many chunks a run has."""
    return -(-case.task.task_bytes(case.machine) // first_chunk(case)) * case.task.n_tasks(case.machine)


def other_chunks(case: Case) -> list[int]:
    """Return the chunks to try beside a case's, in bytes: an eighth of it, and 8, 64 and 512 times as much."""
    unit, first_bytes = case.task.unit_bytes(case.machine), first_chunk(case)
    most = case.task.task_bytes(case.machine) // case.n_works // _EACH
    larger = [size for i in range(1, 1 + _LARGER) if (size := first_bytes * _STEP**i) <= most]
    return [size for size in (first_bytes // _STEP, *larger) if size and size % unit == 0]
