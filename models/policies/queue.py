"""The chunks of a task, taken one by one from per-node entries, under the task's lock.

Terms are the kernel's. A *work* is a thread at work on the job, the caller (number 0) or a helper. A *chunk* is the
range that one call of the client's function gets. Sizes are in client units (base pages, for clearing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.policies.chunks import ChunkRule

# Chooses the next entry among those with work left, for a work on a node (None: not known); None ends the work.
NextEntry = Callable[[Sequence["NodeEntry"], int | None], "NodeEntry | None"]


@dataclass
class NodeEntry:
    """The part of a task whose data are on one node: `start` moves up as chunks are taken."""

    nid: int | None  # None: no node in particular
    start: int
    size: int


class Chunk(NamedTuple):
    """A piece of a task: [start, start + size) of entry `entry`."""

    entry: int
    start: int
    size: int


class ChunkQueue:
    """The chunks of one task. `rule` gives their sizes, `next_entry` where a work goes when its own entry is empty."""

    def __init__(self, entries: Sequence[NodeEntry], rule: ChunkRule, next_entry: NextEntry) -> None:
        self._entries = [NodeEntry(entry.nid, entry.start, entry.size) for entry in entries]
        self._rule = rule
        self._next_entry = next_entry
        self.size_left = sum(entry.size for entry in entries)

    def choose(self, entry: int, nid: int | None = None) -> int | None:
        """Return the entry at which a work goes on: `entry`, or another if that is empty. It runs on node `nid`.

        None ends the work.
        """
        if not self.size_left:
            return None
        if self._entries[entry].size:
            return entry
        chosen = self._next_entry([other for other in self._entries if other.size], nid)
        return next((i for i, other in enumerate(self._entries) if other is chosen), None)

    def take(self, entry: int, work: int = 0, nid: int | None = None) -> Chunk | None:
        """Take the next chunk for work number `work` at `entry`, or where it goes on. None if none is left for it.

        Raises ValueError if the rule gives less than one unit.
        """
        chosen = self.choose(entry, nid)
        if chosen is None:
            return None
        own = self._entries[chosen]
        size = self._rule.next_size(self.size_left, work, own.start)
        if size < 1:
            raise ValueError(f"the chunk rule {type(self._rule).__name__} gave a chunk of {size}; at least 1 is needed")
        size = min(int(size), own.size)
        chunk = Chunk(chosen, own.start, size)
        own.start += size
        own.size -= size
        self.size_left -= size
        return chunk

    def done(self, work: int, size: int, seconds: float) -> None:
        """Tell the rule the time in which a work has done a chunk, in seconds."""
        self._rule.done(work, size, seconds)

    def stop(self) -> None:
        """Hand out no more chunks, because one has failed."""
        self.size_left = 0

    def check_all_taken(self) -> None:
        """Raise ValueError if something is left: an entry without a work of its own, and works that don't move."""
        if self.size_left:
            raise ValueError(f"{self.size_left} base pages of the task were taken by no work; set another next_entry")

    @property
    def nids(self) -> list[int | None]:
        """Return the node of each entry."""
        return [entry.nid for entry in self._entries]
