"""Scenarios run on this host: results are like the simulation's, and load runs beside them."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import sim
from models.results import load_results
from models.text.units import MIB
from real.background import Background
from real.experiment import LEAST_REPLICATIONS
from real.zeroing import Method
from sim.figures import plot_speedup
from tests.host.conftest import CPU_IDS, Command, children_of, loads_of, run_here, state_of, with_load
from tests.host.test_huge_pages import wait_until

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux"),
    pytest.mark.xdist_group("huge_pages"),
]


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
