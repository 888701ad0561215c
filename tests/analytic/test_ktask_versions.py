"""What tells versions of the framework apart in time, against sums worked by hand.

The quiet machine: one thread clears 2 GiB/s of local memory. A version's machinery costs nothing unless a test says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from simpy import Environment

from models.clients import ClearGigantic, Pause, Step, Task
from models.kernels import VERSIONS
from models.machine import Machine
from models.policies import NodeEntry
from models.results.run import Record, Slice
from models.scenario.case import Case
from models.scenario.streams import Streams
from models.text.units import GIB, MIB
from sim.engine.framework import Framework
from sim.engine.hardware import Hardware
from sim.engine.scheduler import Scheduler
from tests.conftest import clearing

QUIET = {"setup_time": "0s", "start_latency": "0s", "wake_latency": "0s", "lock_hold_time": "0s", "stray_block": 0.0}
BASE = 4096


@dataclass(frozen=True)
class Run:
    """What came of some steps of a caller on node 0."""

    time_s: float
    record: Record
    machine: Machine

    def chunks(self, worker: int) -> list[Slice]:
        """The chunks of a worker, in order."""
        return [item for item in self.record.slices if (item.kind, item.worker) == ("chunk", worker)]

    def nodes(self, worker: int) -> list[int]:
        """The node of the CPU on which a worker did each of its chunks."""
        node_of = {cpu.cpu_id: cpu.nid for cpu in self.machine.cpus}
        return [node_of[item.cpu] for item in self.chunks(worker) if item.cpu is not None]


def run(machine: Machine, version: str, steps: Sequence[Step], **values: object) -> Run:
    """Run a caller's steps with a version whose machinery costs nothing but what `values` say."""
    kernel = VERSIONS[version].model_validate(
        QUIET | {"lock_handover_time": "0s", "start_latency_cv": 0.0, "min_chunk": "1MiB"} | values
    )
    case = Case(machine, ClearGigantic(client="clear_gigantic_page", size="1GiB"), kernel, 1, 1)
    env = Environment()
    hardware = Hardware(env, machine)
    record = Record(with_slices=True)
    streams = Streams(1, 0)
    cpus = Scheduler(hardware, 4e-3, 16, {}, Random(1))
    ktask = Framework(hardware, cpus, kernel, case.policy(streams["next_entry"].randrange), streams, record)
    caller = cpus.thread()
    caller.wake(0)
    env.run(until=env.process(ktask.run_steps(caller, steps)))
    return Run(float(env.now), record, machine)


def clear(machine: Machine, sizes_mib: dict[int | None, int], fails_at_mib: int | None = None) -> Task:
    """A task with an entry for each node; what was done is undone at 3 GiB/s."""
    entries = [NodeEntry(nid, 0, mib * MIB // BASE) for nid, mib in sizes_mib.items()]
    fails_at = None if fails_at_mib is None else fails_at_mib * MIB // BASE
    return Task(entries, *clearing(machine.rates), fails_at=fails_at, undo_bytes_per_s=3.0 * GIB)


@pytest.mark.parametrize(
    ("version", "time_ms"),
    # 8 chunks of 128 MiB, 62.5 ms each. The helper is at work on node 1 from 10 to 135 ms, then
    # v2: on node 0 at once, 135 to 197.5 and 197.5 to 260, the caller's fourth is 187.5 to 250;
    # v3: queued again, 145 to 207.5 and 207.5 to 270.
    [("ktask-v1", 260), ("ktask-v2", 260), ("ktask-v3", 270), ("ktask-v4", 270)],
)
def test_a_work_queued_again_starts_late_again(quiet_machine: Machine, version: str, time_ms: float) -> None:
    """A helper whose node is done goes on at once where it changes its mask, and 10 ms later where it is queued."""
    task = clear(quiet_machine, {0: 768, 1: 256})
    found = run(quiet_machine, version, [task], max_threads=2, start_latency="10ms")
    assert found.time_s == pytest.approx(time_ms / 1e3, rel=1e-9)
    assert found.nodes(1) == [1, 1, 0, 0]
    assert found.nodes(0) == [0, 0, 0, 0]
    queued_s = 0.010 if version in ("ktask-v1", "ktask-v2") else 0.020
    assert found.record.workers[1].start_wait_s == pytest.approx(queued_s, rel=1e-9)


def test_a_work_queued_again_takes_no_chunk_with_it(quiet_machine: Machine) -> None:
    """Seven chunks of 31.25 ms on node 0, one on node 1, helpers 100 ms late: 100 + 31.25, queued again until 231.25.

    The caller has all of node 0 done at 7 x 31.25 = 218.75 ms, and waits for the helper, which finds nothing. With a
    mask (v2) the helper takes the sixth chunk at 131.25, the caller the seventh at 156.25: 187.5 ms.
    """
    task = clear(quiet_machine, {0: 448, 1: 64})
    found = run(quiet_machine, "ktask-v3", [task], max_threads=2, start_latency="100ms")
    assert found.time_s == pytest.approx(0.23125, rel=1e-9)
    assert [len(found.chunks(worker)) for worker in (0, 1)] == [7, 1]
    masked = run(quiet_machine, "ktask-v2", [task], max_threads=2, start_latency="100ms")
    assert masked.time_s == pytest.approx(0.1875, rel=1e-9)


def test_a_work_is_queued_again_by_the_nodes_of_its_entries(quiet_machine: Machine) -> None:
    """A helper on node 0 that has done node 1's part is queued again for node 0, where it runs already.

    Two chunks from afar, 78.125 ms each: 10 to 166.25 ms; queued again, 176.25 to 238.75 and to 301.25 ms. The caller
    has done five, the fifth from 187.5 to 250 ms.
    """
    task = clear(quiet_machine, {0: 768, 1: 256})
    found = run(quiet_machine, "ktask-v3", [task], max_threads=2, start_latency="10ms", helper_node="caller")
    assert set(found.nodes(1)) == {0}
    assert found.time_s == pytest.approx(0.30125, rel=1e-9)


def test_no_mask_leads_to_a_node_without_cpus(quiet_machine: Machine) -> None:
    """A helper on node 7 stays there for data of node 1, which has no CPUs, though those of node 0 are nearer to it."""
    cpus = (*quiet_machine.cpus_of(0), *quiet_machine.cpus_of(7))
    machine = replace(quiet_machine, cpus=cpus)
    found = run(machine, "ktask-v1", [clear(machine, {7: 256, 1: 768})], max_threads=3)
    assert set(found.nodes(2)) == {7}
    assert {item.memory_node for item in found.chunks(2)} == {7, 1}


def test_a_work_queued_again_on_a_full_node_runs_anywhere(quiet_machine: Machine) -> None:
    """Nodes of one CPU: int(0.8) = 0 helpers have room there, so all run anywhere, and are queued anywhere again."""
    cpus = tuple(quiet_machine.cpus_of(nid)[0] for nid in quiet_machine.nids)
    machine = replace(quiet_machine, cpus=cpus)
    found = run(machine, "ktask-v4", [clear(machine, {0: 768, 1: 256})], max_threads=2, as_posted=False)
    assert set(found.nodes(1)) == {1}  # the idle CPU of the lowest number, before and after
    assert {item.memory_node for item in found.chunks(1)} == {0, 1}


@pytest.mark.parametrize("as_posted", [True, False])
def test_room_is_asked_of_the_old_node_as_posted(quiet_machine: Machine, as_posted: bool) -> None:
    """One helper a node: when node 0 is done its helper is one too many on node 1, where it goes as posted."""
    task = clear(quiet_machine, {0: 256, 1: 768})
    found = run(quiet_machine, "ktask-v3", [task], max_threads=3, node_share=1 / 36, as_posted=as_posted)
    assert set(found.nodes(1)) == {1}
    assert found.chunks(2)[-1].memory_node == 1
    assert (found.nodes(2)[-1] == 1) == as_posted


@pytest.mark.parametrize(("version", "memory"), [("ktask-v2", 0), ("ktask-v3", 1)])
def test_the_first_entry_is_that_of_the_node_or_of_the_number(
    quiet_machine: Machine, version: str, memory: int
) -> None:
    """A helper put on the caller's node begins with that node's entry in v2, with the entry of its number in v3."""
    task = clear(quiet_machine, {0: 512, 1: 512})
    found = run(quiet_machine, version, [task], max_threads=2, helper_node="caller")
    assert found.chunks(1)[0].memory_node == memory


@pytest.mark.parametrize(
    ("version", "error_ms", "returns_error"),
    # 8 chunks of 128 MiB on two works. The third fails half-way, at 93.75 ms; the fourth runs until 125 ms.
    # v4 and 2022 then undo 3 chunks at 3 GiB/s: 0.375 / 3 = 125 ms more. padata does the other four chunks: one work
    # ends 93.75 + 2 x 62.5, the other 125 + 2 x 62.5 = 250 ms.
    [
        ("ktask-v1", 125, True),
        ("ktask-v2", 125, True),
        ("ktask-v3", 125, True),
        ("ktask-v4", 250, True),
        ("padata-5.8", 250, False),
        ("padata-6.9", 250, False),
        ("padata-rfc-2022", 250, True),
    ],
)
def test_an_error(quiet_machine: Machine, version: str, error_ms: float, returns_error: bool) -> None:
    """After an error no chunk is begun, what was done is undone where the version does that, and the caller ends."""
    machine = replace(quiet_machine, cpus=quiet_machine.cpus_of(0))
    task = clear(machine, {0: 1024}, fails_at_mib=320)
    found = run(machine, version, [task, Pause(1.0)], max_threads=2, kthread_time="0s", helper_node="page")
    assert found.time_s == pytest.approx(error_ms / 1e3 + (not returns_error), rel=1e-9)
    assert found.record.n_failed == 1
    done_mib = 3 * 128 + 64 + (0 if returns_error else 4 * 128)
    assert sum(item.size_bytes or 0 for worker in (0, 1) for item in found.chunks(worker)) == done_mib * MIB
    undone_s = 0.125 if version in ("ktask-v4", "padata-rfc-2022") else 0.0
    assert found.record.alone_s.get("undo", 0.0) == pytest.approx(undone_s, rel=1e-9)


def test_an_error_of_the_only_work_leaves_nothing_to_undo(quiet_machine: Machine) -> None:
    """One work has one chunk, which its own function cleans up: it fails at 320 MiB, after 156.25 ms."""
    found = run(quiet_machine, "ktask-v4", [clear(quiet_machine, {0: 1024}, fails_at_mib=320)], max_threads=1)
    assert found.time_s == pytest.approx(0.15625, rel=1e-9)
    assert "undo" not in found.record.alone_s


def test_an_error_in_the_first_unit_of_a_chunk(quiet_machine: Machine) -> None:
    """The helper's chunk fails at once, the caller's runs its 62.5 ms and is undone in 0.125 / 3 s."""
    found = run(quiet_machine, "ktask-v4", [clear(quiet_machine, {0: 1024}, fails_at_mib=128)], max_threads=2)
    assert found.time_s == pytest.approx(0.0625 + 0.125 / 3, rel=1e-9)


def test_the_caller_makes_kernel_threads_one_by_one(quiet_machine: Machine) -> None:
    """1 ms each: helpers begin at 1, 2 and 3 ms, the caller at 3; two chunks of 62.5 ms each: 128 ms."""
    machine = replace(quiet_machine, cpus=quiet_machine.cpus_of(0))
    values = {"max_threads": 4, "min_chunk": "128MiB", "kthread_time": "1ms"}
    found = run(machine, "padata-rfc-2022", [clear(machine, {0: 1024})], **values)
    assert found.time_s == pytest.approx(0.128, rel=1e-9)
    assert [len(found.chunks(worker)) for worker in range(4)] == [2, 2, 2, 2]


def test_v4_as_posted_clears_a_gigantic_page_alone(quiet_machine: Machine) -> None:
    """8 threads allowed: v1 takes 1 / 16 s for a page of 1 GiB, v4 as posted 1 / 2 s, as intended 1 / 16 s."""
    for version, as_posted, time_s in (
        ("ktask-v1", True, 1 / 16),
        ("ktask-v4", True, 1 / 2),
        ("ktask-v4", False, 1 / 16),
    ):
        kernel = VERSIONS[version].model_validate({"as_posted": as_posted}).for_client("clear_gigantic_page")
        found = run(
            quiet_machine,
            version,
            [clear(quiet_machine, {0: 1024})],
            max_threads=8,
            as_posted=as_posted,
            min_chunk=f"{kernel.min_chunk}B",
        )
        assert found.time_s == pytest.approx(time_s, rel=1e-9)
