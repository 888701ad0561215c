"""Where helpers run, and where a work goes when its own part of a task is dry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from models.machine import Machine
from models.policies.queue import NextEntry, NodeEntry


class Places:
    """The nodes of helpers: `rule` is a HelperNode of models.policies.options.

    * page: the node of the data, helper i at entry i modulo their number (ktask_run_numa).
    * caller: the caller's node (ktask_run, and padata's queue_work on the unbound workqueue).
    * any: the least busy CPU of the machine.
    * round-robin: one node with CPUs after the other, over all tasks (padata with numa_aware, Linux 6.9).
    * caller-cpus: the least busy of the CPUs that the caller may use. Their number is then also the limit of works
      (padata RFC of 2022, msgid 20220106004656.126790-1-daniel.m.jordan@oracle.com). Helpers of all other rules run
      where the caller itself may not, as on the unbound workqueue of ktask v1 to v4.

    `node_share` is the largest share of a node's CPUs that helpers of all tasks take at once. The other helpers go
    anywhere. `system_share` is the largest share of all CPUs. There are no helpers beyond it. Both are 0.8 in ktask v3,
    first come, first served, until a task ends. `pool` is a number of helpers in place of `system_share` (padata: as
    many as CPUs that could be online). With `callers_count` the callers are among those (padata RFC of 2022).
    """

    def __init__(
        self,
        machine: Machine,
        rule: str,
        node_share: float | None = None,
        system_share: float | None = None,
        *,
        callers_count: bool = False,
        pool: int | None = None,
    ) -> None:
        self._machine = machine
        self._rule = rule
        self._callers = int(callers_count)
        # next_node_in(last_used_nid), which is 0 at first: the first node with CPUs above it
        self._round = count(next((i for i, nid in enumerate(machine.cpu_nids) if nid), 0))
        self._left = math.inf if system_share is None else _floor(system_share * len(machine.cpus))
        if pool is not None:
            self._left = pool
        self._left_on: dict[int, float] = {
            nid: math.inf if node_share is None else _floor(node_share * len(machine.cpus_of(nid)))
            for nid in machine.nids
        }

    def place_helpers(self, entries: Sequence[NodeEntry], works: int, caller_nid: int) -> list[int | None]:
        """Return the node of each helper of a task, the first helper's first. None means anywhere."""
        placed: list[int | None] = []
        self._left -= self._callers
        for i in range(1, works):
            if self._left < 1:
                break
            self._left -= 1
            nid = self._wanted(i, entries, caller_nid)
            if nid is not None and self._left_on[nid] < 1:
                nid = None
            if nid is not None:
                self._left_on[nid] -= 1
            placed.append(nid)
        return placed

    def move(self, old: int | None, wanted: int | None, *, asks_old: bool = False) -> int | None:
        """Return where a helper that was queued on node `old` is queued again for data of node `wanted`.

        None means anywhere, because the wanted node is full. With `asks_old` the code looks for room on the old node,
        which has just got some. A helper of no node then finds no room. That is an assumption: the posted code reads
        the memory before its table.
        """
        if old is not None:
            self._left_on[old] += 1
        asked = old if asks_old else wanted
        if wanted is None or asked is None or self._left_on[asked] < 1:
            return None
        self._left_on[wanted] -= 1
        return wanted

    def give_back(self, nids: Sequence[int | None]) -> None:
        """Let other tasks have the places of helpers that are gone."""
        self._left += len(nids) + self._callers
        for nid in nids:
            if nid is not None:
                self._left_on[nid] += 1

    def _wanted(self, i: int, entries: Sequence[NodeEntry], caller_nid: int) -> int | None:
        """Return the node for helper number i, from 1."""
        if self._rule in ("any", "caller-cpus"):
            return None
        if self._rule == "round-robin":
            nids = self._machine.cpu_nids
            return nids[next(self._round) % len(nids)]
        nid = entries[i % len(entries)].nid
        return caller_nid if self._rule == "caller" or nid is None else nid


def _floor(share: float) -> float:
    return math.floor(share + 1e-9)


def next_entry_rule(name: str, machine: Machine, pick: Callable[[int], int]) -> NextEntry:
    """Return the rule by its NextEntryName. `pick(n)` returns a random number in [0, n)."""

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
