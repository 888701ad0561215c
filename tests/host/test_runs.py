"""Scenarios run on this host: what can't be is refused before, results are like the simulation's, nothing stays."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

import real
import sim
from models.cpu_list import format_cpu_list
from models.machine_file import load_machine
from models.problems import InputError
from models.results import Results, load_results
from models.scenario import Scenario, load_scenario
from models.units import GIB, KIB, MIB, format_size
from real.background import REGION_BYTES, Background, budget_bytes
from real.experiment import LEAST_REPLICATIONS
from real.huge_pages import GrownPool, default_state_dir
from real.limits import available_memory, free_huge_pages, huge_page_sizes, read_meminfo, read_pool
from real.zeroing import Method, methods, why_not
from sim.cli import main
from sim.figures import plot_speedup
from tests.conftest import ROOT
from tests.host.test_huge_pages import PAGE_BYTES, guard_of, persistent, wait_until
from tests.host.test_team import two_nodes

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux"),
    pytest.mark.xdist_group("huge_pages"),
]

CPU_IDS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
Command = Callable[..., tuple[int, str, str]]
PATIENCE_S = 60.0  # polls and commands end long before; only a failure takes so long
TEXT = """\
title: Small
question: How long?
machine: xeon-e7-8895v3-8s
task:
  client: clear_gigantic_page
  size: 16MiB
  page_size: 8MiB
kernel:
  version: ktask-v1
  max_threads: [THREADS]
  min_chunk: 1MiB
background: {}
replications: 2
seed: 3
"""
SMALL = TEXT.replace("THREADS", "1, 2" if len(CPU_IDS) > 1 else "1")
BUSY = f"background: {{other: {{load: LOAD, cpus: '{CPU_IDS[-1] if CPU_IDS else 0}'}}}}"


@pytest.fixture(scope="module")
def method() -> Method:
    """The first method that takes ordinary pages of 4 KiB, or memory that is there."""
    found = [method for method in methods() if method.name in ("populate-base", "memset")]
    return next(method for method in found if why_not(method, MIB, []) is None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the small scenario with some words of it replaced."""

    def make(*changes: tuple[str, str]) -> Path:
        text = SMALL
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "small.yaml").write_text(text)
        return tmp_path / "small.yaml"

    return make


def with_load(load: str) -> tuple[str, str]:
    """Return the change that gives the small scenario load on the last CPU. Skips where memory is too little."""
    if load == "clear" and available_memory().size_bytes < 4 * REGION_BYTES:
        pytest.skip(f"less than {format_size(4 * REGION_BYTES)} of memory are available")
    return "background: {}", BUSY.replace("LOAD", load)


def refused(scenario: Path, **usage: object) -> str:
    """Return the one problem that a scenario has on this host, without the file's folder."""
    loaded = load_scenario(scenario)
    with pytest.raises(InputError) as error:
        real.plan(loaded, method="memset", **usage)  # type: ignore[arg-type]
    (problem,) = error.value.problems
    return str(problem).removeprefix(f"{scenario.parent}/")


def children_of(pid: int) -> dict[int, str]:
    """Return the processes that a process has started, and their commands."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found


def loads_of(pid: int) -> list[int]:
    """Return the processes of background load that a process has started."""
    return [child for child, command in children_of(pid).items() if "real.load" in command]


def state_of(pid: int) -> str:
    """Return a process's state: R, S, T (stopped) ...; X if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


# What a host can't do is refused before anything is done, with its place in the file.


def test_memory_that_the_host_does_not_have_is_refused(write: Callable[..., Path]) -> None:
    """A job larger than the host's memory is refused with the room there is; so is a pool."""
    memory = real.host_machine().memory_bytes
    if memory > 900 * GIB:
        pytest.skip("this host has as much memory as the scenario's machine")
    room = f"this host has room for {format_size(memory // (8 * MIB) * 8 * MIB)} in pages of 8 MiB"
    if len(real.host_machine().nids) == 1:
        assert refused(write(("16MiB", "1000GiB"))) == f"small.yaml:6:9: task.size: found 1000 GiB; {room}"
        assert refused(write(("16MiB", "16MiB\n  pool: 1000GiB"))) == (
            f"small.yaml:7:9: task.pool: found 1000 GiB; {room}"
        )
    assert "task.size: found 1000 GiB; this host has room for" in refused(write(("16MiB", "1000GiB")))


def test_more_threads_than_cpus_are_refused(write: Callable[..., Path]) -> None:
    """Each count of threads that is too high is named at its own place in the list."""
    n_cpus = len(CPU_IDS)
    cpus = f"this host has CPUs {format_cpu_list(CPU_IDS)} for you, so allowed is at most {n_cpus}"
    threads = SMALL.partition("max_threads: ")[2].partition("\n")[0]
    found = refused(write((threads, f"[1, {n_cpus + 1}]")))
    assert found == f"small.yaml:10:20: kernel.max_threads: found {n_cpus + 1}; {cpus}"


def test_a_node_that_the_host_does_not_have_is_refused(write: Callable[..., Path]) -> None:
    """The caller's node and the pages' node must be the host's."""
    machine = real.host_machine()
    if 7 in machine.nids:
        pytest.skip("this host has as many nodes as the scenario's machine")
    nids = ", ".join(map(str, machine.cpu_nids))
    assert refused(write(("16MiB", "16MiB\n  caller_node: 7"))) == (
        f"small.yaml:7:16: task.caller_node: found node 7; this host's nodes with CPUs are {nids}"
    )
    nids = ", ".join(str(node.nid) for node in machine.nodes if node.memory_bytes)
    assert refused(write(("16MiB", "16MiB\n  page_node: 7"))) == (
        f"small.yaml:7:14: task.page_node: found node 7; this host's nodes with memory are {nids}"
    )


def test_cpus_of_the_caller_that_the_host_does_not_have_are_refused(write: Callable[..., Path]) -> None:
    """The first CPU that isn't there is named; so is a node for the caller that none of its CPUs is on."""
    if 287 in CPU_IDS:
        pytest.skip("this host has as many CPUs as the scenario's machine")
    found = refused(write(("16MiB", f"16MiB\n  cpus: '{CPU_IDS[0]},287'")))
    expected = f"found CPU 287; this host has CPUs {format_cpu_list(CPU_IDS)} for you"
    assert found == f"small.yaml:7:9: task.cpus: {expected}"
    found = refused(write(("16MiB", "16MiB\n  cpus: 1\n  caller_node: 0")), machine=two_nodes())
    expected = "found node 0; on this host allowed are the nodes of task.cpus, 1: 1"
    assert found == f"small.yaml:8:16: task.caller_node: {expected}"


def test_background_on_a_cpu_that_is_not_there_is_refused(write: Callable[..., Path]) -> None:
    """The first CPU that isn't there is named."""
    if 287 in CPU_IDS:
        pytest.skip("this host has as many CPUs as the scenario's machine")
    found = refused(write(("background: {}", f"background: {{other: {{load: spin, cpus: '{CPU_IDS[0]},287'}}}}")))
    expected = f"found CPU 287; this host has CPUs {format_cpu_list(CPU_IDS)} for you"
    assert found == f"small.yaml:12:40: background.other.cpus: {expected}"


def test_a_machine_file_of_another_host_is_refused(write: Callable[..., Path]) -> None:
    """A machine with CPUs that this process may not use is no description of this host."""
    machine = real.host_machine()
    other = load_machine("xeon-e7-8895v3-8s")
    strange = format_cpu_list(cpu.cpu_id for cpu in other.cpus if cpu.cpu_id not in CPU_IDS)
    if not strange:
        pytest.skip("this host has all the CPUs of the scenario's machine")
    loaded = load_scenario(write())
    with pytest.raises(InputError) as error:
        real.plan(loaded, machine=other, method="memset")
    assert f"small.yaml:3:10: machine: found CPUs {strange} in machine xeon-e7-8895v3-8s; this host lets" in str(
        error.value
    )
    renamed = replace(machine, name="renamed")
    plan = real.plan(loaded, machine=renamed, method="memset")
    assert {case.machine.name for case in plan.scenario.cases} == {"renamed"}


def test_load_is_budgeted_in_whole_pages() -> None:
    """Each CPU's load has an arena of its own: two of 512 MiB are two pages of 1 GiB, not one."""
    assert (budget_bytes(0), budget_bytes(2)) == (0, 2 * REGION_BYTES)
    assert budget_bytes(2, 2 * MIB) == 2 * REGION_BYTES
    assert budget_bytes(2, REGION_BYTES * 2) == 4 * REGION_BYTES


def test_several_machines_are_refused(write: Callable[..., Path]) -> None:
    """Two machines can't both be this host."""
    both = "[xeon-e7-8895v3-8s, epyc-7742-2s-nps4]"
    assert refused(write(("machine: xeon-e7-8895v3-8s", f"machine: {both}"))) == (
        "small.yaml:3:10: machine: found 2 machines; on this host there is one, so give one"
    )


def test_all_problems_are_told_at_once(write: Callable[..., Path]) -> None:
    """A scenario that is wrong in two ways says both, in the order of the file."""
    if 287 in CPU_IDS:
        pytest.skip("this host has as many CPUs as the scenario's machine")
    loaded = load_scenario(
        write(
            ("max_threads: [", "max_threads: [288, "),
            ("background: {}", "background: {other: {load: spin, cpus: '287'}}"),
        )
    )
    with pytest.raises(InputError) as error:
        real.plan(loaded, method="memset")
    assert [(problem.line, problem.path) for problem in error.value.problems] == [
        (10, "kernel.max_threads"),
        (12, "background.other.cpus"),
    ]


def test_an_unknown_method_and_one_that_cannot_do_it_are_refused(write: Callable[..., Path]) -> None:
    """The method asked for is taken or refused, never replaced by another."""
    loaded = load_scenario(write())
    with pytest.raises(real.NoMethodError, match=r"found method 'bzero'; this host has .*memset"):
        real.plan(loaded, method="bzero")
    sizes = [size for size in huge_page_sizes() if size > MIB]
    if not sizes:
        pytest.skip("this kernel has no huge pages of more than 1 MiB")
    name = next(method.name for method in methods() if method.from_pool and method.page_bytes == max(sizes))
    with pytest.raises(real.NoMethodError, match=rf"^{name} can't be used: chunks of [12] MiB would be cut out of"):
        real.plan(loaded, method=name)


def test_a_share_that_is_too_small_is_refused(write: Callable[..., Path]) -> None:
    """The share of the memory that may be used counts for the job with its load."""
    loaded = load_scenario(write())
    with pytest.raises(real.NotEnoughMemoryError, match="the job with its background load needs 16 MiB of memory"):
        real.plan(loaded, method="memset", share=1e-6)
    loaded = load_scenario(write(("background: {}", BUSY.replace("LOAD", "clear"))))
    needed = format_size(16 * MIB + REGION_BYTES)
    with pytest.raises(real.NotEnoughMemoryError, match=f"the job with its background load needs {needed} of"):
        real.plan(loaded, method="memset", share=1e-6)


def test_load_of_every_case_is_budgeted(write: Callable[..., Path]) -> None:
    """Load of all cases is there all the time, so cases with load on other CPUs add up."""
    if len(real.host_machine().cpus) < 2:
        pytest.skip("one CPU has load of one kind only")
    first, second = (cpu.cpu_id for cpu in real.host_machine().cpus[:2])
    load = f'background: {{other: {{load: clear, cpus: ["{first}", "{second}"]}}}}'
    loaded = load_scenario(write(("background: {}", load)))
    needed = format_size(16 * MIB + 2 * REGION_BYTES)
    with pytest.raises(real.NotEnoughMemoryError, match=f"the job with its background load needs {needed} of"):
        real.plan(loaded, method="memset", share=1e-6)


def test_huge_pages_must_do_for_the_load_too(pool: int, write: Callable[..., Path], tmp_path: Path) -> None:
    """Where a method needs huge pages, its background load does; a pool for the job alone is too small."""
    assert pool >= 0
    loaded = load_scenario(write(("16MiB", "16MiB\n  caller_node: 0"), ("min_chunk: 1MiB", "min_chunk: 2MiB")))
    busy = load_scenario(
        write(("min_chunk: 1MiB", "min_chunk: 2MiB"), ("background: {}", BUSY.replace("LOAD", "clear")))
    )
    name = next(method.name for method in methods() if method.from_pool and method.page_bytes == PAGE_BYTES)
    if free_huge_pages(PAGE_BYTES) * PAGE_BYTES > 256 * MIB:
        pytest.skip("somebody else's pages are in the pool")
    with GrownPool(PAGE_BYTES, 16 * MIB // PAGE_BYTES, state_dir=tmp_path / "pool"):
        assert real.plan(loaded, method=name).choice.method.name == name
        n_pages = budget_bytes(1) // PAGE_BYTES
        with pytest.raises(real.NoMethodError, match=f"need {n_pages + 8} free pages, but the pool has"):
            real.plan(busy, method=name)


# Results are as the simulation's.


def run_here(scenario: Path, method: Method, **options: object) -> tuple[Scenario, Results]:
    """Run a scenario on this host; return it as it was run, and what it gave."""
    plan = real.plan(load_scenario(scenario), method=method.name)
    assert plan.choice.method.name == method.name
    return plan.scenario, real.run(plan, **options)  # type: ignore[arg-type]


def test_tables_are_those_of_the_simulation_and_more(write: Callable[..., Path], method: Method) -> None:
    """The summary has the same columns, cases and counts as simulated; the runs have those columns and more."""
    scenario, found = run_here(write(), method)
    simulated = sim.run(scenario)
    assert list(found.summary.columns) == list(simulated.summary.columns)
    same = ["machine", "client", "kernel", "nthreads", "size_gib", "replications"]
    assert found.summary[same].equals(simulated.summary[same])
    n = len(simulated.runs.columns)
    assert list(found.runs.columns[:n]) == list(simulated.runs.columns)
    assert {"method", "page_faults", "steal_s", "cpu_wait_s", "unstable"} <= set(found.runs.columns[n:])
    same = ["case", "replication", "n_tasks", "n_chunks"]
    assert found.runs[same].equals(simulated.runs[same])
    assert set(found.runs["method"]) == {method.name}
    assert (found.runs["time_s"] > 0).all() and (found.runs["cpu_s"] > 0).all()
    sizes = [results.workers.groupby(["case", "replication"])["size_bytes"].sum() for results in (found, simulated)]
    assert sizes[0].equals(sizes[1]) and set(sizes[0]) == {16 * MIB}
    assert set(simulated.workers.columns) <= set(found.workers.columns)
    assert found.provenance["backend"] == "real" and simulated.provenance["backend"] == "sim"
    assert found.host is not None
    assert found.host["method"] == method.name
    assert found.traces is None


def test_results_can_be_saved_loaded_shown_and_plotted(
    write: Callable[..., Path], method: Method, command: Command, tmp_path: Path
) -> None:
    """What a result folder gives back is what was saved, and the command and the figure take it."""
    _, results = run_here(write(), method, traces=True)
    results.save(tmp_path / "out")
    loaded = load_results(tmp_path / "out")
    for name in ("summary", "runs", "workers", "resources", "traces", "loads"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(results, name), check_dtype=False)
    assert (loaded.provenance, loaded.host) == (results.provenance, results.host)
    plot_speedup(loaded, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    status, out, err = command("show", "out", "--format", "csv")
    assert status == 0, err
    assert list(pd.read_csv(io.StringIO(out)).columns) == list(results.summary.columns)
    assert "speed-up" in command("show", "out")[1]


def test_a_trace_has_each_chunk_once(write: Callable[..., Path], method: Method) -> None:
    """With traces, replication 0 of each case has chunks that cover each task from end to end, as simulated."""
    scenario, results = run_here(write(("16MiB", "24MiB"), ("8MiB", "6MiB")), method, traces=True)
    assert results.traces is not None and results.loads is not None
    assert set(results.traces["case"]) == set(range(len(scenario.cases)))
    simulated = sim.run(scenario, traces=True).traces
    assert simulated is not None
    columns = ["case", "task", "start_bytes", "size_bytes"]
    found, expected = (
        table[table["kind"] == "chunk"][columns].sort_values(columns, ignore_index=True)
        for table in (results.traces, simulated)
    )
    pd.testing.assert_frame_equal(found, expected)
    chunks = results.traces[results.traces["kind"] == "chunk"]
    traced_s = (chunks["end_s"] - chunks["begin_s"]).groupby(chunks["case"]).sum()
    first = results.workers[results.workers["replication"] == 0]
    assert list(traced_s) == pytest.approx(list(first.groupby("case")["working_s"].sum()))
    for _, task in found.groupby(["case", "task"]):
        ends = task["start_bytes"] + task["size_bytes"]
        assert [*task["start_bytes"], 6 * MIB] == [0, *ends]


@pytest.mark.parametrize(("replications", "expected"), [(40, LEAST_REPLICATIONS), (3, 3)])
def test_with_too_little_time_there_are_still_enough_runs(
    write: Callable[..., Path], method: Method, replications: int, expected: int
) -> None:
    """However short the time is, each case has the least number of runs, or all that were asked for."""
    changes = [("replications: 2", f"replications: {replications}"), ("16MiB", "8MiB")]
    done: list[object] = []
    scenario, results = run_here(write(*changes), method, seconds=1e-9, on_done=lambda: done.append(None))
    assert list(results.summary["replications"]) == [expected] * len(scenario.cases)
    assert len(done) == expected * len(scenario.cases)


@pytest.mark.parametrize("load", ["clear", "spin"])
def test_background_load_runs_meanwhile_and_is_gone_afterwards(
    write: Callable[..., Path], method: Method, load: str
) -> None:
    """A process of load is there while runs are made, stopped in between, and none is left after them."""
    seen: list[list[str]] = []
    before = set(children_of(os.getpid()))

    def look() -> None:
        seen.append([state_of(pid) for pid in loads_of(os.getpid())])

    scenario, results = run_here(write(with_load(load)), method, on_done=look)
    assert seen == [["T"]] * 2 * len(scenario.cases)
    assert set(children_of(os.getpid())) == before
    assert set(results.runs["replication"]) == {0, 1}


def test_load_runs_within_its_block_only(method: Method) -> None:
    """A process of load is on its CPU, uses it within the block and stands still outside of it."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    with Background("spin", CPU_IDS[-1:], 0, method) as background:
        (pid,) = loads_of(os.getpid())
        assert os.sched_getaffinity(pid) == {CPU_IDS[-1]}
        for _ in range(3):
            assert state_of(pid) == "T"
            still = ticks(pid)
            with background.running():
                assert state_of(pid) != "T"
                wait_until(lambda still=still: ticks(pid) > still)  # type: ignore[misc]
            assert state_of(pid) == "T"
            assert ticks(pid) == ticks(pid)
    assert state_of(pid) == "X"


def test_load_that_ends_by_itself_is_an_error(method: Method) -> None:
    """A run beside load that has died is no run beside load."""
    with (
        pytest.raises(OSError, match="background load has ended by itself"),
        Background("spin", CPU_IDS[-1:], 0, method) as background,
        background.running(),
    ):
        (pid,) = loads_of(os.getpid())
        os.kill(pid, signal.SIGKILL)  # and at once it is to be stopped, while it is still ending
    assert loads_of(os.getpid()) == []


def test_load_that_cannot_start_is_an_error(method: Method) -> None:
    """Load on a CPU that isn't there doesn't start, and nothing is left of it."""
    with pytest.raises(OSError, match="background load did not start"), Background("spin", [99999], 0, method):
        pass
    assert loads_of(os.getpid()) == []


# The command line.


def ktask_sim(*arguments: str, cwd: Path, wrap: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder of its own."""
    command = [*wrap, sys.executable, "-m", "sim.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S)


def test_the_command_runs_on_this_host(write: Callable[..., Path], method: Method, tmp_path: Path) -> None:
    """With --backend real there is a table, a result folder and a figure, and it is said how memory was cleared."""
    done = ktask_sim(
        *("run", str(write()), "--backend", "real", "--method", method.name, "--format", "csv", "--trace"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(io.StringIO(done.stdout))
    assert set(table["machine"]) == {real.host_name()}
    assert f"method {method.name}: " in done.stderr
    assert "runs, " in done.stderr and "of them unstable" in done.stderr
    folder = tmp_path / "results" / "small"
    assert load_results(folder).provenance["backend"] == "real"
    assert (folder / "speedup.png").exists() and (folder / "traces.parquet").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "small.yaml"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command within this process, which is faster: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (("max_threads: [", "max_threads: [200, "), ("--method", "memset"), "small.yaml:10:17: kernel.max_threads: fo"),
        (("16MiB", "16MiB"), ("--method", "bzero"), "found method 'bzero'; this host has "),
        (("16MiB", "10GiB"), ("--method", "memset", "--memory-share", "0.01"), "the job with its background load ne"),
    ],
)
def test_the_command_refuses_with_status_2(
    write: Callable[..., Path],
    command: Command,
    tmp_path: Path,
    change: tuple[str, str],
    options: tuple[str, ...],
    said: str,
) -> None:
    """What this host can't do is an error of a few lines, before any run."""
    if len(CPU_IDS) >= 200 or real.host_machine().memory_bytes > 1000 * GIB:
        pytest.skip("this host is too large to be asked for more")
    if real.host_machine().memory_bytes < 10 * GIB:
        said = said.replace("the job with its background load ne", "task.size: found 10 GiB; this host has room")
    status, out, err = command("run", str(write(change)), "--backend", "real", *options)
    assert (status, out) == (2, "")
    assert said in err
    assert not list(tmp_path.glob("results/*"))


def test_options_of_the_real_backend_are_refused_in_a_simulation(write: Callable[..., Path], command: Command) -> None:
    """An option that would mean nothing is an error, not ignored."""
    status, out, err = command("run", str(write()), "--method", "memset")
    assert (status, out) == (2, "")
    assert "--method is of the real backend; add --backend real" in err


def test_the_host_is_described_and_can_be_simulated(
    write: Callable[..., Path], method: Method, command: Command, tmp_path: Path
) -> None:
    """`host` writes a machine file of this host that a scenario may name, and says what may be done here."""
    status, _, err = command("host", "-o", "here.yaml")
    assert status == 0, err
    assert load_machine(tmp_path / "here.yaml").cpus == real.host_machine().cpus
    assert all(f"  {method.name}: {method.measures}" in err for method in methods())
    assert yaml.safe_load(command("host", "--name", "other")[1])["machine"] == "other"
    status, _, err = command("host", "-o", "here.yaml")
    assert (status, "--force" in err) == (2, True)
    scenario = write(("machine: xeon-e7-8895v3-8s", "machine: here.yaml"))
    _, results = run_here(scenario, method)
    assert list(results.summary["nthreads"]) == list(sim.run(load_scenario(scenario)).summary["nthreads"])


# Nothing stays, whatever ends a run.


class Running:
    """A command that runs in a session of its own."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        command = [sys.executable, "-m", "sim.cli", "run", *arguments, "--backend", "real"]
        with (cwd / "said").open("w") as said:
            self.process = subprocess.Popen(command, cwd=cwd, stdout=said, stderr=said, start_new_session=True)
        self.pid = self.process.pid
        self.said = cwd / "said"

    def begun(self) -> bool:
        """Return whether runs are made: there are helpers, or load has been started."""
        assert self.process.poll() is None, self.said.read_text()
        names = [(folder / "comm").read_text() for folder in Path(f"/proc/{self.pid}/task").glob("*")]
        n_bound = Path(f"/proc/{self.pid}/status").read_text().partition("Cpus_allowed_list:\t")[2].partition("\n")[0]
        return len(names) > 1 and (len(CPU_IDS) == 1 or n_bound.isdigit())

    def clean_up(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait()


def session(pid: int) -> list[int]:
    """Return the processes of a session that are alive."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == pid and fields[0] not in "ZX":
            found.append(int(folder.name))
    return found


def free_bytes() -> int:
    """Return what is available, what processes hold as their own counted in: less only if something else is kept."""
    meminfo = read_meminfo()
    return meminfo["MemAvailable"] + meminfo["AnonPages"]


@pytest.fixture
def busy(write: Callable[..., Path], method: Method, tmp_path: Path) -> Iterator[Running]:
    """A long run beside load that clears memory, in the middle of it."""
    scenario = write(with_load("clear"), ("replications: 2", "replications: 100000"))
    running = Running(str(scenario), "--method", method.name, cwd=tmp_path)
    try:
        wait_until(lambda: bool(loads_of(running.pid)) and running.begun())
        yield running
    finally:
        running.clean_up()


@pytest.mark.parametrize("stopped", [False, True])
def test_after_sigkill_nothing_is_left(busy: Running, tmp_path: Path, stopped: bool) -> None:
    """A run that is killed takes its load with it, also if that is stopped; memory and files are as before."""
    (load,) = loads_of(busy.pid)
    if stopped:
        os.kill(busy.pid, signal.SIGSTOP)
        wait_until(lambda: state_of(busy.pid) == "T")
        os.kill(load, signal.SIGSTOP)
        wait_until(lambda: state_of(load) == "T")
    busy.process.kill()
    assert busy.process.wait(PATIENCE_S) == -signal.SIGKILL
    wait_until(lambda: session(busy.pid) == [] and state_of(load) == "X")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["results", "said", "small.yaml"]


@pytest.mark.parametrize(
    ("number", "statuses", "said"),
    [(signal.SIGTERM, {-15, 143}, ""), (signal.SIGINT, {130}, "stopped; nothing was written")],
)
def test_after_a_signal_nothing_is_left(
    busy: Running, tmp_path: Path, number: signal.Signals, statuses: set[int], said: str
) -> None:
    """A run that is told to end does so at once, with the usual status and no traceback, and its load with it."""
    (load,) = loads_of(busy.pid)
    busy.process.send_signal(number)
    assert busy.process.wait(PATIENCE_S) in statuses
    wait_until(lambda: session(busy.pid) == [] and state_of(load) == "X")
    text = busy.said.read_text()
    assert said in text and "Traceback" not in text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["results", "said", "small.yaml"]


def test_a_killed_run_keeps_no_memory(write: Callable[..., Path], method: Method, tmp_path: Path) -> None:
    """After a run of 256 MiB that was killed, as much memory is available as before."""
    scenario = write(("16MiB", "256MiB"), ("replications: 2", "replications: 100000"))
    if available_memory().size_bytes < GIB:
        pytest.skip("less than 1 GiB of memory is available")
    before = free_bytes()
    running = Running(str(scenario), "--method", method.name, cwd=tmp_path)
    try:
        wait_until(running.begun)
    finally:
        running.clean_up()
    wait_until(lambda: session(running.pid) == [] and free_bytes() > before - 128 * MIB)


def test_a_killed_run_leaves_no_huge_pages(
    pool: int, write: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    """The pool that a run has grown is as before after it, after SIGTERM, and after SIGKILL."""
    name = f"populate-{PAGE_BYTES // MIB}MiB"
    scenario = write(("replications: 2", "replications: 100000"), ("min_chunk: 1MiB", "min_chunk: 2MiB"))
    if free_huge_pages(PAGE_BYTES) * PAGE_BYTES >= 16 * MIB:
        pytest.skip("somebody else's pages are in the pool")
    options = ("--method", name, "--allow-hugepage-pool")
    status, _, err = command("run", str(scenario), "--backend", "real", *options, "--replications", "1")
    assert (status, persistent()) == (0, pool), err
    for number in (signal.SIGTERM, signal.SIGKILL):
        running = Running(str(scenario), *options, "-o", f"out{number}", cwd=tmp_path)
        try:
            wait_until(running.begun)
            assert persistent() > pool
            running.process.send_signal(number)
            assert running.process.wait(PATIENCE_S) in (143, -signal.SIGKILL)
            wait_until(lambda: persistent() == pool and read_pool(PAGE_BYTES).n_surplus == 0)
        finally:
            running.clean_up()
    assert session(running.pid) == []


def test_what_a_killed_run_and_guard_leave_is_cleaned_up(
    pool: int, write: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    """If all that could restore the pool is killed, `host --clean` does, and then has nothing more to do."""
    before = {file.name for file in default_state_dir().glob("pool-*.json")}
    if before:
        pytest.skip("other runs have grown the pool")
    scenario = write(("replications: 2", "replications: 100000"), ("min_chunk: 1MiB", "min_chunk: 2MiB"))
    if free_huge_pages(PAGE_BYTES) * PAGE_BYTES >= 16 * MIB:
        pytest.skip("somebody else's pages are in the pool")
    running = Running(
        str(scenario), "--method", f"fallocate-{PAGE_BYTES // MIB}MiB", "--allow-hugepage-pool", cwd=tmp_path
    )
    try:
        wait_until(running.begun)
        os.kill(guard_of(default_state_dir()), signal.SIGKILL)
    finally:
        running.clean_up()
    assert persistent() > pool
    n_left = persistent() - pool
    status, out, err = command("host", "--clean")
    assert (status, persistent()) == (0, pool), err
    assert f"took back {n_left} huge pages of 2 MiB" in out
    assert command("host", "--clean")[1] == "nothing was left behind\n"


# Those who may do little.

NOBODY = """
import contextlib, os, pwd, sys
from sim.cli import main
import real.load
# Once before, so that all is imported: the interpreter itself may lie where only root can go.
with contextlib.suppress(SystemExit):
    main(["run", sys.argv[1], "--backend", "real", "--method", "memset", "-o", sys.argv[2]])
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
main(["run", sys.argv[1], "--backend", "real", "--method", sys.argv[3], "--format", "csv"])
"""


@pytest.mark.parametrize("name", ["populate-thp", "memset"])
def test_an_unprivileged_user_can_run_it(write: Callable[..., Path], tmp_path: Path, name: str) -> None:
    """Without any privilege there is a method that works, and a result."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the other tests of this file are run without privilege")
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("there is no user nobody to become")
    if not all(folder.stat().st_mode & 0o005 == 0o005 for folder in (ROOT, *ROOT.parents)):
        pytest.skip("the project lies in a folder that is closed to others")
    known = {method.name: method for method in methods()}
    reason = why_not(known[name], 16 * MIB, []) if name in known else "this kernel doesn't give transparent huge pages"
    if reason is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="ktask-sim-"))  # that of pytest is closed to others
    try:
        text = write(("8MiB", "16MiB"), ("min_chunk: 1MiB", "min_chunk: 2MiB"), ("chunk: 2MiB", "chunk: 16MiB"))
        (folder / "small.yaml").write_text(text.read_text())
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        done = subprocess.run(
            [sys.executable, "-c", NOBODY, "small.yaml", str(tmp_path / "out"), name],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "MPLCONFIGDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        assert f"method {name}: " in done.stderr
        assert (folder / "results/small/summary.csv").stat().st_uid == nobody.pw_uid
    finally:
        shutil.rmtree(folder)


def test_under_ulimit_a_large_job_is_refused_and_not_killed(
    write: Callable[..., Path], method: Method, tmp_path: Path
) -> None:
    """Under ulimit -v the command names the limit, with status 2; what is small enough is run."""
    if available_memory().size_bytes < 4 * GIB:
        pytest.skip("less than 4 GiB of memory are available")
    wrap = ("sh", "-c", f'ulimit -v {3 * GIB // KIB} && exec "$@"', "sh")
    options = ("--backend", "real", "--method", method.name)
    done = ktask_sim("run", str(write(("16MiB", "2GiB"))), *options, cwd=tmp_path, wrap=wrap)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs 2 GiB of memory, but only" in done.stderr and "limited by RLIMIT_AS (ulimit -v)" in done.stderr
    assert "Traceback" not in done.stderr
    done = ktask_sim("run", str(write()), *options, cwd=tmp_path, wrap=wrap)
    assert done.returncode == 0, done.stderr


def test_in_a_small_cgroup_a_large_job_is_refused_and_not_killed(
    small_group: tuple[Path, str], write: Callable[..., Path], method: Method, tmp_path: Path
) -> None:
    """In a cgroup of 256 MiB the command names it, with status 2; what is small enough is run and not killed."""
    folder, file = small_group
    wrap = ("sh", "-c", f'echo 0 > {folder}/cgroup.procs && exec "$@"', "sh")
    options = ("--backend", "real", "--method", method.name)
    done = ktask_sim("run", str(write(("16MiB", "256MiB"))), *options, cwd=tmp_path, wrap=wrap)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "limited by memory cgroup /" in done.stderr
    assert f"{folder.name} ({file})" in done.stderr
    assert "Traceback" not in done.stderr
    done = ktask_sim("run", str(write()), *options, cwd=tmp_path, wrap=wrap)
    assert done.returncode in (0, 2), done.stderr  # never killed; refused only if the program itself takes all of it
    assert done.returncode == 0 or f"{folder.name} ({file})" in done.stderr
