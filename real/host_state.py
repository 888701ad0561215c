"""The state of this host around a measurement: facts before and after it, and events in between."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.text.cpu_list import format_cpu_list, parse_cpu_list
from models.text.units import KIB, MIB, format_size
from real.limits import (
    HOST,
    HugePagePool,
    huge_page_sizes,
    pool_folder,
    pool_nids,
    read_fields,
    read_meminfo,
    read_pool,
    soft_limit,
)

STEAL_SHARE = 0.01  # of any CPU: a tenth of the spread of repetitions on a quiet shared host
OTHERS_SHARE = 0.04  # as a repetition is dropped whose threads had less than 0.96 of their CPUs
MIN_STEAL_TICKS = 2  # one tick may be a rounding
REPORTED_BYTES = 16 * MIB  # touching them again costs 40 ms at 0.4 GiB/s, the rate of memory that has to be fetched

_CPU = "sys/devices/system/cpu"
_THP = "sys/kernel/mm/transparent_hugepage"
_CAP_IPC_LOCK, _CAP_SYS_ADMIN, _CAP_SYS_NICE, _CAP_PERFMON = 14, 21, 23, 38  # include/uapi/linux/capability.h


@dataclass(frozen=True)
class CpuTicks:
    """The ticks of a CPU since boot, by kind (see `HostState.ticks_per_s`). Idle has the waits for disks in it."""

    cpu_id: int
    idle_ticks: int
    steal_ticks: int  # the hypervisor ran somebody else
    total_ticks: int

    @property
    def busy_ticks(self) -> int:
        """Return the CPU time of programs and interrupts."""
        return self.total_ticks - self.idle_ticks - self.steal_ticks


@dataclass(frozen=True)
class NodeMemory:
    """The free memory of a node."""

    nid: int
    free_bytes: int


@dataclass(frozen=True)
class HostState:
    """The host at one moment. None means not known: the kernel doesn't give it, or doesn't have it."""

    uptime_s: float
    kernel_release: str
    machine_name: str | None
    processor_name: str | None
    virtualised: bool | None
    online_cpus: str  # a list such as 0-3,8
    allowed_cpus: str
    n_cpus_allowed: int
    smt_active: bool | None
    governors: tuple[str, ...] | None  # of cpufreq, each named once
    boost: bool | None
    thp_enabled: str | None
    thp_defrag: str | None
    khugepaged_defrag: bool | None
    khugepaged_n_pages_to_scan: int | None
    khugepaged_scan_sleep_s: float | None
    load_average_1_min: float
    ticks_per_s: int
    cpu_ticks: tuple[CpuTicks, ...]
    memory_available_bytes: int
    node_memory: tuple[NodeMemory, ...]
    huge_page_pools: tuple[HugePagePool, ...]  # for each size of the system, then of each node
    reported_bytes: int | None  # free memory given back to the hypervisor since boot


def read_host_state(page_sizes: Sequence[int] | None = None, *, root: Path = HOST) -> HostState:
    """Return the state of the host, with its pools for `page_sizes` in bytes (by default all pools).

    Raises OSError where there is no /proc, and ValueError for a page size that the host doesn't have.
    """
    cpu_info = read_fields(root / "proc/cpuinfo")
    flags = cpu_info.get("flags")  # only x86 names them so
    allowed_cpus = read_fields(root / "proc/self/status")["Cpus_allowed_list"]
    meminfo = read_meminfo(root)
    scan_sleep_ms = _number(root / _THP / "khugepaged/scan_sleep_millisecs")
    reported_kib = _number(root / "sys/module/page_reporting/parameters/reported_kib")
    sizes = huge_page_sizes(root=root) if page_sizes is None else page_sizes
    pools = (
        read_pool(page_bytes, nid, root=root)
        for page_bytes in sizes
        for nid in (None, *pool_nids(page_bytes, root=root))
    )
    return HostState(
        uptime_s=float((root / "proc/uptime").read_text().split()[0]),
        kernel_release=(root / "proc/sys/kernel/osrelease").read_text().strip(),
        machine_name=_words(root / "sys/class/dmi/id/product_name", root / "proc/device-tree/model"),
        processor_name=cpu_info.get("model name"),
        virtualised=None if flags is None else "hypervisor" in flags.split(),
        online_cpus=_words(root / _CPU / "online") or format_cpu_list(cpu.cpu_id for cpu in _cpu_ticks(root)),
        allowed_cpus=allowed_cpus,
        n_cpus_allowed=len(parse_cpu_list(allowed_cpus)),
        smt_active=_switch(root / _CPU / "smt/active"),
        governors=_governors(root),
        boost=_boost(root),
        thp_enabled=_chosen(root / _THP / "enabled"),
        thp_defrag=_chosen(root / _THP / "defrag"),
        khugepaged_defrag=_switch(root / _THP / "khugepaged/defrag"),
        khugepaged_n_pages_to_scan=_number(root / _THP / "khugepaged/pages_to_scan"),
        khugepaged_scan_sleep_s=None if scan_sleep_ms is None else scan_sleep_ms / 1000,
        load_average_1_min=float((root / "proc/loadavg").read_text().split()[0]),
        ticks_per_s=os.sysconf("SC_CLK_TCK"),
        cpu_ticks=_cpu_ticks(root),
        memory_available_bytes=meminfo.get("MemAvailable", meminfo["MemFree"]),
        node_memory=_node_memory(root),
        huge_page_pools=tuple(pools),
        reported_bytes=None if reported_kib is None else reported_kib * KIB,
    )


def as_data(state: HostState) -> dict[str, Any]:
    """Return a state as mappings, lists, numbers and words that can be written as JSON."""
    return {name: _plain(value) for name, value in asdict(state).items()}


def what_changed(before: HostState, after: HostState, *, own_cpu_s: float | None = None) -> tuple[str, ...]:
    """Return the reasons why a measurement between two states may be unstable, a sentence each.

    `own_cpu_s` is the CPU time of the measurement itself. Without it, other processes are not looked for.
    """
    if after.uptime_s < before.uptime_s or after.kernel_release != before.kernel_release:
        return ("the host was started anew in between",)
    found = [*_what_took_cpus(before, after, own_cpu_s), *_what_took_memory(before, after)]
    for name, words in (
        ("online_cpus", "the online CPUs"),
        ("allowed_cpus", "the CPUs allowed"),
        ("smt_active", "simultaneous multithreading"),
        ("governors", "the frequency governor"),
        ("boost", "frequency boost"),
        ("thp_enabled", "transparent huge pages (enabled)"),
        ("thp_defrag", "transparent huge pages (defrag)"),
        ("khugepaged_defrag", "khugepaged (defrag)"),
        ("khugepaged_n_pages_to_scan", "khugepaged (pages_to_scan)"),
        ("khugepaged_scan_sleep_s", "khugepaged (scan_sleep_millisecs, in seconds)"),
    ):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            found.append(f"{words} changed from {_said(old)} to {_said(new)}")
    return tuple(found)


def permitted(*, root: Path = HOST) -> dict[str, str]:
    """Return the permissions of this process: 'yes' or 'no', why, and the gain from root. Raises OSError."""
    capabilities = int(read_fields(root / "proc/self/status")["CapEff"], 16)

    def can(capability: int) -> bool:
        return bool(capabilities >> capability & 1)

    return {
        "huge pages of the pool": _pool_permission(root),
        "growing the pool": _growing_permission(root),
        "binding threads to CPUs": _binding_permission(root),
        "negative nice": _nice_permission(can(_CAP_SYS_NICE), root),
        "hardware counters": _counter_permission(can(_CAP_PERFMON) or can(_CAP_SYS_ADMIN), root),
        "locked memory": _locking_permission(can(_CAP_IPC_LOCK), root),
    }


def _what_took_cpus(before: HostState, after: HostState, own_cpu_s: float | None) -> Iterable[str]:
    former = {cpu.cpu_id: cpu for cpu in before.cpu_ticks}
    pairs = [(former[cpu.cpu_id], cpu) for cpu in after.cpu_ticks if cpu.cpu_id in former]
    total_ticks = sum(new.total_ticks - old.total_ticks for old, new in pairs)
    if total_ticks <= 0:
        return
    shares = [
        ((new.steal_ticks - old.steal_ticks) / (new.total_ticks - old.total_ticks), new.cpu_id)
        for old, new in pairs
        if new.total_ticks > old.total_ticks and new.steal_ticks - old.steal_ticks >= MIN_STEAL_TICKS
    ]
    share, cpu_id = max(shares, default=(0.0, None))
    if share > STEAL_SHARE:
        mean = sum(new.steal_ticks - old.steal_ticks for old, new in pairs) / total_ticks
        yield f"the hypervisor took {_percent(mean)} of CPU time (steal), {_percent(share)} of CPU {cpu_id}"
    if own_cpu_s is not None:
        busy_ticks = sum(new.busy_ticks - old.busy_ticks for old, new in pairs)
        # A tick each way and CPU may be counted to the wrong side of the measurement.
        others_ticks = busy_ticks - own_cpu_s * before.ticks_per_s - 2 * len(pairs)
        if others_ticks > OTHERS_SHARE * total_ticks:
            yield f"other processes used {_percent(others_ticks / total_ticks)} of the CPUs"


def _what_took_memory(before: HostState, after: HostState) -> Iterable[str]:
    if before.reported_bytes is not None and after.reported_bytes is not None:
        reported_bytes = after.reported_bytes - before.reported_bytes
        if reported_bytes > REPORTED_BYTES:
            yield f"{format_size(reported_bytes)} of free memory were given back to the hypervisor"
    former = {(pool.page_bytes, pool.nid): pool.n_pages for pool in before.huge_page_pools}
    for pool in after.huge_page_pools:
        n_pages = former.get((pool.page_bytes, pool.nid), pool.n_pages)
        if n_pages != pool.n_pages:
            place = "" if pool.nid is None else f" of node {pool.nid}"
            size = format_size(pool.page_bytes)
            yield f"the pool of {size} huge pages{place} changed from {n_pages} to {pool.n_pages} pages"


def _pool_permission(root: Path) -> str:
    pools = [read_pool(page_bytes, root=root) for page_bytes in huge_page_sizes(root=root)]
    if not pools:
        return "no: this kernel has no pools of huge pages"
    free = [f"{pool.n_free} of {format_size(pool.page_bytes)}" for pool in pools if pool.n_free]
    if not free:
        return "no: the pools are empty; root can grow them"
    return f"yes: {', '.join(free)} are free, for any user"


def _growing_permission(root: Path) -> str:
    sizes = huge_page_sizes(root=root)
    if not sizes:
        return "no: this kernel has no pools of huge pages"
    file = pool_folder(sizes[0], root=root) / "nr_hugepages"
    shown = "/" / file.relative_to(root)
    if os.access(file, os.W_OK):
        return f"yes: {shown} can be written; it is only with --allow-hugepage-pool, and restored afterwards"
    return f"no: {shown} can't be written; only root can, where /sys is not read-only"


def _binding_permission(root: Path) -> str:
    allowed = parse_cpu_list(read_fields(root / "proc/self/status")["Cpus_allowed_list"])
    online = parse_cpu_list(_words(root / _CPU / "online") or "") or allowed
    words = f"yes: to the {len(allowed)} CPUs allowed ({format_cpu_list(allowed)}) of {len(online)} online"
    if len(allowed) < len(online):
        words += "; the others are shut out by an affinity mask or a cpuset"
    return words


def _nice_permission(capable: bool, root: Path) -> str:
    if capable:
        return "yes: down to -20 (CAP_SYS_NICE)"
    limit = soft_limit("Max nice priority", root)
    lowest = -20 if limit is None else 20 - limit  # getrlimit(2): the limit counts from 20 downwards
    if lowest < 0:
        return f"yes: down to {lowest} (RLIMIT_NICE); root to -20"
    return "no: it needs root (CAP_SYS_NICE) or a limit (ulimit -e)"


def _counter_permission(capable: bool, root: Path) -> str:
    level = _number(root / "proc/sys/kernel/perf_event_paranoid")
    if level is None:
        return "no: this kernel has no performance events"
    # x86 names its counters cpu (cpu_core, cpu_atom where there are two kinds), Arm armv8_pmuv3_0 and the like.
    sources = (root / "sys/bus/event_source/devices").glob("*")
    if not any(re.match(r"cpu|arm.*_pmu|power.*_pmu", source.name) for source in sources):
        return "no: the processor shows none, as in many virtual machines"
    if capable or level <= 1:
        return f"yes: of programs and of the kernel in them (perf_event_paranoid is {level})"
    if level == 2:
        return (
            "yes: of programs, not of the kernel in them, where pages are cleared (perf_event_paranoid is 2); root both"
        )
    return f"no: perf_event_paranoid is {level}; root can"


def _locking_permission(capable: bool, root: Path) -> str:
    if capable:
        return "yes: without limit (CAP_IPC_LOCK)"
    limit_bytes = soft_limit("Max locked memory", root)
    if limit_bytes is None:
        return "yes: without limit (ulimit -l)"
    if limit_bytes == 0:
        return "no: the limit is 0 (ulimit -l); root has none"
    return f"yes: up to {format_size(limit_bytes)} (ulimit -l); root without limit"


def _cpu_ticks(root: Path) -> tuple[CpuTicks, ...]:
    """Return the counters of each online CPU. Fields are those of proc_stat(5). User time includes guest time."""
    found = []
    for line in (root / "proc/stat").read_text().splitlines():
        if match := re.match(r"cpu(\d+) (.*)", line):
            user, nice, system, idle, wait, irq, softirq, steal = map(int, match[2].split()[:8])
            total_ticks = user + nice + system + idle + wait + irq + softirq + steal
            found.append(CpuTicks(int(match[1]), idle + wait, steal, total_ticks))
    return tuple(found)


def _node_memory(root: Path) -> tuple[NodeMemory, ...]:
    found = {
        int(file.parent.name.removeprefix("node")): re.search(r"MemFree:\s+(\d+) kB", file.read_text())
        for file in (root / "sys/devices/system/node").glob("node*/meminfo")
    }
    return tuple(NodeMemory(nid, int(match[1]) * KIB) for nid, match in sorted(found.items()) if match)


def _governors(root: Path) -> tuple[str, ...] | None:
    files = (root / _CPU / "cpufreq").glob("policy*/scaling_governor")
    return tuple(sorted({file.read_text().strip() for file in files})) or None


def _boost(root: Path) -> bool | None:
    without_turbo = _switch(root / _CPU / "intel_pstate/no_turbo")
    return _switch(root / _CPU / "cpufreq/boost") if without_turbo is None else not without_turbo


def _chosen(file: Path) -> str | None:
    """Return the word in brackets, as in 'always [madvise] never'."""
    match = re.search(r"\[(.+?)\]", _words(file) or "")
    return match[1] if match else None


def _switch(file: Path) -> bool | None:
    number = _number(file)
    return None if number is None else bool(number)


def _number(file: Path) -> int | None:
    text = _words(file)
    return None if text is None else int(text)


def _words(*files: Path) -> str | None:
    """Return the text of the first file that has one."""
    for file in files:
        try:
            if text := file.read_text().strip("\0\n "):
                return text
        except OSError:  # missing, or only root may read it
            continue
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(value)
    return "not known" if value is None else str(value)


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.995 else f"{share * 100:.0f} %"
