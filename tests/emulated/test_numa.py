"""On a machine with three nodes, one of them without CPUs, memory and helpers are where real wants them.

The machine is emulated, so these tests run only where a qemu and a kernel are found. To provide them on Debian:

    apt-get install qemu-system-x86
    apt-get download linux-image-6.1.0-*-cloud-amd64  # any image will do; linux-image-cloud-amd64 depends on the newest
    dpkg -x linux-image-*.deb kernel  # nothing is installed
    KTASK_SIM_EMULATED_KERNEL=$(ls kernel/boot/vmlinuz-*) .venv/bin/pytest tests/emulated

One boot serves all tests; with what is done on the machine it takes one to two minutes.
"""

from __future__ import annotations

import errno
import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from models.text.units import MIB
from tests.emulated import guest
from tests.emulated.machine import EmulatedNode, run_script, why_none

NODES = (EmulatedNode(1536, 2), EmulatedNode(1280, 2), EmulatedNode(1152, 0))
DISTANCES = [[10, 21, 17], [21, 10, 28], [17, 28, 10]]
NODE_OF_CPU = {0: 0, 1: 0, 2: 1, 3: 1}
CPUS_FOR = {0: {0, 1}, 1: {2, 3}, 2: {0, 1}}  # whose memory is on a node: of the node, or of the nearest with CPUs
KINDS = ("base", "thp", "pool", "file", "filled")

pytestmark = pytest.mark.skipif(why_none() is not None, reason=why_none() or "")


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Any]:
    """Boot the machine once, also where several processes run the tests, and return what the guest saw."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder if worker_id == "master" else folder.parent) / "emulated"
    folder.mkdir(exist_ok=True)
    answer = folder / "seen.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            answer.write_text(json.dumps(run_script(Path(guest.__file__), NODES, DISTANCES, folder)))
    found = json.loads(answer.read_text())
    assert isinstance(found, dict)
    return found


def part(seen: dict[str, Any], name: str) -> Any:
    """Return what one function of the guest saw. Fails with its traceback if it failed."""
    found = seen[name]
    if isinstance(found, dict) and "error" in found:
        pytest.fail(f"on the emulated machine, {name}: {found['error']}", pytrace=False)
    return found


def check_run(run: dict[str, Any]) -> None:
    """Check where a case's memory and helpers were, task by task."""
    assert "not on the node" not in run["unstable"]
    wanted = run["task"].get("page_node")
    for number in {task for task, *_ in run["chunks"]}:
        chunks = [chunk for task, *chunk in run["chunks"] if task == number]
        (nid,) = {nid for _, _, nid in chunks}
        assert wanted in (None, nid)
        helper_cpus = {cpu for worker, cpu, _ in chunks if worker}
        caller_nids = {NODE_OF_CPU[cpu] for worker, cpu, _ in chunks if not worker}
        if run["helper_node"] == "page":
            assert helper_cpus <= CPUS_FOR[nid]
        elif caller_nids:
            assert {NODE_OF_CPU[cpu] for cpu in helper_cpus} <= caller_nids


def test_the_topology_is_the_one_asked_for(seen: dict[str, Any]) -> None:
    """Nodes, CPUs, distances and memory are read as emulated; the node without CPUs is in the nearest socket."""
    found = part(seen, "topology")
    assert {int(cpu_id): nid for cpu_id, nid in found["cpus"].items()} == NODE_OF_CPU
    assert found["distances"] == DISTANCES
    assert found["sockets"] == {"0": 0, "1": 1, "2": 0}
    for nid, node in enumerate(NODES):  # a little of it is the kernel's own; lazily counted nodes shift some more
        assert 0.85 * node.memory_mib * MIB < found["memory_bytes"][str(nid)] < 1.1 * node.memory_mib * MIB


def test_memory_falls_over_to_the_nearest_node(seen: dict[str, Any]) -> None:
    """Sorted by distance: from node 0 to 2 (17), then 1 (21); from 1 to 0 (21), then 2 (28); from 2 to 0, then 1."""
    assert part(seen, "topology")["zonelists"] == {"0": [0, 2, 1], "1": [1, 0, 2], "2": [2, 0, 1]}


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_on_the_node_it_was_bound_to(seen: dict[str, Any], kind: str) -> None:
    """The kernel finds all of 8 MiB, looked at every MiB, on the node that `place` named."""
    found = part(seen, "binding")[kind]
    assert {nid: found[str(nid)] for nid in range(3)} == {nid: [nid] * 8 for nid in range(3)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_is_not_there_is_refused(seen: dict[str, Any], kind: str) -> None:
    """Binding memory to node 7 of a machine with three raises EINVAL at once, not when it is cleared."""
    assert part(seen, "binding")[kind].get("refused") == errno.EINVAL


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_placed_anew(seen: dict[str, Any], kind: str) -> None:
    """What was placed last counts, whatever parts were placed before; edges move up to the end of a huge page."""
    page_mib = 1 if kind in ("base", "filled") else 2
    for parts, found in zip(guest.PLACED_ANEW, part(seen, "placed_anew")[kind], strict=True):
        ends = [(-(-end // page_mib) * page_mib, nid) for _, end, nid in parts]
        assert found == [next(nid for end, nid in ends if mib < end) for mib in range(8)]


def test_a_thread_is_not_left_bound_to_a_node(seen: dict[str, Any]) -> None:
    """After files on node 2 are closed, their thread on CPU 0 has its other memory from node 0 again."""
    assert part(seen, "left_bound") == [0] * 8


def test_just_one_nodes_pool_grows(seen: dict[str, Any]) -> None:
    """Five huge pages for node 1 are added to its pool and to no other, and taken back."""
    found = part(seen, "own_pool")
    assert found["before"] == found["after"] == {"0": 0, "1": 0, "2": 0}
    assert found["within"] == {"0": 0, "1": 5, "2": 0}


def test_helpers_are_bound_to_a_cpu_of_the_right_node(seen: dict[str, Any]) -> None:
    """The kernel lets each helper run on one CPU: of the page's node, else of the caller's, as the kernel version says.

    Memory of the node without CPUs has the helpers of the node 17 away.
    """
    for found in part(seen, "helpers"):
        assert found["threads"]
        for name, allowed_cpus, cpu in found["threads"]:
            assert allowed_cpus == [cpu], name
            if found["helper_node"] == "page":
                assert cpu in CPUS_FOR[found["page_node"]]
            else:
                assert NODE_OF_CPU[cpu] in {NODE_OF_CPU[caller] for caller in found["caller_cpus"]}


@pytest.mark.parametrize("method", ["populate-thp", "populate-base", "memset"])
def test_runs_have_memory_and_helpers_where_they_should_be(seen: dict[str, Any], method: str) -> None:
    """A scenario with caller, memory and helpers on equal and different nodes."""
    found = part(seen, "runs")[method]
    assert len(found) == 12
    for run in found:
        check_run(run)


@pytest.mark.parametrize("method", ["fallocate-2MiB", "populate-2MiB"])
def test_the_pool_is_grown_on_the_nodes_where_pages_are_taken(seen: dict[str, Any], method: str) -> None:
    """From an empty pool, cases with memory on node 2, on node 1 and where the caller is; afterwards it is empty."""
    found = part(seen, "pool_run")
    assert len(found["runs"][method]) == 4
    for run in found["runs"][method]:
        check_run(run)
    assert found["before"] == found["after"] == {"0": 0, "1": 0, "2": 0}


def test_a_pool_with_too_few_pages_on_the_node_is_refused(seen: dict[str, Any]) -> None:
    """48 pages in all are not enough for 24 on node 2, which has 16 of them."""
    assert "need 24 free pages, but the pool has 16 on node 2" in part(seen, "pool_run")["refused"]


def test_a_page_node_that_this_host_has_not_is_refused(seen: dict[str, Any]) -> None:
    """A scenario of a larger machine says what is wrong with it here."""
    assert part(seen, "elsewhere").endswith("task.page_node: found node 7; this host's nodes with memory are 0, 1, 2")


def test_the_calibration_runs(seen: dict[str, Any]) -> None:
    """Each case of the calibration runs once, one thread clearing memory of each of the distances 10, 17, 21 and 28."""
    found = part(seen, "calibration")
    assert found["n_runs"] == found["n_cases"] > 0
    assert found["distances"] == [10, 17, 21, 28]
    assert not [reason for reason in found["unstable"] if "not on the node" in reason]
