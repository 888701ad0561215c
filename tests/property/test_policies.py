"""What holds for any combination of rules: the four decisions of a policy alone, and runs of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.clients import ClearGigantic
from models.files.machine import build_machine
from models.kernels import KtaskV1
from models.machine import Machine
from models.policies import Chunk, NodeEntry, Policy, PolicyOptions
from models.policies.chunks import CHUNKS
from models.policies.options import PRESETS, End, HelperNode, NextEntryName
from models.policies.works import WORKS
from models.scenario.case import Case
from models.text.document import parse
from models.text.units import GIB, KIB, MIB
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL, make_quiet_machine

BASE = 4096
TWO_NODES = """
machine: two
title: two nodes of four cores, no noise
cpu_numbering: siblings_last
nodes:
  - {count: 2, memory: 1GiB, cores: [{count: 4, threads_per_core: 1, cache_domains: 1}], source: drawn}
links: [{between: [[0, 1]], bandwidth: 8GiB/s, source: drawn}]
distances: {value: [10, 20], source: drawn}
rates:
  clear_rate: {value: 2GiB/s, source: drawn}
  clear_traffic: {value: 2, source: drawn}
  memory_bandwidth: {value: 12GiB/s, source: drawn}
  memory_knee: {value: 16, source: drawn}
  memory_decline: {value: 0, source: drawn}
  core_throughput: {value: 1.0, source: drawn}
  cache_bandwidth: {value: 40GiB/s, source: drawn}
  remote_factors: {value: {"20": 0.5}, source: drawn}
  chunk_noise: {value: 0, source: drawn}
"""
MACHINES = (make_quiet_machine(), build_machine(parse(TWO_NODES, "two.yaml"), "two.yaml"))
IN_WHOLE_CHUNKS = ("ktask", "one-per-work", "guided", "factoring", "trapezoid", "weighted")


@st.composite
def option_values(draw: st.DrawFn, page: int) -> dict[str, object]:
    """Any choice of each part, for a task of so many base pages."""
    return {
        "policy": draw(st.sampled_from(sorted(PRESETS))),
        "works": draw(st.sampled_from(sorted(WORKS))),
        "chunks": draw(st.sampled_from(sorted(CHUNKS))),
        "helper_node": draw(st.sampled_from(get_args(HelperNode))),
        "next_entry": draw(st.sampled_from(get_args(NextEntryName))),
        "end": draw(st.sampled_from(get_args(End))),
        "node_share": draw(st.sampled_from([0.1, 0.5, 0.8, 1.0])),
        "max_threads": draw(st.none() | st.integers(1, 40)),
        "min_chunk": draw(st.integers(1, page)) * BASE,
        "chunks_per_work": draw(st.integers(1, 8)),
        "chunk_size": draw(st.none() | st.integers(max(1, page // 50), page).map(lambda pages: pages * BASE)),
        "align": draw(st.none() | st.integers(1, page).map(lambda pages: pages * BASE)),
        "growth_threshold": draw(st.sampled_from([0.0, 0.05, 1.0])),
    }


@dataclass(frozen=True)
class Drawn:
    """A policy's options, a task of some entries, and the luck of who takes next."""

    machine: Machine
    options: PolicyOptions
    entries: tuple[NodeEntry, ...]
    seed: int

    @property
    def size(self) -> int:
        """The size of the task in base pages."""
        return sum(entry.size for entry in self.entries)

    def policy(self) -> Policy:
        """A new policy."""
        return Policy(self.options, self.machine, Random(self.seed).randrange)


@st.composite
def drawn_tasks(draw: st.DrawFn) -> Drawn:
    """Any policy and any task of up to three nodes."""
    machine = draw(st.sampled_from(MACHINES))
    nids = draw(st.lists(st.sampled_from(machine.nids), min_size=1, max_size=3, unique=True))
    entries = tuple(NodeEntry(nid, draw(st.integers(0, 300)), draw(st.integers(1, 1000))) for nid in nids)
    size = sum(entry.size for entry in entries)
    options = PolicyOptions().model_copy(update=draw(option_values(size)))
    return Drawn(machine, options, entries, draw(st.integers(0, 2**32)))


@dataclass(frozen=True)
class Taken:
    """One chunk: who took it, and what was left before."""

    work: int
    chunk: Chunk
    left: int


def take_all(drawn: Drawn, policy: Policy, works: int) -> list[Taken]:
    """Have works of any speed take chunks in any order until each is told that there is none."""
    luck = Random(drawn.seed + 1)
    queue = policy.queue(drawn.entries, works)
    active, taken, left = list(range(works)), [], drawn.size
    own = [i % len(drawn.entries) for i in range(works)]
    while active:
        assert len(taken) <= drawn.size
        work = luck.choice(active)
        chunk = queue.take(own[work], work, drawn.entries[own[work]].nid)
        if chunk is None:
            active.remove(work)
            continue
        taken.append(Taken(work, chunk, left))
        left -= chunk.size
        assert left == queue.size_left
        if drawn.options.next_entry != "none":
            own[work] = chunk.entry
        assert chunk.entry == own[work]
        queue.done(work, chunk.size, luck.choice([0.0, 1e-3, 1.0]) * chunk.size)
    return taken


@settings(max_examples=400, deadline=None, derandomize=True)
@given(drawn_tasks())
def test_every_page_is_taken_exactly_once(drawn: Drawn) -> None:
    """Each entry is taken in ascending chunks without gap or overlap; without next_entry, if a work begins there."""
    policy = drawn.policy()
    works = policy.n_works(drawn.size, drawn.entries[0].nid)
    taken = take_all(drawn, policy, works)
    for i, entry in enumerate(drawn.entries):
        at = entry.start
        for chunk in (each.chunk for each in taken if each.chunk.entry == i):
            assert chunk.start == at
            assert 1 <= chunk.size <= entry.start + entry.size - at
            at += chunk.size
        reached = drawn.options.next_entry != "none" or i < works
        assert at == entry.start + (entry.size if reached else 0)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(drawn_tasks())
def test_chunks_have_the_sizes_of_their_rule(drawn: Drawn) -> None:
    """All but an entry's last chunk are whole multiples of min_chunk, at padata's edges, even, or of the size given."""
    policy, options = drawn.policy(), drawn.options
    works = policy.n_works(drawn.size, drawn.entries[0].nid)
    ends = {i: entry.start + entry.size for i, entry in enumerate(drawn.entries)}
    align, share = (options.align or BASE) // BASE, drawn.size // (works * options.chunks_per_work)
    edge = -(-max(share, policy.min_chunk) // align) * align
    for each in take_all(drawn, policy, works):
        end = each.chunk.start + each.chunk.size
        if options.end == "split":
            most = -(-max(1, -(-each.left // works)) // policy.min_chunk) * policy.min_chunk
            assert each.chunk.size <= most
        if end == ends[each.chunk.entry]:
            continue
        if options.chunks in IN_WHOLE_CHUNKS:
            assert each.chunk.size % policy.min_chunk == 0
        elif options.end != "split":
            if options.chunks == "hugetlb":
                edge = -(-max(share, policy.min_chunk, drawn.size // works) // align) * align
            if options.chunks in ("padata", "hugetlb"):
                assert end % edge == 0 and each.chunk.size <= edge
            elif options.chunks == "even":
                assert 0 <= each.chunk.size - drawn.size // works <= 1
            else:
                assert each.chunk.size == (options.chunk_size or options.min_chunk) // BASE


@settings(max_examples=400, deadline=None, derandomize=True)
@given(drawn_tasks(), st.lists(st.floats(0.0, 10.0), max_size=5))
def test_the_number_of_works_is_within_its_limits(drawn: Drawn, times: list[float]) -> None:
    """At least 1, at most the CPUs, max_threads and one for each min_chunk, whatever earlier tasks took.

    Rules of padata are not limited by the CPUs: its pool of helpers is (tests of places).
    """
    policy, cap = drawn.policy(), drawn.options.max_threads
    fed = -(-drawn.size // policy.min_chunk)
    most = min(len(drawn.machine.cpus), fed) if WORKS[drawn.options.rule("works")].within_cpus else fed
    for seconds in [*times, 0.0]:
        works = policy.n_works(drawn.size, drawn.entries[0].nid)
        assert 1 <= works <= (most if cap is None else min(most, cap))
        policy.task_done(works, drawn.size * BASE, seconds, [])


@settings(max_examples=400, deadline=None, derandomize=True)
@given(drawn_tasks(), st.integers(1, 400))
def test_helpers_have_places(drawn: Drawn, works: int) -> None:
    """Each helper has a node that exists or none, as its rule says, and no node more than its share of helpers."""
    policy, nids, entries = drawn.policy(), drawn.machine.cpu_nids, drawn.entries
    caller_nid = nids[drawn.seed % len(nids)]
    found = policy.place_helpers(entries, works, caller_nid)
    share = drawn.options.node_share
    assert share is not None
    rules: dict[str, Callable[[int], int | None]] = {
        "any": lambda _: None,
        "caller-cpus": lambda _: None,
        "caller": lambda _: caller_nid,
        "page": lambda i: entries[i % len(entries)].nid,
        "round-robin": lambda i: nids[i % len(nids)],
    }
    system, n_cpus = drawn.options.share("system_share"), len(drawn.machine.cpus)
    most = works - 1 if system is None else int(system * n_cpus + 1e-9) - drawn.options.counts_callers()
    wanted = [rules[str(drawn.options.helper_node)](i) for i in range(1, 1 + min(works - 1, most))]
    assert len(found) == len(wanted)
    assert all(nid in (None, asked) for nid, asked in zip(found, wanted, strict=True))
    for nid in drawn.machine.nids:
        room = int(share * len(drawn.machine.cpus_of(nid)) + 1e-9)
        assert found.count(nid) == min(wanted.count(nid), room)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(drawn_tasks())
def test_same_seed_same_choices(drawn: Drawn) -> None:
    """Two policies of the same options and seed decide the same."""
    runs = []
    for policy in (drawn.policy(), drawn.policy()):
        works = policy.n_works(drawn.size, drawn.entries[0].nid)
        runs.append((works, policy.place_helpers(drawn.entries, works, 0), take_all(drawn, policy, works)))
    assert runs[0] == runs[1]


@st.composite
def cases(draw: st.DrawFn, most_pages: int = 3) -> Case:
    """Any policy clearing up to three pages of 64 MiB, on a quiet machine."""
    page = 64 * MIB
    n_pages = draw(st.integers(1, most_pages))
    machine = draw(st.sampled_from(MACHINES))
    task = ClearGigantic(
        client="clear_gigantic_page", size=f"{n_pages * 64}MiB", page_size="64MiB", pool="512MiB", caller_node=0
    )
    update = draw(option_values(page // BASE)) | {
        "min_chunk": draw(st.sampled_from([256 * KIB, MIB, 5 * MIB, page])),
        "start_latency": draw(st.sampled_from([0.0, 5e-5, 1e-2, 10.0])),
        "start_latency_cv": draw(st.sampled_from([0.0, 0.5])),
        "lock_hold_time": draw(st.sampled_from([0.0, 1e-6])),
    }
    return Case(machine, task, QUIET_KERNEL.model_copy(update=update), 1, draw(st.integers(0, 99)))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cases())
def test_a_run_clears_every_page_once(case: Case) -> None:
    """Whatever the policy, a run ends with each page cleared once, and only works that were not cancelled in it."""
    result = run_case(case, 0, with_slices=True)
    assert result.n_tasks == case.task.size // case.task.page_size
    for number in range(result.n_tasks):
        chunks = sorted(
            (item.start_bytes or 0, item.size_bytes or 0)
            for item in result.slices
            if (item.kind, item.task) == ("chunk", number)
        )
        assert list(itertools.accumulate([0, *(size for _, size in chunks)])) == [
            *(start for start, _ in chunks),
            case.task.page_size,
        ]
    assert all(item.end_s <= result.time_s for item in result.slices)
    if case.kernel.end == "cancel" and case.kernel.start_latency == 10.0 and not case.kernel.start_latency_cv:
        assert result.time_s < 1.0  # 64 MiB take 1/32 s of one work here, 1/16 s from afar: nobody is waited for
        assert {item.worker for item in result.slices} == {0}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cases(), st.data())
def test_nobody_leaves_the_callers_cpus(case: Case, data: st.DataObject) -> None:
    """Whatever moves it, the caller clears no chunk elsewhere; with caller-cpus no helper does, and all have a CPU."""
    known = [cpu.cpu_id for cpu in case.machine.cpus]
    cpus = tuple(sorted(data.draw(st.sets(st.sampled_from(known), min_size=1, max_size=10), label="cpus")))
    page_nid = data.draw(st.none() | st.sampled_from(case.machine.nids), label="page_node")
    stray = data.draw(st.sampled_from([0.0, 0.5]), label="stray_block")
    helper_node = data.draw(st.sampled_from(["caller-cpus", "page", "any"]), label="helper_node")
    bound = replace(
        case,
        task=case.task.model_copy(update={"cpus": cpus, "caller_node": None, "page_node": page_nid}),
        kernel=case.kernel.model_copy(update={"helper_node": helper_node, "stray_block": stray}),
    )
    result = run_case(bound, 0, with_slices=True)
    assert sum(worker.size_bytes for worker in result.workers) == case.task.size
    on = {(item.worker, item.cpu) for item in result.slices if item.kind in ("chunk", "lock")}
    assert all(cpu in cpus for worker, cpu in on if worker == 0 or helper_node == "caller-cpus")
    if helper_node == "caller-cpus":
        assert len(result.workers) <= len(cpus)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cases(most_pages=1))
def test_cancelling_is_never_slower(case: Case) -> None:
    """One task with helpers that are not waited for takes no longer than with them waited for."""
    times = [
        run_case(replace(case, kernel=case.kernel.model_copy(update={"end": end})), 0).time_s
        for end in ("cancel", "as-is")
    ]
    assert times[0] <= times[1] + 1e-12


def late(end: str, works: int, latency_s: float) -> tuple[float, list[int]]:
    """Clear 1 GiB at 2 GiB/s a work with helpers that start late; return the time and each worker's chunks."""
    task = ClearGigantic(client="clear_gigantic_page", size="1GiB", caller_node=0)
    kernel: KtaskV1 = QUIET_KERNEL.model_copy(
        update={"max_threads": works, "end": end, "start_latency": latency_s, "start_latency_cv": 0.0}
    )
    result = run_case(Case(MACHINES[0], task, kernel, 1, 1), 0)
    assert sum(worker.size_bytes for worker in result.workers) == GIB
    return result.time_s, [worker.n_chunks for worker in result.workers]


@pytest.mark.parametrize(("end", "time_s"), [("as-is", 0.7), ("split", 0.7), ("cancel", 0.5)])
def test_a_late_helper_is_waited_for_unless_cancelled(end: str, time_s: float) -> None:
    """The caller clears all in 1 GiB / 2 GiB/s = 0.5 s; its helper would start at 0.7 s."""
    assert late(end, 2, 0.7)[0] == pytest.approx(time_s, rel=1e-9)


def test_a_helper_at_work_is_waited_for() -> None:
    """Two works, 8 chunks of 62.5 ms; the helper starts at 10 ms, is not cancelled, and ends its 4 at 260 ms."""
    assert late("cancel", 2, 0.01) == (pytest.approx(0.260, rel=1e-9), [4, 4])


def test_split_shortens_the_end() -> None:
    """The helper starts 10 ms late; split, the last chunks shrink until both end within one min_chunk (0.49 ms).

    The fluid bound is (0.5 + 0.01) / 2 = 255 ms.
    """
    assert 0.255 <= late("split", 2, 0.01)[0] <= 0.255 + 1 / 2048
