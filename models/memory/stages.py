"""The stages of a page's life: taken, cleared, mapped, put into a page cache, pinned, initialised, freed.

A stage is the use of a machine by one byte of it: seconds of a thread alone, of which some are spent on memory, bytes
over the memory bus, and locks. Stages of one phase add up: `clear(...) + take(...) + pin(...)` is the use by a byte
that the same thread clears, takes and pins. The figures are those of models.memory.figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.machine import Machine, Rates
from models.memory.figures import (
    CacheFigures,
    ClearFigures,
    CopyFigures,
    FaultFigures,
    HostFigures,
    InitFigures,
    LineFigures,
    PinFigures,
    PoolFigures,
    TakeFigures,
    UndoFigures,
)
from models.memory.locks import Lock
from models.text.units import MIB

STRUCT_PAGE = 64  # bytes, on 64-bit machines
TABLE_ENTRY = 8  # bytes of a page table for a page
LARGEST_BLOCK = 1024  # base pages that the buddy allocator has in one block (MAX_ORDER)
MAX_ORDER_BLOCK = 4 * MIB  # the same on x86, freed at once by deferred init since Linux 6.4
PAGEBLOCK = 2 * MIB  # freed at once; on x86 the size of a huge page (pageblock_order)
BATCH = 63  # pages that a CPU's list of free ones is filled up with, in one turn of the zone lock
FREE_BATCH = 31  # pages given back for one turn of the zone lock (zone_batchsize, mm/page_alloc.c)
_MUTEXES_PER_CPU = (
    8  # num_fault_mutexes is this times the CPUs, rounded up to a power of two (Linux 4.20, mm/hugetlb.c)
)
ON_MEMORY = 0.3  # of the time of pinning page by page: lookups of pages and tables somewhere in memory; an estimate
# Where lookups are nearly all, far memory makes them longer by the ratio of latencies, not of store streams: 131 ns for
# 81 on Skylake (Intel MLC), where stores take 1 / 0.84. So the time that becomes longer is counted so many times.
LATENCY = 3.2


@dataclass(frozen=True)
class Stage:
    """The use of a machine by a byte. `memory_s` is the part of `seconds` that takes longer where memory is far."""

    seconds: float
    memory_s: float = 0.0
    traffic: float = 0.0  # bytes over the memory bus
    locks: tuple[Lock, ...] = ()

    def __add__(self, other: Stage) -> Stage:
        return Stage(
            self.seconds + other.seconds,
            self.memory_s + other.memory_s,
            self.traffic + other.traffic,
            self.locks + other.locks,
        )


@dataclass(frozen=True)
class Kind:
    """The kind of memory: its page, the bytes that become present at once, and its owner.

    `page_bytes` is the page of the mapping. `present_bytes` is more if base pages come as transparent huge ones.
    """

    base_bytes: int
    page_bytes: int
    present_bytes: int
    shared: bool = False  # base pages of a page cache

    @property
    def is_base(self) -> bool:
        """Return whether it is in base pages."""
        return self.present_bytes == self.base_bytes

    @property
    def is_pool(self) -> bool:
        """Return whether its pages are those of the hugetlb pool."""
        return self.page_bytes > self.base_bytes

    @property
    def is_gigantic(self) -> bool:
        """Return whether its pages are larger than any block of the buddy allocator."""
        return self.present_bytes > LARGEST_BLOCK * self.base_bytes


class HostTake(ClearFigures, TakeFigures):
    """The figures of a host that allocates and clears, which are those of its guest."""


def kind_of(machine: Machine, page_bytes: int | None = None, *, thp: bool = False, shared: bool = False) -> Kind:
    """Return the kind of memory with such pages (None: base pages). A table is a page, and its entries have 8 bytes."""
    base = machine.base_page_bytes
    page = base if page_bytes is None else page_bytes
    return Kind(base, page, base * (base // TABLE_ENTRY) if thp else page, shared)


def clear(rates: Rates, kind: Kind, figures: ClearFigures, *, ranges: bool = False, serial: bool = False) -> Stage:
    """Return the clearing of memory, by one work of several, or in the loop that runs without helpers (`serial`).

    `ranges`: the kernel clears ranges of pages, not 4 KiB at a time. Where that is twice as fast and more, lines are
    not read before they are written.
    """
    rate = rates.serial_clear_bytes_per_s if serial else rates.clear_bytes_per_s
    traffic = rates.clear_traffic
    if not kind.is_base:
        by_range = (figures.ranges_huge, figures.ranges_gigantic)
        factor = (by_range if ranges else (figures.clear_huge, figures.clear_gigantic))[kind.is_gigantic]
        rate *= factor
        if ranges and factor >= 2.0:
            traffic = min(traffic, 1.0)
    return Stage(1.0 / rate, 1.0 / rate, traffic)


def by_host(machine: Machine, figures: HostFigures, *, clears_ranges: bool = False) -> Stage:
    """Return what the host of a guest does for memory that the guest uses for the first time.

    It allocates and clears the memory too, a host's page at a time, in the thread that touched it. On bare metal, and
    where the host had prepared the guest's memory, a machine has no `host_page_bytes`, and there is nothing to do.
    """
    page = machine.host_page_bytes
    if page is None:
        return Stage(0.0)
    given = {name: value for name, value in machine.pages.items() if name in HostTake.model_fields}
    own = HostTake().model_copy(update=given)
    kind = Kind(machine.base_page_bytes, machine.base_page_bytes, page)
    taken = take_base(own, kind) if kind.is_base else take_huge(own, kind)
    return clear(machine.rates, kind, own, ranges=clears_ranges) + taken + Stage(figures.violation / page)


def take_base(figures: TakeFigures, kind: Kind) -> Stage:
    """Return taking and mapping base pages, the zone's lock once for those of a CPU's own list."""
    base = kind.base_bytes
    zone = Lock(
        "zone", BATCH * base, figures.zone_hold, figures.zone_transfer, figures.zone_handover, scope="node"
    )  # fmt: skip
    return Stage(figures.base_page / base, locks=(zone,))


def take_huge(figures: TakeFigures, kind: Kind) -> Stage:
    """Return taking and mapping transparent huge pages."""
    return Stage(figures.huge_page / kind.present_bytes)


def take_pool(figures: PoolFigures, machine: Machine, page_bytes: int, clear_s: float, *, locks: bool = True) -> Stage:
    """Return taking pages of the hugetlb pool and mapping them, each under one of a table of mutexes, by its hash.

    Clearing a page, for which its mutex is held, takes `clear_s`. A worker whose page hashes to the mutex of another's
    waits for half of that one's time, in the mean.
    """
    page_s = clear_s + figures.hugetlb_page
    if not locks:
        return Stage(figures.hugetlb_page / page_bytes)
    n_mutexes = 1 << (_MUTEXES_PER_CPU * len(machine.cpus) - 1).bit_length()
    mutex = Lock("hugetlb_fault_mutex_table", page_bytes, stall_s=page_s / n_mutexes / 2)
    shared = Lock("hugetlbfs", page_bytes, figures.pool_hold, figures.pool_transfer, figures.pool_handover)
    return Stage(figures.hugetlb_page / page_bytes, locks=(mutex, shared))


def line(figures: LineFigures, per_bytes: float, name: str = "mmap_lock line", handover_s: float | None = None) -> Lock:
    """Return a lock that is taken for reading, once for this many bytes. Its cache line is contended."""
    handover = figures.line_handover if handover_s is None else handover_s
    return Lock(name, per_bytes, figures.line_hold, figures.line_transfer, handover)


def fault(figures: FaultFigures, kind: Kind, *, vma_locks: bool = True) -> Stage:
    """Return the faults of a write to each page: an exception, and a lock for reading.

    The lock is the mapping's own since Linux 6.4 (`vma_locks`), before that the process's mmap_lock.
    """
    present_s = figures.touch
    if kind.present_bytes > kind.page_bytes:
        present_s += figures.write * (kind.present_bytes // kind.base_bytes)
    own = Lock("vma lock line", kind.present_bytes, figures.line_hold, figures.vma_transfer, figures.vma_handover)
    process = line(figures, kind.present_bytes, handover_s=figures.mmap_lock_handover)
    locks = (own if vma_locks else process,) if kind.is_base else ()
    return Stage(present_s / kind.present_bytes, locks=locks)


def cache(figures: CacheFigures, kind: Kind) -> Stage:
    """Return putting base pages into the page cache of a file: its tree has one lock."""
    tree = Lock("page cache tree", kind.base_bytes, figures.tree_hold, figures.tree_transfer, figures.tree_handover)
    return Stage(figures.shared_page / kind.base_bytes, locks=(tree,))


def pin(figures: PinFigures, kind: Kind, *, by_page: bool = False) -> Stage:
    """Return pinning pages that are there, one by one (VFIO up to Linux 5.11) or 512 at once, and mapping them for DMA.

    Of a base page its struct page is written, and eight bytes each of page table and IOMMU table are touched.
    """
    base = kind.base_bytes
    traffic = (2 * STRUCT_PAGE + 2 * TABLE_ENTRY) / base
    if by_page:
        seconds, share = 1.0 / figures.pin_rate, ON_MEMORY
    else:
        share = LATENCY
        seconds = figures.pin_base / base if kind.is_base else figures.pin_huge / PAGEBLOCK
        traffic = traffic if kind.is_base else traffic * base / kind.present_bytes
    return Stage(seconds, share * seconds, traffic)


def initialise(figures: InitFigures, base_bytes: int, *, zeroes: bool = True) -> Stage:
    """Return going over struct pages once: each is read for ownership, and written back.

    `zeroes`: this pass zeroes them first (since Linux 4.15; before, boot had zeroed all).
    """
    seconds = (1.0 if zeroes else 1.0 - figures.zero_share) / figures.init_rate
    return Stage(seconds, seconds, 2 * STRUCT_PAGE / base_bytes)


def free_blocks(figures: InitFigures, block_bytes: int = PAGEBLOCK) -> Stage:
    """Return freeing pages to the buddy allocator by blocks, each under the lock of its zone."""
    fetch_s = figures.block_lines * figures.line_time
    return Stage(0.0, locks=(Lock("zone", block_bytes, figures.block_hold, fetch_s, figures.line_time, scope="node"),))


def copy(rates: Rates, kind: Kind, figures: CopyFigures) -> Stage:
    """Return copying memory from one node to another: it is read, and the copy is written as clearing writes.

    The rates are those between nodes: no part takes longer for being far.
    """
    factor = figures.copy_base if kind.is_base else figures.copy_huge
    return Stage(1.0 / (factor * rates.clear_bytes_per_s), traffic=1.0 + rates.clear_traffic)


def zap(figures: UndoFigures, base_bytes: int) -> Stage:
    """Return taking base pages out of page tables."""
    traffic = (2 * STRUCT_PAGE + 2 * TABLE_ENTRY) / base_bytes
    return Stage(1.0 / figures.zap_rate, 1.0 / figures.zap_rate, traffic)


def free(figures: UndoFigures, base_bytes: int, *, elsewhere: bool = False) -> Stage:
    """Return giving base pages back by batches, each under the zone's lock.

    With `elsewhere` another CPU zapped them.
    """
    zone = Lock(
        "zone", FREE_BATCH * base_bytes, figures.free_hold, figures.free_transfer, figures.free_handover, scope="node"
    )
    seconds = 1.0 / figures.free_rate + (figures.fetch_time / base_bytes if elsewhere else 0.0)
    return Stage(seconds, seconds, locks=(zone,))
