"""Rules for the next chunk: the published schedules of self-scheduled loops, and the kernel's own.

A rule is made for one task and asked under the task's lock. N is the size of the task, P the number of works, R the
part that is left. Sizes are in client units. All but the last chunk are whole multiples of `min_chunk` where the rule
says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TaskShape:
    """The facts that a rule may know about a task. Sizes are in client units."""

    size: int
    works: int
    min_chunk: int
    align: int = 1
    chunks_per_work: int = 4
    chunk_size: int | None = None  # what the user asked for
    asked: int | None = None  # works before what the pool of helpers has; default `works`


class ChunkRule:
    """A rule for chunks. Your own rule is a subclass with `next_size`, where `self.task` is the task's shape."""

    def __init__(self, task: TaskShape) -> None:
        self.task = task

    def next_size(self, left: int, work: int, start: int) -> int:
        """Return the size of the next chunk, at least 1. The caller cuts it to the units that are left.

        `left` is the number of units left in the task. `work` is the number of the work that asks (0 is the caller).
        `start` is the unit where its entry goes on.
        """
        raise NotImplementedError

    def done(self, work: int, size: int, seconds: float) -> None:
        """Learn that a work has done a chunk."""

    def _whole(self, size: float) -> int:
        """Return a size up to a whole multiple of `min_chunk`, at least one."""
        least = self.task.min_chunk
        return max(1, -(-int(-(-size // 1)) // least)) * least


class KtaskChunks(ChunkRule):
    """A share of 1 / (works x chunks_per_work), down to a multiple of min_chunk. One work takes all at once.

    Source: ktask RFC v1 to v4, ktask_chunk_size. There chunks_per_work is 4, as a shift by 2.
    """

    def __init__(self, task: TaskShape) -> None:
        super().__init__(task)
        chunk = task.size // task.works // task.chunks_per_work
        self.chunk = task.size if task.works == 1 else max(chunk - chunk % task.min_chunk, task.min_chunk)

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002 - the same for all
        return self.chunk


class PadataChunks(ChunkRule):
    """A share of 1 / (works x chunks_per_work), at least min_chunk, up to a multiple of align, with absolute edges.

    Each chunk ends at the next multiple of the chunk size, so that only the first one can be short. Source:
    kernel/padata.c (Linux 5.8), padata_do_multithreaded and padata_mt_helper. There chunks_per_work is 4.
    """

    def __init__(self, task: TaskShape) -> None:
        super().__init__(task)
        chunk = max(task.size // (task.works * task.chunks_per_work), task.min_chunk, 1)
        self.chunk = task.size if task.works == 1 else -(-chunk // task.align) * task.align

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        return self.chunk if self.task.works == 1 else (start // self.chunk + 1) * self.chunk - start


class Hugetlb(PadataChunks):
    """As padata, with at least the share of each thread that was asked for: one chunk a thread, and a rest.

    Where the pool has fewer helpers, a quarter of a work's share may be more. Source: mm/hugetlb.c (Linux 6.9),
    hugetlb_pages_alloc_boot: min_chunk = pages / max_threads.
    """

    def __init__(self, task: TaskShape) -> None:
        super().__init__(replace(task, min_chunk=max(task.min_chunk, task.size // (task.asked or task.works))))


class OnePerWork(ChunkRule):
    """One chunk for each work, all alike (static chunking): ceil(N / P)."""

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        return self._whole(self.task.size / self.task.works)


class Even(ChunkRule):
    """One part for each work: floor(N / P), the first N mod P one unit more. Source: QEMU, touch_all_pages."""

    def __init__(self, task: TaskShape) -> None:
        super().__init__(task)
        self._longer = task.size % task.works

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        self._longer -= 1
        return self.task.size // self.task.works + (self._longer >= 0)


class Fixed(ChunkRule):
    """Chunks of one size (self-scheduling, Kruskal and Weiss, 1985): chunk_size, or min_chunk if none is given."""

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        return self.task.chunk_size or self.task.min_chunk


class Guided(ChunkRule):
    """Guided self-scheduling: ceil(R / P) (Polychronopoulos and Kuck, IEEE Trans. Computers 36(12), 1987)."""

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        return self._whole(-(-left // self.task.works))


class Factoring(ChunkRule):
    """Factoring with factor 2, FAC2: batches of P equal chunks, each batch half of the rest: ceil(R / 2P).

    Source: Hummel, Schonberg and Flynn, Comm. ACM 35(8), 1992.
    """

    def __init__(self, task: TaskShape) -> None:
        super().__init__(task)
        self._in_batch = 0
        self._chunk = 0

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        if not self._in_batch:
            self._chunk = self._whole(-(-left // (2 * self.task.works)))
            self._in_batch = self.task.works
        self._in_batch -= 1
        return self._chunk


class Trapezoid(ChunkRule):
    """Trapezoid self-scheduling: from N / 2P down to min_chunk in equal steps.

    f = floor(N / 2P), l = min_chunk, C = ceil(2N / (f + l)) chunks, each smaller by floor((f - l) / (C - 1)) than the
    one before. Source: Tzen and Ni, IEEE Trans. Parallel and Distributed Systems 4(1), 1993. Numbers are rounded as in
    LLVM's OpenMP runtime (kmp_sch_trapezoidal).
    """

    def __init__(self, task: TaskShape) -> None:
        super().__init__(task)
        first, last = max(task.size // (2 * task.works), task.min_chunk), task.min_chunk
        chunks = -(-2 * task.size // (first + last))
        self._step = (first - last) // max(1, chunks - 1)
        self._next = first

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        size = self._whole(self._next)
        self._next = max(self._next - self._step, self.task.min_chunk)
        return size


class Weighted(ChunkRule):
    """Adaptive weighted factoring, by chunk (AWF-C): ceil(R / 2P) times the work's speed over the mean speed.

    R is the part that is left now (there are no batches). A work's first chunk is ceil(N / 2P). The speed of a work is
    size over time of its chunks, where the k-th has weight k. A work that has done no chunk yet has the mean speed.
    Source: Banicescu, Velusamy and Devaprasad, Cluster Computing 6(3), 2003, and Carino and Banicescu, Supercomputing
    44(1), 2008. Details are those of LB4OMP (kmp_sch_awf_c).
    """

    def __init__(self, task: TaskShape) -> None:
        super().__init__(task)
        self._chunks = [0] * task.works
        self._sizes = [0] * task.works
        self._seconds = [0.0] * task.works

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        total = left if self._chunks[work] else self.task.size
        return self._whole(-(-total // (2 * self.task.works)) * self._weight(work))

    def _weight(self, work: int) -> float:
        speeds = [size / s for size, s in zip(self._sizes, self._seconds, strict=True) if s > 0.0]
        if not speeds or not self._seconds[work]:
            return 1.0
        return self._sizes[work] / self._seconds[work] / (math.fsum(speeds) / len(speeds))

    def done(self, work: int, size: int, seconds: float) -> None:
        self._chunks[work] += 1
        self._sizes[work] += self._chunks[work] * size
        self._seconds[work] += self._chunks[work] * seconds


class SplitEnd(ChunkRule):
    """Another rule with its last chunks split: no chunk is larger than ceil(R / P), the rest for each work."""

    def __init__(self, task: TaskShape, rule: ChunkRule) -> None:
        super().__init__(task)
        self._rule = rule

    def next_size(self, left: int, work: int, start: int) -> int:
        return min(self._rule.next_size(left, work, start), self._whole(-(-left // self.task.works)))

    def done(self, work: int, size: int, seconds: float) -> None:
        self._rule.done(work, size, seconds)


CHUNKS: Mapping[str, type[ChunkRule]] = {
    "ktask": KtaskChunks,
    "padata": PadataChunks,
    "hugetlb": Hugetlb,
    "one-per-work": OnePerWork,
    "even": Even,
    "fixed": Fixed,
    "guided": Guided,
    "factoring": Factoring,
    "trapezoid": Trapezoid,
    "weighted": Weighted,
}
