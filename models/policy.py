"""The decisions of a parallel job: how many works, what the next chunk is. Pure values, the same for every backend.

Terms are the kernel's: a *work* is a thread at work on the job, the caller or a helper; a *chunk* is what one call of
the client's function gets; sizes are in client units (base pages, for clearing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def ktask_works(size: int, min_chunk: int, online_cpus: int, max_threads: int) -> int:
    """Return the number of works of a task: ceil(size / min_chunk), at most the online CPUs and `max_threads`.

    Source: ktask RFC v1, ktask_run_numa (msgid 1500070573-3948-2-git-send-email-daniel.m.jordan@oracle.com).
    """
    return max(1, min(-(-size // min_chunk), online_cpus, max_threads))


def ktask_chunk(size: int, works: int, min_chunk: int, chunks_per_work: int = 4) -> int:
    """Return the chunk size of a task: a share of 1 / (works * chunks_per_work), down to a multiple of `min_chunk`.

    One work takes the whole task as one chunk. Computed once for each task; the last chunk is what is left.
    Source: ktask RFC v1, ktask_chunk_size, where chunks_per_work is 4, as a shift by 2.
    """
    if works == 1:
        return size
    chunk = size // works // chunks_per_work
    return max(chunk - chunk % min_chunk, min_chunk)


@dataclass
class NodeEntry:
    """The part of a task whose data are on one node: `start` moves up as chunks are taken."""

    nid: int | None  # None: no node in particular
    start: int
    size: int


@dataclass(frozen=True)
class Chunk:
    """A piece of a task: [start, start + size) of entry `entry`."""

    entry: int
    start: int
    size: int


class ChunkQueue:
    """The chunks of one task, taken one by one from per-node entries, under the task's lock.

    `pick(n)` returns a number in [0, n): where a work goes when its own entry is empty, among those with work left.
    """

    def __init__(self, entries: Sequence[NodeEntry], chunk_size: int, pick: Callable[[int], int]) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be 1 or more; found {chunk_size}")
        self._entries = [NodeEntry(entry.nid, entry.start, entry.size) for entry in entries]
        self._chunk_size = chunk_size
        self._pick = pick
        self.size_left = sum(entry.size for entry in entries)

    def take(self, entry: int) -> Chunk | None:
        """Take the next chunk for a work at `entry`, which changes if that one is empty; None if all is taken."""
        if not self.size_left:
            return None
        if not self._entries[entry].size:
            open_entries = [i for i, other in enumerate(self._entries) if other.size]
            entry = open_entries[self._pick(len(open_entries))]
        own = self._entries[entry]
        size = min(self._chunk_size, own.size)
        chunk = Chunk(entry, own.start, size)
        own.start += size
        own.size -= size
        self.size_left -= size
        return chunk

    @property
    def nids(self) -> list[int | None]:
        """The node of each entry."""
        return [entry.nid for entry in self._entries]
