"""Tuning: what is tried, what is found, how far the presets are from it, and what is refused."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from matplotlib.image import imread

import sim
from models.policies.chunks import KtaskChunks
from models.policies.options import PRESETS
from models.results import FolderTakenError
from models.results.regret import pareto_front
from models.scenario import Scenario
from models.text.problems import InputError
from sim.cli import main

TABLES = ("trials.csv", "trials.parquet", "front.csv", "front.parquet", "regret.csv", "regret.parquet")
OF_PRESETS = 2 * 2 * len(PRESETS)  # runs: with two max_threads, two replications each
FILES = (*TABLES, "scenario.yaml", "machine-laptop-ryzen-4800u.json", "pareto.png", "tuning.json")


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the content of the result files of a folder."""
    return {name: (folder / name).read_bytes() for name in FILES}


def change_store(folder: Path, statement: str) -> None:
    """Change the file of runs of a folder by a statement of SQL."""
    with contextlib.closing(sqlite3.connect(folder / "runs.sqlite")) as db, db:
        db.execute(statement)


@pytest.fixture
def space(small_scenario: Scenario) -> Scenario:
    """A scenario of 32 policies, of which each takes a few milliseconds."""
    return small_scenario.with_values(
        {
            "machine": "laptop-ryzen-4800u",
            "task.size": "1GiB",
            "task.pool": "4GiB",
            "replications": 2,
            "kernel.max_threads": [2, 4],
            "kernel.chunks": ["ktask", "factoring"],
            "kernel.chunks_per_work": [2, 4],
            "kernel.node_share": [0.5, 1.0],
            "kernel.end": ["as-is", "split"],
        }
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of six policies."""
    path = tmp_path / "six.yaml"
    path.write_text(
        "title: Six\nquestion: Which?\nmachine: xeon-e7-8895v3-8s\n"
        "task: {client: clear_gigantic_page, size: 8GiB, pool: 32GiB}\n"
        "kernel: {max_threads: [2, 4], chunks: [ktask, factoring, guided]}\nreplications: 2\nseed: 7\n"
    )
    return path


def test_small_space_is_enumerated(space: Scenario, tmp_path: Path) -> None:
    """With as many trials as policies each is tried once, in the file's order, with the means that sim.run gives."""
    tuning = sim.tune(space, tmp_path / "t", trials=1000)
    summary = sim.run(space).summary
    names = ["max_threads", "chunks", "chunks_per_work", "node_share", "end"]
    assert tuning.n_points == len(tuning.trials) == 32
    assert tuning.trials[names].values.tolist() == [list(case.choices.values()) for case in space.cases]
    for name in ("time_s", "cpu_s", "imbalance"):
        assert list(tuning.trials[name]) == pytest.approx(list(summary[name]), rel=1e-12)


def test_front_and_regret(space: Scenario, tmp_path: Path) -> None:
    """Front and regret are over trials and presets together, and each preset stands there with each max_threads."""
    tuning = sim.tune(space, tmp_path / "t", trials=1000)
    columns = ["time_s", "cpu_s"]
    both = pd.concat([tuning.trials, tuning.regret], ignore_index=True)
    assert list(both["front"]) == list(pareto_front(both, columns))
    assert tuning.front[columns].values.tolist() == sorted(both.loc[both["front"], columns].values.tolist())
    assert list(zip(tuning.regret["preset"], tuning.regret["max_threads"], strict=True)) == [
        (name, most) for name in PRESETS for most in (2, 4)
    ]
    for name, column in (("time", "time_s"), ("cpu_seconds", "cpu_s")):
        expected = (tuning.regret[column] / both[column].min() - 1) * 100
        assert list(tuning.regret[f"{name}_regret_pct"]) == pytest.approx(list(expected), abs=1e-9)


def test_presets_are_as_shipped(space: Scenario, tmp_path: Path) -> None:
    """A preset has its own decisions, and of the file what is no list and no decision."""
    scenario = space.with_values({"kernel.end": "split", "kernel.min_chunk": "4MiB"})
    regret = sim.tune(scenario, tmp_path / "t", trials=1).regret.set_index(["preset", "max_threads"])
    for name in PRESETS:
        kernel = {"policy": name, "min_chunk": "4MiB", "max_threads": 4}
        assert regret.loc[(name, 4), "time_s"] == pytest.approx(
            sim.run(scenario.with_values({"kernel": kernel})).summary["time_s"][0], rel=1e-12
        )


def test_no_policy_is_tried_twice(space: Scenario, tmp_path: Path) -> None:
    """A search of most of the space, where the sampler asks for much again, tries so many different policies."""
    trials = sim.tune(space, tmp_path / "t", trials=29).trials
    names = list(trials.columns[1 : trials.columns.get_loc("time_s")])
    assert len(trials) == len(trials.drop_duplicates(names)) == 29


def test_jobs_stops_and_parts_give_the_same_bytes(space: Scenario, tmp_path: Path) -> None:
    """One call, two jobs, a stop in the middle of a batch, and one call after another write the same files."""
    sim.tune(space, tmp_path / "whole", trials=20)
    sim.tune(space, tmp_path / "jobs", trials=20, jobs=2)

    def stop(n_made: int, _expected: int) -> None:
        if n_made == OF_PRESETS + 22:  # all of the presets and of a batch, and some of the next one
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sim.tune(space, tmp_path / "stopped", trials=20, on_done=stop)
    assert not (tmp_path / "stopped" / "tuning.json").exists()
    calls: list[tuple[int, int]] = []
    sim.tune(space, tmp_path / "stopped", trials=20, on_done=lambda *counts: calls.append(counts))
    assert calls[0] == (OF_PRESETS + 16, OF_PRESETS + 40) and calls[-1] == (OF_PRESETS + 40, OF_PRESETS + 40)
    for n in (3, 13, 20):
        sim.tune(space, tmp_path / "parts", trials=n)
    for name in ("jobs", "stopped", "parts"):
        assert bytes_of(tmp_path / name) == bytes_of(tmp_path / "whole")


def test_finished_search_only_reads(space: Scenario, tmp_path: Path) -> None:
    """A finished search runs nothing and writes no file again, and fewer trials throw none away."""
    first = sim.tune(space, tmp_path / "t", trials=12)
    before = {name: (tmp_path / "t" / name).stat().st_mtime_ns for name in FILES}
    calls: list[tuple[int, int]] = []
    again = sim.tune(space, tmp_path / "t", trials=5, on_done=lambda *counts: calls.append(counts))
    assert calls == [(OF_PRESETS + 24, OF_PRESETS + 24)]
    assert {name: (tmp_path / "t" / name).stat().st_mtime_ns for name in FILES} == before
    pd.testing.assert_frame_equal(again.trials, first.trials, check_exact=True)


def test_lost_trials_are_proposed_again(space: Scenario, tmp_path: Path) -> None:
    """A folder whose trials are not stored, as of earlier versions, gets the same ones, and no run is made for them."""
    first = sim.tune(space, tmp_path / "t", trials=12)
    change_store(tmp_path / "t", "DROP TABLE trials")
    calls: list[tuple[int, int]] = []
    again = sim.tune(space, tmp_path / "t", trials=12, on_done=lambda *counts: calls.append(counts))
    assert calls == [(OF_PRESETS + n, OF_PRESETS + 24) for n in (0, 16, 24)]
    pd.testing.assert_frame_equal(again.trials, first.trials, check_exact=True)


def test_study_is_an_export(space: Scenario, tmp_path: Path) -> None:
    """Optuna's own file has the trials, and a search goes on without it, or with anything in its place."""
    folder = tmp_path / "t"
    first = sim.tune(space, folder, trials=12)
    study = optuna.load_study(study_name="tuning", storage=f"sqlite:///{folder / 'study.sqlite'}")
    assert [trial.values for trial in study.trials] == first.trials[["time_s", "cpu_s"]].values.tolist()
    assert [trial.params["end"] for trial in study.trials] == first.trials["end"].tolist()
    (folder / "study.sqlite").write_bytes(b"no database" * 1000)
    assert len(sim.tune(space, folder, trials=14).trials) == 14
    assert len(optuna.load_study(study_name="tuning", storage=f"sqlite:///{folder / 'study.sqlite'}").trials) == 14


@pytest.mark.parametrize("objectives", [["cpu_seconds"], ["imbalance"], ["time", "cpu_seconds", "imbalance"]])
def test_one_objective_or_three(objectives: list[str], space: Scenario, tmp_path: Path) -> None:
    """One objective has a best, three have a front in all of them, and the figure can be drawn."""
    tuning = sim.tune(space, tmp_path / "t", objectives=objectives, trials=20)
    columns = [{"time": "time_s", "cpu_seconds": "cpu_s"}.get(name, name) for name in objectives]
    both = pd.concat([tuning.trials, tuning.regret], ignore_index=True)
    assert len(tuning.front) == pareto_front(both, columns).sum()
    assert [name for name in tuning.regret if name.endswith("pct")] == [f"{name}_regret_pct" for name in objectives]
    assert imread(tmp_path / "t" / "pareto.png").std() > 0


def test_own_rule_is_tuned(space: Scenario, tmp_path: Path) -> None:
    """With a rule of one's own the other parameters are tuned as with a shipped one, and the presets keep their own."""

    class Own(KtaskChunks):
        pass

    plain = space.with_values({"kernel.chunks": "ktask"})
    own = sim.tune(plain.with_rules(chunks=Own), tmp_path / "own", trials=16, jobs=2)
    shipped = sim.tune(plain, tmp_path / "plain", trials=16)
    assert set(own.trials["chunks"]) == {"Own"}
    pd.testing.assert_series_equal(own.trials["time_s"], shipped.trials["time_s"])
    pd.testing.assert_frame_equal(own.regret, shipped.regret)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"objectives": ["tmie"]}, "found 'tmie'; did you mean time?"),
        ({"objectives": []}, "found []"),
        ({"objectives": ["time", "time"]}, "each once; found ['time', 'time']"),
        ({"objectives": "time"}, "found 'time'"),
        ({"trials": 0}, "trials must be 1 or more; found 0"),
        ({"jobs": 0}, "jobs must be 1 or more; found 0"),
    ],
)
def test_options_are_refused(options: dict[str, Any], expected: str, space: Scenario, tmp_path: Path) -> None:
    """Impossible options are refused before anything is made."""
    with pytest.raises(ValueError) as error:
        sim.tune(space, tmp_path / "t", **options)
    assert expected in str(error.value) and not (tmp_path / "t").exists()


def test_other_searches_are_refused(space: Scenario, tmp_path: Path) -> None:
    """A folder of other objectives, another scenario, a sweep, other files or a changed trial is left as it is."""
    folder = tmp_path / "t"
    sim.tune(space, folder, trials=1)
    before = bytes_of(folder)
    with pytest.raises(FolderTakenError, match="changed is objectives"):
        sim.tune(space, folder, trials=1, objectives=["time"])
    with pytest.raises(FolderTakenError, match="changed is the scenario"):
        sim.tune(space.with_values({"seed": 2}), folder, trials=1)
    with pytest.raises(FolderTakenError, match="changed is"):
        sim.sweep(space, folder)
    change_store(folder, "UPDATE trials SET case_number = case_number + 1")
    with pytest.raises(FolderTakenError, match="trial 0 is not as it was stored"):
        sim.tune(space, folder, trials=1)
    assert bytes_of(folder) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(FolderTakenError, match="holds something else"):
        sim.tune(space, tmp_path / "mine", trials=1)


def test_combined_scenario_is_refused(space: Scenario, tmp_path: Path) -> None:
    """Cases that are not all combinations of some values are no space to search."""
    parts = [space, space.with_values({"kernel.max_threads": [16, 32], "kernel.end": "cancel"})]
    with pytest.raises(InputError, match="kernels that have lists of different values"):
        sim.tune(Scenario.combine("t", "q", parts), tmp_path / "t")


def test_command(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints the front and the presets' regret as a table, CSV or JSON, and messages on stderr."""
    monkeypatch.chdir(tmp_path)
    printed = {}
    for style in ("table", "csv", "json"):
        with pytest.raises(SystemExit) as end:
            main(["tune", file.name, "-o", "out", "--jobs", "1", "--format", style])
        printed[style], errors = capsys.readouterr()
        assert end.value.code == 0 and errors.splitlines() == ["figure: out/pareto.png", "results: out"]
    assert "6 of 6 policies tried" in printed["table"] and "hugetlb-boot-2025" in printed["table"]
    assert printed["csv"] == (tmp_path / "out" / "front.csv").read_text()
    with pytest.raises(SystemExit):
        main(["page", "out"])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert page.index("In short") < page.index("Nothing beats these, in time (s), CPU-seconds, of 6 policies tried.")
    assert all(words in page for words in ("<svg", "hugetlb-boot-2025", 'id="t-all-trials"', "Which?"))
    both = json.loads(printed["json"])
    assert [row["time_s"] for row in both["front"]] == pytest.approx(list(pd.read_csv("out/front.csv")["time_s"]))
    assert len(both["regret"]) == 2 * len(PRESETS)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--objective", "time,cpu_second"], "found 'cpu_second'; did you mean cpu_seconds?"),
        (["--objective", ""], "found ''"),
        (["--trials", "0"], "0 is not in the range x>=1"),
    ],
)
def test_command_refuses(
    arguments: list[str],
    expected: str,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad options end with status 2 and say what is allowed."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["tune", file.name, *arguments])
    assert end.value.code == 2 and expected in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_without_optuna(file: Path, tmp_path: Path) -> None:
    """Where Optuna is not installed, the message says how to get it."""
    code = "import sys; sys.modules['optuna'] = None; from sim.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "tune", file.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'ktask-sim[tune]'" in done.stderr
