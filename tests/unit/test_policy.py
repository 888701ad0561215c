"""The four decisions of a policy, one by one: number of works, chunks and their order, places, a user's own rule."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

import pandas as pd
import pytest

import sim
from models.machine import Machine
from models.policies import Chunk, ChunkQueue, ChunkRule, NodeEntry, Policy, PolicyOptions, TaskShape, WorksRule
from models.policies.chunks import CHUNKS
from models.policies.options import Chunks, Works
from models.policies.places import Places, next_entry_rule
from models.policies.works import WORKS
from models.scenario import Scenario

PAGES_OF_1GIB = 262_144  # base pages of 4 KiB
BASE = 4096


def never_asked(n: int) -> int:
    """A choice of the next entry in a task that has only one."""
    raise AssertionError(f"asked to pick one of {n} entries")


def policy_of(machine: Machine, pick: Callable[[int], int] = never_asked, **options: object) -> Policy:
    """A policy; sizes are in bytes."""
    return Policy(PolicyOptions().model_copy(update=options), machine, pick)


class EqualChunks(ChunkRule):
    """A rule of one's own: chunks of task.chunk_size."""

    def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
        return self.task.chunk_size or 0


def queue_of(
    machine: Machine, entries: Sequence[NodeEntry], chunk: int, next_entry: str, pick: Callable[[int], int]
) -> ChunkQueue:
    """A queue of chunks of one size."""
    shape = TaskShape(sum(entry.size for entry in entries), 2, 1, chunk_size=chunk)
    return ChunkQueue(entries, EqualChunks(shape), next_entry_rule(next_entry, machine, pick))


def test_every_rule_has_a_word_and_every_word_a_rule() -> None:
    """Words that a scenario may have (options.py) are those of the tables of rules: neither is forgotten."""
    assert set(get_args(Chunks)) == set(CHUNKS)
    assert set(get_args(Works)) == set(WORKS)


@pytest.mark.parametrize(
    ("max_threads", "works", "chunk_mib", "n_chunks"),
    [(1, 1, 1024, 1), (2, 2, 128, 8), (4, 4, 64, 16), (8, 8, 32, 32), (16, 16, 16, 64)],
)
def test_gigantic_page_is_cut_as_v1_cuts_it(
    quiet_machine: Machine, max_threads: int, works: int, chunk_mib: int, n_chunks: int
) -> None:
    """A 1 GiB page with a minimum chunk of 256 base pages gives the works and chunks of the posted code."""
    policy = policy_of(quiet_machine, max_threads=max_threads)
    assert policy.min_chunk == 256
    found = policy.n_works(PAGES_OF_1GIB, 0)
    assert found == works
    assert policy.chunk_sizes(PAGES_OF_1GIB, found) == [chunk_mib * 2**20 // BASE] * n_chunks


@pytest.mark.parametrize(
    ("size", "min_chunk", "cpus", "max_threads", "works"),
    [
        (1000, 256, 288, 16, 4),  # ceil(1000 / 256) = 4
        (1024, 256, 288, 16, 4),  # exactly 4
        (1025, 256, 288, 16, 5),  # one unit over
        (1, 256, 288, 16, 1),
        (PAGES_OF_1GIB, 256, 12, 16, 12),  # fewer CPUs than threads allowed
        (PAGES_OF_1GIB, PAGES_OF_1GIB, 288, 16, 1),  # v2's minimum chunk of 1 GiB: one work
        (PAGES_OF_1GIB, 256, 288, None, 4),  # KTASK_DEFAULT_MAX_THREADS
    ],
)
def test_number_of_works(
    quiet_machine: Machine, size: int, min_chunk: int, cpus: int, max_threads: int | None, works: int
) -> None:
    """ktask's number of works is the least of ceil(size / min_chunk), the online CPUs and max_threads."""
    machine = replace(quiet_machine, cpus=quiet_machine.cpus[:cpus])
    policy = policy_of(machine, min_chunk=min_chunk * BASE, max_threads=max_threads)
    assert policy.n_works(size, 0) == works


@pytest.mark.parametrize(
    ("rule", "works"),
    [
        ("ktask-v3", 1 + 230),  # 4 * 288 // 5 = 230 helpers
        ("padata", 288),  # 262144 / 256 = 1024, all CPUs
        ("node", 36),
        ("quarter-of-node", 9),
        ("quarter", 72),
        ("twice-nodes", 16),
        ("cores", 18),  # two hardware threads each
        ("bandwidth", 10),  # 40 GiB/s over a traffic of 2 x 2 GiB/s
        ("adaptive", 2),
    ],
)
def test_number_of_works_of_each_rule(quiet_machine: Machine, rule: str, works: int) -> None:
    """A 1 GiB page on a machine of 8 nodes with 18 cores of two threads each, without max_threads."""
    most = None if rule != "ktask-v3" else 1000
    assert policy_of(quiet_machine, works=rule, max_threads=most).n_works(PAGES_OF_1GIB, 0) == works


def test_padata_rounds_the_number_of_works_down(quiet_machine: Machine) -> None:
    """1023 units with a min_chunk of 256 are 3 works to padata and 4 to ktask; fewer than min_chunk are 1 to both."""
    for rule, works in (("padata", 3), ("ktask", 4)):
        policy = policy_of(quiet_machine, works=rule)
        assert (policy.n_works(1023, 0), policy.n_works(255, 0)) == (works, 1)


@pytest.mark.parametrize(
    ("size", "works", "min_chunk", "chunk"),
    [
        (10_000, 3, 256, 768),  # 10000 // 3 = 3333, // 4 = 833, down to a multiple of 256: 768
        (10_000, 16, 256, 256),  # 625 // 4 = 156: the minimum
        (10_000, 1, 256, 10_000),  # one work: one chunk
    ],
)
def test_chunk_size(size: int, works: int, min_chunk: int, chunk: int) -> None:
    """ktask's chunk is a quarter of a work's share, down to a multiple of the minimum, and never less than it."""
    assert CHUNKS["ktask"](TaskShape(size, works, min_chunk)).next_size(size, 0, 0) == chunk


def test_queue_hands_out_ascending_chunks_and_the_rest_last(quiet_machine: Machine) -> None:
    """Chunks of an entry come in ascending order, the last one being what is left."""
    queue = queue_of(quiet_machine, [NodeEntry(3, 100, 250)], 100, "random", never_asked)
    taken = [queue.take(0) for _ in range(4)]
    assert taken == [Chunk(0, 100, 100), Chunk(0, 200, 100), Chunk(0, 300, 50), None]


def test_queue_leaves_the_callers_entries_alone(quiet_machine: Machine) -> None:
    """Taking chunks does not change the entries that the queue was made of."""
    entries = [NodeEntry(0, 5, 10)]
    assert queue_of(quiet_machine, entries, 10, "random", never_asked).take(0) == Chunk(0, 5, 10)
    assert entries == [NodeEntry(0, 5, 10)]


def test_queue_moves_to_a_random_entry_with_work_left(quiet_machine: Machine) -> None:
    """A work whose entry is empty goes on in the entry picked among those that have work left."""
    asked: list[int] = []

    def pick(n: int) -> int:
        asked.append(n)
        return n - 1

    entries = [NodeEntry(0, 0, 10), NodeEntry(1, 0, 10), NodeEntry(2, 0, 10)]
    queue = queue_of(quiet_machine, entries, 10, "random", pick)
    assert [queue.take(0) for _ in range(3)] == [Chunk(0, 0, 10), Chunk(2, 0, 10), Chunk(1, 0, 10)]
    assert asked == [2, 1]


@pytest.mark.parametrize(
    ("rule", "nid", "chosen"),
    [
        ("nearest", 0, 1),  # node 2 is one link from node 0, node 7 two
        ("nearest", 7, 2),
        ("nearest", None, 1),  # not known where: the first
        ("most", 0, 2),
        ("none", 0, None),
    ],
)
def test_next_entry(quiet_machine: Machine, rule: str, nid: int | None, chosen: int | None) -> None:
    """Where a work on a node goes from its dry entry: the nearest node's, the largest, or nowhere."""
    assert quiet_machine.distances[0, 2] < quiet_machine.distances[0, 7]
    queue = queue_of(
        quiet_machine, [NodeEntry(0, 0, 1), NodeEntry(2, 0, 10), NodeEntry(7, 0, 20)], 5, rule, never_asked
    )
    assert queue.take(0, 0, nid) == Chunk(0, 0, 1)
    chunk = queue.take(0, 0, nid)
    assert (None if chunk is None else chunk.entry) == chosen


def test_queue_refuses_an_empty_chunk(quiet_machine: Machine) -> None:
    """A chunk rule that gives less than 1 is an error that names the rule and the value."""
    queue = queue_of(quiet_machine, [NodeEntry(0, 0, 1)], 0, "random", never_asked)
    with pytest.raises(ValueError, match="the chunk rule EqualChunks gave a chunk of 0; at least 1 is needed"):
        queue.take(0)


def test_what_no_work_took_is_an_error(quiet_machine: Machine) -> None:
    """A queue from which not all was taken says how much is left."""
    queue = queue_of(quiet_machine, [NodeEntry(0, 0, 10)], 6, "none", never_asked)
    queue.take(0)
    with pytest.raises(ValueError, match="4 base pages of the task were taken by no work"):
        queue.check_all_taken()
    queue.take(0)
    queue.check_all_taken()


def test_places(quiet_machine: Machine) -> None:
    """Helpers of a task of two entries, caller on node 5: at the data, the caller's node, anywhere, or in turn."""
    entries = [NodeEntry(0, 0, 10), NodeEntry(3, 0, 10)]
    assert Places(quiet_machine, "page").place_helpers(entries, 5, 5) == [3, 0, 3, 0]
    assert Places(quiet_machine, "caller").place_helpers(entries, 5, 5) == [5, 5, 5, 5]
    assert Places(quiet_machine, "any").place_helpers(entries, 5, 5) == [None] * 4
    turns = Places(quiet_machine, "round-robin")
    assert turns.place_helpers(entries, 5, 5) == [1, 2, 3, 4]  # the kernel's last_used_nid is 0 at first
    assert turns.place_helpers(entries, 6, 5) == [5, 6, 7, 0, 1]  # it goes on from task to task


def test_helpers_on_the_callers_cpus_are_no_more_than_these(quiet_machine: Machine) -> None:
    """With five CPUs for the caller a task has five works, anywhere on them; without a mask it is the rule `any`."""
    options = PolicyOptions().model_copy(update={"helper_node": "caller-cpus", "max_threads": 8})
    entries = [NodeEntry(3, 0, PAGES_OF_1GIB)]
    for caller_cpus, works in (((0, 1, 18, 19, 20), 5), (None, 8), (tuple(range(9)), 8)):
        policy = Policy(options, quiet_machine, never_asked, caller_cpus=caller_cpus)
        assert policy.n_works(PAGES_OF_1GIB, 3) == works
        assert policy.helper_cpus == caller_cpus
        assert policy.place_helpers(entries, works, 0) == [None] * (works - 1)


@pytest.mark.parametrize("rule", ["page", "caller", "any", "round-robin"])
def test_other_helpers_do_not_keep_to_the_callers_cpus(quiet_machine: Machine, rule: str) -> None:
    """The caller's mask changes neither the works of the other rules nor where helpers may run."""
    options = PolicyOptions().model_copy(update={"helper_node": rule, "max_threads": 8})
    policy = Policy(options, quiet_machine, never_asked, caller_cpus=(0,))
    assert policy.n_works(PAGES_OF_1GIB, 3) == 8
    assert policy.helper_cpus is None


def test_share_of_a_node(quiet_machine: Machine) -> None:
    """Of a node of 36 CPUs, helpers of a task take at most int(0.8 x 36) = 28; the rest go anywhere."""
    wanted = Places(quiet_machine, "page", 0.8).place_helpers([NodeEntry(2, 0, 100)], 33, 0)
    assert wanted == [2] * 28 + [None] * 4


def test_equal_works_are_told_of_their_own_chunks(quiet_machine: Machine) -> None:
    """A preview of a task's chunks tells a rule of each chunk by the work that took it."""
    taken: list[int] = []
    told: list[int] = []

    class Told(EqualChunks):
        def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
            taken.append(work)
            return 1

        def done(self, work: int, size: int, seconds: float) -> None:  # noqa: ARG002
            told.append(work)

    policy = Policy(PolicyOptions(), quiet_machine, never_asked, {"chunks": Told})
    assert policy.chunk_sizes(5, 2) == [1] * 5
    assert taken == told == [0, 1, 0, 1, 0]


def test_a_rule_of_ones_own(small_scenario: Scenario) -> None:
    """Ten lines make a rule; its name is in the results, its chunks are run, and other values leave it in place."""

    class Halves(ChunkRule):
        """Half of what is left."""

        def next_size(self, left: int, work: int, start: int) -> int:  # noqa: ARG002
            return max(left // 2, self.task.min_chunk)

    class Three(WorksRule):
        """Always three."""

        def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
            return 3

    scenario = small_scenario.with_rules(works=Three, chunks=Halves).with_values(
        {"kernel.max_threads": 8, "replications": 2, "task.size": "8GiB"}
    )
    results = sim.run(scenario)
    assert set(results.runs["chunks"]) == {"Halves"}
    assert set(results.runs["works"]) == {"Three"}
    assert set(results.workers["worker"]) == {0, 1, 2}
    # 1024 MiB: 512, 256, ..., 1 and the last 1 are 11 chunks a page.
    assert set(results.runs["n_chunks"]) == {8 * 11}
    plain = sim.run(small_scenario.with_values({"kernel.max_threads": 8, "replications": 2, "task.size": "8GiB"}))
    assert plain.provenance["digest"] != results.provenance["digest"]
    # Such a class can't cross to another process, so its cases run in this one, beside others that can.
    with pytest.raises(Exception, match="local object"):
        pickle.dumps(Halves)
    pd.testing.assert_frame_equal(sim.run(scenario, jobs=2).runs, results.runs)
    both = Scenario.combine("both", "?", [scenario, small_scenario.with_values({"task.size": "8GiB"})])
    together = sim.run(both, jobs=2).runs
    pd.testing.assert_frame_equal(together, sim.run(both).runs)
    assert set(together[together["chunks"] == "Halves"]["case"]) == {0}


def test_a_rule_of_a_module_crosses_to_other_processes(small_scenario: Scenario) -> None:
    """A rule that can be imported gives the same results with two processes."""
    scenario = small_scenario.with_rules(chunks=CHUNKS["guided"])
    pd.testing.assert_frame_equal(sim.run(scenario, jobs=2).runs, sim.run(scenario).runs)


def test_a_rule_of_a_script_runs_with_several_jobs(small_scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule of a script or notebook, which is of the module __main__, runs in this process though more are asked."""
    monkeypatch.setattr(EqualChunks, "__module__", "__main__")
    scenario = small_scenario.with_values({"kernel.chunks": "fixed", "kernel.chunk_size": "64MiB", "replications": 1})
    mine = scenario.with_rules(chunks=EqualChunks)
    assert list(sim.run(mine, jobs=2).runs["time_s"]) == list(sim.run(scenario).runs["time_s"])


def test_a_helper_that_moves_takes_a_place_and_leaves_one(quiet_machine: Machine) -> None:
    """With one place on each node, a second helper finds a node full until the first has left it."""
    places = Places(quiet_machine, "page", 1 / len(quiet_machine.cpus_of(0)))
    entries = [NodeEntry(0, 0, 100), NodeEntry(2, 100, 100)]
    assert places.place_helpers(entries, 3, 0) == [2, 0]
    assert places.move(2, 1) == 1
    assert places.move(0, 1) is None  # full; its place on node 0 is free now
    assert places.move(None, 0) == 0
    assert places.move(1, 2) == 2  # which leaves node 1
    assert places.move(None, 1) == 1
