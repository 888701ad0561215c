"""The struct pages that are initialised late in boot, by many threads: those that boot doesn't need first.

Source: mm/mm_init.c and mm/page_alloc.c of Linux 5.8 to 7.3 (defer_init, deferred_init_memmap and
deferred_init_mem_pfn_range_in_zone), and boots of those kernels that were traced (tests/kernels).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

PAGE = 4096
SECTION = 0x8000  # pages, 128 MiB (SECTION_SIZE_BITS of arch/x86/include/asm/sparsemem.h)
ZONES = (0x1000, 0x100000)  # pages: where DMA32 and Normal begin on x86 (16 MiB, 4 GiB)


@dataclass(frozen=True, order=True)
class Span:
    """Page frames [start, end)."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Return the number of pages."""
        return self.end - self.start


def whole_pages(start_byte: int, end_byte: int) -> Span:
    """Return the pages that lie within [start_byte, end_byte) as a whole."""
    start = -(-start_byte // PAGE)
    return Span(start, max(start, end_byte // PAGE))


def highest_zone(memory: Iterable[Span]) -> tuple[Span, ...]:
    """Return the memory of a node that is in its highest zone. Only that memory is deferred.

    >>> highest_zone([Span(0x100, 0x80000), Span(0x100000, 0x140000)])
    (Span(start=1048576, end=1310720),)
    """
    spans = sorted(span for span in memory if span.size > 0)
    start = max((zone for zone in ZONES if spans and spans[-1].end > zone), default=0)
    return tuple(Span(max(span.start, start), span.end) for span in spans if span.end > start)


def first_deferred(memory: Iterable[Span]) -> int | None:
    """Return the first page of a node whose initialisation is deferred, or None if there is none.

    It is the first page at a multiple of a section behind a whole section's pages of the zone. Boot takes more sections
    one by one where it needs them.

    >>> hex(first_deferred([Span(0x140000, 0x200000)]) or 0)
    '0x148000'
    """
    before = 0
    for span in highest_zone(memory):
        first = -(-max(span.start, span.start + SECTION - before) // SECTION) * SECTION
        if first < span.end:
            return first
        before += span.size
    return None


def deferred_jobs(
    memory: Sequence[Span], reserved: Iterable[Span] = (), *, by_zone: bool, boot_sections: int = 0
) -> tuple[Span, ...]:
    """Return the jobs in which a node's deferred pages are initialised, in order. Each ends at a section's end.

    `memory` is the node's, and `reserved` the part of it that boot has reserved. `by_zone` has one job for all (since
    Linux 6.18), else there is one for each stretch of free memory, up to the end of its last section. `boot_sections`
    is the number of sections that boot needed beside the first.

    >>> deferred_jobs([Span(0x140000, 0x200000)], by_zone=True)
    (Span(start=1343488, end=2097152),)
    """
    first = first_deferred(memory)
    zone = highest_zone(memory)
    if first is None or first + boot_sections * SECTION >= zone[-1].end:
        return ()
    first += boot_sections * SECTION
    if by_zone:
        return (Span(first, -(-zone[-1].end // SECTION) * SECTION),)
    jobs = []
    for span in free_spans(zone, reserved):
        if span.end > first:
            start, first = max(span.start, first), -(-span.end // SECTION) * SECTION
            jobs.append(Span(start, first))
    return tuple(jobs)


def free_spans(memory: Iterable[Span], reserved: Iterable[Span]) -> Iterator[Span]:
    """Yield the spans of memory that are not reserved, ascending.

    >>> [(span.start, span.end) for span in free_spans([Span(0, 9)], [Span(2, 4), Span(3, 5)])]
    [(0, 2), (5, 9)]
    """
    taken = sorted(reserved)
    for span in sorted(memory):
        start = span.start
        for other in taken:
            if other.end > start and other.start < span.end:
                if other.start > start:
                    yield Span(start, other.start)
                start = max(start, other.end)
        if start < span.end:
            yield Span(start, span.end)
