"""Validation: verdicts, errors and drift, worked by hand and for a simulated host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from models.loads.spin import Spin
from models.machine import Machine
from models.scenario import Scenario
from models.text.units import MIB
from sim.compare.host import AGREES, DIFFERS, UNDECIDED, Validation, describe_validation, validate
from sim.fit.host import CalibrationError
from sim.runs.experiment import run
from tests.unit.test_calibration import QUICK, host, quick_design, runs_of


def quiet_host(clear_rate: str = "4GiB/s") -> Machine:
    """A made-up host without noise."""
    return host(clear_rate=clear_rate, chunk_noise=0, run_noise=0)


def runs_at(scenario: Scenario, machine: Machine, factors: list[list[float]], unstable: str = "") -> pd.DataFrame:
    """Return runs of each case that take these multiples of the predicted time; all unstable if a reason is given."""
    predicted = run(scenario.on(machine).with_worker_costs()).runs.groupby("case")["time_s"].median()
    rows = [
        {"case": case, "replication": i, "nthreads": scenario.cases[case].kernel.max_threads, "unstable": unstable}
        | {"time_s": factor * predicted[case]}
        for case, shares in enumerate(factors)
        for i, factor in enumerate(shares)
    ]
    return pd.DataFrame(rows)


def verdict_of(factors: list[float], unstable: str = "", drift_factor: float | None = None) -> dict[str, Any]:
    """Return the row of a case whose runs take these multiples of the prediction, on a host that has drifted."""
    machine = quiet_host()
    scenario = quick_design(machine, 2, QUICK[1:2])
    reference = None
    if drift_factor is not None:
        known = quick_design(machine, 2, QUICK[:1])
        reference = (known, runs_at(known, machine, [[drift_factor] * 3]))
    validation = validate(scenario, runs_at(scenario, machine, [factors], unstable), machine, reference)
    row = dict(validation.cells.iloc[0])
    return {**row, "status": validation.exit_status, "drift": validation.drift_pct}


# Five runs around 1: the quartiles of -a, 0 and a (and of -a, -a, 0, a, a) in logarithms are half (or all) of a away.
@pytest.mark.parametrize(
    ("factors", "unstable", "drift_factor", "verdict", "reason", "status"),
    [
        ([1.0] * 5, "", None, AGREES, "within 5%", 0),
        ([1.04] * 5, "", None, AGREES, "within 5%", 0),  # 1 / 1.04 - 1 = -3.8 %
        ([0.96] * 5, "", None, AGREES, "within 5%", 0),  # +4.2 %
        ([1.08] * 5, "", None, DIFFERS, "", 1),  # -7.4 %
        ([0.94] * 5, "", None, DIFFERS, "", 1),  # +6.4 %
        # ln 0.97 and ln 1.21 are 0.221 apart: a spread of 0.221 / 1.349 = 16.4 %.
        ([0.97, 0.97, 1.08, 1.21, 1.21], "", None, UNDECIDED, "runs scatter by 16%", 2),
        # ln 1.0 and ln 1.166 are 0.154 apart: a spread of 11.4 %, more than the error of -7.4 %.
        ([1.0, 1.0, 1.08, 1.166, 1.166], "", None, AGREES, "within the measured spread, 11%", 0),
        ([1.0] * 5, "stolen", None, UNDECIDED, "too few stable runs", 2),
        ([1.3] * 5, "stolen", None, UNDECIDED, "too few stable runs", 2),
        # 1 / 1.08 - 1: the reference runs are slower by 7.4 % of what they take now.
        ([1.08] * 5, "", 1.08, UNDECIDED, "the host is +7 % off its calibration's own cases", 2),
        ([1.08] * 5, "", 0.9, UNDECIDED, "the host is -11 % off its calibration's own cases", 2),
        ([1.08] * 5, "", 1.03, DIFFERS, "", 1),
        ([1.02] * 5, "", 1.2, AGREES, "within 5%", 0),
    ],
)
def test_verdict(
    factors: list[float], unstable: str, drift_factor: float | None, verdict: str, reason: str, status: int
) -> None:
    """Agreement within 5 % or the runs' spread; no verdict on scattered or unstable runs, or if the host drifted."""
    row = verdict_of(factors, unstable, drift_factor)
    assert (row["verdict"], row["reason"], row["status"]) == (verdict, reason, status)


def test_drift_is_positive_on_a_slower_host() -> None:
    """By hand: runs that take 1.25 of the prediction have an error of -20 %, so a drift of +20 %; 0.8 gives -25 %."""
    assert verdict_of([1.0] * 3, drift_factor=1.25)["drift"] == pytest.approx(20.0)
    assert verdict_of([1.0] * 3, drift_factor=0.8)["drift"] == pytest.approx(-25.0)
    assert verdict_of([1.0] * 3)["drift"] is None


def cells_of(*rows: tuple[float, float, str]) -> pd.DataFrame:
    """Return cells of (error, noise, verdict)."""
    return pd.DataFrame(rows, columns=["error_pct", "noise_pct", "verdict"])


def test_errors_by_hand() -> None:
    """Of errors 3, -4 and (undecided) 50: mean 3.5, worst 4; noise 1 and 2: sqrt(2.5); model sqrt(12.5 - 2.5)."""
    validation = Validation(cells_of((3, 1, AGREES), (-4, 2, DIFFERS), (50, 9, UNDECIDED)), None)
    assert validation.mean_error_pct == pytest.approx(3.5)
    assert validation.worst_error_pct == pytest.approx(4.0)
    assert validation.noise_pct == pytest.approx(2.5**0.5)
    assert validation.model_error_pct == pytest.approx(10**0.5)
    assert validation.exit_status == 1


def test_less_error_than_noise() -> None:
    """Errors below the noise leave none for the model."""
    assert Validation(cells_of((1, 2, AGREES), (-1, 2, AGREES)), None).model_error_pct == 0.0


def test_nothing_decided() -> None:
    """Without a decided case there is no error to state, and the status is 2."""
    validation = Validation(cells_of((1, 2, UNDECIDED)), None)
    errors = (validation.mean_error_pct, validation.worst_error_pct, validation.noise_pct, validation.model_error_pct)
    assert all(error != error for error in errors)
    assert validation.exit_status == 2


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([AGREES, AGREES], 0),
        ([AGREES, UNDECIDED], 2),
        ([DIFFERS, UNDECIDED], 1),
        ([AGREES, DIFFERS], 1),
    ],
)
def test_exit_status(verdicts: list[str], status: int) -> None:
    """1 if a case does not agree, whatever the others; 2 if none disagrees but one is undecided; else 0."""
    assert Validation(cells_of(*((1.0, 1.0, verdict) for verdict in verdicts)), None).exit_status == status


def test_a_host_agrees_with_its_own_machine() -> None:
    """A simulated host with 1 % of noise is predicted by its machine, in every case, and has not drifted.

    Sample: 12 runs of 6 cases. A median has an error of 0.5 %, the prediction as much: 5 % is seven of these, so that
    false alarms (1e-11 for each case) don't come.
    """
    machine = host()
    scenario = quick_design(machine, 12, QUICK)
    runs = runs_of(scenario, machine, 3)
    validation = validate(scenario, runs, machine, reference=(scenario, runs))
    assert set(validation.cells["verdict"]) == {AGREES}
    assert validation.exit_status == 0
    assert validation.worst_error_pct < 2.0
    assert validation.drift_pct == pytest.approx(0.0, abs=1.0)
    assert list(validation.cells["measured_spread"]) == pytest.approx([0.01] * 6, abs=0.01)
    assert (validation.cells["predicted_spread"] > 0.003).all()


def test_a_host_does_not_agree_with_a_faster_machine() -> None:
    """A machine that is 10 % faster in all is not taken for the host; measured in the same go, it is a drift.

    By hand: t / 1.1 over t is -9.1 %; noise as in the test before.
    """
    truth = host()
    machine = host(clear_rate="4.4GiB/s", memory_bandwidth="13.2GiB/s")
    scenario = quick_design(truth, 12, QUICK)
    runs = runs_of(scenario, truth, 3)
    validation = validate(scenario, runs, machine)
    assert set(validation.cells["verdict"]) == {DIFFERS}
    assert validation.exit_status == 1
    assert validation.mean_error_pct == pytest.approx(9.1, abs=1.0)
    drifted = validate(scenario, runs, machine, reference=(scenario, runs))
    assert set(drifted.cells["verdict"]) == {UNDECIDED}
    assert drifted.drift_pct == pytest.approx(9.1, abs=1.0)
    assert f"the host is {drifted.drift_pct:.1f} % slower than" in describe_validation(drifted)
    assert "the host is 0.4 % faster than" in describe_validation(replace(drifted, drift_pct=-0.4))


@pytest.mark.parametrize(("n_disturbed", "verdict"), [(5, DIFFERS), (6, UNDECIDED)])
def test_most_runs_disturbed(n_disturbed: int, verdict: str) -> None:
    """Of 10 runs of a case, the stable ones 25 % too slow: with 6 disturbed that says nothing about the model."""
    machine = quiet_host()
    scenario = quick_design(machine, 2, QUICK[:1])
    runs = runs_at(scenario, machine, [[1.25] * 10])
    runs.loc[runs["replication"] < n_disturbed, "unstable"] = "stolen"
    (cell,) = validate(scenario, runs, machine).cells.to_dict("records")
    assert (cell["verdict"], cell["reason"]) == (verdict, "most runs were disturbed" if verdict == UNDECIDED else "")


def test_the_cells_say_which_case_it_is() -> None:
    """Threads, chunk, task, size and background load of each case, and how many of its runs are unstable."""
    machine = quiet_host()
    scenario = quick_design(machine, 2, [(1, 64, 1), (4, 256, 16)])
    busy = {"other": Spin(load="spin", cpus="3")}
    scenario = replace(scenario, cases=(scenario.cases[0], replace(scenario.cases[1], background=busy)))
    runs = runs_at(scenario, machine, [[1.0] * 4, [1.0] * 4])
    runs.loc[[0, 5, 6], "unstable"] = "stolen"
    cells = validate(scenario, runs, machine).cells
    assert list(cells["nthreads"]) == [1, 4]
    assert list(cells["chunk_bytes"]) == [64 * MIB, 4 * MIB]
    assert list(cells["task_bytes"]) == [64 * MIB, 256 * MIB]
    assert list(cells["size_bytes"]) == [512 * MIB] * 2
    assert list(cells["background"]) == ["none", "spin"]
    assert list(cells["n_unstable"]) == [1, 2]
    assert list(cells["unstable"]) == [False, True]


def test_it_is_told_in_words() -> None:
    """The table has a row for each case, and the lines below count verdicts, errors, unstable runs and drift."""
    machine = quiet_host()
    scenario = quick_design(machine, 2, QUICK[:3])
    runs = runs_at(scenario, machine, [[1.0] * 3, [1.25] * 3, [1.0] * 3])
    runs.loc[runs["case"] == 2, "unstable"] = "stolen"
    text = describe_validation(validate(scenario, runs, machine, reference=(scenario, runs)))
    assert "3 cases, none used in the fit: 1 agree, 1 do not, 1 undecided." in text
    assert "Mean error 10.0 %, worst 20.0 %." in text
    assert "3 of 9 runs were marked unstable." in text
    assert "In the calibration's own cases the host is 0.0 % slower than the machine." in text
    assert "undecided (too few stable runs)" in text
    alone = describe_validation(
        validate(quick_design(machine, 2, QUICK[2:3]), runs[runs["case"] == 2].assign(case=0), machine)
    )
    assert "Mean error" not in alone and "slower" not in alone


def test_a_case_without_runs_is_refused() -> None:
    """Runs that stop short of a case are no validation of the scenario."""
    machine = quiet_host()
    scenario = quick_design(machine, 2, QUICK)
    with pytest.raises(CalibrationError, match="case 1 has no runs"):
        validate(scenario, runs_at(scenario, machine, [[1.0]]), machine)
