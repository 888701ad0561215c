"""What holds for any machine, task and policy."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from models.clients import ClearGigantic
from models.files.machine import build_machine
from models.kernels import KtaskV1
from models.machine import Machine
from models.results.run import RunResult
from models.scenario.case import Case
from models.text.document import parse
from models.text.units import MIB
from sim.engine.run import run_case


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Machines of 1 to 4 nodes on a chain of links, some nodes without CPUs, with any curve and SMT."""
    n_nodes = draw(st.integers(1, 4))
    lines = [
        "machine: any",
        "title: any machine",
        f"cpu_numbering: {draw(st.sampled_from(['siblings_last', 'siblings_adjacent']))}",
    ]
    lines.append("nodes:")
    for nid in range(n_nodes):
        cores = draw(st.integers(0 if nid else 1, 3))
        caches = draw(st.integers(1, max(1, cores)))
        threads = draw(st.integers(1, 2))
        kinds = f"[{{count: {cores}, threads_per_core: {threads}, cache_domains: {caches}}}]" if cores else "[]"
        lines.append(f"  - {{memory: 64MiB, cores: {kinds}, source: drawn}}")
    if n_nodes > 1:
        pairs = [[a, a + 1] for a in range(n_nodes - 1)]
        lines.append(f"links: [{{between: {pairs}, bandwidth: {draw(st.integers(1, 20))}GiB/s, source: drawn}}]")
        lines.append(f"distances: {{value: {[10 + 10 * i for i in range(n_nodes)]}, source: drawn}}")
    rates = {
        "clear_rate": f"{draw(st.integers(1, 9))}GiB/s",
        "clear_traffic": draw(st.sampled_from([1, 2])),
        "memory_bandwidth": f"{draw(st.integers(2, 40))}GiB/s",
        "memory_knee": draw(st.sampled_from([2, 6, 16])),
        "memory_decline": draw(st.sampled_from([0, 0.05])),
        "core_throughput": draw(st.sampled_from([1.0, 1.12, 1.3])),
        "cache_bandwidth": f"{draw(st.integers(2, 40))}GiB/s",
        "chunk_noise": draw(st.sampled_from([0, 0.02])),
    }
    lines.append("rates:")
    lines += [f"  {name}: {{value: {value}, source: drawn}}" for name, value in rates.items()]
    if n_nodes > 1:
        lines.append('  remote_factors: {value: {"20": 0.7}, source: drawn}')
    return build_machine(parse("\n".join(lines), "any.yaml"), "any.yaml")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any case on any machine."""
    machine = draw(machines())
    page = draw(st.integers(1, 2048)) * 4096
    n_pages = draw(st.integers(1, max(1, min(6, len(machine.nodes) * (64 * MIB // page)))))
    kernel = KtaskV1(
        max_threads=draw(st.integers(1, 12)),
        chunks_per_work=draw(st.integers(1, 8)),
        helper_node=draw(st.sampled_from(["page", "caller"])),
        stray_block=draw(st.sampled_from([0.0, 0.5])),
        start_latency_cv=draw(st.sampled_from([0.0, 0.5, 2.0])),
    ).model_copy(
        update={
            "min_chunk": draw(st.integers(1, page // 4096)) * 4096,
            "lock_hold_time": draw(st.sampled_from([0.0, 1e-6, 1e-3])),
            "start_latency": draw(st.sampled_from([0.0, 5e-5, 1e-2])),
        }
    )
    task = ClearGigantic(client="clear_gigantic_page", size="1GiB", page_size="1GiB").model_copy(
        update={"size": page * n_pages, "page_size": page}
    )
    return Case(machine, task, kernel, 1, draw(st.integers(0, 99)))


def chunks_of(result: RunResult) -> dict[int, list[tuple[int, int]]]:
    """The (start, size) of every chunk, in bytes, by task."""
    found: dict[int, list[tuple[int, int]]] = {}
    for item in result.slices:
        if item.kind == "chunk":
            assert item.start_bytes is not None and item.size_bytes is not None
            found.setdefault(item.task, []).append((item.start_bytes, item.size_bytes))
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases())
def test_every_byte_is_cleared_exactly_once(case: Case) -> None:
    """The chunks of each task tile its page without gap or overlap, and the totals are the task's."""
    result = run_case(case, 0, with_slices=True)
    tasks = chunks_of(result)
    assert len(tasks) == result.n_tasks == case.task.size // case.task.page_size
    for chunks in tasks.values():
        end = 0
        for start, size in sorted(chunks):
            assert start == end and size > 0
            end = start + size
        assert end == case.task.page_size
    assert sum(worker.size_bytes for worker in result.workers) == case.task.size


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases())
def test_limits_are_kept(case: Case) -> None:
    """No resource is used above its capacity, no more works run than allowed, and no worker does two things at once."""
    result = run_case(case, 0, with_slices=True)
    assert all(share <= 1.0 + 1e-6 for share in result.utilisation.values())
    assert len(result.workers) <= min(case.kernel.max_threads, len(case.machine.cpus))
    ends: dict[int, float] = {}
    for item in sorted(result.slices, key=lambda item: (item.begin_s, item.end_s)):
        assert item.begin_s >= ends.get(item.worker, 0.0) - 1e-12
        assert 0.0 <= item.begin_s <= item.end_s <= result.time_s
        ends[item.worker] = item.end_s


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cases())
def test_no_run_beats_the_hardware(case: Case) -> None:
    """The time is at least the bytes over what all works, or all memory nodes, could clear at best."""
    rates, noise = case.machine.rates, 1.0 - 5 * case.machine.rates.chunk_noise
    works = min(case.kernel.max_threads, len(case.machine.cpus))
    best = min(works * rates.clear_bytes_per_s, rates.memory_bytes_per_s / rates.clear_traffic)
    assert run_case(case, 0).time_s >= case.task.size / best * noise


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_same_seed_same_run(case: Case) -> None:
    """The same case and replication give the same slices; tracing changes nothing."""
    one, two, plain = run_case(case, 3, with_slices=True), run_case(case, 3, with_slices=True), run_case(case, 3)
    assert one.slices == two.slices
    assert (one.time_s, one.utilisation, one.workers) == (plain.time_s, plain.utilisation, plain.workers)
