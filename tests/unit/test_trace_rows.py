"""Times of traced boots as measurements, worked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.clients.deferred_struct_page_init import DeferredInit
from models.files.kernel_trace import read_kernel_trace
from models.machine import Machine
from models.measured.traces import TraceError, read_any_measurements, read_trace_measurements, trace_rows, version_of
from models.text.units import GIB, MIB
from tests.unit.test_kernel_trace import HEAD, read

# Chunks of 0x8000 pages, 128 MiB: the caller's take 2 ms each, the helper comes 3 ms after the task and takes 2.5.
CHUNKS = [(0, 0.0), (0, 2.0), (1, 3.0), (0, 4.0), (1, 5.5), (0, 6.0)]
TIMES = HEAD.replace("node 0 deferred pages initialised in 48ms", "").replace("HugeTLB: allocation took", "")


def traced() -> str:
    """A text of those chunks from 0x108000 on."""
    who = {0: "pgdatinit0-73 [000] .....", 1: "kworker/u9:0-64 [001] ....."}
    lines = [f"{who[0]} 1.000000: padata_do_multithreaded(job=0x1) <-deferred_init_memmap"]
    lines += [f"{who[0]} 1.000000: padata_mt_helper(w=0x2) <-padata_do_multithreaded"]
    lines += [f"{who[1]} 1.003000: padata_mt_helper(w=0x3) <-process_one_work"]
    for i, (worker, ms) in enumerate(CHUNKS):
        start = 0x108000 + 0x8000 * i
        call = f"deferred_init_memmap_chunk(start_pfn={start:#x}, end_pfn={start + 0x8000:#x}, zone=0x8)"
        lines.append(f"{who[worker]} {1 + ms / 1e3:.6f}: {call} <-padata_mt_helper")
    return "\n".join(lines) + "\n"


def test_rows_of_a_trace(tmp_path: Path) -> None:
    """6 x 128 MiB; whose ends are known took 2, 2, 2.5 and 2 ms; the last began at 6 and takes 2: 8 ms. Start: 3 ms."""
    (row,) = trace_rows(read(tmp_path, TIMES + traced())).to_dict("records")
    assert (row["client"], row["node"], row["nthreads"]) == ("deferred_struct_page_init", 0, 2)
    assert row["size_gib"] == pytest.approx(0.75)
    assert row["time_s"] == pytest.approx(8e-3, rel=1e-6)
    assert row["rate_gib_s"] == pytest.approx(0.125 / 2e-3, rel=1e-6)
    assert (row["start_s"], row["last_start_s"]) == (pytest.approx(3e-3), pytest.approx(3e-3))


def test_rows_of_a_boot_log_alone(tmp_path: Path) -> None:
    """Node 0 has 1 GiB from 4 GiB on, less a section: 0.875 GiB in 48 ms. 8 huge pages by 2 threads in 3772 ms."""
    rows = trace_rows(read(tmp_path, HEAD)).to_dict("records")
    assert [(row["client"], row["size_gib"], row["time_s"]) for row in rows] == [
        ("deferred_struct_page_init", pytest.approx(0.875), 0.048),
        ("hugetlb_boot_alloc", pytest.approx(8 * 2 / 1024), 3.772),
    ]
    assert rows[0]["stdev_s"] == pytest.approx(4e-3)  # a jiffy
    assert rows[1]["nthreads"] == 2


def test_a_trace_becomes_cases(tmp_path: Path, quiet_machine: Machine) -> None:
    """Struct pages of node 0 in one job at its address; 16 MiB in 8 huge pages; each by the rules of its kernel."""
    path = tmp_path / "boot.txt"
    path.write_text(HEAD + traced())
    measured = read_any_measurements(path, quiet_machine, "deferred_struct_page_init")
    assert measured.scenario is not None
    (case,) = measured.scenario.cases
    assert case.kernel.version == "padata-6.18"
    assert isinstance(case.task, DeferredInit) and case.task.jobs is not None
    assert [(job.node, job.start, job.size) for job in case.task.jobs] == [(0, 4 * GIB + 128 * MIB, 768 * MIB)]
    pages = read_any_measurements(path, quiet_machine, "hugetlb_boot_alloc").scenario
    assert pages is not None
    assert (pages.cases[0].size_bytes, pages.cases[0].kernel.max_threads) == (16 * MIB, 2)
    with pytest.raises(TraceError, match="no time of client vfio_pin; the text has those of: deferred_struct_page_"):
        read_trace_measurements(path, quiet_machine, "vfio_pin")


@pytest.mark.parametrize(
    ("release", "version"),
    [("5.8.0", "padata-5.8"), ("6.8.12", "padata-5.8"), ("6.9.0", "padata-6.9"), ("6.14.1", "padata-6.9"),
     ("6.15.0", "padata-6.15"), ("6.17.9", "padata-6.15"), ("6.18.0", "padata-6.18"), ("7.3.4", "padata-6.18")],
)  # fmt: skip
def test_the_rules_of_a_release(tmp_path: Path, release: str, version: str) -> None:
    """Each release has the newest rules that are not newer than it."""
    path = tmp_path / "boot.txt"
    path.write_text(HEAD.replace("6.18.12", release))
    assert version_of(read_kernel_trace(path)) == version


def test_releases_before_padata_are_refused(tmp_path: Path) -> None:
    """Linux 4.19 has no multithreaded jobs; a text may not tell the release."""
    for text, message in (
        (HEAD.replace("6.18.12", "4.19.0"), "found Linux 4.19"),
        (HEAD.replace("Linux version", "Linux"), "no line `Linux version"),
    ):
        path = tmp_path / "boot.txt"
        path.write_text(text)
        with pytest.raises(TraceError, match=message):
            version_of(read_kernel_trace(path))


# As Linux 6.18 printed it for the kprobes of HOST.md.
KPROBES = """               m-132     [000] .....    13.655774: free_pages: (__x64_sys_munmap+0x4/0x30) size=67108864
               m-132     [000] .....    13.671788: free_pages_end: (do_syscall_64+0x84/0x800 <- __x64_sys_munmap)
         busybox-133     [000] .....    16.166198: vfio_pin_end: (do_syscall_64+0x84/0x800 <- __x64_sys_ioctl)
              sh-140     [001] .....    17.000000: hugetlb_pool: (__nr_hugepages_store_common+0x4/0x30) pages=512
              sh-140     [001] .....    17.250000: hugetlb_pool_end: (nr_hugepages_store+0x1/0x8 <- __nr_hugepages)
"""


def test_rows_of_kprobes(tmp_path: Path, quiet_machine: Machine) -> None:
    """munmap of 64 MiB in 16.014 ms, and 512 huge pages in 0.25 s, 4 GiB/s; an end without a beginning is nothing."""
    rows = trace_rows(read(tmp_path, KPROBES)).to_dict("records")
    assert [(row["client"], row["nthreads"]) for row in rows] == [("free_pages", 1), ("hugetlb_pool", 1)]
    assert (rows[0]["size_gib"], rows[0]["time_s"]) == (1 / 16, pytest.approx(16.014e-3))
    assert rows[1]["rate_gib_s"] == pytest.approx(4.0)
    path = tmp_path / "mine.txt"
    path.write_text("Linux version 6.18.12\n" + KPROBES)
    measured = read_any_measurements(path, quiet_machine, "free_pages")
    assert measured.scenario is not None
    assert [case.size_bytes for case in measured.scenario.cases] == [64 * MIB]
