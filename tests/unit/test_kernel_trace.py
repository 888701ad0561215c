"""Texts of traces, however they were pasted."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.files.kernel_trace import KernelTrace, read_kernel_trace
from models.memory.deferred import Span
from models.text.problems import InputError

HEAD = """[    0.000000] Linux version 6.18.12+deb13-amd64 (someone@somewhere) #1 SMP
[    0.000000] Command line: root=/dev/sda1 hugepagesz=2M hugepages=8 hugepagesz=1G hugepages=0:1,1:2
[    0.047] Early memory node ranges
[    0.047]   node   0: [mem 0x0000000000001000-0x000000000009efff]
[    0.047]   node   0: [mem 0x0000000100000000-0x000000013fffffff]
[    0.3] .... node  #0, CPUs:        #1
[    0.4] .... node  #1, CPUs:    #2  #3
[    0.613459] node 0 deferred pages initialised in 48ms
[    3.1] HugeTLB: allocation took 3772ms with hugepage_allocation_threads=2
"""
ROWS = """     pgdatinit0-73      [001] ...1.     1.085473: padata_do_multithreaded(job=0xffff1) <-deferred_init_memmap
     pgdatinit0-73      [001] ...1.     1.086044: padata_mt_helper(w=0xffff2) <-padata_do_multithreaded
     pgdatinit0-73      [001] ...1.     1.086085: deferred_init_memmap_chunk(start_pfn=0x108000, end_pfn=0x110000, zone=0xf8) <-padata_mt_helper
   kworker/u9:0-64      [000] ...1.     1.087000: padata_mt_helper(w=0xffff3) <-process_one_work
   kworker/u9:0-64      [000] ...1.     1.087100: deferred_init_memmap_chunk(start_pfn=0x110000, end_pfn=0x118000, zone=0xf8) <-padata_mt_helper
     pgdatinit0-73      [001] ...1.     1.088000: deferred_init_memmap_chunk(start_pfn=0x118000, end_pfn=0x140000, zone=0xf8) <-padata_mt_helper
"""  # noqa: E501 - as the kernel prints it
SIZES = [(0x108000, 0x8000), (0x110000, 0x8000), (0x118000, 0x28000)]


def read(tmp_path: Path, text: str) -> KernelTrace:
    """Read a text as a file."""
    path = tmp_path / "trace.txt"
    path.write_bytes(text.encode())
    return read_kernel_trace(path)


def as_report(text: str) -> str:
    """The same as `trace-cmd report` writes it."""
    lines = [line.replace("[", " [").replace("...1.", "").split(": ", 1) for line in text.splitlines()]
    return "cpus=2\n" + "\n".join(f"{head}: function:             {tail.replace('<-', '<-- ')}" for head, tail in lines)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "".join(f"> > {line}\n" for line in text.splitlines()),
        lambda text: "".join(f"\x1b[32m{line}\x1b[0m\n" for line in text.splitlines()),
        lambda text: "root@box:~# cat /sys/kernel/tracing/trace\n# tracer: function\n#\n" + text + "root@box:~# \n",
        lambda text: text.replace("<-padata_mt_helper", "<-pad"),  # cut at the right edge
        lambda text: text.replace(" ...1. ", " "),  # no flags
        lambda text: text.replace("-73 ", "-73     (     73) "),  # record-tgid
        lambda text: "".join(f"[   12.345678] {line}\n" for line in text.splitlines()),  # through a console
        lambda text: "".join(reversed(text.splitlines(keepends=True))),
        as_report,
    ],
)
def test_a_trace_is_read_however_it_was_pasted(tmp_path: Path, change: object) -> None:
    """One task of two threads: 0x8000 and 0x28000 pages for the caller, 0x8000 for the helper."""
    assert callable(change)
    (task,) = read(tmp_path, HEAD + change(ROWS)).tasks
    assert (task.job, task.nid, task.n_works, task.apart) == ("struct pages", 0, 2, True)
    assert [(chunk.start, chunk.size) for chunk in task.chunks] == SIZES
    assert [(chunk.worker, chunk.cpu) for chunk in task.chunks] == [(0, 1), (1, 0), (0, 1)]
    assert task.chunks[0].end_s == pytest.approx(1.088) and task.chunks[2].end_s is None


def test_what_is_cut_off_is_not_made_up(tmp_path: Path) -> None:
    """A chunk whose line ends before its end has a start and no size."""
    (task,) = read(tmp_path, HEAD + ROWS.replace("end_pfn=0x118000, zone=0xf8) <-padata_mt_helper", "end_pf")).tasks
    assert (task.chunks[1].start, task.chunks[1].size) == (0x110000, None)


def test_without_arguments_there_are_order_and_count(tmp_path: Path) -> None:
    """As kernels before 6.15 trace."""
    bare = "\n".join(line.partition("(")[0] + " <-" + line.partition("<-")[2] for line in ROWS.splitlines())
    (task,) = read(tmp_path, HEAD + bare).tasks
    assert (len(task.chunks), task.n_works, task.chunks[0].size) == (3, 2, None)


def test_what_a_boot_log_tells(tmp_path: Path) -> None:
    """Version, options, memory, CPUs as they are brought up, and times."""
    trace = read(tmp_path, HEAD)
    assert (trace.version, trace.tasks, trace.reserved) == ((6, 18), (), None)
    assert dict(trace.huge_pages()) == {"2M": "8", "1G": "0:1,1:2"}
    assert trace.memory == {0: (Span(1, 0x9F), Span(0x100000, 0x140000))}
    assert (dict(trace.told_nodes), trace.told_pages) == ({0: 0.048}, ((3.772, 2),))
    assert trace.topology is not None
    assert [(cpu.cpu_id, cpu.nid) for cpu in trace.topology.cpus] == [(0, 0), (1, 0), (2, 1), (3, 1)]


def test_a_text_without_anything_is_refused(tmp_path: Path) -> None:
    """The message says what is looked for."""
    with pytest.raises(InputError, match="found none of padata's jobs; allowed is a trace with padata_do_multi"):
        read(tmp_path, "nothing of interest\n")


@pytest.mark.parametrize(
    ("line", "possible"),
    [
        ("smpboot: Allowing 128 CPUs, 32 hotplug CPUs", 128),
        ("CPU topo: Allowing 6 present CPUs plus 2 hotplug CPUs", 8),
        ("setup_percpu: NR_CPUS:8192 nr_cpumask_bits:24 nr_cpu_ids:24 nr_node_ids:2", 24),
        ("possible CPUs: 0-3,8", 5),
        ("nothing of that", None),
    ],
)
def test_cpus_that_could_be_online(tmp_path: Path, line: str, possible: int | None) -> None:
    """Padata's pool has a helper for each: as /sys tells, or dmesg of old and new kernels."""
    assert read(tmp_path, HEAD + line + "\n").possible_cpus == possible
