"""What holds for every version of the framework, whatever the nodes of a task and the latencies."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from simpy import AllOf, Environment

from models.clients import Task
from models.kernels import VERSIONS
from models.policies import NodeEntry, Policy
from models.results.run import Record
from models.scenario.streams import Streams
from sim.engine.framework import Framework
from sim.engine.hardware import Hardware
from sim.engine.scheduler import Scheduler
from tests.conftest import clearing, make_quiet_machine

MACHINE = make_quiet_machine()
PAGES = 256  # in a chunk of 1 MiB


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_tasks_of_several_nodes_are_done_once_and_leave_no_trace(data: st.DataObject) -> None:
    """Two tasks at once, each with data on several nodes: every unit is done once, and all places are free again."""
    version = data.draw(st.sampled_from([name for name in VERSIONS if name.startswith("ktask")]))
    kernel = VERSIONS[version].model_validate(
        {
            "max_threads": data.draw(st.integers(1, 90)),
            "min_chunk": "1MiB",
            "start_latency": data.draw(st.sampled_from(["0s", "50us", "10ms"])),
            "as_posted": data.draw(st.booleans()),
            "node_share": data.draw(st.sampled_from([None, 0.1, 0.8])),
        }
    )
    env = Environment()
    hardware = Hardware(env, MACHINE)
    record = Record(with_slices=True)
    streams = Streams(data.draw(st.integers(0, 99)), 0)
    policy = Policy(kernel, MACHINE, streams["next_entry"].randrange)
    free = policy.place_helpers([NodeEntry(0, 0, 1)], 300, 0)
    policy.task_done(300, 1, 1.0, free)
    cpus = Scheduler(hardware, 4e-3, 16, {}, Random(1))
    ktask = Framework(hardware, cpus, kernel, policy, streams, record)
    sizes = data.draw(st.lists(st.lists(st.integers(0, 20 * PAGES), min_size=1, max_size=5), min_size=2, max_size=2))
    callers = []
    for nid, parts in enumerate(sizes):
        entries = [NodeEntry(i + nid, 0, size) for i, size in enumerate(parts)]
        caller = cpus.thread()
        caller.wake(nid)
        callers.append(env.process(ktask.run(caller, Task(entries, *clearing(MACHINE.rates)))))
    env.run(until=AllOf(env, callers))
    done = [(item.task, item.memory_node, item.start_bytes) for item in record.slices if item.kind == "chunk"]
    assert len(done) == len(set(done))
    total = sum(item.size_bytes or 0 for item in record.slices if item.kind == "chunk")
    assert total == sum(map(sum, sizes)) * MACHINE.base_page_bytes
    assert policy.place_helpers([NodeEntry(0, 0, 1)], 300, 0) == free
