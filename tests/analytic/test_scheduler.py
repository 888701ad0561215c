"""CPUs shared by weight, quotas, pulling and priorities, against sums worked by hand.

The quiet machine cut down to a few CPUs of node 0, each a core of its own; a tick comes every 4 ms. Weights: nice 0 has
1024, 5 has 335, 19 has 15.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from simpy import Environment

from models.clients import KtaskTest
from models.loads import LOADS, Load
from models.loads.groups import Group
from models.machine import Machine
from models.scenario.case import Case
from models.scenario.streams import Streams
from sim.engine.background import Neighbour
from sim.engine.hardware import Hardware
from sim.engine.run import run_case
from sim.engine.scheduler import Scheduler
from tests.conftest import QUIET_KERNEL, make_quiet_machine

TICK_S = 4e-3
NEVER = 10**6  # busy_factor: no CPU that is not idle balances


def machine_of(*cpu_ids: int) -> Machine:
    """Return the quiet machine with some of its CPUs only."""
    machine = make_quiet_machine()
    return replace(machine, cpus=tuple(cpu for cpu in machine.cpus if cpu.cpu_id in cpu_ids))


def load_of(load: str, **values: object) -> Load:
    """Return a load as a file has it."""
    return LOADS[load].model_validate({"load": load, **values})


class Others:
    """Loads by themselves on a machine, and what each has done so far."""

    def __init__(
        self,
        loads: Mapping[str, Load],
        *cpu_ids: int,
        groups: Mapping[str, Group] | None = None,
        busy_factor: int = 16,
        seed: int = 1,
    ) -> None:
        self.env = Environment()
        hardware, streams = Hardware(self.env, machine_of(*cpu_ids)), Streams(seed, 0)
        self.scheduler = Scheduler(hardware, TICK_S, busy_factor, groups or {}, streams["ticks"])
        self.of = {name: Neighbour(name, load, hardware, self.scheduler, streams) for name, load in loads.items()}

    def progress(self, until_s: float) -> dict[str, float]:
        """Run up to a time; return what each load has done until then."""
        self.env.run(until=until_s)
        return {name: load.progress for name, load in self.of.items()}


def job(seconds: float, *cpu_ids: int, background: Mapping[str, Load] | None = None, **values: object) -> Case:
    """Return a job that only computes, on some CPUs beside loads; values are of its kernel, or `groups` and `task`."""
    groups = {name: Group.model_validate(group) for name, group in values.pop("groups", {}).items()}  # type: ignore[attr-defined]
    task = KtaskTest.model_validate(
        {"client": "ktask_test", "cpu_time": f"{seconds}s", "caller_node": 0, **values.pop("task", {})}  # type: ignore[dict-item]
    )
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": 1, "busy_factor": NEVER, **values})
    return Case(machine_of(*cpu_ids), task, kernel, 1, 1, background or {}, groups)


def time_of(case: Case) -> float:
    """Return the time of one run, in seconds."""
    return run_case(case, 0).time_s


# --- shares of a CPU -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nice", "weight"), [(0, 1024), (5, 335), (19, 15), (-5, 3121)])
def test_two_spinners_share_by_weight(nice: int, weight: int) -> None:
    """Two threads on a CPU, one with nice 0: it gets 1024 / (1024 + w) of 100 s, to within a turn of 4 ms.

    Virtual runtimes differ by one turn's at most: 4 ms * 1024 / 15 = 273 ms with nice 19, of which 1024/1039 is 269 ms.
    """
    done = Others({"a": load_of("spin"), "b": load_of("spin", nice=nice)}, 0).progress(100.0)
    assert done["a"] + done["b"] == pytest.approx(100.0, rel=1e-9)
    off_s = TICK_S * max(1.0, 1024 / weight)
    assert done["a"] == pytest.approx(100.0 * 1024 / (1024 + weight), abs=off_s)


def test_three_equal_threads_on_two_cpus_get_two_thirds_each() -> None:
    """Balancing takes turns at which of three threads has a CPU to itself: 2/3 of 100 s each, within 5 %.

    It is tried every 16 * 2 ms on average, 3000 times, and one that could not move may the second time: who has a CPU
    to itself changes 1500 times or so, and 100 s * 1/3 / sqrt(1500) is 0.9 s. Without balancing the third waits.
    """
    loads = {name: load_of("spin") for name in "abc"}
    done = Others(loads, 0, 1).progress(100.0)
    assert sum(done.values()) == pytest.approx(200.0, rel=1e-9)
    assert list(done.values()) == pytest.approx([200 / 3] * 3, rel=0.05)
    assert sorted(Others(loads, 0, 1, busy_factor=NEVER).progress(10.0).values()) == pytest.approx(
        [5, 5, 10], abs=TICK_S
    )


def test_who_waits_is_counted_with_what_is_done() -> None:
    """Between its turns a thread has done what it has: two of them 7 ms after 7 ms, not all that they are to do."""
    others = Others({"a": load_of("spin"), "b": load_of("spin")}, 0)
    for until_s in (1e-3, 3e-3, 7e-3, 0.5, 1.0005):
        assert sum(others.progress(until_s).values()) == pytest.approx(until_s, rel=1e-9)


def test_an_idle_cpu_pulls_at_once() -> None:
    """Two threads on CPU 0 and 5 ms of work on CPU 1: one goes to CPU 1 when that ends, so both have 1 s - 5 ms / 2.

    Without CPU 1 of their own each would have half a second. The three wake up in this order, on CPUs 0, 1 and 0.
    """
    loads = {
        "a": load_of("spin", cpus="0"),
        "short": load_of("spin", cpus="1", cpu_time="5ms"),
        "b": load_of("spin"),
    }
    others = Others(loads, 0, 1, busy_factor=NEVER)
    done = others.progress(1.0)
    assert done["a"] + done["b"] == pytest.approx(2.0 - 0.005, rel=1e-9)
    assert others.of["short"].time_s in (pytest.approx(0.005), pytest.approx(0.009))


# --- quotas ----------------------------------------------------------------------------------------------------------


def test_a_quota_of_half_a_cpu_halves_a_job() -> None:
    """0.48 s of work with 50 ms in each 100 ms: nine periods and 30 ms of the tenth, T = 930 ms; without: 480 ms."""
    group = {"g": {"quota": 0.5}}
    assert time_of(job(0.48, 0, groups=group, task={"group": "g"})) == pytest.approx(0.93, rel=1e-9)
    assert time_of(job(0.48, 0, groups={"g": {"quota": 1.0}}, task={"group": "g"})) == pytest.approx(0.48, rel=1e-9)
    assert time_of(job(0.48, 0, groups=group)) == pytest.approx(0.48, rel=1e-9)


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_a_throttled_group_runs_its_quota_in_each_period(n_threads: int) -> None:
    """0.6 CPUs of a period of 50 ms are 30 ms in each, with any number of threads, and nothing after those."""
    group = Group(quota=0.6, period="50ms")
    others = Others({"a": load_of("spin", threads=n_threads, group="g")}, 0, 1, groups={"g": group})
    n_cpus = min(n_threads, 2)
    for period in range(5):
        for at_s, expected_s in ((0.01, 0.01 * n_cpus), (0.03, 0.03), (0.0499, 0.03)):
            done = others.progress(period * 0.05 + at_s)["a"]
            assert done == pytest.approx(period * 0.03 + expected_s, rel=1e-9)


def test_others_have_the_cpu_while_a_group_is_throttled() -> None:
    """A group with 0.2 CPUs and another thread on one CPU: 20 ms of each 100 ms and 80 ms."""
    loads = {"a": load_of("spin", group="g"), "b": load_of("spin")}
    done = Others(loads, 0, groups={"g": Group(quota=0.2)}).progress(10.0)
    assert done == {"a": pytest.approx(2.0, rel=1e-9), "b": pytest.approx(8.0, rel=1e-9)}


def test_a_charged_group_pays_later() -> None:
    """Two jobs' worth in one: 0.2 s on 2 CPUs with a quota of 2, its helper outside and charged when it ends.

    The caller uses 100 ms of the first period's 200 ms and its helper's 100 ms are charged at the end, so nobody waits:
    T = 100 ms. With a quota of 1.1 CPUs one work is allowed, and T = 200 ms: 100 ms and 100 ms of 110 ms each.
    """
    own = {"helper_group": "charged", "task": {"group": "g"}, "max_threads": 2}
    assert time_of(job(0.2, 0, 1, groups={"g": {"quota": 2.0}}, **own)) == pytest.approx(0.1, rel=1e-9)
    assert time_of(job(0.2, 0, 1, groups={"g": {"quota": 1.1}}, **own)) == pytest.approx(0.2, rel=1e-9)


@pytest.mark.parametrize("quota", [{}, {"quota": 3.0}])
@pytest.mark.parametrize(("helper_group", "time_s"), [("outside", 0.1), ("caller", 0.15)])
def test_the_cpus_of_a_group_are_its_helpers(helper_group: str, time_s: float, quota: dict[str, float]) -> None:
    """Three works, a group of two CPUs: 0.3 s take 0.1 s if helpers are outside of it, else 0.15 s, to a chunk."""
    group = {"cpus": "0-1", **quota}
    case = job(0.3, 0, 1, 2, groups={"g": group}, task={"group": "g"}, max_threads=3, helper_group=helper_group)
    assert time_of(case) == pytest.approx(time_s, rel=0.1)


def test_a_debt_is_paid_off_before_the_group_runs_again() -> None:
    """A group with 50 ms in 100 ms is charged 120 ms at 10 ms: it runs again at 300 ms, with 20 ms.

    At 10 ms it has 50 - 10 - 120 = -80 ms, and is thrown out; at 100 ms -30, at 200 ms +20: it runs from 200 to 220 ms,
    and from 300 ms on 50 ms of each period.
    """
    others = Others({"a": load_of("spin", group="g")}, 0, groups={"g": Group(quota=0.5)})
    others.progress(0.01)
    helper = others.scheduler.thread()
    helper.ran_s = 0.12
    others.scheduler.charge("g", helper)
    expected = {0.05: 0.01, 0.199: 0.01, 0.21: 0.02, 0.299: 0.03, 0.34: 0.07, 0.399: 0.08, 0.45: 0.13}
    for until_s, done_s in expected.items():
        assert others.progress(until_s)["a"] == pytest.approx(done_s, rel=1e-9)


# --- priorities of helpers -------------------------------------------------------------------------------------------


def test_a_nice_helper_beside_a_spinner_gets_15_of_1039() -> None:
    """Two works of 0.1 s, the helper at nice 19 on the spinner's CPU: it has 15/1039 of it until the caller is done.

    Then its idle CPU pulls it. The caller is done at 0.1 s; of the helper's part 0.1 s - 0.1 s * 15/1039 are left, give
    or take a turn: a turn of the helper is 4 ms, so T = 198.56 +- 4 ms.
    """
    case = job(
        0.2,
        0,
        1,
        background={"other": load_of("spin", cpus="1")},
        max_threads=2,
        chunks_per_work=1,
        priority="nice",
        helper_nice=19,
    )
    assert time_of(case) == pytest.approx(0.2 - 0.1 * 15 / 1039, abs=TICK_S)


@pytest.mark.parametrize(
    ("priority", "expected_s"),
    [("normal", 0.04), ("nice", 0.02 * 1039 / 15), ("raise", 0.04 + 2 * (0.02 - 0.04 * 15 / 1039))],
)
def test_what_a_raised_helper_gains(priority: str, expected_s: float) -> None:
    """20 ms each for caller and helper, a spinner on each of two CPUs: the caller has half of one and ends at 40 ms.

    At the caller's level so does the helper. At nice 19 it has 15/1039 of its CPU: 1385 ms. Raised when the caller is
    done it has half from there: 40 ms + twice what is left of 20 ms, 78.8 ms. With turns of 0.1 ms it is off by one at
    nice 19, for which the others have 0.1 ms * 1024/15 = 6.8 ms.
    """
    others = {name: load_of("spin", cpus=cpus) for name, cpus in (("a", "0"), ("b", "1"))}
    how = {"max_threads": 2, "chunks_per_work": 1, "priority": priority, "helper_nice": 19, "time_slice": 1e-4}
    assert time_of(job(0.04, 0, 1, background=others, **how)) == pytest.approx(expected_s, abs=7e-3)


def test_a_helper_is_never_less_nice_than_its_caller() -> None:
    """At nice 5, helper_nice 0, caller and helper both have 335/1359 of a CPU beside a spinner: 20 ms in 81.1 ms."""
    others = {name: load_of("spin", cpus=cpus) for name, cpus in (("a", "0"), ("b", "1"))}
    how = {"max_threads": 2, "chunks_per_work": 1, "priority": "nice", "helper_nice": 0, "time_slice": 1e-5}
    case = job(0.04, 0, 1, background=others, task={"nice": 5}, **how)
    assert time_of(case) == pytest.approx(0.02 * 1359 / 335, rel=0.01)


# --- loads -----------------------------------------------------------------------------------------------------------


def test_a_service_answers_as_queueing_theory_says() -> None:
    """M/M/1: 50 requests/s of 10 ms each are answered in 1 / (100 - 50) = 20 ms on average, and 95 of 100 within 60 ms.

    Exponential with that mean: percentiles p at -20 ms * ln(1 - p). 4000 s have 200 000 requests, whose times hang
    together over some 2 / (1 - 0.5)**2 = 8, so 16 of them tell as much as one alone: a standard error of
    1 / sqrt(200 000 / 16) = 0.9 % of the mean. 4 % is more than four of those: false alarms, less than one in 10 000.
    """
    others = Others({"web": load_of("service", requests_per_s=50.0, cpu_time="10ms")}, 0)
    others.env.run(until=4000.0)
    found = others.of["web"].response_s(0.0, 3990.0)
    for percentile, got_s in found.items():
        assert got_s == pytest.approx(-0.02 * math.log(1 - percentile / 100), rel=0.04)


def test_bursts_keep_a_cpu_busy_for_their_part() -> None:
    """Bursts of 3 ms and 7 ms asleep after each: 30 % of a CPU.

    The mean of 20 000 cycles (200 s) has a standard error of sqrt(2 * 0.3**2 * 0.7**2 / 20 000) = 0.2 %; 1 % is off by
    five of those.
    """
    done = Others({"a": load_of("bursts", busy="3ms", idle="7ms")}, 0).progress(200.0)
    assert done["a"] == pytest.approx(60.0, abs=2.0)


def test_a_finite_load_is_slowed_down_by_the_job() -> None:
    """One CPU, 0.2 s of job and 0.1 s of load: the load ends within a turn of 0.2 s, in 0.1 s alone; T = 0.3 s."""
    case = job(0.2, 0, background={"other": load_of("spin", cpu_time="0.1s")})
    result = run_case(case, 0)
    assert result.time_s == pytest.approx(0.3, rel=1e-9)
    assert result.extra["slowdown"] == pytest.approx(1.5, rel=1e-9)
    assert result.extra["other_alone_s"] == pytest.approx(0.1, rel=1e-9)
    assert result.extra["other_time_s"] == pytest.approx(0.2, abs=TICK_S)
    assert result.extra["other_mean_s"] == result.extra["other_time_s"]
    assert result.extra["other_slowdown"] == pytest.approx(result.extra["other_time_s"] / 0.1, rel=1e-9)


def test_the_progress_of_a_load_is_slowed_down_by_the_job() -> None:
    """One CPU for a job of 0.2 s and a load for ever: each has half of 0.4 s, so both are slowed down twofold.

    To within a turn of 4 ms in 200.
    """
    result = run_case(job(0.2, 0, background={"other": load_of("spin")}), 0)
    assert result.extra["slowdown"] == pytest.approx(2.0, rel=0.02)
    assert result.extra["other_slowdown"] == pytest.approx(2.0, rel=0.02)


def test_a_service_is_slowed_down_by_its_99th_percentile() -> None:
    """The slowdown of a service is the 99th percentile of its responses over that without the job, and no other one."""
    web = load_of("service", requests_per_s=50.0, cpu_time="4ms")
    result = run_case(job(2.0, 0, background={"web": web}), 0)
    others = Others({"web": web}, 0)
    others.env.run(until=result.time_s + 5.0)
    alone = others.of["web"].response_s(0.0, result.time_s)
    ratios = {percentile: result.extra[f"web_p{percentile}_s"] / own_s for percentile, own_s in alone.items()}
    assert result.extra["web_slowdown"] == pytest.approx(ratios[99], rel=1e-9)
    assert all(abs(ratio / ratios[99] - 1) > 0.02 for percentile, ratio in ratios.items() if percentile != 99), ratios


def test_a_load_that_starts_later_counts_from_its_start() -> None:
    """A load from 0.1 s on beside 0.2 s of job: 0.1 s alone, the rest in turns: T = 0.3 s, the load has 0.1 s."""
    result = run_case(job(0.2, 0, background={"other": load_of("spin", start="0.1s")}), 0)
    assert result.time_s == pytest.approx(0.3, abs=TICK_S)
    assert result.extra["other_slowdown"] == pytest.approx(2.0, rel=0.05)


def test_a_job_that_starts_later_is_timed_from_its_start() -> None:
    """0.1 s of load alone, then a job of 0.1 s: it has the CPU for itself, and T = 0.1 s."""
    background = {"other": load_of("spin", cpu_time="0.1s")}
    result = run_case(job(0.1, 0, background=background, task={"start": "0.1s"}), 0)
    assert result.time_s == pytest.approx(0.1, abs=1e-9)
    assert result.extra["other_slowdown"] == pytest.approx(1.0, rel=1e-9)


def test_time_in_which_a_group_is_throttled_is_no_credit() -> None:
    """One CPU: a group with a quota of 0.1 beside a spinner, from 10.09 s on another spinner: the two have 0.45 each.

    The group has 10 ms of each 100, of 10 s 1 s, and the spinner 9. From 10.09 to 12 s there are 19 such, so the others
    have (1910 - 190) / 2 = 860 ms each. Who comes begins where those that run are, not where the group
    is, which would let it have the CPU alone for seconds.
    """
    loads = {
        "a": load_of("spin", group="g"),
        "b": load_of("spin"),
        "c": load_of("spin", start="10.09s"),
    }
    others = Others(loads, 0, groups={"g": Group(quota=0.1)})
    assert others.progress(10.0)["b"] == pytest.approx(9.0, rel=1e-9)
    done = others.progress(12.0)
    assert done["c"] == pytest.approx(0.86, abs=2 * TICK_S)
    assert done["b"] == pytest.approx(9.08 + 0.86, abs=2 * TICK_S)
    assert done["a"] == pytest.approx(1.2, rel=1e-9)


def test_a_load_that_starts_after_the_job_is_not_slowed_down() -> None:
    """A load from 1 s on has done nothing by the end of a job of 0.1 s, with or without it: no figure, not infinity.

    One with an amount of work is run to its end, and takes as long as alone.
    """
    loads = {
        "late": load_of("spin", start="1s"),
        "later": load_of("spin", start="2s", cpu_time="0.1s", cpus="1"),
        "web": load_of("service", start="1s", requests_per_s=10.0, cpu_time="1ms"),
    }
    extra = run_case(job(0.1, 0, 1, background=loads), 0).extra
    assert extra["slowdown"] == pytest.approx(1.0, rel=1e-9)
    assert math.isnan(extra["late_slowdown"]) and math.isnan(extra["web_slowdown"]) and math.isnan(extra["web_p50_s"])
    assert (extra["later_time_s"], extra["later_alone_s"]) == (pytest.approx(0.1, rel=1e-9),) * 2


def test_a_caller_waits_for_what_its_helpers_were_charged(case_of: Callable[..., Case]) -> None:
    """Two pages of 2 x 250 ms from 3 ms on; 20 ms in each 10 ms for the caller's group; helpers charged: T = 740 ms.

    At 253 ms 20 - 3 - 250 = -233 ms are left, at 370 ms +7: the caller goes on from 370 to 377 and from 380 ms. The
    second helper does not wait, ends at 503 ms and is charged: -233 ms, +7 at 620 ms. Of its second 250 ms the caller
    has had 7 + 123 by then, has 7 more to 627, and the other 113 from 630 to 743 ms.
    """
    case = case_of(2, size_gib=2, chunks_per_work=1, helper_group="charged")
    task = case.task.model_copy(update={"group": "g", "start": 3e-3})
    groups = {"g": Group(quota=2.0, period="10ms")}
    assert time_of(replace(case, task=task, groups=groups)) == pytest.approx(0.74, rel=1e-9)


def test_a_helper_bound_to_its_node_is_not_pulled_away() -> None:
    """The caller may use CPU 0, of the data's node; 18, of another, is idle: both works share CPU 0, T = 200 ms.

    A helper that may run anywhere goes to CPU 18: T = 100 ms.
    """
    how = {"task": {"cpus": "0"}, "groups": {"g": {"quota": 1.0}}, "max_threads": 2, "chunks_per_work": 1}
    assert time_of(job(0.2, 0, 18, **how)) == pytest.approx(0.2, rel=1e-9)
    assert time_of(job(0.2, 0, 18, helper_node="any", **how)) == pytest.approx(0.1, rel=1e-9)


def test_usemem_goes_round() -> None:
    """Rounds of 20 ms of faults, 2 ms of unmapping, no sleep: 100 MB at 1 GB/s in 5 of them, 110 ms; more with sleeps.

    The quiet machine's memory is not the limit. Five sleeps of 10 ms on average, exponential, are 50 +- 67 ms (3 sd).
    """
    own = {"size": "100MB", "round": "20MB", "rate": "1GB/s", "unmap_rate": "10GB/s"}
    for lock_sleep, expected_s, off_s in (("0s", 0.11, 1e-6), ("10ms", 0.16, 0.067)):
        others = Others({"a": load_of("usemem", **own, lock_sleep=lock_sleep)}, 0)
        others.env.run(until=others.of["a"].ended)
        assert others.of["a"].time_s == pytest.approx(expected_s, abs=off_s)
