"""Other work in a scenario: its files, what it does, and what becomes of it in tables, words and sweeps."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random

import jsonschema
import pandas as pd
import pytest

import sim
from models.loads import LOADS, Arrival, Compute, Load, Move, SleepFor
from models.loads.groups import Group
from models.machine import Machine
from models.results import FolderTakenError
from models.scenario import Scenario, build_scenario
from models.scenario.keys import scenario_schema
from models.text.document import parse
from models.text.units import GIB
from sim.runs.sweep import digest
from sim.show.describe import describe_results, describe_scenario

TEXT = """\
title: Beside others
question: How long does it take?
machine: laptop-ryzen-4800u
task: {client: clear_gigantic_page, size: 1GiB, nice: 1, group: jobs, start: 10ms}
kernel: {version: ktask-v4, max_threads: 2, priority: raise-most, helper_nice: 5, helper_group: charged, keep_idle: 1}
groups:
  jobs: {quota: 4, period: 50ms, cpus: "0-7"}
background:
  build: {load: spin, threads: [0, 2], cpus: "0-3", nice: 5, group: jobs}
  backup: {load: copy, size: 100MiB, memory_node: 0, rate: 5GiB/s, start: 5ms}
  web: {load: service, requests_per_s: 100, cpu_time: 1ms, memory: 1MiB}
  cron: {load: bursts, busy: 1ms, idle: 9ms}
  scan: {load: read}
replications: 1
seed: 1
"""


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """A scenario with every kind of load, in two cases: without a build, and with one of two threads."""
    return build_scenario(parse(TEXT, "s.yaml"), Path("s.yaml"))


def load_of(load: str, **values: object) -> Load:
    """Return a load as a file has it."""
    return LOADS[load].model_validate({"load": load, **values})


@pytest.mark.parametrize(
    ("values", "threads"),
    [({}, 1), ({"cpus": "2-5"}, 4), ({"cpus": "2-5", "threads": 7}, 7), ({"threads": 3}, 3), ({"threads": 0}, 0)],
)
def test_number_of_threads(values: dict[str, object], threads: int, quiet_machine: Machine) -> None:
    """As many as are given, else one for each of its CPUs, else one."""
    load = load_of("spin", **values)
    assert load.n_threads == len(load.steps(quiet_machine, Random(1))) == threads


def test_what_threads_do(quiet_machine: Machine) -> None:
    """Each kind of load in its steps: an amount once, or for ever; a service's threads share its requests."""

    def first(load: Load, n: int = 3) -> list[object]:
        return list(itertools.islice(load.steps(quiet_machine, Random(1))[0], n))

    assert first(load_of("spin", cpu_time="3s")) == [Compute(3.0)]
    assert {type(step) for step in first(load_of("spin"), 50)} == {Compute}
    (move,) = first(load_of("clear", size="3GiB", memory_node=2))
    assert isinstance(move, Move) and (move.size_bytes, move.nid) == (3 * GIB, 2)
    assert len(first(load_of("read"), 50)) == 50
    assert [type(step) for step in first(load_of("bursts", busy="1ms", idle="2ms"), 4)] == [Compute, SleepFor] * 2
    service = load_of("service", requests_per_s=10.0, cpu_time="1ms", memory="2MiB", threads=2)
    one, other = service.steps(quiet_machine, Random(1))
    steps = [next(one), next(other), next(one), next(one), next(one)]
    assert [type(step) for step in steps] == [Arrival, Arrival, Compute, Move, Arrival]
    arrivals = [step.arrives_s for step in steps if isinstance(step, Arrival)]
    assert arrivals == sorted(set(arrivals))


def test_traffic_of_memory_loads(quiet_machine: Machine) -> None:
    """By default all move as many bytes over the bus as clearing, 4 GiB/s: a read 4 GiB/s, a copy a third of that."""
    rates = {}
    for kind in ("clear", "read", "copy"):
        stream = LOADS[kind].model_validate({"load": kind}).stream(quiet_machine)  # type: ignore[attr-defined]
        rates[kind] = (stream.rate_bytes_per_s / GIB, stream.traffic)
    assert rates == {"clear": (2.0, 2.0), "read": (4.0, 1.0), "copy": (pytest.approx(4 / 3), 3.0)}
    given = LOADS["copy"].model_validate({"load": "copy", "rate": "1GiB/s"})
    assert given.stream(quiet_machine).rate_bytes_per_s == GIB  # type: ignore[attr-defined]


def test_loads_without_threads_are_none(scenario: Scenario) -> None:
    """With threads: 0 a load is not there; groups stay."""
    without, with_build = scenario.cases
    assert list(without.background) == ["backup", "web", "cron", "scan"]
    assert list(with_build.background) == ["build", "backup", "web", "cron", "scan"]
    assert without.groups == {"jobs": Group(quota=4.0, period="50ms", cpus="0-7")}


def test_the_caller_is_on_cpus_of_its_group(scenario: Scenario) -> None:
    """Of its own CPUs those that its group may use; without its own, the group's."""
    case = scenario.cases[0]
    assert case.caller_cpu_ids == tuple(range(8))
    own = scenario.with_values({"task.cpus": "6-9"}).cases[0]
    assert own.caller_cpu_ids == (6, 7)
    free = scenario.with_values({"task.group": None, "kernel.helper_group": "outside", "task.cpus": "6-9"}).cases[0]
    assert free.caller_cpu_ids == (6, 7, 8, 9)


def test_the_schema_knows_loads_and_groups() -> None:
    """An editor accepts the keys of every kind of load and of groups, and marks others."""
    schema = scenario_schema()
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(_plain(TEXT)))
    for slip in (("nice: 5, group", "nise: 5, group"), ("load: copy", "load: move"), ("quota: 4", "quota: much")):
        assert list(validator.iter_errors(_plain(TEXT.replace(*slip)))), slip


def _plain(text: str) -> object:
    return parse(text, "s.yaml").plain()


def test_tables_have_a_column_for_what_differs(scenario: Scenario) -> None:
    """What differs is a column with the load's name in it; what each costs are columns of the runs."""
    results = sim.run(scenario)
    assert list(results.summary["background_build_threads"]) == [0, 2]
    runs = results.runs
    assert list(runs["build_slowdown"].notna()) == [False, True]
    for name in ("slowdown", "backup_time_s", "backup_mean_s", "backup_alone_s", "web_p50_s", "web_p95_s", "web_p99_s"):
        assert (runs[name] > 0).all(), name
    for name in ("cron", "scan", "backup"):
        assert (runs[f"{name}_slowdown"] >= 0.99).all(), name
    assert "threads" in describe_results(results)


def test_loads_are_described(scenario: Scenario) -> None:
    """The description names each load."""
    words = describe_scenario(scenario)
    assert all(name in words for name in ("build", "backup", "web", "cron", "scan"))


def test_a_sweep_over_a_load_goes_on_where_it_was(scenario: Scenario, tmp_path: Path) -> None:
    """A second sweep makes no run twice, and has the table of a plain run; with another load it is refused."""
    done: list[tuple[int, int]] = []
    swept, again = (
        sim.sweep(scenario, tmp_path / "s", on_done=lambda *counts: done.append(counts)).runs for _ in range(2)
    )
    assert done == [(0, 2), (1, 2), (2, 2), (2, 2)]
    with pytest.raises(FolderTakenError, match="has runs of something else"):
        sim.sweep(scenario.with_values({"background.web.cpu_time": "2ms"}), tmp_path / "s")
    pd.testing.assert_frame_equal(swept, again)
    pd.testing.assert_frame_equal(swept, sim.run(scenario).runs, check_like=True)


def test_the_digest_tells_loads_and_groups_apart(scenario: Scenario) -> None:
    """Another nice level, quota or load is another sweep."""
    changes = [
        {"background.build.nice": 6},
        {"background.web.cpu_time": "2ms"},
        {"groups.jobs.quota": 3},
        {"task.nice": 2},
        {},
    ]
    assert len({digest(scenario.with_values(change).cases) for change in changes}) == len(changes)
