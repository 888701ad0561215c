"""Calibration: what is fitted to runs of a host whose rates are known, and what is said where they don't tell.

The host is a machine that is simulated: its runs have noise, and the columns that only a real run has are made from
the costs of its workers. Each case has a seed of its own, since the noise of a real host is not the same in every case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from models.files.machine import build_machine
from models.files.machine_writer import machine_yaml
from models.loads.spin import Spin
from models.machine import Machine
from models.measured.designs import calibration_design
from models.scenario import Scenario, build_scenario
from models.text.document import locate, parse
from models.text.units import GIB, MIB
from sim.cli import hosts
from sim.fit.host import (
    DEFAULT_KNEE,
    Calibration,
    CalibrationError,
    Parameter,
    calibrate,
    describe_calibration,
    measured_cells,
)
from sim.runs.experiment import run

COSTS = {
    "setup_time": "60us",
    "start_latency": "80us",
    "start_latency_cv": 0.5,
    "wake_latency": "40us",
    "lock_hold_time": "2us",
    "chunk_time": "20us",
}


def document_of(
    n_cores: int = 4, threads_per_core: int = 1, n_nodes: int = 1, *, with_costs: bool = True, **rates: object
) -> dict[str, Any]:
    """Return the file of a made-up host as plain data: 4 GiB/s a thread, 12 GiB/s of traffic through memory."""
    values = {
        "clear_rate": "4GiB/s",
        "clear_traffic": 2,
        "memory_bandwidth": "12GiB/s",
        "memory_knee": DEFAULT_KNEE,
        "core_throughput": 1.15,
        "chunk_noise": 0.01,
        "run_noise": 0.01,
        **rates,
    }
    cores = [{"count": n_cores, "threads_per_core": threads_per_core}]
    document: dict[str, Any] = {
        "machine": "host",
        "title": "a made-up host",
        "nodes": [{"count": n_nodes, "memory": "16GiB", "cores": cores, "source": "test"}],
    }
    if n_nodes > 1:
        matrix = [[10 if a == b else 20 for b in range(n_nodes)] for a in range(n_nodes)]
        document["distance_matrix"] = {"value": matrix, "source": "test"}
    document["rates"] = {name: {"value": value, "source": "test"} for name, value in values.items()}
    if with_costs:
        document["workers"] = {name: {"value": value, "source": "test"} for name, value in COSTS.items()}
    return document


def host(*shape: int, **rates: Any) -> Machine:
    """Return a made-up host: cores, threads of each, nodes."""
    return build_machine(locate(document_of(*shape, **rates)), "host")


def guess(*shape: int, **rates: Any) -> Machine:
    """Return what is known of such a host before any measurement: its shape, and the rates of another machine."""
    others = {"clear_rate": "7GiB/s", "memory_bandwidth": "50GiB/s", "memory_knee": 3, "core_throughput": 1.3}
    return host(*shape, with_costs=False, **{**others, **rates})


def runs_of(scenario: Scenario, machine: Machine, seed: int = 1) -> pd.DataFrame:
    """Return the table that running a scenario on the host gives."""
    here = scenario.on(machine).with_worker_costs()
    cases = tuple(replace(case, seed=1000 * seed + number) for number, case in enumerate(here.cases))
    runs = run(replace(here, cases=cases)).runs
    costs = machine.worker_costs
    assert costs is not None
    random = np.random.default_rng(seed)
    several = runs["nthreads"] > 1

    def measured(value: float, known: Sequence[bool] | pd.Series | bool = True) -> np.ndarray[Any, Any]:
        return np.where(known, value * random.lognormal(0.0, 0.05, len(runs)), np.nan)

    return runs.assign(
        hold_s=measured(costs["lock_hold_time"]),
        overhead_s=measured(costs["lock_hold_time"] + costs["chunk_time"]),
        setup_s=measured(costs["setup_time"], several),
        start_s=measured(costs["start_latency"], several),
        start_cv=measured(costs["start_latency_cv"], several),
        wake_s=measured(costs["wake_latency"], several),
        chunk_cv=measured(machine.rates.chunk_noise, runs["n_chunks"] > runs["n_tasks"]),
        unstable="",
    )


def quick_design(
    machine: Machine, replications: int, cases: Sequence[tuple[int, int, int]], size: str = "512MiB"
) -> Scenario:
    """Return a scenario of few cases: (threads, MiB of a task, chunks of it for each thread)."""
    parts = []
    for threads, page_mib, chunks_per_work in cases:
        plain: Mapping[str, Any] = {
            "title": "Quick",
            "question": "How fast?",
            "machine": machine.name,
            "task": {
                "client": "clear_gigantic_page",
                "size": size,
                "page_size": f"{page_mib}MiB",
                "caller_node": 0,
            },
            "kernel": {
                "version": "ktask-v1",
                "max_threads": threads,
                "min_chunk": "2MiB",
                "chunks_per_work": chunks_per_work,
            },
            "replications": replications,
            "seed": 1,
        }
        parts.append(build_scenario(locate(plain), Path("quick"), machine=machine))
    return Scenario.combine("Quick", "How fast?", parts)


# One and two threads and all, small and large chunks.
QUICK = ((1, 16, 1), (1, 64, 1), (2, 256, 4), (2, 64, 8), (4, 256, 4), (4, 256, 16))
ALONE = ((1, 2, 1), (1, 16, 1), (1, 64, 1))


def assert_found(calibration: Calibration, name: str, truth: float, least_exact: float) -> None:
    """Assert that a parameter is within four standard errors of the truth, and exact enough to be of use."""
    found = calibration.parameter(name)
    assert found.determined, found
    assert found.stderr is not None
    assert abs(found.value - truth) < 4 * found.stderr, found
    assert found.stderr < least_exact * truth, found


# --- what is found --------------------------------------------------------------------------------------------------
# In each of these tests some 5 parameters are compared with the truth at 4 standard errors: with the seeds fixed they
# give one answer; over seeds, the false-alarm rate would be 6e-5 for each, 3e-4 a test.


def test_a_laptop_is_found_from_other_rates() -> None:
    """4 cores of 2 threads, of the calibration design with 8 runs of each case: rates and knee come back."""
    machine = host(4, 2, memory_bandwidth="20GiB/s", core_throughput=1.4)
    design = calibration_design(machine, 8 * MIB, 8)
    found = calibrate(design, runs_of(design, machine), guess(4, 2))
    assert_found(found, "rates.clear_rate", 4 * GIB, 0.01)
    assert_found(found, "rates.memory_bandwidth", 20 * GIB, 0.01)
    assert_found(found, "rates.memory_knee", DEFAULT_KNEE, 0.15)
    assert found.cells["error_pct"].abs().max() < 2.0
    assert found.machine.rates.memory_bytes_per_s == found.parameter("rates.memory_bandwidth").value


def test_threads_of_a_core_are_found() -> None:
    """4 cores of 2 threads with memory for more: the cores' throughput comes back, and memory is far from a limit."""
    machine = host(4, 2, memory_bandwidth="100GiB/s")
    design = calibration_design(machine, 8 * MIB, 8)
    found = calibrate(design, runs_of(design, machine), guess(4, 2, core_throughput=2.0))
    assert_found(found, "rates.core_throughput", 1.15, 0.01)
    # Threads on 4 cores clear 4 * 1.15 * 4 = 18.4 GiB/s, with 36.8 GiB/s of traffic.
    assert found.parameter("rates.memory_bandwidth").value > 1.4 * 36.8 * GIB
    assert found.machine.rates.memory_curve.knee == found.parameter("rates.memory_knee").value


def test_two_nodes_are_found() -> None:
    """2 nodes of 4 CPUs: the factor of remote streams comes back with the rates."""
    machine = host(4, 1, 2, remote_factors={"20": 0.7})
    design = calibration_design(machine, 2 * MIB, 8)
    found = calibrate(design, runs_of(design, machine), guess(4, 1, 2, remote_factors={"20": 0.4}))
    assert_found(found, "rates.clear_rate", 4 * GIB, 0.01)
    assert_found(found, "rates.memory_bandwidth", 12 * GIB, 0.01)
    assert_found(found, "rates.remote_factors.20", 0.7, 0.02)
    assert found.machine.rates.remote_factors == {20: found.parameter("rates.remote_factors.20").value}


def test_the_cost_of_a_chunk_is_found() -> None:
    """One thread, chunks of 2 to 64 MiB, 40 runs of each: 20 us a chunk beside the lock's 2 are seen."""
    machine = host(1, memory_bandwidth="50GiB/s")
    design = quick_design(machine, 40, ALONE)
    found = calibrate(design, runs_of(design, machine), guess(1))
    assert_found(found, "workers.chunk_time", 20e-6, 0.2)
    assert_found(found, "rates.clear_rate", 4 * GIB, 0.01)


@pytest.fixture(scope="module")
def quick() -> tuple[Machine, Scenario, pd.DataFrame, Calibration]:
    """A host, a quick design, its runs and their calibration."""
    machine = host()
    design = quick_design(machine, 12, QUICK)
    runs = runs_of(design, machine)
    return machine, design, runs, calibrate(design, runs, guess())


def test_what_clocks_tell_is_taken_over(quick: tuple[Machine, Scenario, pd.DataFrame, Calibration]) -> None:
    """Costs of the workers are medians of what the runs' clocks say, and noises come back within a third."""
    machine, _, runs, found = quick
    several = runs[runs["nthreads"] > 1]
    assert found.parameter("workers.setup_time").value == float(several["setup_s"].median())
    assert found.machine.worker_costs is not None and machine.worker_costs is not None
    for name, column in (("start_latency", "start_s"), ("wake_latency", "wake_s"), ("start_latency_cv", "start_cv")):
        assert found.machine.worker_costs[name] == float(several[column].median())
        assert found.machine.worker_costs[name] == pytest.approx(machine.worker_costs[name], rel=0.1)
    assert found.machine.worker_costs["lock_hold_time"] == float(runs["hold_s"].median())
    # 48 values or more, with 5 % of noise: the median's error is 1.25 * 5 % / sqrt(48) = 0.9 %, so 10 % is far off.
    assert found.machine.rates.run_noise == pytest.approx(0.01, rel=0.6)


def test_costs_under_background_load_are_left_out(quick: tuple[Machine, Scenario, pd.DataFrame, Calibration]) -> None:
    """What starting a helper costs is not taken from cases in which its CPU was busy."""
    _, design, runs, _ = quick
    busy = {"other": Spin(load="spin", cpus="3")}
    cases = tuple(replace(case, background=busy) if number > 2 else case for number, case in enumerate(design.cases))
    late = runs.assign(start_s=runs["start_s"].where(runs["case"] < 3, 2e-3))
    found = calibrate(replace(design, cases=cases), late, guess())
    assert found.parameter("workers.start_latency").value == pytest.approx(80e-6, rel=0.1)


# --- what is not determined -----------------------------------------------------------------------------------------


def test_memory_that_never_saturates() -> None:
    """Memory for many more threads than there are: not determined, twice what was reached, and said so."""
    machine = host(memory_bandwidth="300GiB/s")
    design = quick_design(machine, 12, QUICK)
    found = calibrate(design, runs_of(design, machine), guess(memory_bandwidth="10GiB/s"))
    memory = found.parameter("rates.memory_bandwidth")
    assert not memory.determined
    assert "memory never limited clearing here, which reached 15." in memory.how
    assert memory.value == pytest.approx(2 * 2 * 16 * GIB, rel=0.03)
    assert found.machine.rates.memory_bytes_per_s == memory.value
    assert_found(found, "rates.clear_rate", 4 * GIB, 0.01)


def test_memory_that_never_saturates_keeps_a_higher_default() -> None:
    """The bandwidth of the machine begun with stays, if it is more than twice what was reached."""
    machine = host(memory_bandwidth="300GiB/s")
    design = quick_design(machine, 12, QUICK)
    found = calibrate(design, runs_of(design, machine), guess(memory_bandwidth="90GiB/s"))
    assert found.parameter("rates.memory_bandwidth").value == 90 * GIB


def test_one_thread_only() -> None:
    """With cases of one thread there is nothing of memory, knee, cores or helpers, and defaults stay.

    By hand: the thread's 8 GiB/s of traffic are slowed by the knee of 12 GiB/s, (1 + (8 / 12)^6)^(1 / 6) = 1.0143.
    Without other numbers of threads that can't be told from a lower rate.
    """
    machine = host(4, 2)
    design = quick_design(machine, 8, ALONE)
    found = calibrate(design, runs_of(design, machine), guess(4, 2))
    names = {parameter.name for parameter in found.parameters}
    assert not names & {"rates.memory_bandwidth", "rates.memory_knee", "rates.core_throughput"}
    assert found.machine.rates.memory_bytes_per_s == 50 * GIB
    assert found.machine.rates.core_throughput == 1.3
    for name in ("setup_time", "start_latency", "start_latency_cv", "wake_latency"):
        parameter = found.parameter(f"workers.{name}")
        assert (parameter.value, parameter.determined) == (0.0, False)
        assert parameter.how.startswith("never seen: ")
    assert_found(found, "rates.clear_rate", 4 * GIB / 1.0143, 0.01)


def test_two_thread_counts_do_not_give_a_knee() -> None:
    """One and two threads: memory's bandwidth is found with the exponent of published curves."""
    machine = host(2, memory_bandwidth="11GiB/s")
    design = quick_design(machine, 12, QUICK[:4])
    found = calibrate(design, runs_of(design, machine), guess(2))
    knee = found.parameter("rates.memory_knee")
    assert (knee.value, knee.determined) == (DEFAULT_KNEE, False)
    assert "too few numbers of threads for the shape of the knee" in knee.how
    assert_found(found, "rates.memory_bandwidth", 11 * GIB, 0.01)


def test_a_cost_too_small_to_be_seen() -> None:
    """Chunks of 64 MiB alone say nothing of 20 us for each: it is taken as none."""
    machine = host(1, chunk_noise=0.05, run_noise=0.05)
    design = quick_design(machine, 5, [(1, 64, 1), (1, 128, 1)])
    found = calibrate(design, runs_of(design, machine), guess(1))
    cost = found.parameter("workers.chunk_time")
    assert (cost.value, cost.stderr) == (0.0, None)
    assert cost.how == "not determined by the measurements: too small to be seen beside clearing"
    assert found.machine.worker_costs is not None and found.machine.worker_costs["chunk_time"] == 0.0


def test_columns_that_a_table_lacks() -> None:
    """A table of a simulation, without a real run's columns, is fitted too: costs are none, and said never seen."""
    machine = host()
    design = quick_design(machine, 4, QUICK)
    found = calibrate(design, run(design.on(machine)).runs, guess())
    assert not any(p.determined for p in found.parameters if p.name.startswith("workers.") and "chunk" not in p.name)
    noise = found.parameter("rates.chunk_noise")
    assert (noise.value, noise.how) == (0.0, "no run had enough chunks of one thread to tell")


# --- which runs are used --------------------------------------------------------------------------------------------


def table(times: Mapping[int, Sequence[float]], unstable: Mapping[int, Sequence[int]]) -> pd.DataFrame:
    """Return a run table: the times of each case, and which of its runs are unstable."""
    rows = [
        {"case": case, "replication": i, "time_s": time_s, "unstable": "stolen" if i in unstable.get(case, ()) else ""}
        for case, values in times.items()
        for i, time_s in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_unstable_runs_are_left_out() -> None:
    """By hand: of 1, 2, 3 and an unstable 9 s the median is 2 s; with two stable ones of four, all four count.

    ln 1 = 0, ln 2 = 0.693 and ln 3 = 1.099 have quartiles 0.347 and 0.896: a spread of 0.549 / 1.349 = 0.407. The
    error of the median is 1.25 * 0.407 / sqrt(3) = 0.294.
    """
    design = quick_design(host(), 4, QUICK[:3])
    runs = table({0: [1, 2, 3, 9], 1: [1, 2, 8, 9], 2: [5, 5, 5, 5]}, {0: [3], 1: [2, 3], 2: []})
    cells = measured_cells(design, runs)
    assert list(cells["time_s"]) == pytest.approx([2.0, 4.0, 5.0])
    assert list(cells["n_runs"]) == [3, 4, 4]
    assert list(cells["unstable"]) == [False, True, False]
    assert cells["spread"][0] == pytest.approx(0.40717, abs=1e-4)
    assert cells["stderr"][0] == pytest.approx(0.29385, abs=1e-4)
    assert (cells["spread"][2], cells["stderr"][2]) == (0.0, 0.002)  # nothing is more exact than the host's drift


def test_few_runs_without_a_stable_one() -> None:
    """Two runs, one of them stable: of fewer than three all must be stable, so both count and the case is marked."""
    design = quick_design(host(), 2, QUICK[:1])
    assert list(measured_cells(design, table({0: [1, 4]}, {0: [1]}))["unstable"]) == [True]
    assert list(measured_cells(design, table({0: [1, 4]}, {0: [1]}))["time_s"]) == pytest.approx([2.0])
    assert list(measured_cells(design, table({0: [1, 4]}, {}))["unstable"]) == [False]


def test_unstable_runs_do_not_move_the_fit(quick: tuple[Machine, Scenario, pd.DataFrame, Calibration]) -> None:
    """Runs that took double, marked, leave every parameter where it is without them."""
    _, design, runs, _ = quick
    bad = runs["replication"] < 3
    without = calibrate(design, runs[~bad], guess())
    slow = {name: runs[name] * (1 + bad) for name in ("time_s", "hold_s", "start_s", "wake_s", "chunk_cv")}
    marked = calibrate(design, runs.assign(unstable=np.where(bad, "stolen", ""), **slow), guess())
    assert [p.value for p in marked.parameters] == [p.value for p in without.parameters]
    assert [p.stderr for p in marked.parameters] == [p.stderr for p in without.parameters]


def test_without_one_thread_nothing_is_fitted() -> None:
    """The rate of one thread is what all else is measured by: without it there is no calibration."""
    design = quick_design(host(), 3, QUICK[2:])
    with pytest.raises(CalibrationError, match="no case with one thread was measured; a calibration needs some"):
        calibrate(design, runs_of(design, host()), guess())


def test_a_case_without_runs_is_refused() -> None:
    """Runs that stop short of a case are no measurement of the design."""
    design = quick_design(host(), 3, QUICK)
    runs = runs_of(design, host())
    with pytest.raises(CalibrationError, match="case 5 has no runs"):
        calibrate(design, runs[runs["case"] != 5], guess())


# --- what is made of it ---------------------------------------------------------------------------------------------


def test_least_chunk(quick: tuple[Machine, Scenario, pd.DataFrame, Calibration]) -> None:
    """By hand: 20 + 2 us are 1 % of 2.2 ms, in which 4 GiB/s clear 9.0112 MiB; 5 % of 440 us, 1.80224 MiB."""
    machine = quick[0]
    parameters = (
        Parameter("rates.clear_rate", 4.0 * GIB, 1.0, "fitted"),
        Parameter("workers.chunk_time", 20e-6, 1e-6, "fitted"),
        Parameter("workers.lock_hold_time", 2e-6, 1e-6, "measured"),
    )
    calibration = Calibration(machine, parameters, pd.DataFrame())
    assert calibration.least_chunk_bytes() == pytest.approx(9.0112 * MIB, rel=1e-9)
    assert calibration.least_chunk_bytes(0.05) == pytest.approx(1.80224 * MIB, rel=1e-9)
    with pytest.raises(KeyError):
        calibration.parameter("workers.lock")


@pytest.mark.parametrize("n_nodes", [1, 2])
def test_the_machine_file_reads_back(n_nodes: int) -> None:
    """Data, YAML and back give the same rates and costs to the digits printed, each with error and source."""
    machine = host(4, 1, n_nodes, **({"remote_factors": {"20": 0.7}} if n_nodes > 1 else {}))
    design = calibration_design(machine, 32 * MIB, 6)
    found = calibrate(design, runs_of(design, machine), guess(4, 1, n_nodes))
    reference = document_of(4, 1, n_nodes, with_costs=False, cache_bandwidth="3GiB/s", memory_decline=0.1)
    before = repr(reference)
    document = found.document(reference, "on a made-up host")
    assert repr(reference) == before
    assert not {"cache_bandwidth", "memory_decline"} & set(document["rates"])
    for back in (
        build_machine(locate(document), "host"),
        build_machine(parse(machine_yaml(document), "host.yaml"), "host.yaml"),
    ):
        rates = found.machine.rates
        assert back.rates.clear_bytes_per_s == pytest.approx(rates.clear_bytes_per_s, rel=1e-4)
        assert back.rates.serial_clear_bytes_per_s == back.rates.clear_bytes_per_s
        assert back.rates.memory_bytes_per_s == pytest.approx(rates.memory_bytes_per_s, rel=1e-4)
        assert back.rates.chunk_noise == pytest.approx(rates.chunk_noise, rel=1e-3)
        assert back.rates.run_noise == pytest.approx(rates.run_noise, rel=1e-3)
        assert back.rates.memory_curve.knee == pytest.approx(rates.memory_curve.knee, rel=1e-3)
        assert back.rates.cache_bytes_per_s is None
        assert back.rates.remote_factors == pytest.approx(dict(rates.remote_factors) if n_nodes > 1 else {}, abs=1e-4)
        assert back.worker_costs is not None and found.machine.worker_costs is not None
        assert set(back.worker_costs) == set(found.machine.worker_costs) == set(COSTS)
        assert back.worker_costs == pytest.approx(dict(found.machine.worker_costs), rel=1e-3)
        assert back.sources["rates.clear_rate"].startswith("fitted, ± ")
        assert back.sources["rates.clear_rate"].endswith("MiB/s; on a made-up host")
        assert all("on a made-up host" in back.sources[f"workers.{name}"] for name in COSTS)
        assert back.sources["rates.clear_traffic"] == "test"  # not fitted


def test_it_is_told_in_words(quick: tuple[Machine, Scenario, pd.DataFrame, Calibration]) -> None:
    """Each parameter has a line with value, error, unit and how it is known."""
    text = describe_calibration(quick[3])
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["rates.clear_rate"].endswith("MiB/s  (fitted)")
    assert " ± " in lines["workers.wake_latency"] and " us ± " in lines["workers.wake_latency"]
    assert "±" not in lines["rates.memory_knee"]
    assert text.splitlines()[-1].startswith("Python's own work for a chunk is below 1 % of its time from chunks of ")


def test_a_wild_host_gives_a_file_that_reads_back(quick: tuple[Machine, Scenario, pd.DataFrame, Calibration]) -> None:
    """Noises and variations beyond what a machine file may have are written as the most that it may."""
    _, design, runs, _ = quick
    wild = calibrate(design, runs.assign(chunk_cv=0.9, start_cv=7.0), guess())
    back = build_machine(locate(wild.document(document_of(with_costs=False), "on a made-up host")), "host")
    assert back.rates.chunk_noise == 0.5
    assert back.worker_costs is not None and back.worker_costs["start_latency_cv"] == 5.0


def test_what_it_takes_to_know_more(quick: tuple[Machine, Scenario, pd.DataFrame, Calibration]) -> None:
    """By hand: a rate known to 4 % takes 4 times as long for 2 %; half of what has to be is there: twice as long."""
    machine, _, _, whole = quick
    assert whole.exit_status == 0 and whole.remedy(60.0) == ""
    poor = Calibration(machine, (Parameter("rates.clear_rate", 100.0, 4.0, "fitted"),), pd.DataFrame())
    assert poor.remedy(60.0).startswith(
        "rates.clear_rate is known to 4.0%. For 2% it takes about 4 times as long (--sec"
    )
    assert "--seconds 240)" in poor.remedy(60.0)
    cells = pd.DataFrame({"error_pct": [1.0, 1.0], "unstable": [True, True]})
    busy = Calibration(machine, (), cells, n_runs=30, n_unstable=26)
    assert "4 of 30 runs were undisturbed, and 15 have to be, 3 of each case" in busy.remedy(60.0)
    assert "--seconds 180." in busy.remedy(60.0)  # 2 cases of 3 runs, and twice that, are 12 of 4


# --- a host that was busy -------------------------------------------------------------------------------------------


def test_all_runs_unstable_is_a_calibration_that_failed(
    quick: tuple[Machine, Scenario, pd.DataFrame, Calibration],
) -> None:
    """A host whose every run was disturbed gives figures as far as they go, and says that it failed and what to do."""
    _, design, runs, _ = quick
    found = calibrate(design, runs.assign(unstable="stolen"), guess())
    assert found.failure.startswith(f"{len(runs)} of {len(runs)} runs were disturbed; ")
    assert found.exit_status == 3
    half = len(runs) // 2
    assert f"0 of {len(runs)} runs were undisturbed, and {half} have to be" in found.remedy(60.0)
    assert "--seconds" not in found.remedy(60.0)  # no time makes runs undisturbed
    assert describe_calibration(found).startswith("THE CALIBRATION FAILED: ")
    document = found.document(document_of(with_costs=False), "on a made-up host")
    assert "of a calibration that failed" in document["rates"]["clear_rate"]["source"]


def test_each_figure_is_judged_by_the_runs_that_tell_it(
    quick: tuple[Machine, Scenario, pd.DataFrame, Calibration],
) -> None:
    """Stable runs of one thread alone tell nothing of helpers: what they cost is of disturbed runs, and said so."""
    _, design, runs, whole = quick
    found = calibrate(design, runs.assign(unstable=np.where(runs["nthreads"] == 1, "", "stolen")), guess())
    start = found.parameter("workers.start_latency")
    assert start.value == pytest.approx(whole.parameter("workers.start_latency").value, rel=0.2)
    assert start.how.endswith("in runs that were disturbed")


def test_errors_of_disturbed_runs_are_as_wide_as_they_scatter() -> None:
    """By hand: 1, 2 and 4 s, all disturbed: quartiles 0.347 and 1.040 of the logarithms, 0.514 of one, undivided."""
    design = quick_design(host(), 3, QUICK[:1])
    cells = measured_cells(design, table({0: [1, 2, 4]}, {0: [0, 1, 2]}))
    assert cells["stderr"][0] == pytest.approx(0.5138, abs=1e-3)


def test_a_host_that_changed_meanwhile_failed_too(quick: tuple[Machine, Scenario, pd.DataFrame, Calibration]) -> None:
    """Cases that took 3 times as long, by turns, are fitted by no machine: a failure, though no run is marked."""
    _, design, runs, whole = quick
    assert whole.failure == ""
    found = calibrate(design, runs.assign(time_s=runs["time_s"] * np.where(runs["case"] % 2, 3.0, 1.0)), guess())
    assert "% off in the mean" in found.failure


def _one_of_each(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["replication"] == 0]


def _two_stable(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.assign(unstable=np.where(runs.index < 2, "", "stolen"))


def _without_clocks(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.assign(hold_s=np.nan, setup_s=np.nan, start_s=np.nan, start_cv=np.nan, wake_s=np.nan, chunk_cv=np.nan)


def _wild(runs: pd.DataFrame) -> pd.DataFrame:
    factors = np.random.default_rng(5).lognormal(0.0, 2.0, len(runs))
    return runs.assign(unstable="stolen", time_s=runs["time_s"] * factors)


@pytest.mark.parametrize(
    ("disturb", "failed"),
    [(_one_of_each, False), (_two_stable, True), (_without_clocks, False), (_wild, True)],
)
def test_a_busy_host_never_ends_in_a_traceback(
    quick: tuple[Machine, Scenario, pd.DataFrame, Calibration],
    disturb: Callable[[pd.DataFrame], pd.DataFrame],
    failed: bool,
) -> None:
    """However few or wild runs are, figures that none can tell are not known, and the file reads back."""
    _, design, runs, _ = quick
    found = calibrate(design, disturb(runs), guess())
    assert (found.failure != "", found.exit_status) == (failed, 3 if failed else 0)
    text = describe_calibration(found)
    unknown = [parameter for parameter in found.parameters if not parameter.determined]
    assert text.count("not known, taken as") == len(unknown)
    assert failed or len(unknown) > 1
    assert not any(math.isnan(parameter.value) for parameter in found.parameters)
    build_machine(locate(found.document(document_of(with_costs=False), "on a made-up host")), "host")


def test_the_command_has_a_status_of_its_own_for_a_calibration_that_failed(
    quick: tuple[Machine, Scenario, pd.DataFrame, Calibration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is written, and what to do is said, beside status 3. The host is not measured here."""
    _, design, runs, _ = quick
    found = calibrate(design, runs.assign(unstable="stolen"), guess())
    measured = SimpleNamespace(parts=[SimpleNamespace(scenario=design, runs=runs)], results=None)
    for name, replacement in {
        "_measure": lambda *_: measured,
        "fit": lambda *_: found,
        "measure_page_faults": lambda *_, **__: (None, SimpleNamespace(runs=[None])),
        "with_page_faults": lambda calibration, *_: calibration,
        "_document": lambda *_: found.document(document_of(with_costs=False), "on a made-up host"),
        "stability": lambda *_: "",
    }.items():
        monkeypatch.setattr(hosts, name, replacement)
    output = tmp_path / "host.yaml"
    result = CliRunner().invoke(hosts.calibrate, ["-o", str(output)])
    assert result.exit_code == 3, result.output
    assert "Error: the calibration failed: " in result.output
    assert "Stop what else runs on this host" in result.output
    assert "of a calibration that failed" in output.read_text()
