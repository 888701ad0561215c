"""Boots unmodified kernels in QEMU with the function tracer on, and writes what they said to `traces/`.

    python -m tests.kernels.boot [NAME ...]    # the boots of BOOTS, or those whose names have these words in them

`KTASK_SIM_KERNELS` is a folder below which there are files `vmlinuz*`, as in Debian's packages; a boot takes the newest
of its series. Needs QEMU (qemu-system-x86) and a static busybox (busybox-static). Nothing of it touches the host but a
temporary folder. What the kernel decided holds; times under emulation mean nothing. A boot takes half a minute or more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.emulated.machine import QEMU, EmulatedNode, cpio_entry

TRACES = Path(__file__).parent / "traces"
KERNELS_VARIABLE = "KTASK_SIM_KERNELS"
BUSYBOX = Path("/bin/busybox")
TIME_LIMIT_S = 300.0
_PAGE = 4096
FUNCTIONS = (
    "padata_do_multithreaded",
    "padata_mt_helper",
    "deferred_init_memmap_chunk",
    "deferred_grow_zone",
    "hugetlb_pages_alloc_boot_node",
    "gather_bootmem_prealloc_parallel",
)
# memblock=debug tells which memory is in use before the deferred part begins, which cuts it into jobs until Linux 6.17.
_OPTIONS = (
    "console=ttyS0 panic=-1 loglevel=3 no_timer_check lpj=4000000 mitigations=off random.trust_cpu=on log_buf_len=4M "
    "memblock=debug trace_buf_size=4M trace_options=func-args ftrace=function ftrace_filter=" + ",".join(FUNCTIONS)
)
_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t tracefs t /sys/kernel/tracing
$b echo BEGIN_DMESG; $b dmesg
$b echo BEGIN_NODES; $b echo possible CPUs: $($b cat /sys/devices/system/cpu/possible)
cd /sys/devices/system/node
for n in node*; do
    $b echo $PWD/$n $($b cat $n/cpulist) $($b grep MemTotal $n/meminfo) dist $($b cat $n/distance)
done
$b echo BEGIN_TRACE; $b cat /sys/kernel/tracing/trace; $b echo END_TRACE
$b poweroff -f
"""
_KEPT = re.compile(
    r"Linux version|Command line:|node +\d+: \[mem |smp: Brought up|\.\.\.\. node|"
    r"deferred pages initialised|HugeTLB|Allowing \d+ "
)
_RESERVED = re.compile(r"memblock_(reserve|phys_free|free): \[(0x[0-9a-f]+)-(0x[0-9a-f]+)\]")


@dataclass(frozen=True)
class Boot:
    """A machine, and options of its kernel. CPUs are numbered from node 0 on; `more_cpus` could be plugged in."""

    name: str
    nodes: tuple[EmulatedNode, ...]
    options: str = ""
    more_cpus: int = 0
    kernels: tuple[str, ...] = ("6.1", "6.12", "6.16", "6.18", "7.3")


def _nodes(*sizes: tuple[int, int]) -> tuple[EmulatedNode, ...]:
    return tuple(EmulatedNode(memory_mib, n_cpus) for memory_mib, n_cpus in sizes)


_SINCE_6_16 = ("6.16", "6.18", "7.3")
# q35 has 2 GiB below 4 GiB where there is more than 2.75 GiB of memory.
BOOTS = (
    Boot("1-node-1-cpu", _nodes((1024, 1)), "hugepagesz=2M hugepages=50"),
    Boot("1-node-5-cpus", _nodes((6144, 5)), "hugepagesz=2M hugepages=500"),
    Boot("2-nodes-uneven", _nodes((4096, 1), (1536, 5)), "hugepagesz=2M hugepages=333"),
    Boot("3-nodes-one-without-cpus", _nodes((2560, 2), (1536, 0), (2048, 3)), "hugepagesz=2M hugepages=0:64,2:37"),
    Boot("3-nodes-first-without-cpus", _nodes((3072, 0), (1024, 4), (1280, 2)), "hugepagesz=2M hugepages=101"),
    Boot("4-nodes-4-cpus", _nodes(*[(2048, 4)] * 4), "hugepagesz=2M hugepages=1024"),
    Boot("8-nodes-1-cpu", _nodes(*[(1024, 1)] * 8), "hugepagesz=2M hugepages=77 hugepagesz=1G hugepages=2"),
    Boot(
        "2-nodes-holes",
        _nodes((3328, 3), (3072, 3)),
        "memmap=320M$0x112000000 memmap=96M$0x1c0000000",
        kernels=("6.12", "6.16", "6.18", "7.3"),
    ),  # 6.1 stands still with them
    Boot("2-nodes-cpus-offline", _nodes((3072, 4), (2048, 4)), "maxcpus=3 hugepagesz=2M hugepages=100"),
    Boot("2-nodes-cpus-possible", _nodes((3072, 2), (2048, 2)), "hugepagesz=2M hugepages=100", more_cpus=4),
    Boot("2-nodes-16-cpus", _nodes((4096, 16), (4096, 16)), "hugepagesz=2M hugepages=999", kernels=("6.12", "7.3")),
    Boot(
        "2-nodes-16-cpus-few-pages",
        _nodes((2048, 8), (2048, 8)),
        "hugepagesz=2M hugepages=3",
        kernels=("6.12", *_SINCE_6_16),
    ),
    Boot(
        "2-nodes-one-without-memory",
        _nodes((3072, 2), (0, 2)),
        "hugepagesz=2M hugepages=30",
        kernels=("6.12", *_SINCE_6_16),
    ),
    Boot(
        "3-nodes-one-without-memory",
        _nodes((3072, 2), (0, 2), (1024, 2)),
        "hugepagesz=2M hugepages=31",
        kernels=("6.12", "6.16", "7.3"),
    ),
    Boot(
        "2-nodes-alloc-threads",
        _nodes((3072, 4), (2048, 4)),
        "hugepage_alloc_threads=6 hugepagesz=2M hugepages=1024",
        kernels=_SINCE_6_16,
    ),
    Boot(
        "2-nodes-alloc-threads-too-many",
        _nodes((3072, 2), (2048, 2)),
        "hugepage_alloc_threads=40 hugepagesz=2M hugepages=1000",
        kernels=_SINCE_6_16,
    ),
)


def why_none() -> str | None:
    """Return why no kernel can be booted here and how to change that, or None if one can."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not on the path (Debian: package qemu-system-x86)"
    if not BUSYBOX.is_file():
        return f"there is no {BUSYBOX} (Debian: package busybox-static)"
    folder = os.environ.get(KERNELS_VARIABLE)
    if not folder:
        return f"{KERNELS_VARIABLE} is not set: a folder with vmlinuz files (Debian: packages linux-image-*-amd64)"
    if not _kernels(Path(folder)):
        return f"{KERNELS_VARIABLE}: found no file vmlinuz* below {folder}"
    return None


def _kernels(folder: Path) -> dict[str, Path]:
    """Return the newest kernel of each series below a folder, by the series: 6.12."""
    found: dict[str, tuple[tuple[int, ...], Path]] = {}
    for path in folder.rglob("vmlinuz*"):
        named = re.search(r"(\d+\.\d+)[\d.]*", path.name) or re.search(r"(\d+\.\d+)\.[\d.]*", path.parent.name)
        if named:
            version = tuple(int(part) for part in re.findall(r"\d+", named[0]))
            found[named[1]] = max(found.get(named[1], ((), path)), (version, path))
    return {series: path for series, (_, path) in found.items()}


def boot(kernel: Path, machine: Boot, folder: Path) -> str:
    """Boot a machine and return what it wrote to its console. Raises RuntimeError if that has no end."""
    archive = folder / "initramfs"
    folders = (cpio_entry(Path(name), 0o040755) for name in ("/bin", "/dev"))
    files = ((Path("/bin/busybox"), BUSYBOX.read_bytes()), (Path("/init"), _INIT.encode()))
    entries = [*folders, cpio_entry(Path("/dev/console"), 0o020600, device=(5, 1))]
    entries += [cpio_entry(place, 0o100755, content) for place, content in files]
    archive.write_bytes(b"".join([*entries, cpio_entry(Path("/TRAILER!!!"), 0)]))
    arguments = [QEMU, "-M", "q35", "-accel", "tcg", "-cpu", "Westmere,+rdrand,+pdpe1gb", "-display", "none"]
    arguments += ["-nodefaults", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(archive)]
    arguments += ["-append", f"{_OPTIONS} {machine.options}", *_numa(machine)]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT_S)
    said = done.stdout.decode(errors="replace")
    if "END_TRACE" not in said:
        raise RuntimeError(f"{machine.name}: no end after {len(said)} characters: {done.stderr.decode()}{said[-2000:]}")
    return said


def _numa(machine: Boot) -> Iterator[str]:
    """Yield the options for CPUs and memory: a socket for each node with CPUs where they are even, else one for all."""
    n_cpus, first = sum(node.n_cpus for node in machine.nodes), 0
    possible = n_cpus + machine.more_cpus
    counts = {node.n_cpus for node in machine.nodes if node.n_cpus}
    sockets = possible // counts.pop() if len(counts) == 1 else possible
    yield from ("-smp", f"{n_cpus},maxcpus={possible},sockets={sockets},cores={possible // sockets},threads=1")
    yield from ("-m", f"{sum(node.memory_mib for node in machine.nodes)}M")
    for nid, node in enumerate(machine.nodes):
        memory = f",memdev=memory{nid}" if node.memory_mib else ""
        if memory:
            yield from ("-object", f"memory-backend-ram,id=memory{nid},size={node.memory_mib}M")
        last = first + node.n_cpus - 1 + (machine.more_cpus if nid == len(machine.nodes) - 1 else 0)
        cpus = f",cpus={first}-{last}" if node.n_cpus else ""
        yield from ("-numa", f"node,nodeid={nid}{memory}{cpus}")
        first += node.n_cpus


def needed(said: str) -> str:
    """Return the lines of a console that decisions follow from, reservations with less than a page between as one."""
    lines = said.replace("\r", "").splitlines()
    head = lines[lines.index("BEGIN_DMESG") : lines.index("BEGIN_NODES")]
    tail = lines[lines.index("BEGIN_NODES") : lines.index("END_TRACE") + 1]
    kept = [_short(line) for line in head if _KEPT.search(line) and "Kernel command line" not in line]
    reserved = [f"memblock_reserve: [{start:#x}-{end - 1:#x}]" for start, end in _in_use(head)]
    trace = [line.strip() for line in tail if not line.startswith("#")]
    return "\n".join(["BEGIN_DMESG", *kept, *reserved, *trace]) + "\n"


def _short(line: str) -> str:
    """Return a line without who built the kernel, and without the options that all boots have."""
    return re.sub(r" \([^(]*@.*", "", line).replace(_OPTIONS + " ", "").replace(_OPTIONS, "")


def _in_use(lines: Iterable[str]) -> list[tuple[int, int]]:
    """Return what memblock had reserved at the end: [start, end) in bytes, ascending, from 1 MiB on."""
    spans: list[tuple[int, int]] = []
    for line in lines:
        told = re.search(r" reserved\[0x[0-9a-f]+\]\s+\[(0x[0-9a-f]+)-(0x[0-9a-f]+)\]", line)
        if told and "[0x0]" in line.split("reserved")[1][:6]:
            spans = []  # a list of all of them
        if told:
            spans.append((int(told[1], 16), int(told[2], 16) + 1))
        elif change := _RESERVED.search(line):
            start, end = int(change[2], 16), int(change[3], 16) + 1
            if change[1] == "reserve":
                spans.append((start, end))
            else:
                cut = [(a, min(b, start)) for a, b in spans] + [(max(a, end), b) for a, b in spans]
                spans = [(a, b) for a, b in cut if a < b]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start // _PAGE <= -(-merged[-1][1] // _PAGE):
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return [(start, end) for start, end in merged if end > 1 << 20]


def main(words: Sequence[str]) -> None:
    """Make the traces that are asked for."""
    if reason := why_none():
        print(f"skipped: {reason}")
        return
    kernels = _kernels(Path(os.environ[KERNELS_VARIABLE]))
    TRACES.mkdir(exist_ok=True)
    for machine in BOOTS:
        for series in machine.kernels:
            name = f"linux-{series}-{machine.name}"
            if not all(word in name for word in words):
                continue
            if series not in kernels:
                print(f"{name}: skipped, no kernel {series} below {os.environ[KERNELS_VARIABLE]}")
                continue
            try:
                with tempfile.TemporaryDirectory() as folder:
                    said = boot(kernels[series], machine, Path(folder))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{name}: failed: {str(error)[-1500:]}", flush=True)
                continue
            (TRACES / f"{name}.txt").write_text(needed(said))
            print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
