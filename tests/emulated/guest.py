"""What is done on the emulated machine: real's NUMA parts are used, and what was seen is printed as JSON."""

from __future__ import annotations

import json
import mmap
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import real
from models.files.machine import load_machine
from models.measured.designs import calibration_design
from models.results import Results
from models.scenario import Scenario, build_scenario
from models.text.document import locate
from models.text.problems import InputError
from models.text.units import KIB, MIB
from real.huge_pages import GrownPool
from real.limits import pool_folder, pool_nids, read_pool
from real.run import run_case
from real.system_calls import current_cpu
from real.workers import Workers
from real.zeroing import Arena, FileArena, FilledArena, MappedArena, methods

HUGE_BYTES = 2 * MIB
NOT_A_NODE = 7
_SIZE_BYTES = 8 * MIB
# Parts of 8 MiB, in MiB, and their nodes, one after the other.
PLACED_ANEW = (
    ((0, 4, 1), (4, 8, 1)),
    ((0, 6, 0), (6, 8, 0)),  # parts that begin within those before
    ((0, 8, 0),),  # one that begins where another, smaller, is on that node already
    ((0, 4, 1), (4, 8, 2)),
    ((0, 8, 1),),
    ((0, 3, 2), (3, 8, 0)),  # an edge within a huge page
)
_PAGES_PER_NODE = 16  # in the pool of huge pages while memory is taken from it
_SHRINK = 32  # a calibration's tasks and chunks are that much smaller than on a real machine
_ARENAS: dict[str, Callable[[], Arena]] = {
    "base": lambda: MappedArena(_SIZE_BYTES, mmap.PAGESIZE),
    "thp": lambda: MappedArena(_SIZE_BYTES, HUGE_BYTES),
    "pool": lambda: MappedArena(_SIZE_BYTES, HUGE_BYTES, pool=True),
    "file": lambda: FileArena(_SIZE_BYTES, HUGE_BYTES),
    "filled": lambda: FilledArena(_SIZE_BYTES),
}


def main() -> None:
    """Print what each function saw; where one failed, its traceback under the key "error"."""
    found: dict[str, Any] = {}
    for see in (topology, binding, placed_anew, left_bound, own_pool, helpers, runs, pool_run, elsewhere, calibration):
        began_s = time.monotonic()
        try:
            found[see.__name__] = see()
        except Exception:
            found[see.__name__] = {"error": traceback.format_exc()}
        print(see.__name__, f"{time.monotonic() - began_s:.1f} s", file=sys.stderr)
    print(json.dumps(found))


def topology() -> dict[str, Any]:
    """Return the topology that real reads."""
    found = real.host_topology()
    return {
        "memory_bytes": {node.nid: node.memory_bytes for node in found.nodes},
        "sockets": {node.nid: node.socket_id for node in found.nodes},
        "cpus": {cpu.cpu_id: cpu.nid for cpu in found.cpus},
        "distances": [[found.distances[a.nid, b.nid] for b in found.nodes] for a in found.nodes],
        "zonelists": real.host_machine().zonelists,
    }


def binding() -> dict[str, Any]:
    """Place memory of each kind on each node, and on one that isn't there, and ask where it is."""
    found: dict[str, Any] = {}
    with _pool_everywhere():
        for kind, make in _ARENAS.items():
            arena = make()
            found[kind] = {nid: _placed(arena, [(0, _SIZE_BYTES, nid)]) for nid in pool_nids(HUGE_BYTES)}
            try:
                arena.place(0, _SIZE_BYTES, NOT_A_NODE)
            except OSError as error:
                found[kind]["refused"] = error.errno
            arena.close()
    return found


def placed_anew() -> dict[str, Any]:
    """Place the same memory in other parts on other nodes, as cases with pages of other sizes do."""
    with _pool_everywhere():
        found = {}
        for kind, make in _ARENAS.items():
            arena = make()
            found[kind] = [_placed(arena, [(a * MIB, b * MIB, nid) for a, b, nid in parts]) for parts in PLACED_ANEW]
            arena.close()
        return found


def left_bound() -> list[int | None]:
    """Take memory of a far node from the pool, close it, and then ask where a thread on node 0 gets memory from."""
    original = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    with _pool_everywhere():
        arena: Arena = FileArena(_SIZE_BYTES, HUGE_BYTES)
        arena.place(0, _SIZE_BYTES, 2)
        arena.clear(0, _SIZE_BYTES)
        arena.close()
    arena = MappedArena(_SIZE_BYTES, mmap.PAGESIZE)
    arena.clear(0, _SIZE_BYTES)
    found = arena.nodes(range(0, _SIZE_BYTES, MIB))
    arena.close()
    os.sched_setaffinity(0, original)
    return found


def own_pool() -> dict[str, Any]:
    """Grow the pool of node 1 for a block."""
    before = _pool_sizes()
    with GrownPool(HUGE_BYTES, 5, 1):
        within = _pool_sizes()
    return {"before": before, "within": within, "after": _pool_sizes()}


def helpers() -> list[dict[str, Any]]:
    """Run a task with memory and caller on different nodes; note the CPUs that the kernel lets its threads use."""
    seen: list[tuple[str, list[int], int]] = []

    class Watched(MappedArena):
        def _clear(self, start: int, size_bytes: int) -> None:
            seen.append((threading.current_thread().name, sorted(os.sched_getaffinity(0)), current_cpu()))
            super()._clear(start, size_bytes)

    method = next(method for method in methods() if method.name == "populate-base")
    found = []
    for caller_nid, page_nid, helper_node in ((0, 1, "page"), (0, 1, "caller"), (1, 0, "page"), (1, 2, "page")):
        part = {"caller_node": caller_nid, "page_node": page_nid, "helper_node": helper_node, "size": "12MiB"}
        case = _scenario([part]).cases[0]
        arena = Watched(case.task.size, mmap.PAGESIZE)
        seen.clear()
        with Workers(case.machine, arena, 2) as workers:
            result = run_case(case, 0, workers=workers, arena=arena, method=method, with_slices=True)
        arena.close()
        found.append(
            {
                "page_node": page_nid,
                "helper_node": helper_node,
                "caller_cpus": [piece.cpu for piece in result.slices if piece.kind == "chunk" and not piece.worker],
                "threads": [thread for thread in seen if thread[0].startswith("helper")],
            }
        )
    return found


def runs() -> dict[str, Any]:
    """Run a scenario by each method that needs no pool: caller, memory and helpers in all combinations."""
    parts: list[dict[str, Any]] = [
        {"caller_node": caller_nid, "page_node": page_nid, "helper_node": helper_node}
        for caller_nid in (0, 1)
        for page_nid in (0, 1, 2)
        for helper_node in ("page", "caller")
    ]
    names = [method.name for method in methods() if not method.from_pool]
    return {name: _seen_in(real.run(real.plan(_scenario(parts), method=name), traces=True)) for name in names}


def pool_run() -> dict[str, Any]:
    """Run a scenario on huge pages of the pool, which has none before: it is grown where they are needed."""
    before = _pool_sizes()
    parts: list[dict[str, Any]] = [
        {"caller_node": 0, "page_node": 2, "size": "48MiB"},
        {"caller_node": 0, "page_node": 1},
        {"caller_node": 1},
        {"caller_node": 0, "pool": "24MiB", "size": "24MiB"},
    ]
    found: dict[str, Any] = {}
    for method in methods():
        if method.from_pool and method.page_bytes == HUGE_BYTES:
            plan = real.plan(_scenario(parts), method=method.name, allow_pool=True)
            found[method.name] = _seen_in(real.run(plan, traces=True))
    with _pool_everywhere():  # enough in all, but not on node 2
        try:
            real.plan(_scenario([{"caller_node": 0, "page_node": 2, "size": "48MiB"}]), method="fallocate-2MiB")
            refused = "planned"
        except real.NoMethodError as error:
            refused = str(error)
    return {"before": before, "runs": found, "after": _pool_sizes(), "refused": refused}


def elsewhere() -> str:
    """Plan a scenario of a larger machine, with memory on a node that this one does not have."""
    machine = load_machine("xeon-e7-8895v3-8s")
    plain = _plain({"page_node": NOT_A_NODE, "caller_node": 0}) | {"machine": machine.name}
    try:
        real.plan(build_scenario(locate(plain), Path("elsewhere"), machine=machine))
    except InputError as error:
        return str(error)
    return "planned"


def calibration() -> dict[str, Any]:
    """Run the calibration of this machine, with everything smaller."""
    machine = real.host_machine()
    design = calibration_design(machine, 2 * MIB, 1)
    cases = tuple(
        replace(
            case,
            task=case.task.model_copy(
                update={"size": case.task.size // _SHRINK, "page_size": case.task.page_size // _SHRINK}
            ),
            kernel=case.kernel.model_copy(update={"min_chunk": 64 * KIB}),
        )
        for case in design.cases
    )
    results = real.run(real.plan(replace(design, cases=cases), machine=machine, method="populate-base"))
    distances = [
        machine.distances[case.task.caller_node, case.task.page_node]
        for case in cases
        if case.task.caller_node is not None and case.task.page_node is not None
    ]
    return {
        "n_cases": len(cases),
        "n_runs": len(results.runs),
        "distances": sorted(set(distances)),
        "unstable": sorted(set(results.runs["unstable"])),
        "doubts": list((results.host or {})["doubts"]),
    }


def _placed(arena: Arena, parts: Sequence[tuple[int, int, int]]) -> list[int | None]:
    """Place and clear parts (start, end, node), as a run does; return where every MiB is then."""
    arena.give_back(0, arena.size_bytes)
    for start, end, nid in parts:
        arena.place(start, end - start, nid)
        for at in range(start, end, HUGE_BYTES):
            arena.clear(at, min(HUGE_BYTES, end - at))
    return arena.nodes(range(0, arena.size_bytes, MIB))


def _scenario(parts: list[dict[str, Any]]) -> Scenario:
    """Return a scenario with a case for each part."""
    machine = real.host_machine()
    scenarios = [
        build_scenario(locate(_plain(part) | {"machine": machine.name}), Path("emulated"), machine=machine)
        for part in parts
    ]
    return Scenario.combine("Emulated", "Where is memory?", scenarios)


def _plain(part: dict[str, Any]) -> dict[str, Any]:
    """Return a scenario without its machine: two pages for three threads, two chunks each, and what `part` says."""
    kernel = {"version": "ktask-v1", "max_threads": 3, "min_chunk": "2MiB", "chunks_per_work": 2}
    task = {"client": "clear_gigantic_page", "size": "24MiB", "page_size": "12MiB"}
    for name, value in part.items():
        (kernel if name == "helper_node" else task)[name] = value
    return {"title": "Emulated", "question": "Where is memory?", "task": task, "kernel": kernel, "replications": 1}


def _seen_in(results: Results) -> list[dict[str, Any]]:
    """Return what the tables say of each case: its task, the chunks of its workers, and why not to trust it."""
    assert results.traces is not None
    found = []
    for number, part in enumerate(results.scenario["parts"]):
        chunks = results.traces[(results.traces["case"] == number) & (results.traces["kind"] == "chunk")]
        found.append(
            {
                "task": part["task"],
                "helper_node": part["kernel"].get("helper_node", "page"),
                "chunks": chunks[["task", "worker", "cpu", "memory_node"]].astype(int).to_numpy().tolist(),
                "unstable": "; ".join(results.runs.loc[results.runs["case"] == number, "unstable"]),
            }
        )
    return found


@contextmanager
def _pool_everywhere() -> Iterator[None]:
    """For a block, have huge pages in every node's pool."""
    _set_pools(_PAGES_PER_NODE)
    try:
        yield
    finally:
        _set_pools(0)


def _set_pools(n_pages: int) -> None:
    for nid in pool_nids(HUGE_BYTES):
        (pool_folder(HUGE_BYTES, nid) / "nr_hugepages").write_text(f"{n_pages}\n")


def _pool_sizes() -> dict[int, int]:
    """Return the pages in each node's pool."""
    return {nid: read_pool(HUGE_BYTES, nid).n_persistent for nid in pool_nids(HUGE_BYTES)}


if __name__ == "__main__":
    main()
