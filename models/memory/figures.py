"""The figures of a page's life: the cost of each stage for a page, once for all clients.

A figure belongs to a stage and a kind of page. A client inherits the figures of the stages that its phases go through.
A machine file has its own values under `pages:`, each once. A scenario may have others (`task.costs`). Where neither
gives a value, the value here holds: a prior, known within the factor e^width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from models.text.checks import FileKeys
from models.text.units import Rate, Time


class Costs(FileKeys):
    """The costs of a client on a machine. Each field's description has the source of its value.

    The file of a machine may have other values (`pages:`, and `clients:` for figures that don't belong to a page), and
    so may a scenario (`task.costs`). `renamed` maps old names to the names to write instead.
    """

    renamed: ClassVar[Mapping[str, str]] = {}


class LineFigures(Costs):
    """A cache line that several CPUs write: of a lock taken for reading, or of data that another lock protects."""

    line_hold: Annotated[
        Time, Field(ge=0, description="to take a lock for reading and give it back, its line at hand; an estimate")
    ] = 15e-9
    line_transfer: Annotated[
        Time, Field(ge=0, description="more if another CPU had the line: a transfer within a socket; an estimate")
    ] = 80e-9
    line_handover: Annotated[Time, Field(ge=0, description="more if others wait for the line; an estimate")] = 65e-9


class ClearFigures(Costs):
    """How fast pages are cleared, relative to the loop over pieces of 4 KiB (`rates.clear_rate`)."""

    clear_huge: Annotated[
        float,
        Field(
            gt=0,
            description="rate of clearing pages of 2 MiB, relative to rates.clear_rate: 1.04 on EPYC (11.8 GB/s on a "
            "7J13, 11.33 on a 7742; A. Arora, clear_huge_page series)",
        ),
    ] = 1.0
    clear_gigantic: Annotated[
        float,
        Field(
            gt=0,
            description="that of pages of 1 GiB: alike on the Xeon E7, 1.54 on an EPYC 7J13 (17.5 GB/s; same series)",
        ),
    ] = 1.0
    ranges_huge: Annotated[
        float,
        Field(
            gt=0,
            description="that of pages of 2 MiB since the kernel clears ranges of pages at once (Linux 7.0): 1.25 on "
            "Skylake, 1.35 on Ice Lake, 1.46 on an EPYC 7J13 (same series)",
        ),
    ] = 1.25
    ranges_gigantic: Annotated[
        float,
        Field(
            gt=0,
            description="that of pages of 1 GiB likewise: 1.25 on Skylake (250 ms a page before, 200 since), 3.5 on an "
            "EPYC 7J13, where lines of so large a range are not read first (same series)",
        ),
    ] = 1.25


class TakeFigures(Costs):
    """The costs of allocating a page and mapping it, beside its clearing."""

    base_page: Annotated[
        Time,
        Field(
            ge=0,
            description="to populate a base page: (0.308 s - 0.048 s of clearing) / 262144 pages, measured on a "
            "virtual machine with 2 CPUs",
        ),
    ] = 0.99e-6
    huge_page: Annotated[
        Time,
        Field(ge=0, description="to populate a huge page: an estimate; measured it is lost in its clearing, 94 us"),
    ] = 2e-6
    zone_hold: Annotated[
        Time, Field(ge=0, description="zone lock: to take 63 pages off the free lists, 24 ns each; an estimate")
    ] = 1.5e-6
    zone_transfer: Annotated[
        Time, Field(ge=0, description="more if another CPU had it: ten lines of lock and lists; an estimate")
    ] = 0.8e-6
    zone_handover: Annotated[Time, Field(ge=0, description="more if others wait for it; an estimate")] = 0.5e-6


class HostFigures(Costs):
    """The cost of memory that a guest uses for the first time, beside its host's allocation and clearing."""

    violation: Annotated[
        Time,
        Field(
            ge=0,
            description="to leave the guest, find the host's page, enter it into the nested tables and go back: 8 us "
            "in all for a page of 4 KiB under KVM (nanvix/nanvix pull request 1986, April 2026), less 1.6 us to "
            "allocate and clear it",
        ),
    ] = 6.4e-6


class FaultFigures(LineFigures):
    """The costs of a page fault beside the page."""

    vma_transfer: Annotated[
        Time,
        Field(
            ge=0,
            description="line_transfer of a mapping's own lock, which faults take since Linux 6.4, without waiting for "
            "it: derived from reports of 43, 54 and 70 ns a fault at most, by 64, 128 and 240 threads in one mapping "
            "(Java on an Altra, openjdk/jdk pull request 15781; on 2 EPYC, 1503; a buffer pool on 240 CPUs)",
        ),
    ] = 35e-9
    vma_handover: Annotated[
        Time,
        Field(ge=0, description="line_handover of that lock: nobody waits for it, the line is passed on; an estimate"),
    ] = 5e-9

    mmap_lock_handover: Annotated[
        Time,
        Field(
            ge=0,
            description="line_handover of mmap_lock, which each fault took before mappings had locks of their own "
            "(Linux 6.4): 16 threads of QEMU took 1.18 us a fault in all, 111 s for 360 GiB, on a Xeon Platinum 8167M "
            "(padata RFC of 2022)",
        ),
    ] = 1.1e-6

    touch: Annotated[
        Time,
        Field(ge=0, description="more for a fault: the exception, (0.344 s - 0.308 s) / 262144 pages, measured there"),
    ] = 0.14e-6
    write: Annotated[
        Time,
        Field(
            ge=0,
            description="for each base page of a transparent huge one that is touched page by page: "
            "(0.0485 s - 0.0458 s) / 262144 pages, measured there",
        ),
    ] = 10e-9


class CacheFigures(Costs):
    """The extra costs of a base page of shared memory over a private one: its place in the page cache's tree."""

    shared_page: Annotated[
        Time,
        Field(
            ge=0,
            description="to charge it, put it into the tree and on its lists: an estimate, of 1.33 us a page in all "
            "with one thread (61 GiB in 21.2 s, 2-socket server, Linux 6.8; a report)",
        ),
    ] = 0.2e-6
    tree_hold: Annotated[
        Time, Field(ge=0, description="of that, under the lock of the tree, all lines at hand; an estimate")
    ] = 0.15e-6
    tree_transfer: Annotated[
        Time,
        Field(
            ge=0, description="more if another CPU had it: lock, node of the tree and counts, three lines; an estimate"
        ),
    ] = 0.3e-6
    tree_handover: Annotated[
        Time,
        Field(
            ge=0,
            description="more if others wait for it: one line; an estimate. Eight threads took 0.41 us a page in all "
            "(the same report)",
        ),
    ] = 65e-9


class PoolFigures(Costs):
    """The costs of a page of the hugetlb pool beside its clearing."""

    hugetlb_page: Annotated[
        Time,
        Field(ge=0, description="to take a page, account for it and map it or put it into a page cache; an estimate"),
    ] = 3e-6
    pool_hold: Annotated[
        Time,
        Field(
            ge=0,
            description="of that time, under locks that all workers share (hugetlb_lock, the file's reservations, its "
            "page cache): three sections, their lines at hand; an estimate",
        ),
    ] = 0.3e-6
    pool_transfer: Annotated[
        Time,
        Field(ge=0, description="more if another CPU had them: transfers within a socket, 80 ns for a line; estimate"),
    ] = 0.5e-6
    pool_handover: Annotated[Time, Field(ge=0, description="more if others wait for them; an estimate")] = 0.3e-6


class WakeFigures(Costs):
    """The costs of handing a lock to a waiter who sleeps: a writer among readers (locked_vm under mmap_lock)."""

    wake: Annotated[
        Time,
        Field(
            ge=0,
            description="to wake who waits for a lock: half of what a writer of mmap_sem cost all others on a Xeon "
            "Platinum 8160 (ktask RFC v4, 6/13), and 45 us on a 8167M (padata RFC of 2022)",
        ),
    ] = 40e-6
    deep_wake: Annotated[
        Time,
        Field(
            ge=0,
            description="more if the waiter's CPU has idled long: 133 us to leave C6 on Skylake servers (intel_idle), "
            "and 143 us fitted on a 8167M (padata RFC of 2022)",
        ),
    ] = 140e-6
    deep_after: Annotated[
        Time,
        Field(
            gt=0,
            description="reading sections of all threads together in one round, from which on CPUs idle so deep; "
            "fitted on the same table, by rule of thumb",
        ),
    ] = 2.5e-3


class PinFigures(LineFigures):
    """The costs of pinning a page that is present, with its entry in the IOMMU's tables."""

    pin_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory that one thread pins page by page (VFIO up to Linux 5.11), with its lookups and IOMMU "
            "entries: 320 GiB in about 63 s on a Xeon Platinum 8160 (ktask RFC v4, 9/13)",
        ),
    ] = 5.1 * 2**30
    pin_base: Annotated[
        Time,
        Field(
            ge=0,
            description="to pin a base page where 512 are looked up at once (Linux 5.12): 360 GiB in 14.3 s on a Xeon "
            "Platinum 8167M (padata RFC of 2022)",
        ),
    ] = 0.1515e-6
    pin_huge: Annotated[
        Time,
        Field(
            ge=0,
            description="to pin 2 MiB of a huge page: 360 GiB in 1.9 s on the same machine; a lookup of 512 pages and "
            "one entry of the IOMMU",
        ),
    ] = 10.3e-6
    unpin_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory that the caller unpins after an error: no lookups, about half of what pinning touches; "
            "an estimate, as no figures are published",
        ),
    ] = 2 * 5.1 * 2**30


class RegisterFigures(LineFigures):
    """The costs of registering present memory with a device: pinning, and the device's lists and mappings."""

    register_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory that one thread registers for RDMA alone: 500 GB in 46 to 49 s (2-socket server; a "
            "report)",
        ),
    ] = 9.8 * 2**30
    dma_hold: Annotated[
        Time,
        Field(
            ge=0,
            description="of that, for a base page, under a lock that all share, the IOMMU's: the same report's limit "
            "of 4.2 to 4.7 times one thread",
        ),
    ] = 75e-9
    release_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory that one thread releases alone, or undoes after an error: 500 GB in 11.8 s (same "
            "report)",
        ),
    ] = 39.5 * 2**30
    list_page: Annotated[
        Time,
        Field(
            ge=0,
            description="a base page, of a huge one too, in the list of a driver: between 0.1 us, 466 GiB of huge "
            "pages in 13 s (240 CPUs), and none to 0.2 us beside what pinning takes, 8 GiB of base pages in 0.7 s (two "
            "reports)",
        ),
    ] = 0.07e-6


class InitFigures(Costs):
    """The costs of initialising struct pages at boot, and of freeing their pages to the buddy allocator by blocks."""

    init_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory whose struct pages one thread zeroes and sets alone, in one pass: 384 GiB in 1.72 s on "
            "a Xeon Platinum 8167M (padata series v3, 6/8)",
        ),
    ] = 223.5 * 2**30
    zero_share: Annotated[
        float,
        Field(
            ge=0,
            le=0.95,
            description="part of that time that goes into zeroing them, which a pass on Linux before 4.15 and a second "
            "pass don't: 0.456 s of about twice that for 128 GiB, on 8 Xeon E7-8895 v3 (P. Tatashin, parallelized "
            "struct page zeroing v3, May 2017)",
        ),
    ] = 0.5
    block_hold: Annotated[
        Time,
        Field(ge=0, description="zone lock, to free one pageblock, all at hand: an estimate, for a short list"),
    ] = 0.1e-6
    block_lines: Annotated[
        float,
        Field(
            ge=0,
            description="cache lines fetched under the zone lock if another CPU had it: fitted on the published cell "
            "of 16 threads of a Broadwell guest (xeon-e5-2699cv4-guest), with its line_time; the same on all machines",
        ),
    ] = 12.9
    line_time: Annotated[
        Time,
        Field(
            ge=0,
            description="to fetch one of them, and to hand the lock over to who waits for it: an estimate, the local "
            "memory latency of a Broadwell server",
        ),
    ] = 90e-9


class BootFigures(Costs):
    """The costs of setting huge pages aside at boot."""

    boot_before: Annotated[
        Time,
        Field(
            ge=0,
            description="time that neither threads nor pages change; fitted on published cells of three machines "
            "(models/published/hugetlb_boot_threads_per_node.yaml)",
        ),
    ] = 5.52e-3
    boot_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory of its own node that one thread makes into pages of the buddy allocator: 1 TiB, half "
            "of it on another node, in 1.94 s with their lists, on a machine of 128 CPUs (G. Li, series v6 of 2024)",
        ),
    ] = 650 * 2**30
    list_time: Annotated[
        Time,
        Field(
            ge=0,
            description="under hugetlb_lock, to count a page and put it into the pool; fitted on published cells of "
            "two machines of 2 nodes, taken to be alike (models/published/hugetlb_boot_threads_per_node.yaml)",
        ),
    ] = 0.454e-6
    gigantic_factor: Annotated[
        float,
        Field(
            gt=0,
            description="rate of gigantic pages, relative to boot_rate: their struct pages are initialised here, those "
            "of smaller pages were before; fitted on the published cell of 1 TiB without helpers (G. Li, series v6)",
        ),
    ] = 0.5
    gigantic_before: Annotated[
        Time,
        Field(
            ge=0,
            description="time of gigantic pages that neither threads nor nodes change: 0.07 s on a machine of 2 nodes, "
            "none assumed elsewhere (derived from 3.16 and 1.618 s with one and two works; G. Li, series v2)",
        ),
    ] = 0.0


class CopyFigures(Costs):
    """The costs of moving pages to another node: 3.31 GB/s of pages of 4 KiB and 11.02 of 2 MiB on 2 EPYC of Zen 3.

    Source of all: move_pages of 1 GiB by one thread, Linux 7.1 (S. Garg, linux-kernel, May 2026).
    """

    copy_base: Annotated[
        float,
        Field(
            gt=0,
            description="rate of copying pieces of 4 KiB to another node, relative to rates.clear_rate: 7.1 GB/s of "
            "folios between 256 KiB and 1 MiB, where Zen 3 clears 11.8",
        ),
    ] = 0.6
    copy_huge: Annotated[
        float,
        Field(
            gt=0,
            description="that of pages of 2 MiB: 1.02 there, and 0.79 on a Xeon E5-2650 v3, of which one thread copies "
            "2.94 GB/s (Zi Yan, parallel page copy, what shrinks with its threads)",
        ),
    ] = 0.9
    move_page: Annotated[
        Time,
        Field(ge=0, description="to unmap a base page, flush and map it: 1.24 us for each in all, less its copying"),
    ] = 0.66e-6
    move_huge: Annotated[
        Time,
        Field(
            ge=0,
            description="the same of 2 MiB: derived from a gain of 7 by 16 threads (Zi Yan, accelerating page "
            "migration with multithreading, 2025)",
        ),
    ] = 16e-6


class UndoFigures(Costs):
    """The costs of unmapping pages and freeing them."""

    zap_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="mapping of its own node that one thread zaps: 320 GiB, 192 of them on other nodes, in about "
            "4.8 s on a Haswell-EX, where more workers gain nothing (A. Lu, parallel free v2)",
        ),
    ] = 75 * 2**30
    free_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="pages that one thread frees, their struct pages at hand: what is left of 320 GiB in 10.8 s "
            "(same series)",
        ),
    ] = 59 * 2**30
    fetch_time: Annotated[
        Time,
        Field(
            ge=0,
            description="more for each page whose struct page another CPU has just written: an estimate, an access to "
            "the last-level cache",
        ),
    ] = 30e-9
    free_hold: Annotated[
        Time,
        Field(
            ge=0,
            description="zone lock, to free 31 pages: an estimate, half of what a worker takes for them (a miss for "
            "each page and its buddy), made with the published table in view (A. Lu, parallel free v2)",
        ),
    ] = 1.6e-6
    free_transfer: Annotated[
        Time, Field(ge=0, description="more if another CPU had it: an estimate, the line of the lock")
    ] = 60e-9
    free_handover: Annotated[Time, Field(ge=0, description="more if others wait for it: an estimate, one line")] = 60e-9


class PageFigures(
    ClearFigures,
    TakeFigures,
    HostFigures,
    FaultFigures,
    CacheFigures,
    PoolFigures,
    WakeFigures,
    PinFigures,
    RegisterFigures,
    InitFigures,
    BootFigures,
    CopyFigures,
    UndoFigures,
):
    """All figures of a page's life, as a machine file may have them under `pages:`."""


PAGE_FIGURES = tuple(name for name in PageFigures.model_fields)


def page_figures_of(costs: type[Costs]) -> tuple[str, ...]:
    """Return the figures of a page's life that a client's costs have, and not as costs of its own."""
    own = vars(costs).get("__annotations__", {})
    return tuple(name for name in PAGE_FIGURES if name in costs.model_fields and name not in own)


# How well each prior is known: the deviation of ln(value), on a machine that has no value of its own. What it rests on
# stands beside it: the spread over machines where several have the figure. An estimate of a section, or of what a page
# costs, is known within a factor of two: so far off were those that could be checked.
_ESTIMATE = 0.7
_LINES = 0.4  # transfers of lines, by estimate: their number, and 61 to 135 ns each
WIDTHS: Mapping[str, float] = {
    "clear_huge": 0.1,  # 1.04 on EPYC, 1.12 to 1.17 on Skylake (fitted, over what pieces do)
    "clear_gigantic": 0.25,  # 1.0 on Xeons, 1.48 and 1.54 on EPYC
    "ranges_huge": 0.12,  # 1.25, 1.35, 1.35, 1.4, 1.46 on five processors
    "ranges_gigantic": 0.5,  # 1.25 and 1.35 on Xeons, 2.4 to 3.5 on EPYC
    "base_page": 0.4,  # three reports of base pages are 0.94, 0.76 and 0.54 of what was told
    "huge_page": 1.5,  # 2 us by estimate, 48 us fitted on a Xeon Platinum 8167M
    "zone_hold": _ESTIMATE,
    "zone_transfer": _LINES,
    "zone_handover": _LINES,
    "violation": _ESTIMATE,  # 1 to 7 us are told
    "hugetlb_page": 1.0,  # 3 us by estimate, 25 us fitted on a Xeon E7-8895 v3
    "pool_hold": _ESTIMATE,
    "pool_transfer": _LINES,
    "pool_handover": _LINES,
    "vma_transfer": 0.3,  # from 43, 54 and 70 ns a fault on three machines
    "vma_handover": _ESTIMATE,
    "mmap_lock_handover": 0.5,  # one machine
    "touch": 0.4,  # measured on one machine
    "write": 0.4,
    "line_hold": _ESTIMATE,
    "line_transfer": 0.3,  # 61 to 135 ns on four machines
    "line_handover": _LINES,
    "shared_page": 0.5,  # from one report; the time of another is met within 6 %
    "tree_hold": 0.5,
    "tree_transfer": _LINES,
    "tree_handover": _LINES,
    "wake": _ESTIMATE,  # 37 and 45 us, but both on Skylake
    "deep_wake": 0.35,  # 133 to 290 us to leave C6 on four families (intel_idle)
    "deep_after": 0.5,  # a rule of thumb
    "pin_rate": 0.2,  # 4.3 and 5.1 GiB/s on two machines
    "pin_base": 0.3,  # 0.15 us, and 0.19 by estimate
    "pin_huge": 0.3,  # 10.3 us, and 8 by estimate
    "unpin_rate": _ESTIMATE,
    "register_rate": 0.5,  # 9.8 GiB/s, and 5.8 for each card of another report
    "dma_hold": 0.4,  # from a limit of 4.2 to 4.7 times one thread
    "release_rate": 0.5,
    "list_page": _ESTIMATE,
    "init_rate": 0.5,  # 64, 134, 173, 204, 220 GiB/s on five machines, 247 in a log of another
    "zero_share": 0.15,  # one machine
    "block_hold": _ESTIMATE,
    "block_lines": 0.2,  # 12.9, and 13 on another machine
    "line_time": 0.3,  # 61 to 135 ns
    "boot_before": _ESTIMATE,
    "boot_rate": 0.3,  # 459 to 954 GiB/s on four machines
    "list_time": 0.2,  # 0.45 to 0.69 us on four machines
    "gigantic_factor": 0.4,  # 0.48, and 0.74 if what is serial is taken off on a second machine
    "gigantic_before": _ESTIMATE,
    "copy_base": 0.3,  # one machine
    "copy_huge": 0.2,  # 1.02 and 0.79 on two machines
    "move_page": 0.5,
    "move_huge": _ESTIMATE,
    "zap_rate": 0.35,  # 75 and 49 GiB/s on two machines
    "free_rate": 0.25,  # 59 and 49 GiB/s on two machines
    "fetch_time": 0.5,
    "free_hold": 0.5,
    "free_transfer": _LINES,
    "free_handover": _LINES,
}


def width(name: str) -> float:
    """Return how well a figure of PageFigures is known where no machine file has it: the width of ln(value)."""
    return WIDTHS[name]
