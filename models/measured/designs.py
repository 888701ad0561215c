"""Designs of experiments: which cases are run on a host to fit a machine's rates, and which to check them by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.clients import CLIENTS
from models.kernels import VERSIONS
from models.machine import Machine
from models.scenario import DEFAULT_VERSION, Scenario, build_scenario
from models.text.document import locate
from models.text.units import GIB, KIB, MIB

_CALIBRATED = (2 * MIB, 8 * MIB, 64 * MIB)  # chunks of the calibration, where memory comes in no larger pieces
LEAST_CHUNK = _CALIBRATED[0]
_PROGRAM_SIZE = 2 * GIB
_PROGRAM_CHUNKS = (4 * MIB, 64 * MIB, GIB)  # Java's own, since 16 and before, and one between


def calibration_design(machine: Machine, granularity_bytes: int, replications: int, seed: int = 1) -> Scenario:
    """Return the cases that a machine's rates are fitted to: threads x chunk sizes, each long enough to be timed.

    `granularity_bytes` is the size of the smallest chunk, because memory comes in such pieces. Threads double from one
    to all CPUs, and take in the number of cores. With several nodes, one thread also clears memory of each distance.
    """
    small, middle, large = _chunk_sizes(granularity_bytes, _CALIBRATED)
    parts = [_one_thread(chunk) for chunk in (small, middle, large, 8 * large)]
    for threads in thread_counts(machine):
        parts += [_many(threads, chunk) for chunk in (small, middle, large)]
        parts.append(_many(threads, middle, chunks_per_work=4))  # many short tasks: what a task costs
    parts += [_remote(large, a, b) for a, b in _pairs_by_distance(machine)]
    title = "Calibration: runs to which the rates are fitted"
    question = "How fast does one thread clear, what do memory and hardware threads let through, what do chunks cost?"
    return _scenario(machine, title, question, parts, replications, seed, granularity_bytes)


def validation_design(machine: Machine, granularity_bytes: int, replications: int, seed: int = 2) -> Scenario:
    """Return cases that are none of the calibration's: other chunks, sizes and thread counts, and background load."""
    known = _chunk_sizes(granularity_bytes, _CALIBRATED)
    tiny, small, large = _chunk_sizes(granularity_bytes, (4 * MIB, 32 * MIB, 128 * MIB), known)
    used = thread_counts(machine)
    n_cpus = len(machine.cpus_of(machine.cpu_nids[0]))
    between = sorted({max(2, (a + b) // 2) for a, b in zip([1, *used], [*used, n_cpus], strict=False)} - set(used))
    parts = [_one_thread(chunk) for chunk in (tiny, small)]
    parts.append(_one_thread(large, tasks=12))  # 1.5 GiB in place of 1 GiB
    for threads in [*between, *used] if used else []:
        parts += [_many(threads, tiny), _many(threads, small)]
    if used:
        most = used[-1]
        parts.append(_many(most, large, tasks=3))
        parts.append(_many(most, small, chunks_per_work=1))  # one chunk for each thread
        last = str(max(cpu.cpu_id for cpu in machine.cpus_of(machine.cpu_nids[0])))
        for load in ("clear", "spin", "read", "copy"):
            busy = {"background": {"other": {"load": load, "cpus": last}}}
            parts += [_one_thread(large) | busy, _many(most, small) | busy]
    title = "Validation: runs that were not used in the fit"
    question = "How well does the simulation predict what this host does in other cases?"
    return _scenario(machine, title, question, parts, replications, seed, granularity_bytes)


def method_design(machine: Machine, granularity_bytes: int, replications: int, seed: int = 3) -> Scenario:
    """Return two cases, one thread and all, that show the effect of a way of clearing memory."""
    chunk = max(64 * MIB, granularity_bytes)
    parts = [_one_thread(chunk, tasks=max(1, 512 * MIB // chunk))]
    chunks_per_work = max(1, 256 * MIB // chunk)
    parts += [_many(n, chunk, chunks_per_work=chunks_per_work, tasks=1) for n in thread_counts(machine)[-1:]]
    title = "Methods: what each does with one thread and with all"
    question = "How fast is each way of clearing memory?"
    return _scenario(machine, title, question, parts, replications, seed, granularity_bytes)


def page_fault_design(machine: Machine, replications: int, *, thp: bool, seed: int = 4) -> Scenario:
    """Return the cases that show the costs of a page: populated and touched, by one thread and by all of a node.

    In base pages, and with `thp` in transparent huge ones. Threads are there before the time begins.
    """
    started = dict.fromkeys(("setup_time", "kthread_time", "start_latency", "wake_latency"), "0us")
    parts = [
        {
            "task": {"client": "populate", "size": _text(size), "thp": huge, "populate": populate},
            "kernel": {"version": "qemu", "max_threads": threads, **started},
        }
        for huge, size in ((False, GIB), (True, 2 * GIB))[: 1 + thp]
        for populate in (True, False)
        for threads in [1, *thread_counts(machine)[-1:]]
    ]
    return _preparation("Page faults: runs that tell what a page costs", machine, parts, replications, seed)


def program_design(
    machine: Machine, client: str, replications: int, *, thp: bool, huge_page: int | None = None, seed: int = 5
) -> Scenario:
    """Return runs of a program (a client with a framework of its own): threads x chunks, where it has any, x pages.

    Pages are base pages, with `thp` transparent huge ones, and those of hugetlbfs of `huge_page` bytes.
    """
    pages: list[dict[str, Any]] = [{}]
    if thp:
        pages.append({"thp": True})
    if huge_page is not None:
        pages.append({"page_size": _text(huge_page)})
    version = getattr(CLIENTS[client], "framework", DEFAULT_VERSION)
    has_chunks = VERSIONS[version](version=version).rule("chunks") == "fixed"
    parts = [
        {
            "task": {"client": client, "size": _text(_PROGRAM_SIZE), **of},
            "kernel": {"version": version, "max_threads": threads} | ({"chunk_size": _text(chunk)} if chunk else {}),
        }
        for of in pages
        for threads in [1, *thread_counts(machine)]
        for chunk in (_PROGRAM_CHUNKS if has_chunks else (0,))
    ]
    return _preparation(f"Runs of {client}", machine, parts, replications, seed)


def _preparation(
    title: str, machine: Machine, parts: Sequence[Mapping[str, Any]], replications: int, seed: int
) -> Scenario:
    question = "How long does it take to make memory present?"
    scenarios = []
    for part in parts:
        plain = {"title": title, "question": question, "machine": machine.name, **part}
        plain |= {"replications": replications, "seed": seed}
        scenarios.append(build_scenario(locate(plain), Path(title.partition(":")[0].lower()), machine=machine))
    return Scenario.combine(title, question, scenarios)


def thread_counts(machine: Machine) -> list[int]:
    """Return the numbers of threads of a calibration besides one: powers of two, cores and CPUs of the first node."""
    cpus = machine.cpus_of(machine.cpu_nids[0])
    n_cpus, n_cores = len(cpus), len({cpu.core_id for cpu in cpus})
    counts = {n for n in (2**k for k in range(1, 20)) if n < n_cpus} | {n_cores, n_cpus}
    return sorted(counts - {1})


def _chunk_sizes(granularity_bytes: int, wanted: Sequence[int], known: Sequence[int] = ()) -> list[int]:
    """Return new sizes that are multiples of memory's granularity, each at least twice the one before."""
    found: list[int] = []
    for size in wanted:
        least = 2 * found[-1] if found else granularity_bytes
        found.append(max(least, -(-size // granularity_bytes) * granularity_bytes))
        while found[-1] in known:
            found[-1] += granularity_bytes
    return found


def _one_thread(chunk: int, tasks: int | None = None) -> dict[str, Any]:
    """One thread takes a task as one chunk, so the chunk is the page."""
    return {"threads": 1, "page": chunk, "tasks": tasks or max(2, 1024 * MIB // chunk), "chunks_per_work": 1}


def _many(threads: int, chunk: int, *, chunks_per_work: int | None = None, tasks: int | None = None) -> dict[str, Any]:
    """Return a task of some 512 MiB for several threads, or with this many chunks for each."""
    if chunks_per_work is None:
        chunks_per_work = max(2, 512 * MIB // (threads * chunk))
    page = threads * chunks_per_work * chunk
    return {
        "threads": threads,
        "page": page,
        "tasks": tasks or max(2, 1024 * MIB // page),
        "chunks_per_work": chunks_per_work,
    }


def _remote(chunk: int, cpu_nid: int, memory_nid: int) -> dict[str, Any]:
    return _one_thread(chunk) | {"caller_node": cpu_nid, "page_node": memory_nid}


def _pairs_by_distance(machine: Machine) -> Iterator[tuple[int, int]]:
    """Yield a pair of nodes (CPU's, memory's) for each distance of the machine but the local one."""
    seen: set[int] = set()
    with_memory = machine.memory_nids
    for a in machine.cpu_nids:
        for b in with_memory:
            distance = machine.distances[a, b]
            if a != b and distance not in seen:
                seen.add(distance)
                yield a, b


def _scenario(
    machine: Machine,
    title: str,
    question: str,
    parts: Sequence[Mapping[str, Any]],
    replications: int,
    seed: int,
    granularity_bytes: int,
) -> Scenario:
    local = machine.cpu_nids[0]
    room = min(node.memory_bytes for node in machine.nodes if node.memory_bytes)
    scenarios = []
    seen: list[Mapping[str, Any]] = []
    for wanted in parts:
        part = {**wanted, "tasks": min(wanted["tasks"], room // wanted["page"])}
        if part in seen or not part["tasks"]:  # large pages on a small machine: what fits
            continue
        seen.append(part)
        task = {
            "client": "clear_gigantic_page",
            "size": _text(part["page"] * part["tasks"]),
            "page_size": _text(part["page"]),
            "caller_node": part.get("caller_node", local),
        }
        if len(machine.nodes) > 1:
            task["page_node"] = part.get("page_node", local)
        plain = {
            "title": title,
            "question": question,
            "machine": machine.name,
            "task": task,
            "kernel": {
                "version": "ktask-v1",
                "max_threads": part["threads"],
                "min_chunk": _text(max(granularity_bytes, machine.base_page_bytes)),
                "chunks_per_work": part["chunks_per_work"],
            },
            "background": part.get("background", {}),
            "replications": replications,
            "seed": seed,
        }
        scenarios.append(build_scenario(locate(plain), Path(title.partition(":")[0].lower()), machine=machine))
    return Scenario.combine(title, question, scenarios)


def _text(size_bytes: int) -> str:
    """Return a size, a multiple of 1 KiB, as a file has it."""
    return f"{size_bytes // MIB}MiB" if size_bytes % MIB == 0 else f"{size_bytes // KIB}KiB"
