"""Energy: what a machine file says of power, where runs have an energy, what is shown of it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from simpy import Environment

import sim
from models.files.machine import load_machine
from models.machine import Machine, Power
from models.machine.energy import energy_of
from models.results.regret import pareto_front
from models.scenario import Scenario
from models.text.units import GIB, parse_power, parse_traffic_energy
from sim.cli import main
from sim.engine.hardware import Hardware
from sim.engine.run import run_case
from sim.show.describe import describe_machine, describe_results

POWER = Power(rest_w=100.0, core_busy_w=8.0, thread_busy_w=2.0, socket_awake_w=10.0, memory_j_per_byte=1e-9)


@pytest.mark.parametrize(
    ("text", "expected_w"), [("5.7W", 5.7), ("250mW", 0.25), ("1.2kW", 1200.0), ("0W", 0.0), ("1000kW", 1e6)]
)
def test_power_is_in_watts(text: str, expected_w: float) -> None:
    """A power with any of its units is in watts."""
    assert parse_power(text) == pytest.approx(expected_w, rel=1e-12)


@pytest.mark.parametrize(("text", "expected"), [("0.3nJ/B", 3e-10), ("40pJ/bit", 3.2e-10), ("320 pJ/B", 3.2e-10)])
def test_energy_of_a_byte_is_in_joules(text: str, expected: float) -> None:
    """An energy of a byte with any of its units is in joules; a byte has eight bits."""
    assert parse_traffic_energy(text) == pytest.approx(expected, rel=1e-12)


def test_energy_by_part() -> None:
    """4 s; two CPUs of one core for 3 and 1 s, its core and socket for 3 s; 2 GB: 400 + 24 + 2 + 30 + 2 J."""
    energy = energy_of(
        POWER, 4.0, cpus_s={0: 3.0, 1: 1.0}, cores_s={0: 3.0}, sockets_s={0: 3.0}, moved_bytes={"memory0": 2e9}
    )
    parts = (energy.rest_j, energy.cores_j, energy.threads_j, energy.sockets_j, energy.memory_j)
    assert parts == pytest.approx((400.0, 24.0, 2.0, 30.0, 2.0))
    assert (energy.added_j, energy.total_j) == pytest.approx((58.0, 458.0))


def test_a_core_and_its_socket_are_busy_while_any_thread_is(quiet_machine: Machine) -> None:
    """Two threads of one core, from 0 to 2 s and from 1 to 5 s: 2 and 4 s of CPUs, but 5 s of core and socket."""
    env = Environment()
    hardware = Hardware(env, quiet_machine)
    first, second = (cpu for cpu in quiet_machine.cpus if cpu.core_id == 0)
    steps = (
        (0.0, lambda: hardware.begin(first)),
        (1.0, lambda: hardware.begin(second)),
        (2.0, lambda: hardware.end(first)),
        (5.0, lambda: hardware.end(second)),
    )
    for at_s, step in steps:
        if at_s > env.now:
            env.run(until=at_s)
        step()
    assert (hardware.busy_cpus.seconds[first.cpu_id], hardware.busy_cpus.seconds[second.cpu_id]) == (2.0, 4.0)
    assert (hardware.busy_cores.seconds[0], hardware.busy_sockets.seconds[0]) == (5.0, 5.0)
    assert sum(hardware.busy_cores.seconds.values()) == sum(hardware.busy_sockets.seconds.values()) == 5.0


def test_energy_of_shipped_machines() -> None:
    """Full load of the published servers comes out of the figures derived from them, to their rounding."""
    for name, full_w in (("xeon-platinum-8160-2s", 387), ("xeon-e5-2699v4-2s", 272), ("epyc-7742-2s-nps4", 430)):
        machine = load_machine(name)
        assert machine.power is not None
        n_cores = len({cpu.core_id for cpu in machine.cpus})
        n_sockets = len({node.socket_id for node in machine.nodes})
        power = machine.power
        found_w = power.rest_w + n_cores * power.core_busy_w + n_sockets * power.socket_awake_w
        assert found_w == pytest.approx(full_w, rel=2e-3)


def test_results_have_energy_where_power_is_known(small_scenario: Scenario) -> None:
    """Runs and summary have an energy for the machine with figures, none for the other; the table shows it."""
    machines = ["xeon-platinum-8160-2s", "laptop-ryzen-4800u"]
    small = {"machine": machines, "task.size": "1GiB", "task.pool": "4GiB", "replications": 2}
    results = sim.run(small_scenario.with_values(small))
    for table in (results.summary, results.runs):
        known = table[table["machine"] == machines[0]]
        at_rest_j = 53.4 * known["time_s"]
        assert len(known) > 1
        assert list(known["energy_j"]) == pytest.approx(list(at_rest_j + known["energy_added_j"]))
        assert (known["energy_added_j"] > 0).all()
        assert table[table["machine"] == machines[1]][["energy_j", "energy_added_j"]].isna().all(axis=None)
    mean = results.runs.groupby("case")["energy_j"].mean()
    assert list(results.summary["energy_j"]) == pytest.approx(list(mean), nan_ok=True)
    assert "energy (J)" in describe_results(results) and "of the job (J)" in describe_results(results)


def test_no_energy_without_power_or_beside_a_background(small_scenario: Scenario) -> None:
    """Neither columns nor table speak of energy without figures, nor beside a load that shares the memory."""
    small = {"task.size": "1GiB", "task.pool": "8GiB", "replications": 1}
    laptop = sim.run(small_scenario.with_values({**small, "machine": "laptop-ryzen-4800u"}))
    beside = sim.run(small_scenario.with_values({**small, "background": {"other": {"load": "clear", "cpus": "1"}}}))
    for results in (laptop, beside):
        assert not [name for name in (*results.runs, *results.summary) if "energy" in name]
        assert "of the job" not in describe_results(results)


def test_energy_survives_a_sweep(small_scenario: Scenario, tmp_path: Path) -> None:
    """A sweep's stored runs have the energy of plain ones."""
    scenario = small_scenario.with_values({"task.size": "1GiB", "task.pool": "8GiB", "replications": 2})
    swept, plain = sim.sweep(scenario, tmp_path / "s").summary, sim.run(scenario).summary
    pd.testing.assert_series_equal(swept["energy_added_j"], plain["energy_added_j"])


def test_machine_in_words() -> None:
    """The description says what is known of power, with sources on request, and nothing where nothing is."""
    words = describe_machine(load_machine("xeon-platinum-8160-2s"), with_sources=True)
    assert (
        "At rest it takes 53.4 W, and more when it works: 5.73 W for each core with a busy thread and 29.4 W" in words
    )
    assert "power.core_busy: an estimate" in words
    assert "At rest" not in describe_machine(load_machine("laptop-ryzen-4800u"))
    full = describe_machine(replace(load_machine("laptop-ryzen-4800u"), power=POWER))
    assert "2 W for each further busy thread of a core" in full and "1 nJ for each byte of traffic" in full


def test_energy_is_tuned(small_scenario: Scenario, tmp_path: Path) -> None:
    """Energy and the job's own are objectives: the front is that of their means."""
    scenario = small_scenario.with_values(
        {"task.size": "1GiB", "task.pool": "4GiB", "replications": 1, "kernel.max_threads": [2, 4, 12]}
    )
    tuning = sim.tune(scenario, tmp_path / "t", objectives=["energy", "energy_added"], trials=3)
    both = pd.concat([tuning.trials, tuning.regret], ignore_index=True)
    assert list(both["front"]) == list(pareto_front(both, ["energy_j", "energy_added_j"]))
    assert list(tuning.trials["energy_j"]) == pytest.approx(list(sim.run(scenario).summary["energy_j"]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("machine: laptop-ryzen-4800u", "the file of laptop-ryzen-4800u has no section `power`; allowed are time,"),
        ("background: {other: {load: spin, cpus: '1'}}", "found 'energy' beside a background load"),
    ],
)
def test_tuning_without_energy_is_refused(
    changes: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Energy as an objective where it can't be told ends with status 2, and makes nothing."""
    machine = "" if changes.startswith("machine") else "machine: xeon-platinum-8160-2s\n"
    (tmp_path / "s.yaml").write_text(
        f"title: Tune\nquestion: Which?\n{machine}{changes}\ntask: {{client: clear_gigantic_page, size: 1GiB}}\n"
        "kernel: {max_threads: [1, 2]}\nreplications: 1\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["tune", "s.yaml", "--objective", "time,energy"])
    assert end.value.code == 2 and expected in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_size_is_in_the_traffic(quiet_machine: Machine, small_scenario: Scenario) -> None:
    """Energy of traffic alone is that of two bytes over the bus for each byte cleared, whatever the threads."""
    only_memory = replace(quiet_machine, power=Power(rest_w=0.0, core_busy_w=0.0, memory_j_per_byte=1e-9))
    scenario = small_scenario.with_values({"task.size": "2GiB", "task.pool": "16GiB", "replications": 1})
    for case in scenario.cases:
        result = run_case(replace(case, machine=only_memory), 0)
        assert result.extra["energy_j"] == pytest.approx(2 * 2 * GIB * 1e-9, rel=1e-9)
