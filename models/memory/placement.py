"""Where the memory is that a chunk of a job works on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from models.machine import Machine
from models.memory.pool import PagePool


class Memory(Protocol):
    """Where the memory is that a chunk works on."""

    def pieces(self, entry_nid: int | None, cpu_nid: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield the nodes (more than one: spread evenly) and the size in client units of each piece of a chunk."""
        ...


class OfEntry:
    """The node of the task's entry, or the worker's node where the entry has none."""

    def pieces(self, entry_nid: int | None, cpu_nid: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:
        yield (cpu_nid if entry_nid is None else entry_nid,), size


@dataclass(frozen=True)
class FromPool:
    """Pages taken when they are needed, by the local policy of the worker: its own node first, then by distance."""

    pool: PagePool
    batch: int  # client units taken at once

    def pieces(self, entry_nid: int | None, cpu_nid: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:  # noqa: ARG002
        while size:
            nid, taken = self.pool.take_some(cpu_nid, min(size, self.batch))
            yield (nid,), taken
            size -= taken


@dataclass(frozen=True)
class Spread:
    """These nodes in turn, page by page, or the one node, wherever helpers are queued."""

    nids: tuple[int, ...]

    def pieces(self, entry_nid: int | None, cpu_nid: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:  # noqa: ARG002
        yield self.nids, size


@dataclass(frozen=True)
class InOrder:
    """One node for each unit, in the order in which units are taken."""

    nids: Iterator[int]

    def pieces(self, entry_nid: int | None, cpu_nid: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:  # noqa: ARG002
        for _ in range(size):
            yield (next(self.nids),), 1


class Filled:
    """Where the pages of a mapping are that a thread of a node has filled, in their order: there, then by distance.

    With `first`, pages are on that node as far as it has room for them.
    """

    def __init__(self, machine: Machine, nid: int, units: int, unit_bytes: int) -> None:
        self._left: list[tuple[int, int]] = []  # (node, units), the last first
        for other, here in filled_nodes(machine, nid, units, unit_bytes):
            self._left.insert(0, (other, here))

    def pieces(self, entry_nid: int | None, cpu_nid: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:  # noqa: ARG002
        while size:
            nid, left = self._left.pop()
            taken = min(size, left)
            if taken < left:
                self._left.append((nid, left - taken))
            yield (nid,), taken
            size -= taken


def filled_nodes(machine: Machine, nid: int, units: int, unit_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield nodes with the units on each, of memory that a thread of node `nid` has filled: there, then by distance."""
    room = {node.nid: node.memory_bytes // unit_bytes for node in machine.nodes}
    for other in machine.zonelists[nid]:
        here = min(room[other], units)
        units -= here
        if here:
            yield other, here
