"""Advice: what is recommended and why, on machines whose limits are known by construction."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
import yaml

from models.clients import CLIENTS
from models.clients.clear_gigantic_page import ClearGigantic
from models.clients.hugetlbfs_fallocate import HugetlbfsFallocate, HugetlbfsFallocateCosts
from models.files.machine import build_machine, find_machine_file, load_machine
from models.files.machine_writer import machine_yaml
from models.kernels import VERSIONS, KtaskV1
from models.machine import Machine, Rates
from models.measured.measurements import read_measurements
from models.results.run import RunResult, WorkerTotals
from models.scenario.case import Case
from models.text.document import parse
from models.text.problems import InputError
from models.text.units import GIB, MIB
from sim.engine.run import run_case
from sim.fit.fit import own_reach
from sim.fit.table import figures_of, fit_table, fitted_document
from sim.search.advice import Advice, advise, describe_advice, limit_of, parts_of, recommend, thread_counts
from sim.search.advice.candidate import Candidate, Outcome, in_question
from sim.search.advice.doubt import doubts_of, varied


def machine_with(clients: Mapping[str, Mapping[str, float]] | None = None, **rates: float) -> Machine:
    """One node, 8 cores of 2 threads behind 2 caches, 2 GiB/s each, all measured, and no limit but those given."""
    laptop = load_machine("laptop-ryzen-4800u")
    free: dict[str, Any] = {
        "clear_bytes_per_s": 2.0 * GIB,
        "serial_clear_bytes_per_s": 2.0 * GIB,
        "clear_traffic": 2.0,
        "memory_bytes_per_s": 1000.0 * GIB,
        "memory_curve": replace(laptop.rates.memory_curve, decline=0.0),
        "core_throughput": 2.0,
        "cache_bytes_per_s": None,
        "remote_factors": {},
        "share_exponent": 1.0,
        "chunk_noise": 0.0,
    }
    return replace(laptop, rates=Rates(**(free | rates)), sources={}, clients=clients or {})


def advice_on(machine: Machine, size: str = "8GiB", client: str = "clear_gigantic_page", **options: Any) -> Advice:
    """Advise on clearing so much."""
    return advise(client, size, machine, **options)


def table_of(*rows: tuple[int, int, float]) -> pd.DataFrame:
    """Make a table of candidates: threads, chunk and time of each."""
    return pd.DataFrame(rows, columns=["threads", "chunk_bytes", "time_s"])


def test_counts_grow_by_halves() -> None:
    """Threads are tried in powers of two, what is halfway between them, and all there are."""
    assert thread_counts(1) == [1]
    assert thread_counts(2) == [1, 2]
    assert thread_counts(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([(1, 1, 4.0), (2, 1, 2.0), (4, 1, 1.0), (8, 1, 0.98)], 2),  # 8 threads are 2 % sooner: a waste
        ([(1, 1, 4.0), (2, 1, 2.0), (4, 1, 1.0), (8, 1, 0.96)], 3),  # 4 %: worth it
        ([(1, 1, 1.0), (2, 1, 1.2), (4, 1, 2.0)], 0),  # more are worse
        ([(2, 1, 1.0), (2, 8, 1.009), (2, 64, 1.02)], 1),  # the largest chunk within 1 %
        ([(2, 64, 1.029), (2, 8, 1.0), (4, 1, 1.0)], 1),  # within 1 % of the best with as many threads
        ([(2, 8, 1.02), (4, 64, 1.0)], 0),  # fewer threads before larger chunks
    ],
)
def test_recommendation_is_never_wasteful(rows: list[tuple[int, int, float]], best: int) -> None:
    """The fewest threads within 3 % of the least time, then the largest chunk within 1 %."""
    assert recommend(table_of(*rows)) == best


@pytest.mark.parametrize(
    ("rates", "threads", "time_s", "limit"),
    [
        ({}, 16, 0.25, "number of threads"),  # 8 GiB / (16 x 2 GiB/s)
        ({"memory_bytes_per_s": 8.0 * GIB}, 2, 2.0, "memory of node 0"),  # 8 GiB / (8 GiB/s / 2)
        ({"core_throughput": 1.0}, 8, 0.5, "cores, which threads share"),  # 8 GiB / (8 x 2 GiB/s)
        ({"cache_bytes_per_s": 4.0 * GIB}, 4, 1.0, "last-level caches 0,1"),  # 8 GiB / (2 x 4 GiB/s)
    ],
)
def test_what_limits_is_named(rates: dict[str, float], threads: int, time_s: float, limit: str) -> None:
    """Time and threads worked by hand; all 16 threads are limited by the one thing that is short."""
    advice = advice_on(machine_with(**rates))
    assert advice.recommended["threads"] == threads
    assert advice.recommended["time_s"] == pytest.approx(time_s, rel=1e-2)  # threads have to start
    assert advice.table.set_index("threads").loc[16, "limit"] == limit
    assert advice.unsure == ()


def test_a_lock_is_named() -> None:
    """Half of a page's time is under one lock: 4096 pages of 1 ms under it take 4 s, however many threads there are."""
    clear_s = 2 * MIB / (2 * GIB)
    costs = {"hugetlb_page": clear_s, "pool_hold": clear_s, "pool_transfer": 0.0, "pool_handover": 0.0}
    advice = advice_on(machine_with({"hugetlbfs_fallocate": costs}), client="hugetlbfs_fallocate")
    assert advice.single["time_s"] == pytest.approx(8.0)
    assert advice.recommended["time_s"] == pytest.approx(4.0, rel=5e-2)
    assert advice.table.set_index("threads").loc[16, "limit"] == "kernel locks (fallocate)"
    assert any("What limits them: kernel locks (fallocate)." in words for words in advice.sentences)


def result_of(utilisation: Mapping[str, float], **waits: float) -> RunResult:
    """Return a run of 10 s with two workers, of whom one has waited."""
    workers = [WorkerTotals(0), replace(WorkerTotals(1), **waits)]  # type: ignore[arg-type]
    return RunResult(10.0, 20.0, 1, 2, 1.0, workers, utilisation, ())


@pytest.mark.parametrize(
    ("without", "waits", "limit"),
    [
        ({"memory": 9.0, "link": 5.0}, {}, "far memory, over link 0-1"),
        ({"memory": 5.0, "link": 9.0}, {}, "memory of nodes 1,2"),
        ({"memory": 9.0}, {"end_wait_s": 6.0}, "wait for the last thread"),  # 6 of 2 x 10 s
        ({"memory": 9.0}, {"start_wait_s": 6.0}, "start of the threads"),
        ({"memory": 9.0}, {"lock_wait_s": 6.0}, "lock of the task"),
        ({"memory": 6.0}, {"end_wait_s": 6.0}, "memory of nodes 1,2"),
        ({"memory": 9.0}, {"client_lock_wait_s": 6.0}, "memory of nodes 1,2"),  # for which who has a lock waits
        ({"memory": 9.6}, {"client_lock_wait_s": 6.0}, "kernel locks (fallocate)"),
        ({"memory": 9.6}, {"end_wait_s": 0.9, "client_lock_wait_s": 0.9}, "number of threads"),
    ],
)
def test_the_costliest_limit_is_named(without: dict[str, float], waits: dict[str, float], limit: str) -> None:
    """Of what would save time, and of what threads wait for, the one that costs most is named, from a twentieth on."""
    used = {
        "locks of fallocate": 0.4,
        "memory0": 0.5,
        "memory1": 0.99,
        "memory2": 0.95,
        "link0-1": 0.97,
        "link1-0": 0.2,
    }
    assert limit_of(result_of(used, **waits), without, 2) == limit


def test_far_memory_without_a_full_link() -> None:
    """A link that is not full is not blamed: far memory is slow by itself."""
    assert limit_of(result_of({"link0-1": 0.5}), {"link": 5.0}, 2) == "far memory"


def test_cpus_are_kept_free() -> None:
    """With 13 of 16 CPUs kept free 3 threads are the most, and the reason is told."""
    advice = advice_on(machine_with(), keep_free=13)
    assert advice.recommended["threads"] == 3
    assert "More threads would want more CPUs than are left to it." in advice.sentences
    assert advice.default["threads"] == 1  # of released kernels


def test_unmeasured_rates_widen_the_interval() -> None:
    """One thread that only clears takes 4 s, its rate is known within a factor of 1.3 (one standard deviation).

    1.85 of these hold 9 of 10. The model's own error adds to that as a square, on the scale of logarithms. Once the
    rate is measured only that error is left.
    """
    guessed = replace(machine_with(), sources={"rates.clear_rate": "not measured: taken from another"})
    advice = advice_on(guessed)
    assert advice.unsure == ("the rate of clearing",)
    told = "Most is in doubt by the rate of clearing: measure one thread that clears pages of this kind"
    assert told in " ".join(" ".join(advice.sentences).split())
    assert advice.single["time_s"] == pytest.approx(4.0, rel=1e-5)
    more = math.hypot(1.85 * math.log(1.3), own_reach(0.9))
    assert advice.single["low_s"] == pytest.approx(4 * math.exp(-more), rel=1e-3)
    assert advice.single["high_s"] == pytest.approx(4 * math.exp(more), rel=1e-3)
    left = re.search(r"the interval has (\d+)% of its width", " ".join(advice.sentences[-1].split()))
    assert left is not None
    known = advice_on(machine_with())
    assert float(left[1]) / 100 == pytest.approx(width_of(known.recommended) / width_of(advice.recommended), abs=0.01)
    assert "ktask-sim calibrate" in advice.sentences[-1]


def test_a_measurement_narrows_the_interval_as_it_was_said(tmp_path: Path) -> None:
    """On a laptop whose costs nobody has measured one thread is measured, as told, and its costs are fitted to that.

    It takes 30 % longer than predicted. The interval is then as narrow as the advice foretold, and about that time.
    """
    document = yaml.safe_load(find_machine_file("laptop-ryzen-4800u", tmp_path).read_text())
    laptop = build_machine(parse(machine_yaml(document), "laptop"), "laptop")
    before = advise("jvm_pretouch", "1GiB", laptop, keep_free=15)
    words = " ".join(before.sentences[-1].split())
    assert "by the costs of jvm_pretouch: measure one thread with this very job" in words
    foretold = re.search(r"the interval has (\d+)% of its width", words)
    assert foretold is not None
    measured_s = 1.3 * before.single["time_s"]
    path = tmp_path / "t.csv"
    path.write_text(f"nthreads,size_gib,time_s\n1,1,{measured_s}\n")
    measured = read_measurements(path, laptop, "jvm_pretouch", "jvm")
    fit = fit_table(measured, figures_of(measured, names=["pages.touch", "pages.base_page"]))
    written = machine_yaml(fitted_document(document, fit, "t.csv"))
    after = advise("jvm_pretouch", "1GiB", build_machine(parse(written, "fitted"), "fitted"), keep_free=15)
    left = width_of(after.single) / width_of(before.single)
    assert left == pytest.approx(int(foretold[1]) / 100, abs=0.05)
    assert after.single["time_s"] == pytest.approx(measured_s, rel=0.05)


def width_of(row: pd.Series[Any]) -> float:
    """Return the width of an interval, as a logarithm."""
    return math.log(row["high_s"] / row["low_s"])


def test_independent_doubts_add_up_as_squares() -> None:
    """A page is 1 ms of clearing and other work: 30 % less rate adds 0.3 to its share of the time.

    30 % more cost adds 0.3 to that of the other work; both together the root of the sum of squares. Costs are doubted
    where no machine file gives them.
    """
    page_s = 2 * MIB / (2 * GIB)
    costs = HugetlbfsFallocateCosts(
        hugetlb_page=f"{page_s * 1e6}us", pool_hold="0s", pool_transfer="0s", pool_handover="0s"
    )
    measured = machine_with({"hugetlbfs_fallocate": costs.model_dump()})
    guessed = replace(measured, sources={"rates.clear_rate": "An assumption: none"})

    def more(*shares: float) -> float:
        """Return the upper reach of an interval, of figures that have these shares of the time."""
        return math.hypot(own_reach(0.9), *(1.85 * math.log(1.0 + 0.3 * share) for share in shares))

    single = advice_on(guessed, "4GiB", "hugetlbfs_fallocate", keep_free=14).single
    assert math.log(single["high_s"] / single["time_s"]) == pytest.approx(more(0.5), rel=1e-3)
    own = advice_on(replace(guessed, clients={}), "4GiB", "hugetlbfs_fallocate", keep_free=14)
    assert own.unsure == ("the rate of clearing",)  # other costs are 0.3 % of a page's time: they don't count
    page_share = 3e-6 / (3e-6 + page_s)
    reach = math.log(own.single["high_s"] / own.single["time_s"])
    assert reach == pytest.approx(more(1 - page_share, page_share), rel=1e-3)


def test_costs_that_nobody_has_measured_are_in_doubt_by_themselves() -> None:
    """Rates are measured, the client's costs are not: all of them are higher at once, and rates among them lower."""
    task = CLIENTS["deferred_struct_page_init"].model_validate({"client": "deferred_struct_page_init"})
    case = Case(machine_with(), task, VERSIONS["padata-6.9"](), 1, 1)
    found = doubts_of(case)
    assert {name: doubt.words for name, doubt in found.items()} == {"costs": "the costs of deferred_struct_page_init"}
    slower, as_is = varied(case, found)["costs", 1].task.costs, task.costs_on(case.machine)  # type: ignore[attr-defined]
    assert slower.init_rate == pytest.approx(as_is.init_rate / 1.3)
    assert slower.line_time == pytest.approx(as_is.line_time * 1.3)
    some = replace(case, machine=replace(machine_with(), pages={"init_rate": as_is.init_rate}))
    assert doubts_of(some)["costs"].words == "some costs of deferred_struct_page_init"
    kept = varied(some, doubts_of(some))["costs", 1].task.costs  # type: ignore[attr-defined]
    assert kept.init_rate == as_is.init_rate


def test_the_interval_follows_the_shortest_and_the_longest_run() -> None:
    """The interval is that of the ten runs themselves, 1.3 times as far, which is as rarely symmetric as they are."""
    machine = machine_with(run_noise=0.3)
    advice = advice_on(machine, "1GiB", keep_free=15)
    task = ClearGigantic(client="clear_gigantic_page", size="1GiB", page_size="1GiB")
    times = [run_case(Case(machine, task, KtaskV1(max_threads=1), 10, 1), i).time_s for i in range(10)]
    single = advice.single
    less = math.hypot(1.3 * math.log(single["time_s"] / min(times)), own_reach(0.9))
    more = math.hypot(1.3 * math.log(max(times) / single["time_s"]), own_reach(0.9))
    assert (single["low_s"], single["high_s"]) == pytest.approx(
        (single["time_s"] * math.exp(-less), single["time_s"] * math.exp(more)), rel=1e-12
    )
    assert max(less, more) > 1.1 * min(less, more)
    assert math.isnan(single["late_s"]) and "in 9 of 10 starts)." in advice.sentences[0]


def results_of(times: Iterable[float]) -> list[RunResult]:
    """Make results of runs with these times, and nothing else."""
    return [RunResult(time_s, time_s, 1, 1, 1.0, [], {}, []) for time_s in times]


@pytest.mark.parametrize("n_runs", [3, 10])
def test_9_of_10_starts_end_within_the_interval(n_runs: int) -> None:
    """Starts differ by the spread of runs, by a figure that is off, and by the model's own error, which is 10 % here.

    4000 intervals, so a standard deviation of 0.5 %. Runs are few, so that an interval may hold more.
    """
    draw, n_inside, off = Random(5), 0, 0.2
    for _ in range(4000):
        runs = results_of(10.0 * math.exp(draw.gauss(0.0, 0.1)) for _ in range(n_runs))
        varied_s = {"rate": (math.exp(-off), math.exp(off))}
        low_s, high_s = Outcome(1.0, runs, varied_s).interval()
        start_s = 10.0 * math.exp(draw.gauss(0.0, 0.1) + draw.gauss(0.0, off) + draw.gauss(0.0, own_reach(0.9) / 1.645))
        n_inside += low_s <= start_s <= high_s
    assert 0.88 < n_inside / 4000 < 0.96


def candidate_of(threads: int, times: Iterable[float], chunk_bytes: int = 4 * MIB) -> Candidate:
    """Make a candidate with runs of these times."""
    case = Case(machine_with(), ClearGigantic(client="clear_gigantic_page", size="1GiB"), KtaskV1(), 1, 1)
    return Candidate(case, threads, chunk_bytes, (Outcome(1.0, results_of(times), {}),), "")


def test_only_candidates_near_a_limit_deserve_more_runs() -> None:
    """Times differ by 0.1 % from run to run beside the luck that all have, and 3 % are 17 standard errors off.

    So 4 threads, which are 3.1 % slower than the least, are in question with those that have the least time, 16. So is
    who is recommended as it stands, 8. One thread is not, nor are 12, which are as fast as any.
    """
    luck = (1.0, 1.1, 0.9)
    noise = {1: (1, 0, -1), 4: (0, 1, -1), 8: (-1, 1, 0), 12: (0, -1, 1), 16: (0, 0, 0)}
    means = {1: 9.0, 4: 1.031, 8: 1.01, 12: 1.001, 16: 1.0}
    candidates = [
        candidate_of(n, [means[n] * luck[i] * (1 + 0.001 * noise[n][i]) for i in range(3)]) for n in sorted(means)
    ]
    assert sorted(each.threads for each in in_question(candidates)) == [4, 8, 16]


def test_candidates_without_any_noise_are_not_in_question() -> None:
    """Only who is recommended gets all runs, where no time ever differs."""
    candidates = [candidate_of(n, [8.0 / n] * 3) for n in (1, 2, 4, 8)]
    assert in_question(candidates) == candidates[-1:]


def test_most_candidates_are_screened_with_few_runs() -> None:
    """Three runs of each candidate are made, and seven more of the best one."""
    counts: list[tuple[int, int]] = []
    advice = advice_on(machine_with(), "8GiB", "hugetlbfs_fallocate", on_done=lambda *done: counts.append(done))
    n = len(advice.table)
    assert n > 4
    assert counts[-1][1] == n * 3 + 7 + n * 5  # without noise: as it is, two limits taken away, and costs off both ways


def test_the_noise_of_whole_runs_does_not_favour_who_has_more_runs() -> None:
    """All runs of a number are as much slower or faster, so times go as 1 / threads whoever has three runs or ten."""
    times_s = advice_on(machine_with(run_noise=0.3), "8GiB").table.set_index("threads")["time_s"]
    assert [n * times_s[n] / times_s[1] for n in (2, 4, 16)] == pytest.approx([1.0] * 3, rel=5e-3)


FREE = {"hugetlb_page": 0.0, "pool_hold": 0.0, "pool_transfer": 0.0, "pool_handover": 0.0}  # pages: only cleared


def qemu_on(**rates: float) -> Advice:
    """Advise on a QEMU of 8 GiB with two threads at most, 2 GiB/s each."""
    machine = machine_with({"qemu_prealloc": FREE}, **rates)
    return advise("qemu_prealloc", "8GiB", machine, page_size="2MiB", keep_free=14)


def test_a_late_last_thread_makes_two_times() -> None:
    """Two threads take 8 / 4 = 2 s, or one after the other 4 s; half of the starts each make a mean of 3 s."""
    advice = qemu_on()
    assert advice.recommended["threads"] == 2
    times = advice.recommended[["in_time_s", "late_s", "time_s"]].astype(float)
    assert list(times) == pytest.approx([2.0, 4.0, 3.0], rel=5e-3)  # threads have to start, and share mutexes
    assert math.isnan(advice.single["late_s"])


def test_two_times_are_told_as_two() -> None:
    """Each time has an interval of 17 %, mostly the model's own error, and none reaches the mean in between."""
    advice = qemu_on(run_noise=0.01)
    number = r"([0-9.]+)"
    found = re.search(
        rf"take about {number} s \({number} to {number} s in 9 of 10 starts\), or {number} s "
        rf"\({number} to {number} s\) in the 50% of starts in which the last thread begins late; {number} s in the "
        rf"mean\.$",
        advice.sentences[0],
    )
    assert found is not None, advice.sentences[0]
    in_time, low, high, late, late_low, late_high, mean = map(float, found.groups())
    assert 1.6 < low < in_time < high < 2.5 < mean < 3.3 < late_low < late < late_high < 4.9
    best = advice.recommended
    assert (best["low_s"], best["high_s"]) == pytest.approx((low, late_high), rel=1e-3)
    table = describe_advice(advice)
    assert f"{best['in_time_s']:.2f} or {best['late_s']:.2f}" in table
    assert f"{best['low_s']:.2f} to {best['high_s']:.2f}" in table


@pytest.mark.parametrize(
    ("rate", "limit"),
    [
        # Late: 4 s, for 2 of which one of two threads has not started. In time: 8 / 2.5 s, 8 / 4 s with more memory.
        (5.0, "memory of node 0"),  # (3.2 - 2) / (4 + 3.2) = 17 %, against 2 / 2 / (4 + 3.2) = 14 %
        (6.0, "start of the threads"),  # (2.7 - 2) / (4 + 2.7) = 10 %, against 2 / 2 / (4 + 2.7) = 15 %
    ],
)
def test_what_limits_two_times_is_what_costs_most_of_both(rate: float, limit: str) -> None:
    """A limit's cost is that in the mean over both kinds of start."""
    advice = qemu_on(memory_bytes_per_s=rate * GIB)
    assert advice.recommended["limit"] == limit


def test_where_a_late_thread_costs_little_there_is_one_time() -> None:
    """Memory for 2.05 GiB/s: two threads at once take 3.9 s, one after the other 4 s, which is not told apart."""
    advice = qemu_on(memory_bytes_per_s=4.1 * GIB)
    assert advice.table["late_s"].isna().all()
    assert "late" not in describe_advice(advice)


def test_neighbours_that_clear_lose_their_share_of_memory() -> None:
    """Memory for 4 GiB/s of clearing, a neighbour and two threads of 2 GiB/s each: all get 4/3, he 67 % of his 2."""
    beside = {"scan": {"load": "clear", "cpus": "15"}}
    advice = advice_on(machine_with(memory_bytes_per_s=8.0 * GIB), "2GiB", keep_free=14, background=beside)
    assert advice.recommended["threads"] == 2
    assert advice.recommended["time_s"] == pytest.approx(2 / (8 / 3), rel=5e-3)
    (words,) = (words for words in advice.sentences if words.startswith("Alone it keeps 2 of 16 CPUs busy"))
    assert "without scan the job takes 500" in words
    assert words.endswith("Beside it scan (clear on CPU 15) runs at 67% of its speed.")


def test_neighbours_that_compute_lose_turns_only() -> None:
    """A spinning neighbour on a CPU of its own loses nothing; where all CPUs are used he gets every other turn."""
    beside = {"other": {"load": "spin", "cpus": "0"}}
    apart = advice_on(machine_with(), "2GiB", keep_free=14, background=beside)
    assert any("other (spin on CPU 0) runs at 100% of its speed" in words for words in apart.sentences)
    both = replace(machine_with(), cpus=machine_with().cpus[:1])
    shared = advice_on(both, "1GiB", background=beside)
    assert any("runs at 50% of its speed" in words for words in shared.sentences)


def test_neighbours_that_have_not_begun_do_nothing() -> None:
    """Other work that starts after the job has no speed to be told."""
    advice = advice_on(machine_with(), "1GiB", keep_free=15, background={"late": {"load": "spin", "start": "1h"}})
    assert any(words.endswith("Beside it late (spin) does nothing meanwhile.") for words in advice.sentences)


def test_a_job_that_hardly_gets_on_is_no_question() -> None:
    """Four spinning threads of nice -20 leave a job on their only CPU 1024 of 356068 shares: 348 times as long."""
    machine = replace(machine_with(), cpus=machine_with().cpus[:1])
    beside = {"other": {"load": "spin", "nice": -20, "threads": 4}}
    with pytest.raises(InputError, match=r"beside it the job takes 3[0-9][0-9] times as long, .*at most 100 times"):
        advice_on(machine, "1GiB", background=beside)


def test_what_services_and_amounts_of_work_feel() -> None:
    """A service is slower by its percentile, an amount of work by its time: 2 s on the job's only CPU take 3 s."""
    machine = replace(machine_with(), cpus=machine_with().cpus[:1])
    beside = {
        "web": {"load": "service", "requests_per_s": 50, "cpu_time": "1ms"},
        "build": {"load": "spin", "cpu_time": "2s"},
    }
    advice = advice_on(machine, "2GiB", background=beside)
    (words,) = (words for words in advice.sentences if words.startswith("Alone"))
    assert re.search(r"web \(service\) has a 99th percentile of response times that is \d\.\d\d times as long", words)
    assert re.search(r"build \(spin\) takes 1\.[3-6]\d times as long\.$", words)


@pytest.mark.parametrize("threads", [1, 8])
def test_a_long_job_is_two_short_ones(threads: int) -> None:
    """64 GiB in chunks of 4 MiB follow from two shorter jobs, of 64 chunks and twice as many without chance."""
    task = HugetlbfsFallocate(client="hugetlbfs_fallocate", size="64GiB")
    machine = machine_with(memory_bytes_per_s=8.0 * GIB)
    machine = replace(machine, nodes=(replace(machine.nodes[0], memory_bytes=64 * GIB),))
    kernel = KtaskV1(max_threads=threads, chunks="fixed", chunk_size="4MiB", start_latency_cv=0.0)
    case = Case(machine, task, kernel, 1, 1)
    parts = parts_of(case)
    assert [part.size_bytes for part in parts.cases] == [256 * MIB, 512 * MIB]
    whole, made_up = run_case(case, 0), parts.combine([run_case(part, 0) for part in parts.cases])
    assert made_up.time_s == pytest.approx(whole.time_s, rel=1e-9)
    assert made_up.cpu_s == pytest.approx(whole.cpu_s, rel=1e-9)
    assert made_up.utilisation["memory0"] == pytest.approx(whole.utilisation["memory0"], rel=1e-9)


def test_memory_of_nodes_shrinks_with_the_job() -> None:
    """Where a job spills from node to node, its parts do too: the time is that of the whole to a fifth of a percent."""
    machine = load_machine("xeon-e7-8895v3-8s")
    machine = replace(machine, rates=replace(machine.rates, chunk_noise=0.0))
    task = HugetlbfsFallocate(client="hugetlbfs_fallocate", size="300GiB", caller_node=0)
    kernel = KtaskV1(max_threads=2, chunks="fixed", chunk_size="32MiB", start_latency_cv=0.0)
    case = Case(machine, task, kernel, 1, 1)
    parts = parts_of(case)
    assert len(parts.cases) == 2
    made_up = parts.combine([run_case(part, 0) for part in parts.cases])
    assert made_up.time_s == pytest.approx(run_case(case, 0).time_s, rel=2e-3)


def test_any_number_of_processes_gives_the_same() -> None:
    """Two processes give the very table that one gives, and count the same runs."""
    machine = machine_with(run_noise=0.1)
    counts: list[tuple[int, int]] = []
    one = advice_on(machine, "1GiB", keep_free=14, on_done=lambda *done: counts.append(done))
    two = advice_on(machine, "1GiB", keep_free=14, jobs=2)
    pd.testing.assert_frame_equal(one.table, two.table)
    assert counts[-1][0] == counts[-1][1] == len(counts)


def test_the_option_to_paste() -> None:
    """A program gets its option, with the recommended threads and chunk; a job of the kernel's what can be done."""
    machine = machine_with()
    assert ",prealloc-threads=16 " in advise("qemu_prealloc", "8GiB", machine, page_size="2MiB").option
    java = advise("jvm_pretouch", "8GiB", machine, thp=True, keep_free=12)
    assert "-XX:ParallelGCThreads=4 " in java.option
    assert f"-XX:PreTouchParallelChunkSize={java.recommended['chunk_bytes'] // MIB}M" in java.option
    others = java.table[
        java.table["chunk_bytes"] != 4 * MIB
    ]  # the default, which all numbers of threads are tried with
    assert set(others["threads"]) == {4}
    assert others["chunk_bytes"].nunique() > 1
    assert advice_on(machine, "1GiB").option.startswith("16 threads of the program, each with a part of it: one call")
    threads, piece = (row := advice_on(machine, "1GiB", "populate")).recommended[["threads", "chunk_bytes"]]
    pieces = f"madvise(MADV_POPULATE_WRITE) on pieces of {piece // MIB} MiB"
    assert row.option == f"{threads} threads of the program, {pieces}"
    assert not row.table["note"].str.contains("default").any() and "default" not in " ".join(row.sentences)


@pytest.mark.parametrize(("kernel", "default"), [(None, 4), ("padata-6.9", 2)])
def test_huge_pages_at_boot_have_an_option_of_the_kernel(kernel: str | None, default: int) -> None:
    """hugepage_alloc_threads; its default is a quarter of 16 CPUs, and before Linux 6.15 it is two a node."""
    found = advise("hugetlb_boot_alloc", "8GiB", machine_with(), page_size="2MiB", kernel=kernel)
    assert found.option.startswith(f"hugepage_alloc_threads={found.recommended['threads']}")
    assert found.option.endswith("from Linux 6.15 on") == (kernel is not None)
    assert found.default["threads"] == default


def test_a_container_limits_the_advice() -> None:
    """With 2 CPUs of a quota, or a cpuset of 3, no more threads are tried, and Java's default is as many."""
    for limits, most in (({"cpus": 2.0, "nice": 5}, 2), ({"cpuset": "0-2"}, 3), ({"cpus": 1.5, "cpuset": "0-7"}, 2)):
        found = advise("jvm_pretouch", "1GiB", machine_with(), **limits)  # type: ignore[arg-type]
        assert found.table["threads"].max() == found.default["threads"] == most
    with pytest.raises(InputError, match="jvm_pretouch has threads of its own"):
        advise("jvm_pretouch", "1GiB", machine_with(), kernel="padata-6.18")


def test_fewer_threads_for_java_are_said_to_limit_collections_too() -> None:
    """Java's option is one for every later collection: the advice says what it takes away."""
    found = advise("jvm_pretouch", "4GiB", machine_with(memory_bytes_per_s=8.0 * GIB))
    assert found.recommended["threads"] < found.default["threads"] == 13
    assert any("every later collection, which would have 13" in sentence for sentence in found.sentences)


def test_words_have_the_whole_answer() -> None:
    """The text has title, table, sentences and option; no line of the words is longer than a screen."""
    advice = advice_on(machine_with(memory_bytes_per_s=8.0 * GIB))
    text = describe_advice(advice)
    assert "recommended" in text and advice.option in text
    assert "Use 2 threads: 8 GiB then take about 2" in text
    assert "Released kernels do it with one thread, which takes 4" in text
    assert "takes 100% of the machine's memory bandwidth" in text
    assert max(len(line) for line in text.partition("Use 2")[2].splitlines()) <= 118


def test_a_name_is_never_broken() -> None:
    """A machine's name with hyphens stands in one line, wherever it falls."""
    advice = advice_on(replace(machine_with(), sources={"rates.clear_rate": "not measured"}), "1GiB", keep_free=15)
    for length in range(40):
        name = "x" * length + "-on-the-right-bank"
        named = replace(advice, sentences=(f"Not measured on {'a long machine ' * 5}{name}.",))
        assert name in describe_advice(named)


def test_a_figure_of_a_family_is_in_doubt_by_the_width_that_its_source_says() -> None:
    """Rates of an imported topology are guesses: each is varied by its own width, and the costs of a page too."""
    machine = load_machine("xeon-platinum-8160-2s")
    sources = {
        **machine.sources,
        "rates.clear_rate": "guessed, not measured, of the family any, within 40%: an assumption",
        "rates.memory_bandwidth": "derived, not measured, of the family any: of others",
        "pages.base_page": "guessed, not measured, of the family any, within 40%: an assumption",
    }
    guessed = replace(machine, sources=sources, pages={"base_page": 1e-6}, clients={})
    task = CLIENTS["jvm_pretouch"].model_validate({"client": "jvm_pretouch", "size": "1GiB"})
    case = Case(guessed, task, VERSIONS["jvm"](), 1, 1)
    found = doubts_of(case)
    assert {name: doubt.share for name, doubt in found.items()} == {
        "clear_rate": 0.4,
        "memory_bandwidth": 0.3,
        "costs": 0.3,
    }
    slower = varied(case, found)["clear_rate", 0].machine.rates.clear_bytes_per_s
    assert slower == pytest.approx(machine.rates.clear_bytes_per_s / 1.4)


def test_a_group_called_container_is_not_the_jobs() -> None:
    """A group of the other work keeps its quota beside `--cpus` of the job, whatever its name is."""
    found = {}
    for name in ("container", "others"):
        beside = {"other": {"load": "spin", "threads": 2, "group": name}}
        groups = {name: {"quota": 0.5}}
        advice = advise("populate", "1GiB", machine_with(), cpus=2.0, background=beside, groups=groups)
        found[name] = advice.table
    assert found["container"].equals(found["others"])


def test_a_kernel_that_is_named_gets_a_line_of_its_code() -> None:
    """For a kernel that nobody released the advice is what its code has to call; else threads of the program."""
    patched = advise("vfio_pin", "8GiB", machine_with(), kernel="ktask-v4")
    assert patched.option.startswith(f"ktask_ctl_set_max_threads(&ctl, {patched.recommended['threads']}) where")
    released = advise("vfio_pin", "8GiB", machine_with())
    assert released.option.endswith("each with a part of it: one call has one thread in released kernels")
