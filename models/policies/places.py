"""Where helpers run, and where a work goes when its own part of a task is dry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count

from models.machine import Machine
from models.policies.queue import NextEntry, NodeEntry


class Places:
    """The nodes of helpers: `rule` is a HelperNode of models.policies.options.

    * page: the node of the data, helper i at entry i modulo their number (ktask_run_numa);
    * caller: the caller's node (ktask_run; padata's queue_work on the unbound workqueue);
    * any: the least busy CPU of the machine;
    * round-robin: one node with CPUs after the other, over all tasks (padata with numa_aware, Linux 6.9);
    * caller-cpus: the least busy of the CPUs that the caller may use, which are then the most works too (padata RFC of
      2022, msgid 20220106004656.126790-1-daniel.m.jordan@oracle.com). Helpers of all other rules run where the caller
      itself may not, as on the unbound workqueue of ktask v1 to v4.

    `node_share`: most of a node's CPUs that helpers of a task take; the rest go anywhere (ktask v3: 0.8).
    """

    def __init__(self, machine: Machine, rule: str, node_share: float = 1.0) -> None:
        self._machine = machine
        self._rule = rule
        self._node_share = node_share
        self._round = count(1)  # next_node_in(last_used_nid), which is 0 at first

    def helper_nids(self, entries: Sequence[NodeEntry], works: int, caller_nid: int) -> list[int | None]:
        """Return the node of each helper of a task, the first one's first; None is anywhere."""
        wanted: list[int | None] = []
        for i in range(1, works):
            nid = entries[i % len(entries)].nid
            if self._rule in ("any", "caller-cpus"):
                wanted.append(None)
            elif self._rule == "round-robin":
                nids = self._machine.cpu_nids
                wanted.append(nids[next(self._round) % len(nids)])
            else:
                wanted.append(caller_nid if self._rule == "caller" or nid is None else nid)
        if self._node_share >= 1.0:
            return wanted
        room = {nid: int(self._node_share * len(self._machine.cpus_of(nid)) + 1e-9) for nid in self._machine.nids}
        for i, nid in enumerate(wanted):
            if nid is not None:
                room[nid] -= 1
                if room[nid] < 0:
                    wanted[i] = None
        return wanted


def next_entry_rule(name: str, machine: Machine, pick: Callable[[int], int]) -> NextEntry:
    """Return the rule by its NextEntryName; `pick(n)` returns a random number in [0, n)."""

    def random(entries: Sequence[NodeEntry], nid: int | None) -> NodeEntry | None:  # noqa: ARG001
        return entries[pick(len(entries))]

    def nearest(entries: Sequence[NodeEntry], nid: int | None) -> NodeEntry | None:
        if nid is None:
            return entries[0]
        return min(entries, key=lambda entry: 0 if entry.nid is None else machine.distances[nid, entry.nid])

    def most(entries: Sequence[NodeEntry], nid: int | None) -> NodeEntry | None:  # noqa: ARG001
        return max(entries, key=lambda entry: entry.size)

    def none(entries: Sequence[NodeEntry], nid: int | None) -> NodeEntry | None:  # noqa: ARG001
        return None

    rules: Mapping[str, NextEntry] = {"random": random, "nearest": nearest, "most": most, "none": none}
    return rules[name]
