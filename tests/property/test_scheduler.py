"""What holds for any work that shares CPUs: none is lost, none is made, and nobody is forgotten."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from simpy import Environment

from models.clients import KtaskTest
from models.files.machine import load_machine
from models.kernels import VERSIONS
from models.loads import LOADS, Load
from models.loads.groups import Group
from models.machine import Machine
from models.machine.weights import weight_of
from models.policies.options import HelperGroup, Priority
from models.scenario.case import Case
from models.scenario.streams import Streams
from sim.engine.background import Neighbour
from sim.engine.hardware import Hardware
from sim.engine.run import run_case
from sim.engine.scheduler import Scheduler
from sim.engine.simulation import Simulation
from sim.engine.threads import Thread
from tests.conftest import make_quiet_machine

MACHINE = make_quiet_machine()
SMT_MACHINE = load_machine("xeon-platinum-8160-2s")  # 48 cores with two hardware threads each
CPU_IDS = (0, 1, 18, 19)  # cores of their own, two of each of two nodes
TICK_S = 4e-3
BUSY_FACTOR = 16
LONG_S = 0.3


class Others(NamedTuple):
    """Loads and groups of a machine with some CPUs."""

    cpu_ids: tuple[int, ...]
    loads: Mapping[str, Load]
    groups: Mapping[str, Group]
    seed: int


@st.composite
def others(draw: st.DrawFn, kinds: tuple[str, ...] = ("spin", "finite", "bursts", "service")) -> Others:
    """Draw one to four loads, some in one of two groups, on one to four CPUs."""
    cpu_ids = CPU_IDS[: draw(st.integers(1, 4))]
    lists = st.none() | st.lists(st.sampled_from(cpu_ids), min_size=1, unique=True)
    groups = {
        name: Group(
            quota=draw(st.sampled_from([None, 0.1, 0.5, 1.0, 1.7])),
            period=draw(st.sampled_from(["10ms", "100ms"])),
        )
        for name in ("g", "h")
    }
    loads = {}
    for i in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(kinds))
        cpus = draw(lists)
        values: dict[str, Any] = {
            "threads": draw(st.integers(1, 4)),
            "nice": draw(st.sampled_from([0, 0, 0, 5, -5, 19])),
            "group": draw(st.sampled_from([None, None, "g", "h"])),
            "start": draw(st.sampled_from(["0s", "7ms", "50ms"])),
            "cpus": None if cpus is None else ",".join(map(str, cpus)),
        }
        own = {
            "spin": {},
            "finite": {"cpu_time": f"{draw(st.sampled_from([1, 3, 10, 40, 41.7]))}ms"},
            "bursts": {"busy": f"{draw(st.sampled_from([0.1, 2, 20]))}ms", "idle": "3ms"},
            "service": {"requests_per_s": draw(st.sampled_from([10.0, 300.0])), "cpu_time": "2ms"},
        }[kind]
        load = "spin" if kind == "finite" else kind
        loads[f"load{i}"] = LOADS[load].model_validate({"load": load, **values, **own})
    return Others(cpu_ids, loads, groups, draw(st.integers(0, 99)))


class Watched:
    """Loads under way; `steps` goes on event by event."""

    def __init__(self, drawn: Others) -> None:
        cpus = tuple(cpu for cpu in MACHINE.cpus if cpu.cpu_id in drawn.cpu_ids)
        self.env = Environment()
        hardware, streams = Hardware(self.env, replace(MACHINE, cpus=cpus)), Streams(drawn.seed, 0)
        self.scheduler = Scheduler(hardware, TICK_S, BUSY_FACTOR, drawn.groups, streams["ticks"])
        self.neighbours = [
            Neighbour(name, load, hardware, self.scheduler, streams) for name, load in drawn.loads.items()
        ]
        self.queues = list(self.scheduler._queues.values())

    def steps(self, until_s: float = LONG_S) -> Iterator[float]:
        """Go on to the next time at which something happens, and yield the time; all of its events have been then."""
        while self.env.peek() <= until_s:
            at_s = self.env.peek()
            while self.env.peek() == at_s:
                self.env.step()
            yield at_s

    @property
    def threads(self) -> list[tuple[Load, Thread]]:
        """All threads, each with its load."""
        return [(neighbour.load, thread) for neighbour in self.neighbours for thread in neighbour._threads]

    def ran_s(self, thread: Thread) -> float:
        """Return the CPU time that a thread has had up to now."""
        return thread.ran_s + (self.env.now - thread.since_s if thread.running else 0.0)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(others())
def test_no_cpu_is_idle_for_long_while_somebody_waits_for_one(drawn: Others) -> None:
    """A thread that waits while a CPU that it may use is idle is on it when idle CPUs have been balanced once.

    That is every n ms for n CPUs, give or take a half. On its own CPU nobody ever waits while that is idle.
    """
    watched = Watched(drawn)
    since_s: dict[Thread, float] = {}
    for now_s in watched.steps():
        idle = [queue for queue in watched.queues if queue.current is None]
        assert not any(queue.ready for queue in idle)
        waiting = [thread for queue in watched.queues for thread in queue.ready]
        in_vain = [thread for thread in waiting if any(thread.may_use(queue.cpu) for queue in idle)]
        since_s = {thread: since_s.get(thread, now_s) for thread in in_vain}
        assert all(now_s - began_s <= 1.5e-3 * len(watched.queues) + 1e-9 for began_s in since_s.values())


@settings(derandomize=True, deadline=None, max_examples=60)
@given(others())
def test_cpu_time_is_what_cpus_were_busy_for(drawn: Others) -> None:
    """The CPU time of all threads is the time that all CPUs were busy; what they did with it is as much."""
    watched = Watched(drawn)
    busy_s, last_s, n_busy = 0.0, 0.0, 0
    for now_s in watched.steps():
        busy_s += n_busy * (now_s - last_s)
        last_s, n_busy = now_s, sum(queue.current is not None for queue in watched.queues)
        running = [thread for _, thread in watched.threads if thread.running]
        assert len(running) == n_busy
        assert all(thread.cpu is queue.cpu for queue in watched.queues if (thread := queue.current) is not None)
    assert sum(watched.ran_s(thread) for _, thread in watched.threads) == pytest.approx(busy_s, rel=1e-9, abs=1e-12)
    assert sum(neighbour.progress for neighbour in watched.neighbours) == pytest.approx(busy_s, rel=1e-6, abs=1e-9)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(others())
def test_threads_stay_where_they_may_be(drawn: Others) -> None:
    """A thread that is awake is on one of its CPUs, on one run queue, and its weight counts there alone."""
    watched = Watched(drawn)
    weight_on = watched.scheduler._hardware.placement.weight_on
    for _ in watched.steps(0.1):
        expected = dict.fromkeys(drawn.cpu_ids, 0)
        for load, thread in watched.threads:
            if thread.awake:
                assert load.cpus is None or thread.cpu.cpu_id in load.cpus
                assert sum((q.current is thread) + q.waiting.count(thread) for q in watched.queues) == 1
                expected[thread.cpu.cpu_id] += weight_of(load.nice)
        assert weight_on == expected


@settings(derandomize=True, deadline=None, max_examples=60)
@given(others(kinds=("spin", "finite", "bursts")))
def test_nobody_is_forgotten(drawn: Others) -> None:
    """A thread without quota that wants a CPU gets one within the time in which all others on it have had their turns.

    Between two ticks others gain 4 ms / weight each on the least; n of them, and as many again where threads come from
    other CPUs, keep one with weight w waiting for 2 n ticks times the largest weight over w.
    """
    watched = Watched(drawn)
    heaviest = max(weight_of(load.nice) for load in drawn.loads.values())
    for now_s in watched.steps(1.0):
        for load, thread in watched.threads:
            free = load.group is None or drawn.groups[load.group].quota is None
            if thread.awake and not thread.running and free:
                most_s = 2 * TICK_S * len(watched.threads) * heaviest / thread.weight + TICK_S
                assert now_s - thread.since_s <= most_s


@settings(derandomize=True, deadline=None, max_examples=40)
@given(others(kinds=("finite",)))
def test_a_finite_load_gets_what_it_needs_and_ends(drawn: Others) -> None:
    """Threads with an amount of work end with exactly that CPU time, in any group and at any nice level."""
    watched = Watched(drawn)
    for neighbour in watched.neighbours:
        watched.env.run(until=neighbour.ended)
    for load, thread in watched.threads:
        assert not thread.awake
        assert thread.ran_s == pytest.approx(load.cpu_time, rel=1e-6, abs=1e-12)  # type: ignore[attr-defined]
    assert set(watched.scheduler._hardware.placement.weight_on.values()) == {0}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(others(kinds=("spin", "finite", "bursts")))
def test_a_group_stays_within_its_quota(drawn: Others) -> None:
    """In each period the threads of a group have its quota of CPU time at most."""
    watched = Watched(drawn)
    for name, group in drawn.groups.items():
        if group.quota is None:
            continue
        watched = Watched(drawn)
        before_s = 0.0
        for period in range(1, 1 + math.floor(LONG_S / group.period)):
            for _ in watched.steps(period * group.period * (1 - 1e-9)):
                pass
            watched.env.run(until=period * group.period)
            used_s = sum(watched.ran_s(thread) for load, thread in watched.threads if load.group == name)
            assert used_s - before_s <= group.quota * group.period + 1e-9
            before_s = used_s


@settings(derandomize=True, deadline=None, max_examples=40)
@given(drawn=others(), data=st.data())
def test_a_job_ends_beside_anything(drawn: Others, data: st.DataObject) -> None:
    """Whatever else there is, a job of any version and priority is done, all of it, and again to the last digit."""
    quotas = {group.quota for group in drawn.groups.values()}
    assume(0.1 not in quotas or data.draw(st.booleans()))  # a few of those that last long are enough
    version = data.draw(st.sampled_from([name for name in VERSIONS if name not in ("qemu", "jvm", "cloud-hypervisor")]))
    kernel = VERSIONS[version].model_validate(
        {
            "max_threads": data.draw(st.integers(1, 5)),
            "min_chunk": data.draw(st.sampled_from(["16MiB", "512MiB"])),
            "priority": data.draw(st.sampled_from(Priority.__args__)),  # type: ignore[attr-defined]
            "helper_group": data.draw(st.sampled_from(HelperGroup.__args__)),  # type: ignore[attr-defined]
            "keep_idle": data.draw(st.sampled_from([0, 0, 1, 9])),
            "works": data.draw(st.sampled_from([None, "idle-cpus"])),
        }
    )
    task = KtaskTest.model_validate(
        {
            "client": "ktask_test",
            "cpu_time": "30ms",
            "nice": data.draw(st.sampled_from([0, 5, -5])),
            "group": data.draw(st.sampled_from([None, "g"])),
            "start": data.draw(st.sampled_from(["0s", "10ms"])),
        }
    )
    machine = replace(MACHINE, cpus=tuple(cpu for cpu in MACHINE.cpus if cpu.cpu_id in drawn.cpu_ids))
    case = Case(machine, task, kernel, 1, drawn.seed, drawn.loads, drawn.groups)
    found, again = (run_case(case, 0, with_slices=True) for _ in range(2))
    assert found == again or [str(found), found.time_s] == [str(again), again.time_s]  # a NaN is not itself
    pieces = sorted(
        (item.start_bytes, item.size_bytes) for item in found.slices if item.kind == "chunk" and item.size_bytes
    )
    assert [start + size for start, size in pieces[:-1]] == [start for start, _ in pieces[1:]]
    assert sum(size for _, size in pieces) == task.size_bytes(machine)
    assert found.cpu_s == pytest.approx(0.03, rel=1e-3, abs=2e-3) and found.time_s >= 0.03 / len(drawn.cpu_ids) - 1e-9
    for name in drawn.loads:
        assert found.extra[f"{name}_slowdown"] > 0.0 or math.isnan(found.extra[f"{name}_slowdown"])


@settings(derandomize=True, deadline=None, max_examples=20)
@given(others())
def test_the_same_seed_gives_the_same_history(drawn: Others) -> None:
    """The same loads and seed give the same times and CPUs, event by event."""

    def history() -> list[tuple[float, list[int | None]]]:
        watched = Watched(drawn)
        numbers = itertools.count()
        of: dict[Thread, int] = {}
        found = []
        for now_s in watched.steps(0.1):
            for _, thread in watched.threads:
                of.setdefault(thread, next(numbers) if thread not in of else 0)
            found.append((now_s, [None if queue.current is None else of[queue.current] for queue in watched.queues]))
        return found

    assert history() == history()


@settings(derandomize=True, deadline=None, max_examples=40)
@given(data=st.data())
def test_other_work_that_never_comes_changes_nothing(data: st.DataObject) -> None:
    """A job beside work that starts after its end takes as long as alone, to the last digit, threads stacked or not."""
    cpu_ids = data.draw(st.sampled_from([CPU_IDS[:1], CPU_IDS[:2], CPU_IDS, tuple(range(8))]))
    machine = replace(MACHINE, cpus=tuple(cpu for cpu in MACHINE.cpus if cpu.cpu_id in cpu_ids))
    version = data.draw(st.sampled_from(sorted(VERSIONS)))
    max_threads = data.draw(st.integers(1, 9))
    priority = data.draw(st.sampled_from(Priority.__args__))  # type: ignore[attr-defined]
    kernel = VERSIONS[version].model_validate({"max_threads": max_threads, "min_chunk": "16MiB", "priority": priority})
    nice = data.draw(st.sampled_from([0, 5]))
    task = KtaskTest.model_validate({"client": "ktask_test", "cpu_time": "30ms", "nice": nice})
    loads = {
        name: LOADS[load].model_validate({"load": load, "start": start, **values})
        for name, load, start, values in (
            ("never", "spin", "900h", {"cpu_time": "1ms"}),
            ("later", "bursts", "1000h", {"busy": "1ms", "idle": "2ms"}),
        )
    }
    case = Case(machine, task, kernel, 1, data.draw(st.integers(0, 99)), {}, {})
    alone, beside = run_case(case, 0), run_case(replace(case, background=loads), 0)
    assert (alone.time_s, alone.cpu_s, alone.workers) == (beside.time_s, beside.cpu_s, beside.workers)
    assert beside.extra["slowdown"] == 1.0 and beside.extra["never_slowdown"] == pytest.approx(1.0)
    assert math.isnan(beside.extra["later_slowdown"])


@settings(derandomize=True, deadline=None, max_examples=8, phases=[Phase.generate])
@given(data=st.data())
def test_cpus_of_a_mask_are_a_machine_of_their_own(data: st.DataObject) -> None:
    """A job thread beside others on 4 to 8 CPUs, of a larger machine or alone: it and each other take as long, to 3 %.

    With 2 or 3 CPUs alone a slice is shorter (`base_slice_s`), so that who has which CPU is another draw. The CPUs are
    any of all nodes, with hardware threads of a core among them or not. Means of two runs. Threads that
    are alike are compared by the order in which they end: who has a CPU with whom is drawn.
    """
    whole = data.draw(st.sampled_from([MACHINE, SMT_MACHINE]))
    mask = data.draw(st.lists(st.sampled_from([cpu.cpu_id for cpu in whole.cpus]), min_size=4, max_size=8, unique=True))
    others = data.draw(st.integers(-1, 4)) + len(mask)
    ids = ",".join(map(str, sorted(mask)))
    kernel = VERSIONS["padata-6.9"].model_validate({"max_threads": 1})
    load = LOADS["spin"].model_validate({"load": "spin", "threads": others, "cpus": ids, "cpu_time": "4s"})
    task = KtaskTest.model_validate({"client": "ktask_test", "cpu_time": "2s", "cpus": ids})
    own = replace(whole, cpus=tuple(cpu for cpu in whole.cpus if cpu.cpu_id in mask))

    def times(machine: Machine) -> list[float]:
        """Return the time of the job, and of each other thread from the first that ends."""
        runs = [Simulation(Case(machine, task, kernel, 1, seed, {"other": load}, {}), 0) for seed in range(2)]
        of_runs = [[run.time_s, *sorted(run.neighbours[0]._ended_s)] for run in runs]
        return [math.fsum(same) / len(runs) for same in zip(*of_runs, strict=True)]

    assert times(whole) == pytest.approx(times(own), rel=0.03)
