"""What can move a measurement: the facts of this host, and the sentences about what happened between two states."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.text.units import GIB, MIB
from real.host_state import CpuTicks, HostState, as_data, permitted, read_host_state, what_changed
from real.limits import HugePagePool, huge_page_sizes
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux")


@pytest.fixture(scope="module")
def state() -> HostState:
    """The state of this host, with round figures in place of those that move: 2 CPUs, 10 s of 100 ticks each."""
    ticks = tuple(CpuTicks(cpu_id, 400, 0, 1000) for cpu_id in (0, 1))
    pools = (HugePagePool(2 * MIB, None, 8, 8, 0), HugePagePool(2 * MIB, 0, 8, 8, 0))
    found = replace(read_host_state(), ticks_per_s=100, cpu_ticks=ticks, huge_page_pools=pools)
    return replace(found, reported_bytes=1 * GIB, memory_available_bytes=10 * GIB, governors=("powersave",), boost=True)


def later(before: HostState, *, idle_ticks: int, steal_ticks: int = 0) -> HostState:
    """Return a state 10 s later in which CPU 1 was idle and stolen for some ticks, and CPU 0 always idle."""
    ticks = (CpuTicks(0, 1400, 0, 2000), CpuTicks(1, 400 + idle_ticks, steal_ticks, 2000))
    return replace(before, cpu_ticks=ticks, uptime_s=before.uptime_s + 10)


def test_this_host_is_described_in_plain_data() -> None:
    """The state can be written as JSON, and agrees with what Python itself knows."""
    state = read_host_state()
    data = json.loads(json.dumps(as_data(state)))
    assert data["kernel_release"] == os.uname().release
    assert data["n_cpus_allowed"] == len(os.sched_getaffinity(0))
    assert data["memory_available_bytes"] > 0
    assert len(data["cpu_ticks"]) == os.cpu_count()
    assert all(cpu["idle_ticks"] + cpu["steal_ticks"] <= cpu["total_ticks"] for cpu in data["cpu_ticks"])
    assert {pool["page_bytes"] for pool in data["huge_page_pools"]} == set(huge_page_sizes())


def test_only_the_page_sizes_asked_for_are_read() -> None:
    """With no page sizes there are no pools; one that the host doesn't have is an error."""
    assert read_host_state([]).huge_page_pools == ()
    with pytest.raises(ValueError, match="page_bytes: found 3 MiB"):
        read_host_state([3 * MIB])


def test_a_host_that_tells_little_is_described_too(tmp_path: Path) -> None:
    """Where /sys is missing, what it would tell is None, not a guess."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    for name in ("cpuinfo", "meminfo", "stat", "uptime", "loadavg", "self/status", "sys/kernel/osrelease"):
        (tmp_path / "proc" / name).write_text(Path("/proc", name).read_text())
    state = read_host_state(root=tmp_path)
    unknown = (state.governors, state.boost, state.smt_active, state.thp_enabled, state.thp_defrag)
    assert unknown == (None,) * 5
    assert (state.reported_bytes, state.machine_name, state.node_memory, state.huge_page_pools) == (None, None, (), ())


def test_a_quiet_interval_gives_no_reason(state: HostState) -> None:
    """Our own 5 s on a CPU are no disturbance."""
    assert what_changed(state, later(state, idle_ticks=500), own_cpu_s=5.0) == ()
    assert what_changed(state, state, own_cpu_s=0.0) == ()


def test_steal_is_told_of_the_host_and_of_the_worst_cpu(state: HostState) -> None:
    """80 of 1000 ticks of CPU 1 are 8 % of it, and 4 % of the two."""
    after = later(state, idle_ticks=920, steal_ticks=80)
    expected = "the hypervisor took 4 % of CPU time (steal), 8 % of CPU 1"
    assert what_changed(state, after, own_cpu_s=0.0) == (expected,)


def test_a_single_tick_of_steal_is_no_reason(state: HostState) -> None:
    """One tick may be a rounding, however short the interval."""
    ticks = (CpuTicks(0, 410, 0, 1010), CpuTicks(1, 409, 1, 1010))
    assert what_changed(state, replace(state, cpu_ticks=ticks)) == ()


def test_others_are_what_is_left_of_the_busy_time(state: HostState) -> None:
    """10 s busy less our 3.96 s less 4 ticks of rounding leave 6 s of 20 s: 30 %."""
    after = later(state, idle_ticks=0)
    assert what_changed(state, after, own_cpu_s=3.96) == ("other processes used 30 % of the CPUs",)
    assert what_changed(state, after) == ()


def test_every_other_change_has_its_sentence(state: HostState) -> None:
    """Memory given back, pools, governor, boost and transparent huge pages are told with both values."""
    pools = (replace(state.huge_page_pools[0], n_pages=520), replace(state.huge_page_pools[1], n_pages=520))
    before = replace(state, thp_enabled="madvise")
    after = replace(before, reported_bytes=5 * GIB, huge_page_pools=pools, governors=("performance", "powersave"))
    after = replace(after, boost=False, thp_enabled=None)
    assert what_changed(before, after) == (
        "4 GiB of free memory were given back to the hypervisor",
        "the pool of 2 MiB huge pages changed from 8 to 520 pages",
        "the pool of 2 MiB huge pages of node 0 changed from 8 to 520 pages",
        "the frequency governor changed from powersave to performance, powersave",
        "frequency boost changed from on to off",
        "transparent huge pages (enabled) changed from madvise to not known",
    )


def test_states_of_two_boots_are_not_compared(state: HostState) -> None:
    """Counters start anew with the host, so that is the one thing said."""
    assert what_changed(state, replace(state, uptime_s=1.0)) == ("the host was started anew in between",)


@pytest.fixture
def spinners() -> Iterator[None]:
    """Other processes that keep a quarter of the CPUs busy, at least one."""
    running = [
        subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
        for _ in range(-(-len(os.sched_getaffinity(0)) // 4))
    ]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


@pytest.mark.usefixtures("spinners")
def test_other_processes_are_seen_on_this_host() -> None:
    """A second beside busy processes is told to be unstable."""
    before = read_host_state()
    own = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(1)
    used = resource.getrusage(resource.RUSAGE_SELF)
    own_cpu_s = used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime
    if before.allowed_cpus != before.online_cpus:
        pytest.skip("only a part of the host's CPUs is ours to keep busy")
    found = what_changed(before, read_host_state(), own_cpu_s=own_cpu_s)
    assert any(sentence.startswith(("other processes used", "the hypervisor took")) for sentence in found)


QUESTIONS = [
    "huge pages of the pool",
    "growing the pool",
    "binding threads to CPUs",
    "negative nice",
    "hardware counters",
    "locked memory",
]


def test_every_permission_has_an_answer_and_a_reason() -> None:
    """Each question is answered by yes or no, and why."""
    answers = permitted()
    assert list(answers) == QUESTIONS
    assert all(answer.startswith(("yes: ", "no: ")) for answer in answers.values())


def test_an_unprivileged_user_may_do_less() -> None:
    """An unprivileged user may bind threads, but neither grow the pool nor lower its nice."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    script = """
import json, os, resource
from real.host_state import permitted
os.setgroups([])
os.setgid(65534)
resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 * 2**20, 8 * 2**20))
os.setuid(65534)
print(json.dumps(permitted()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["growing the pool"].startswith("no: ")
    assert answers["negative nice"] == "no: it needs root (CAP_SYS_NICE) or a limit (ulimit -e)"
    assert answers["locked memory"] == "yes: up to 8 MiB (ulimit -l); root without limit"
    assert answers["binding threads to CPUs"].startswith("yes: ")
