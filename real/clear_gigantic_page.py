"""The client of the published table on this host: each page is one task (`models.clients.clear_gigantic_page`)."""

from __future__ import annotations

from models.memory.pool import free_pages
from models.policies import NodeEntry
from models.results.run import Record
from models.scenario.case import Case
from models.scenario.streams import Streams
from real.background import busy_cpus
from real.workers import Workers
from real.zeroing import Arena


def fallocate(case: Case, workers: Workers, arena: Arena, streams: Streams, record: Record) -> list[int]:
    """Clear the pages of the job one by one, each taken from where the caller runs at that moment.

    Return the node that each page was to come from.
    """
    machine, task = case.machine, case.clearing
    n_pages = task.size // task.page_size
    pool = free_pages(machine, task.page_size, task.pool)
    start_nid = streams["caller_node"].choice(case.caller_nids)
    workers.begin_run(start_nid, record, busy_cpus(case), task.cpus)
    base_pages = task.page_size // machine.base_page_bytes
    policy = case.policy(streams["next_entry"].randrange)
    placed = []
    for number in range(n_pages):
        nid = pool.take(workers.caller_cpu().nid if task.page_node is None else task.page_node)
        if len(machine.nids) > 1:
            arena.place(number * task.page_size, task.page_size, nid)
        placed.append(nid)
        entries = [NodeEntry(nid, 0, base_pages)]
        workers.run_task(policy, entries, number * task.page_size)
    return placed
