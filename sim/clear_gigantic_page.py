"""The client of the published table: fallocate on hugetlbfs clears gigantic pages one by one, each as a ktask.

Each page is taken by the default memory policy from where the caller runs at that moment (its node, then by distance),
and cleared by one synchronous task with one entry, the page's node. Nothing runs in parallel across pages.
"""

from __future__ import annotations

from models.memory import free_pages
from models.policies import NodeEntry
from models.scenario import Case
from models.streams import Streams
from sim.hardware import Hardware
from sim.ktask import Caller, Ktask, Process


def fallocate(case: Case, hardware: Hardware, ktask: Ktask, streams: Streams) -> Process:
    """The calling user thread, from the first page to the last."""
    machine, task = case.machine, case.task
    pool = free_pages(machine, task.page_size, task.pool)
    start_nid = streams["caller_node"].choice(case.caller_nids)
    caller = Caller(hardware.occupy(start_nid, allowed=task.cpus), task.cpus)
    base_pages = task.page_size // machine.base_page_bytes
    for _ in range(task.size // task.page_size):
        nid = pool.take(caller.cpu.nid if task.page_node is None else task.page_node)
        yield from ktask.run(caller, [NodeEntry(nid, 0, base_pages)])
    hardware.release(caller.cpu)
