"""Sweeps: what is stored, what is run, when replications stop, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import sim
from models.policies import WorksRule
from models.results import FolderTakenError, load_results
from models.scenario import Scenario
from sim.runs.replications import CaseRuns, Replications, RunningMean
from sim.runs.store import FILE, RunStore
from tests.unit.test_cli import ktask_sim

OF_RUNS = ("summary.csv", "summary.parquet", "runs.csv", "runs.parquet", "workers.parquet", "resources.parquet")
OTHERS = ("scenario.yaml", "provenance.json", "speedup.png")


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the content of the result files of a folder."""
    return {name: (folder / name).read_bytes() for name in (*OF_RUNS, *OTHERS)}


def stored(folder: Path) -> dict[tuple[int, int], int]:
    """Return the session that made each stored run."""
    with sqlite3.connect(folder / FILE) as db:
        rows = db.execute("SELECT case_number, replication, session FROM runs").fetchall()
    db.close()
    found = {(number, i): session for number, i, session in rows}
    assert len(found) == len(rows)
    return found


def half_width(times: list[float]) -> float:
    """Return half the width of the 95 % confidence interval, as the textbook has it."""
    n = len(times)
    return float(stats.t.ppf(0.975, n - 1) * np.std(times, ddof=1) / math.sqrt(n))


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    """A file of three cases."""
    return write_scenario(tmp_path)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of that file, to be copied."""
    folder = tmp_path_factory.mktemp("swept")
    ktask_sim("sweep", str(write_scenario(folder)), "-o", "out", "--jobs", "1", cwd=folder)
    return folder / "out"


def write_scenario(folder: Path) -> Path:
    """Write a file of three cases to a folder."""
    path = folder / "small.yaml"
    path.write_text(
        "title: Small\nquestion: How long?\nmachine: xeon-e7-8895v3-8s\n"
        "task: {client: clear_gigantic_page, size: 8GiB, pool: 32GiB}\n"
        "kernel: {version: ktask-v1, max_threads: [1, 2, 4]}\nreplications: 2\nseed: 7\n"
    )
    return path


def test_sweep_gives_what_run_gives(small_scenario: Scenario, tmp_path: Path) -> None:
    """Without ci the tables are those of sim.run, but for the confidence interval, and the folder can be read again."""
    plain = sim.run(small_scenario)
    calls: list[tuple[int, int]] = []
    amounts: list[tuple[float, float]] = []
    swept = sim.sweep(
        small_scenario,
        tmp_path / "s",
        on_done=lambda done, expected: calls.append((done, expected)),
        on_amount=lambda done, expected: amounts.append((done, expected)),
    )
    pd.testing.assert_frame_equal(swept.summary.drop(columns="time_ci_s"), plain.summary, check_exact=True)
    for name in ("runs", "workers", "resources"):
        pd.testing.assert_frame_equal(getattr(swept, name), getattr(plain, name), check_exact=True)
    for own, (_, times) in zip(swept.summary["time_ci_s"], swept.runs.groupby("case")["time_s"], strict=True):
        assert own == pytest.approx(half_width(list(times)), rel=1e-12)
    assert calls == [(n, 12) for n in range(13)]
    # A run counts by its chunks, and one more for its start.
    in_all = sum(case.replications * (1 + case.least_chunks) for case in small_scenario.cases)
    assert [expected for _, expected in amounts] == [in_all] * 13
    assert amounts[0][0] == 0 and amounts[-1][0] == in_all and [a for a, _ in amounts] == sorted(a for a, _ in amounts)
    assert load_results(tmp_path / "s").provenance == swept.provenance
    assert not list((tmp_path / "s").glob("*-wal"))


def test_two_jobs_give_the_same_bytes(small_scenario: Scenario, tmp_path: Path) -> None:
    """One process and two write the same files, with and without ci."""
    for name, ci in (("plain", None), ("ci", 0.02)):
        one, two = tmp_path / f"{name}-1", tmp_path / f"{name}-2"
        sim.sweep(small_scenario, one, ci=ci, max_replications=8)
        sim.sweep(small_scenario, two, jobs=2, ci=ci, max_replications=8)
        assert bytes_of(one) == bytes_of(two)


def test_sweep_goes_on_where_it_was_stopped(small_scenario: Scenario, tmp_path: Path) -> None:
    """A sweep that was stopped after five runs makes only the others, and the files are those of one that was not."""

    def stop(n_made: int, _expected: int) -> None:
        if n_made == 5:
            raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        sim.sweep(small_scenario, folder, on_done=stop)
    before = stored(folder)
    assert len(before) == 5 and not (folder / "provenance.json").exists()
    calls: list[tuple[int, int]] = []
    sim.sweep(small_scenario, folder, on_done=lambda *counts: calls.append(counts))
    assert calls[0] == (5, 12) and len(calls) == 8
    after = stored(folder)
    assert len(after) == 12
    assert {key for key, session in after.items() if session == 1} == set(before)
    sim.sweep(small_scenario, tmp_path / "whole")
    assert bytes_of(folder) == bytes_of(tmp_path / "whole")


def test_finished_sweep_only_reads(small_scenario: Scenario, tmp_path: Path) -> None:
    """A finished sweep makes no run and writes no file again; another ci uses the runs that are there."""
    folder = tmp_path / "s"
    first = sim.sweep(small_scenario, folder)
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    calls: list[tuple[int, int]] = []
    again = sim.sweep(small_scenario, folder, on_done=lambda *counts: calls.append(counts))
    assert calls == [(12, 12)]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    pd.testing.assert_frame_equal(again.runs, first.runs, check_exact=True)
    wide = sim.sweep(small_scenario, folder, ci=0.9)
    assert len(stored(folder)) == 12 and set(stored(folder).values()) == {1}
    assert load_results(folder).provenance == wide.provenance != first.provenance


def test_ci_stops_at_the_first_replication_that_is_enough(small_scenario: Scenario, tmp_path: Path) -> None:
    """Each case ends at the first n from 3 whose interval, worked out by hand, is small enough, or at the most, 12."""
    times = sim.run(small_scenario.with_values({"replications": 12})).runs.groupby("case")["time_s"].apply(list)
    ratios = [[half_width(own[:n]) / np.mean(own[:n]) for n in range(3, 13)] for own in times]
    ci = float(np.median([ratio for own in ratios for ratio in own]))  # some stop early, some late
    expected = [next((n for n, ratio in enumerate(own, start=3) if ratio <= ci), 12) for own in ratios]
    assert min(expected) < 12 and len(set(expected)) > 1
    for jobs in (1, 2):
        results = sim.sweep(small_scenario, tmp_path / f"s{jobs}", ci=ci, max_replications=12, jobs=jobs)
        assert list(results.summary["replications"]) == expected
        assert [len(own) for _, own in results.runs.groupby("case")] == expected
    assert len(stored(tmp_path / "s1")) == sum(expected)  # one process makes none ahead
    tight = sim.sweep(small_scenario, tmp_path / "s1", ci=1e-9, max_replications=12)
    assert set(tight.summary["replications"]) == {12}


def test_decision_does_not_depend_on_the_order_of_arrival() -> None:
    """In any order of arrival, with gaps, the same number of replications is decided on, and no run is taken twice."""
    rng = random.Random(5)
    times = [rng.gauss(10.0, 1.0) for _ in range(60)]
    expected = next(n for n in range(4, 61) if half_width(times[:n]) <= 0.04 * np.mean(times[:n]))
    assert 10 < expected < 60
    for limit in (1, 2, 7, 30):
        runs = Replications([4, 4], [1.0, 2.0], ci=0.04, most=60)
        in_flight: list[tuple[int, int]] = []
        taken = []
        while True:
            while len(in_flight) < limit and (key := runs.take()) is not None:
                in_flight.append(key)
                taken.append(key)
            if not in_flight:
                break
            key = in_flight.pop(rng.randrange(len(in_flight)))
            runs.add(key, times[key[1]])
        assert [case.n_final for case in runs.cases] == [expected, expected]
        assert len(set(taken)) == len(taken) == runs.n_known
        assert runs.n_left == 0
        assert taken[0] == (1, 0)  # the costlier case first
        if limit == 1:
            assert len(taken) == 2 * expected


def test_running_mean_is_the_textbooks() -> None:
    """Mean and half width of 4, 5, 9: 6, and 4.303 x sqrt(7 / 3) = 6.572; of one value there is no interval."""
    found = RunningMean([4.0, 5.0, 9.0])
    assert found.mean == pytest.approx(6.0)
    assert found.half_width() == pytest.approx(4.302653 * math.sqrt(7.0 / 3.0), rel=1e-6)
    assert math.isnan(RunningMean([4.0]).half_width())


def test_one_replication_is_never_enough_for_ci() -> None:
    """With least 1 and ci, two equal times are what stops; with the most reached, it stops whatever the interval."""
    case = CaseRuns(1, 5, 0.1)
    case.add(0, 2.0)
    assert case.n_final is None and case.n_wanted == 2
    case.add(1, 2.0)
    assert case.n_final == 2
    wide = CaseRuns(1, 3, 0.1)
    for i, time_s in enumerate((1.0, 2.0, 3.0)):
        wide.add(i, time_s)
    assert wide.n_final == 3


def test_changed_scenario_is_refused(scenario_file: Path, tmp_path: Path) -> None:
    """A scenario that differs from the one whose runs are stored is refused with what to do, and nothing changes."""
    assert ktask_sim("sweep", "small.yaml", "-o", "out", "--jobs", "1", cwd=tmp_path).returncode == 0
    before = (tmp_path / "out" / FILE).read_bytes()
    scenario_file.write_text(scenario_file.read_text().replace("seed: 7", "seed: 8"))
    done = ktask_sim("sweep", "small.yaml", "-o", "out", "--jobs", "1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "changed is the scenario, its machine or its table" in done.stderr
    assert "give another folder (-o), or remove this one to start again" in done.stderr
    assert (tmp_path / "out" / FILE).read_bytes() == before


def test_changed_version_is_named(tmp_path: Path) -> None:
    """Runs of another version are refused with both versions; a store without a run takes what is new."""
    old, new = {"digest": "a", "simpy": "4.1"}, {"digest": "a", "simpy": "4.2"}
    RunStore(tmp_path / "s", old).close()
    RunStore(tmp_path / "s", new).close()
    with sqlite3.connect(tmp_path / "s" / FILE) as db:
        db.execute("INSERT INTO runs VALUES (0, 0, 1, 1.0, x'', x'')")
    db.close()
    with pytest.raises(FolderTakenError, match=r"simpy \(4\.2, now 4\.1\)"):
        RunStore(tmp_path / "s", old)


def rule_of(n: int) -> type[WorksRule]:
    """Return a rule that a user could have written."""

    class Mine(WorksRule):
        """Always so many."""

        def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
            return n

    return Mine


def test_rule_of_ones_own_is_part_of_what_is_stored(small_scenario: Scenario, tmp_path: Path) -> None:
    """A sweep with a rule of one's own gives what sim.run gives, with two jobs too, and is not that without it."""
    mine = small_scenario.with_rules(works=rule_of(2))
    swept = sim.sweep(mine, tmp_path / "s", jobs=2)
    assert list(swept.runs["time_s"]) == list(sim.run(mine).runs["time_s"])
    with pytest.raises(FolderTakenError, match="runs of something else"):
        sim.sweep(small_scenario, tmp_path / "s")


def spoil_text(path: Path) -> None:
    path.write_text("not a database, but a long enough text " * 100)


def spoil_foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()


def spoil_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(random.Random(1).randbytes(len(content) - 4096))
    path.write_bytes(content)


def spoil_version(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()


def spoil_with(statement: str) -> Callable[[Path], None]:
    """Return what changes a store by SQL, as a tool for databases would."""

    def spoil(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()

    return spoil


TAMPERED = "replication 1 of case 2 is not as it was stored"
OF_ONE = "WHERE case_number = 2 AND replication = 1"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_with(f"UPDATE runs SET time_s = time_s * 1.0000001 {OF_ONE}"), TAMPERED),
        (spoil_with(f"UPDATE runs SET time_s = 'soon' {OF_ONE}"), TAMPERED),
        (spoil_with(f"UPDATE runs SET result = substr(result, 2) {OF_ONE}"), TAMPERED),
        (spoil_with(f"UPDATE runs SET result = x'00' {OF_ONE}"), TAMPERED),
        (spoil_with(f"UPDATE runs SET checksum = 'none' {OF_ONE}"), TAMPERED),
        (spoil_with("UPDATE runs SET replication = 7 WHERE case_number = 2 AND replication = 0"), "replication 7 of"),
        (spoil_with("DELETE FROM identity"), "a table is empty"),
        (spoil_with("UPDATE identity SET content = '{'"), "is damaged, or no file of runs"),
        (spoil_with("UPDATE identity SET content = '[1]'"), "is damaged, or no file of runs"),
        (spoil_text, "is damaged, or no file of runs (file is not a database)"),
        (spoil_foreign, "is no file of runs of this program"),
        (spoil_pages, "is damaged, or no file of runs"),
        (spoil_version, "has version 9 of its tables; this program writes 2"),
    ],
)
def test_other_files_are_refused(scenario_file: Path, swept: Path, tmp_path: Path, spoil: object, words: str) -> None:
    """A damaged or foreign file is refused with status 2 and left as it is."""
    shutil.copytree(swept, tmp_path / "out")
    path = tmp_path / "out" / FILE
    assert callable(spoil)
    spoil(path)
    before = path.read_bytes()
    done = ktask_sim("sweep", str(scenario_file), "-o", "out", "--jobs", "1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and "give another folder (-o), or remove this one to start again" in done.stderr
    assert path.read_bytes() == before


def test_other_folders_are_refused(small_scenario: Scenario, tmp_path: Path) -> None:
    """A folder with anything else, or a file in its place, is not written to."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear")
    with pytest.raises(FolderTakenError, match="holds something else"):
        sim.sweep(small_scenario, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]
    with pytest.raises(FolderTakenError, match="is a file"):
        sim.sweep(small_scenario, tmp_path / "full" / "letter.txt")


def test_two_sweeps_in_one_folder_are_refused(small_scenario: Scenario, tmp_path: Path) -> None:
    """The second of two sweeps into a folder at the same time is refused, in a process of its own too."""
    seen: list[str] = []
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps(small_scenario.document.plain()))

    def second(n_made: int, _expected: int) -> None:
        if n_made == 2:
            with pytest.raises(FolderTakenError, match="another sweep or search is at work"):
                sim.sweep(small_scenario, tmp_path / "s")
            done = ktask_sim("sweep", str(path), "-o", str(tmp_path / "s"), cwd=tmp_path)
            assert done.returncode == 2
            seen.append(done.stderr)

    sim.sweep(small_scenario, tmp_path / "s", on_done=second)
    assert len(seen) == 1 and "another sweep or search is at work" in seen[0]
    assert len(stored(tmp_path / "s")) == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ci", "0"], "--ci"),
        (["--ci", "1.5"], "--ci"),
        (["--ci", "x"], "--ci"),
        (["--jobs", "0"], "--jobs"),
        (["--max-replications", "5"], "--max-replications is of --ci"),
        (["--ci", "0.1", "--max-replications", "1"], "--max-replications"),
        (["--scheduler", "somewhere"], "found scheduler 'somewhere'; allowed is tcp://HOST:PORT"),
        (["--scheduler", "tcp://127.0.0.1:1", "--jobs", "2"], "--jobs is of this host"),
        (["--format", "xml"], "--format"),
    ],
)
def test_bad_options_are_status_2(scenario_file: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    """A wrong option gives one message that names it, status 2, no traceback, and no run."""
    done = ktask_sim("sweep", str(scenario_file), "-o", "out", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out" / FILE).exists() or not stored(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"jobs": 0}, "jobs must be 1 or more; found 0"),
        ({"ci": 1.0}, "ci must be more than 0 and less than 1; found 1.0"),
        ({"ci": 0.1, "max_replications": 2}, "no less than the scenario's replications, 3; found 2"),
    ],
)
def test_bad_values_are_named(small_scenario: Scenario, tmp_path: Path, options: dict[str, float], words: str) -> None:
    """From Python an impossible value raises ValueError with name, rule and value before a folder is made."""
    with pytest.raises(ValueError, match=words):
        sim.sweep(small_scenario, tmp_path / "s", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "s").exists()


def test_command_prints_the_table_and_show_prints_it_again(scenario_file: Path, tmp_path: Path) -> None:
    """The command writes a result folder that `show` reads, by default results/SCENARIO-sweep."""
    done = ktask_sim("sweep", str(scenario_file), "--jobs", "1", "--ci", "0.5", "--format", "csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "results: results/small-sweep" in done.stderr and "time_ci_s" in done.stdout.splitlines()[0]
    shown = ktask_sim("show", "results/small-sweep", "--format", "csv", cwd=tmp_path)
    assert len(shown.stdout.splitlines()) == 4
    assert (tmp_path / "results" / "small-sweep" / "speedup.png").read_bytes().startswith(b"\x89PNG")


def test_every_combination_is_swept(scenario_file: Path, tmp_path: Path) -> None:
    """The cases are all combinations of the lists of the file."""
    scenario = sim.load(scenario_file).with_values(
        {"kernel.chunks": ["ktask", "guided"], "kernel.end": ["as-is", "split"]}
    )
    summary = sim.sweep(scenario, tmp_path / "s").summary
    found = set(zip(summary["nthreads"], summary["chunks"], summary["end"], strict=True))
    assert found == set(itertools.product([1, 2, 4], ["ktask", "guided"], ["as-is", "split"]))
