"""Traces of real kernels: the text of the function tracer or of `trace-cmd report`, and dmesg's lines.

A text may be pasted: prompts, quoting, carriage returns, colours, other lines in between, and lines that are cut are
put up with. `boot_topology` gives the machine, where the text has its nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.files.content import MAX_TEXT_BYTES, Unpacked, is_packed, read_content, refusal, text_of
from models.files.importers import import_topology
from models.machine import Node
from models.machine.topology import FoundCpu, Topology, distances_of, number_cpus, title_of
from models.memory.deferred import Span, whole_pages
from models.text.cpu_list import parse_cpu_list
from models.text.units import KIB

TASK, WORK = "padata_do_multithreaded", "padata_mt_helper"
# What a job's function is called -> what it does.
JOBS: Mapping[str, str] = {
    "deferred_init_memmap_chunk": "struct pages",
    "hugetlb_pages_alloc_boot_node": "huge pages",
    "gather_bootmem_prealloc_parallel": "gigantic pages",
}
_CALLERS: Mapping[str, str] = {
    "deferred_init_memmap": "struct pages",
    "hugetlb_hstate_alloc_pages": "huge pages",
    "hugetlb_bootmem_struct_page_init": "gigantic pages",
    "hugetlb_init": "gigantic pages",
}
# Names of the arguments that say where a chunk begins and ends, and of the one that tells jobs apart.
_STARTS, _ENDS, _KEYS = ("start_pfn", "start"), ("end_pfn", "end"), ("zone", "arg")

_CALL = re.compile(
    r"(?P<thread>[^\s\[\]|]+(?: [^\s\[\]|]+)*?-\d+) +(?:\( *[\d-]+\) +)?\[(?P<cpu>\d{1,5})\] +(?:[\w.#!+*@$]{3,8} +)?"
    r"(?P<time>\d+\.\d{3,9}): +(?:function: +)?(?P<function>[A-Za-z_]\w*)(?:\((?P<arguments>[^)]*)\)?)?"
    r"(?: *<-+ *(?P<caller>\w+))?"
)
# Events of one's own kprobes, NAME and NAME_end: `vfio_pin: (__x64_sys_ioctl+0x4/0x30) size=1073741824`.
_EVENT = re.compile(
    r"(?P<thread>[^\s\[\]|]+-\d+) +(?:\( *[\d-]+\) +)?\[(?P<cpu>\d{1,5})\] +(?:[\w.#!+*@$]{3,8} +)?"
    r"(?P<time>\d+\.\d{3,9}): +(?P<name>[a-z]\w*): +\((?P<where>[^)]*)\)(?P<arguments>.*)"
)
_END = "_end"
HUGE_PAGE = 2 << 20
_ARGUMENT = re.compile(r"(\w+)=(0x[0-9a-f]+|\d+)(?=[,)\s]|$)")
_VERSION = re.compile(r"Linux version (\d+)\.(\d+)[^\s]*")
_OPTIONS = re.compile(r"[Cc]ommand line: (.*)")
_MEMORY = re.compile(r"\bnode +(\d+): \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]")
_RESERVED = re.compile(r"memblock_(reserve|phys_free|free): \[0x([0-9a-f]+)-0x([0-9a-f]+)\]")
_TOLD_NODE = re.compile(r"node (\d+) deferred pages initialised in (\d+)ms")
_TOLD_PAGES = re.compile(r"HugeTLB: allocation took (\d+)ms with hugepage_allocation_threads=(\d+)")
_NODE = re.compile(r"/node(\d+) +((?:[\d,-]+ +)?)Node \d+ MemTotal: +(\d+) kB(?: dist((?: +\d+)+))?")
_BROUGHT_UP = re.compile(r"\.{4} node +#(\d+), CPUs:((?: +#\d+)+)")
_MORE_CPUS = re.compile(r"^(?:\[ *[\d.]+\])?((?: +#\d+)+)$")
_POSSIBLE = re.compile(r"possible CPUs: +([\d,-]+)")
_ALLOWING = re.compile(r"Allowing (\d+) (?:present )?CPUs(?: plus (\d+) hotplug)?")
_CPU_IDS = re.compile(r"nr_cpu_ids:(\d+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Call:
    """A traced call of a function."""

    line: int
    thread: str  # name and number
    cpu: int
    time_s: float
    function: str
    caller: str | None
    arguments: Mapping[str, int]

    def first(self, names: Iterable[str]) -> int | None:
        """Return the value of the first of these arguments that is there."""
        return next((self.arguments[name] for name in names if name in self.arguments), None)


@dataclass(frozen=True)
class TracedChunk:
    """A call of a job's function: `start` and `size` in the job's units, None if the trace doesn't tell."""

    worker: int  # 0 is the caller
    cpu: int
    start: int | None
    size: int | None
    begin_s: float
    end_s: float | None  # when the same thread went on; None after its last traced call


@dataclass
class TracedTask:
    """A call of padata_do_multithreaded. Several that can't be told apart have `apart` false: only sums are right."""

    job: str  # of JOBS, or the function that called
    caller: str
    nid: int | None  # of struct pages, where the thread's name tells it
    cpu: int
    begin_s: float
    line: int
    chunks: list[TracedChunk] = field(default_factory=list)
    works: dict[int, tuple[float, int]] = field(default_factory=dict)  # worker -> start and CPU; 0 is the caller
    key: int | None = None
    apart: bool = True
    threads: dict[int, str] = field(default_factory=dict)

    @property
    def n_works(self) -> int:
        """Return how many threads worked on it, or came too late to."""
        return max(1, len(self.works))


@dataclass(frozen=True)
class TracedCall:
    """A call from a user's own kprobes, by the name of the event: its size in bytes, or None if unknown."""

    name: str
    cpu: int
    size_bytes: int | None
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class KernelTrace:
    """The facts of a boot in a text: its tasks, and the machine as far as it is there."""

    source: str
    version: tuple[int, int] | None
    options: str
    tasks: tuple[TracedTask, ...]
    memory: Mapping[int, tuple[Span, ...]]  # of each node, as it boots
    reserved: tuple[Span, ...] | None  # None: not told (memblock=debug)
    topology: Topology | None
    possible_cpus: int | None
    told_nodes: Mapping[int, float]  # node -> seconds that dmesg tells for its struct pages
    told_pages: tuple[tuple[float, int], ...]  # seconds for huge pages at boot, and threads
    calls: tuple[TracedCall, ...] = ()  # of one's own kprobes

    def option(self, name: str) -> str | None:
        """Return the value of an option of the kernel's command line, the last one if it is there twice."""
        values = re.findall(rf"(?:^|\s){re.escape(name)}=(\S+)", self.options)
        return values[-1] if values else None

    def huge_pages(self) -> Mapping[str, str]:
        """Return the huge pages of the command line, by the size of a page: {"2M": "512"}."""
        size = self.option("default_hugepagesz") or "2M"
        found = {}
        for name, value in re.findall(r"(?:^|\s)(hugepagesz|hugepages)=(\S+)", self.options):
            if name == "hugepagesz":
                size = value.removesuffix("B")
            else:
                found[size] = value
        return found


def read_kernel_trace(path: Path) -> KernelTrace:
    """Read a kernel's multithreaded jobs from a text.

    Raises InputError if it has neither calls of padata's functions nor lines of dmesg about its jobs.
    """
    content = read_content(path)
    text = text_of(Unpacked(content, path, MAX_TEXT_BYTES).read() if is_packed(content) else content)
    lines = [_plain(line) for line in text.splitlines()]
    calls = sorted(_calls(lines), key=lambda call: (call.time_s, call.line))
    version = _last(_VERSION, lines)
    told = {int(nid): int(ms) / 1e3 for nid, ms in _all(_TOLD_NODE, lines)}
    pages = tuple((int(ms) / 1e3, int(threads)) for ms, threads in _all(_TOLD_PAGES, lines))
    own = tuple(_own_calls(lines))
    if not any(call.function == TASK for call in calls) and not told and not pages and not own:
        allowed = (
            f"a trace with {TASK} (/sys/kernel/tracing/trace, trace-cmd report), kprobes NAME and NAME{_END}, or a "
            "boot log with `deferred pages initialised` or `HugeTLB: allocation took`"
        )
        raise refusal(path, f"found none of padata's jobs; allowed is {allowed}")
    topology = _topology(lines, path)
    node_of_cpu = {} if topology is None else {cpu.cpu_id: cpu.nid for cpu in topology.cpus}
    return KernelTrace(
        source=str(path),
        version=None if version is None else (int(version[0]), int(version[1])),
        options=(_last(_OPTIONS, lines) or ("",))[0],
        tasks=tuple(_tasks(calls, node_of_cpu)),
        memory=_memory(lines),
        reserved=_reserved(lines),
        topology=topology,
        possible_cpus=_possible_cpus(lines),
        told_nodes=told,
        told_pages=pages,
        calls=own,
    )


def _plain(line: str) -> str:
    """Return a line without carriage returns, colours and the marks of a quoted mail."""
    return re.sub(r"^(?:[>|] ?)+", "", _COLOUR.sub("", line).replace("\r", "")).rstrip()


def _calls(lines: Sequence[str]) -> Iterable[Call]:
    for number, line in enumerate(lines, 1):
        found = _CALL.search(line)
        if found and (found["function"] in (TASK, WORK) or found["function"] in JOBS):
            arguments = {name: int(value, 0) for name, value in _ARGUMENT.findall(found["arguments"] or "")}
            thread = found["thread"].split()[-1]
            yield Call(
                number, thread, int(found["cpu"]), float(found["time"]), found["function"], found["caller"], arguments
            )


def _own_calls(lines: Sequence[str]) -> Iterable[TracedCall]:
    """Yield calls that one's own kprobes tell of: an event NAME, and the next NAME_end of the same thread."""
    begun: dict[tuple[str, str], re.Match[str]] = {}
    for line in lines:
        found = _EVENT.search(line)
        if found is None:
            continue
        name = found["name"]
        if not name.endswith(_END):
            begun[name, found["thread"]] = found
        elif (begin := begun.pop((name.removesuffix(_END), found["thread"]), None)) is not None:
            arguments = {key: int(value, 0) for key, value in _ARGUMENT.findall(begin["arguments"])}
            size = arguments.get("size", HUGE_PAGE * arguments["pages"] if "pages" in arguments else None)
            times = float(begin["time"]), float(found["time"])
            yield TracedCall(begin["name"], int(begin["cpu"]), size, *times)


def _all(pattern: re.Pattern[str], lines: Iterable[str]) -> list[tuple[str, ...]]:
    return [found.groups() for line in lines if (found := pattern.search(line))]


def _last(pattern: re.Pattern[str], lines: Iterable[str]) -> tuple[str, ...] | None:
    found = _all(pattern, lines)
    return found[-1] if found else None


def _possible_cpus(lines: Sequence[str]) -> int | None:
    """Return how many CPUs could be online, by /sys or dmesg, or None if neither has it."""
    if listed := _last(_POSSIBLE, lines):
        return len(parse_cpu_list(listed[0]))
    if allowed := _last(_ALLOWING, lines):  # until 6.8 all of them, then those that are there and others
        return int(allowed[0]) + int(allowed[1] or 0)
    counted = _last(_CPU_IDS, lines)
    return int(counted[0]) if counted else None


def _memory(lines: Iterable[str]) -> dict[int, tuple[Span, ...]]:
    """Return the memory of each node, from `Early memory node ranges`."""
    found: dict[int, dict[Span, None]] = {}
    for nid, start, end in _all(_MEMORY, lines):
        span = whole_pages(int(start, 16), int(end, 16) + 1)
        if span.size > 0:
            found.setdefault(int(nid), {})[span] = None
    return {nid: tuple(sorted(spans)) for nid, spans in sorted(found.items())}


def _reserved(lines: Iterable[str]) -> tuple[Span, ...] | None:
    """Return the memory in use when memblock gave it away, by its debug messages, or None if they don't have it."""
    spans: list[tuple[int, int]] = []
    found = _all(_RESERVED, lines)
    for what, first, last in found:
        start, end = int(first, 16), int(last, 16) + 1
        if what == "reserve":
            spans.append((start, end))
        else:
            cut = [(a, min(b, start)) for a, b in spans] + [(max(a, end), b) for a, b in spans]
            spans = [(a, b) for a, b in cut if a < b]
    # Pages are in use as a whole.
    return tuple(Span(a // 4096, -(-b // 4096)) for a, b in sorted(spans)) if found else None


def _topology(lines: Sequence[str], path: Path) -> Topology | None:
    """Return the machine, where the text has its nodes: those of /sys as tests/kernels writes them, or numactl -H."""
    rows = _all(_NODE, lines)
    if not rows:
        if any(re.match(r"available: \d+ nodes?\b", line.strip()) for line in lines):
            return import_topology(path)
        return _topology_of_boot(lines, path)
    nids = sorted(int(row[0]) for row in rows)
    cpus = {int(row[0]): parse_cpu_list(row[1].strip()) if row[1].strip() else () for row in rows}
    sizes = {int(row[0]): int(row[2]) * KIB for row in rows}
    told = {
        (int(row[0]), other): int(distance)
        for row in rows
        for other, distance in zip(nids, (row[3] or "").split(), strict=False)
    }
    distances, remarks = distances_of(nids, told)
    nodes = tuple(Node(nid, i, sizes[nid]) for i, nid in enumerate(nids))
    found = {cpu_id: FoundCpu(nid, cpu_id, nid) for nid in nids for cpu_id in cpus[nid]}
    return Topology(
        title=title_of(None, nodes, len(found)),
        nodes=nodes,
        cpus=number_cpus(found),
        distances=distances,
        base_page_bytes=4 * KIB,
        source=f"nodes of /sys ({path.name})",
        remarks=remarks,
    )


def _topology_of_boot(lines: Sequence[str], path: Path) -> Topology | None:
    """Return the machine of a boot log, or None if the log doesn't have it.

    The log has CPUs as they are brought up, and memory by node.
    """
    cpus: dict[int, list[int]] = {}
    node = None
    for line in lines:
        found = _BROUGHT_UP.search(line) or (_MORE_CPUS.match(line) if node is not None else None)
        if found and len(found.groups()) == 2:
            node = int(found[1])
        if found is None or node is None:
            node = None
            continue
        cpus.setdefault(node, []).extend(int(word) for word in re.findall(r"#(\d+)", found[found.lastindex or 0]))
    memory = _memory(lines)
    if not cpus or not memory:
        return None
    numbers = {cpu_id for own in cpus.values() for cpu_id in own}
    cpus[min(cpus)] += sorted({0} - numbers)  # the one that boots isn't in the list
    nids = sorted({*cpus, *memory})
    distances, remarks = distances_of(nids, {})
    nodes = tuple(Node(nid, i, 4 * KIB * sum(span.size for span in memory.get(nid, ()))) for i, nid in enumerate(nids))
    return Topology(
        title=title_of(None, nodes, len(numbers | {0})),
        nodes=nodes,
        cpus=number_cpus({cpu_id: FoundCpu(nid, cpu_id, nid) for nid, own in cpus.items() for cpu_id in own}),
        distances=distances,
        base_page_bytes=4 * KIB,
        source=f"a boot log ({path.name})",
        remarks=remarks,
    )


def _tasks(calls: Sequence[Call], node_of_cpu: Mapping[int, int]) -> list[TracedTask]:
    """Put calls together to tasks, ascending by time."""
    last_of_thread: dict[int, float] = {}  # index of a call -> when its thread made the next one
    seen: dict[str, int] = {}
    for i, call in enumerate(calls):
        if call.thread in seen:
            last_of_thread[seen[call.thread]] = call.time_s
        seen[call.thread] = i
    tasks: list[TracedTask] = []
    open_tasks: list[TracedTask] = []
    works: dict[str, list[int]] = {}  # helper thread -> indices of the calls of its work under way
    done: list[tuple[list[int], list[TracedTask]]] = []  # works of helpers, and the tasks that they may be of

    def finish(thread: str) -> None:
        if thread in works:
            done.append((works.pop(thread), candidates.pop(thread)))

    candidates: dict[str, list[TracedTask]] = {}
    own: dict[str, TracedTask] = {}  # calling thread -> its task
    chunks_of: dict[int, list[int]] = {}
    for i, call in enumerate(calls):
        if call.function == TASK:
            job = _CALLERS.get(call.caller or "", call.caller or "unknown")
            named = re.match(r"pgdatinit(\d+)-", call.thread)
            nid = int(named[1]) if named else node_of_cpu.get(call.cpu) if job == "struct pages" else None
            task = TracedTask(job, call.thread, nid, call.cpu, call.time_s, call.line)
            task.works[0] = (call.time_s, call.cpu)
            task.threads[0] = call.thread
            open_tasks = [other for other in open_tasks if other.caller != call.thread and other.job == job]
            open_tasks.append(task)
            tasks.append(task)
            own[call.thread] = task
        elif call.thread in own and own[call.thread] in open_tasks and call.caller != "process_one_work":
            task = own[call.thread]
            if call.function == WORK:
                task.works[0] = (call.time_s, call.cpu)
            else:
                chunks_of.setdefault(id(task), []).append(i)
                task.key = call.first(_KEYS) if task.key is None else task.key
                task.job = JOBS[call.function] if task.job not in JOBS.values() else task.job
                task.chunks.append(_chunk(0, call, last_of_thread.get(i)))
        elif call.function == WORK:
            finish(call.thread)
            works[call.thread], candidates[call.thread] = [i], list(open_tasks)
        else:
            if call.thread not in works:  # its start was cut off
                works[call.thread], candidates[call.thread] = [], list(open_tasks)
            works[call.thread].append(i)
    for thread in list(works):
        finish(thread)
    _give_works(calls, done, node_of_cpu, last_of_thread)
    for task in tasks:
        task.chunks.sort(key=lambda chunk: chunk.begin_s if chunk.start is None else float(chunk.start))
    return tasks


def _give_works(
    calls: Sequence[Call],
    done: Sequence[tuple[list[int], list[TracedTask]]],
    node_of_cpu: Mapping[int, int],
    last_of_thread: Mapping[int, float],
) -> None:
    """Give each helper's work to its task: by the arguments of its chunks, else by the pool of its worker."""
    ordered = sorted(done, key=lambda item: item[0][0])
    pools: dict[str, set[int]] = {}  # pool -> nodes of the CPUs on which its workers ran
    sure: dict[str, int | None] = {}  # pool -> the node whose task its workers had, by the arguments
    for indices, among in ordered:
        pool = _pool(calls[indices[0]].thread)
        if any(task.job == "struct pages" for task in among):
            pools.setdefault(pool, set()).update(node_of_cpu.get(calls[i].cpu, -1) for i in indices)
            key = _key(calls, indices)
            told = [task.nid for task in among if key is not None and task.key == key]
            if told:
                sure[pool] = told[0]
    for indices, among in ordered:
        if not among:
            continue
        chunk_calls = [i for i in indices if calls[i].function != WORK]
        functions = {JOBS[calls[i].function] for i in chunk_calls}
        fitting = [task for task in among if not functions or task.job in functions or task.job not in JOBS.values()]
        fitting = fitting or among
        key = _key(calls, indices)
        of_key = [task for task in fitting if key is not None and task.key == key]
        pool = _pool(calls[indices[0]].thread)
        nids = {sure[pool]} if pool in sure else pools.get(pool, set())
        of_node = [task for task in fitting if task.nid in nids] if len(nids) == 1 else []
        chosen = (of_key or of_node or fitting)[0]
        if len(fitting) > 1 and not of_key and not of_node:
            near = [task for task in fitting if task.nid == node_of_cpu.get(calls[indices[0]].cpu)]
            chosen = (near or fitting)[0]
            for task in fitting:
                task.apart = False
        worker = len(chosen.works)
        first = calls[indices[0]]
        chosen.works[worker] = (first.time_s, first.cpu)
        chosen.threads[worker] = first.thread
        chosen.chunks += [_chunk(worker, calls[i], last_of_thread.get(i)) for i in chunk_calls]


def _key(calls: Sequence[Call], indices: Iterable[int]) -> int | None:
    return next((key for i in indices if (key := calls[i].first(_KEYS)) is not None), None)


def _pool(thread: str) -> str:
    """Return the pool of a kworker, such as u66 of kworker/u66:3-133, or else the thread's name."""
    found = re.match(r"kworker/(\w+):", thread)
    return found[1] if found else thread


def _chunk(worker: int, call: Call, end_s: float | None) -> TracedChunk:
    start, end = call.first(_STARTS), call.first(_ENDS)
    size = None if start is None or end is None else end - start
    return TracedChunk(worker, call.cpu, start, size, call.time_s, end_s)
