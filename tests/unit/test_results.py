"""Result folders: the same bytes from the same runs, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import sim
from models.results import FolderTakenError, load_results
from models.scenario import Scenario
from sim.show.advice_form import advice_form
from sim.show.describe import describe_results, describe_scenario


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_same_bytes_for_any_number_of_jobs_and_process(small_scenario: Scenario, tmp_path: Path, root: Path) -> None:
    """One job, two jobs, and another process with another hash seed write the same folder, byte for byte."""
    sim.run(small_scenario, traces=True).save(tmp_path / "one")
    sim.run(small_scenario, jobs=2, traces=True).save(tmp_path / "two")
    script = (
        "import sys, sim; from pathlib import Path\n"
        "s = sim.load('scenarios/clear_gigantic_page.yaml').with_values({'task.size': ['8GiB', '16GiB'],"
        "'task.pool': '32GiB', 'kernel.max_threads': [1, 4], 'replications': 3})\n"
        "sim.run(s, traces=True).save(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "three")], check=True, cwd=root, env=environment)
    first = contents(tmp_path / "one")
    assert len(first) >= 9
    assert contents(tmp_path / "two") == first
    assert contents(tmp_path / "three") == first


def test_other_seed_other_times(small_scenario: Scenario) -> None:
    """Another seed changes the times; the same one repeats them."""
    one, again = sim.run(small_scenario), sim.run(small_scenario)
    other = sim.run(small_scenario.with_values({"seed": 2}))
    pd.testing.assert_frame_equal(one.runs, again.runs)
    assert (one.runs["time_s"] != other.runs["time_s"]).any()


def test_replications_differ_and_share_their_luck(small_scenario: Scenario) -> None:
    """Replications of a case differ; the caller starts on the same node in the same replication of every case."""
    runs = sim.run(small_scenario).runs
    assert (runs.groupby("case")["time_s"].nunique() == 3).all()
    starts = {
        (case, i): sim.trace(small_scenario, case, i).query("worker == 0 and kind == 'chunk'")["memory_node"].iloc[0]
        for case in range(4)
        for i in range(3)
    }
    for i in range(3):
        assert len({starts[case, i] for case in range(4)}) == 1
    assert len({starts[0, i] for i in range(3)}) > 1


def test_cpus_are_written_as_text(small_scenario: Scenario, tmp_path: Path) -> None:
    """A list of CPUs beside a single one, which is a number in YAML, makes a column of texts that can be saved."""
    scenario = small_scenario.with_values({"task.cpus": ["0-3", 2], "kernel.max_threads": 4, "task.size": "2GiB"})
    sim.run(scenario).save(tmp_path / "r")
    assert list(load_results(tmp_path / "r").summary["cpus"]) == ["0-3", "2"]


def test_a_folder_reads_back(small_scenario: Scenario, tmp_path: Path) -> None:
    """What is saved is what is loaded: every table, the scenario and the provenance."""
    results = sim.run(small_scenario, traces=True)
    results.save(tmp_path / "r")
    back = load_results(tmp_path / "r")
    for name in ("summary", "runs", "workers", "resources", "traces", "loads"):
        pd.testing.assert_frame_equal(getattr(results, name), getattr(back, name), check_dtype=False)
    assert (back.scenario, back.provenance) == (results.scenario, results.provenance)


def test_another_result_is_not_overwritten(small_scenario: Scenario, tmp_path: Path) -> None:
    """Saving over another result, or over anything else, is refused and leaves it as it was."""
    sim.run(small_scenario).save(tmp_path / "r")
    before = contents(tmp_path / "r")
    with pytest.raises(FolderTakenError, match="holds something else"):
        sim.run(small_scenario.with_values({"seed": 2})).save(tmp_path / "r")
    assert contents(tmp_path / "r") == before
    sim.run(small_scenario).save(tmp_path / "r")  # the same runs: replaced
    assert contents(tmp_path / "r") == before
    (tmp_path / "r" / "remarks.txt").write_text("look at case 3")
    sim.run(small_scenario).save(tmp_path / "r")
    assert contents(tmp_path / "r") == before | {"remarks.txt": b"look at case 3"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderTakenError):
        sim.run(small_scenario).save(tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"thesis.txt": b"years of work"}


def test_tables_agree_with_each_other(small_scenario: Scenario) -> None:
    """Chunks, bytes and waits add up across the tables, and loads average to the reported utilisation."""
    results = sim.run(small_scenario, traces=True)
    assert results.traces is not None and results.loads is not None
    merged = results.workers.groupby(["case", "replication"])[["n_chunks", "lock_wait_s"]].sum()
    runs = results.runs.set_index(["case", "replication"])
    assert (merged["n_chunks"] == runs["n_chunks"]).all()
    assert merged["lock_wait_s"].to_numpy() == pytest.approx(runs["lock_wait_s"].to_numpy())
    chunks = results.traces[results.traces["kind"] == "chunk"].groupby("case")["size_bytes"].sum()
    assert list(chunks) == [8 * 2**30] * 2 + [16 * 2**30] * 2
    reported = results.resources[results.resources["replication"] == 0].set_index(["case", "resource"])["utilisation"]
    for (case, resource), load in results.loads.groupby(["case", "resource"])["utilisation"].mean().items():
        # The load is of bytes; the engine's figure has each chunk's noise (2 %) in it.
        assert load == pytest.approx(reported[case, resource], rel=0.02)


def test_speedup_is_against_one_thread(small_scenario: Scenario) -> None:
    """The speed-up of a case is the time of the like case with one thread over its own."""
    summary = sim.run(small_scenario).summary.set_index(["nthreads", "size_gib"])
    for size_gib in (8, 16):
        expected = summary.loc[(1, size_gib), "time_s"] / summary.loc[(4, size_gib), "time_s"]
        assert summary.loc[(4, size_gib), "speedup"] == pytest.approx(expected)
        assert summary.loc[(1, size_gib), "speedup"] == 1.0


def test_what_differs_between_cases_has_a_column(root: Path) -> None:
    """What differs between cases is told apart in the tables, from a list of values or of mappings."""
    scenario = sim.load(root / "scenarios" / "clear_gigantic_page.yaml").with_values(
        {
            "task.size": "2GiB",
            "kernel": [
                {"version": "ktask-v1", "min_chunk": ["1MiB", "2MiB"]},
                {"version": "ktask-v1", "wake_pull": 0.5},
            ],
            "replications": 1,
        }
    )
    summary = sim.run(scenario).summary
    assert [None if pd.isna(value) else value for value in summary["min_chunk"]] == ["1MiB", "2MiB", None]
    assert [None if pd.isna(value) else value for value in summary["wake_pull"]] == [None, None, 0.5]


@pytest.mark.parametrize(
    ("task", "kernel", "at_work", "note"),
    [
        (
            {"client": "qemu_prealloc", "size": "64GiB", "page_size": "2MiB"},
            {"version": "qemu", "max_threads": [16, 32, 64]},
            [16, 16, 16],
            ["", "the rule qemu takes 16", "the rule qemu takes 16"],
        ),
        (
            {"client": "clear_gigantic_page", "size": "4GiB"},
            {"version": "ktask-v4", "max_threads": [1, 16]},
            [1, 1],
            ["", "a task of 1 GiB is enough for 1, one for each 512 GiB (min_chunk)"],  # a slip of v4 as posted
        ),
        (
            {"client": "clear_gigantic_page", "size": "1GiB", "cpus": "0-3"},
            {"version": "ktask-v1", "max_threads": [4, 60], "helper_node": "caller-cpus"},
            [4, 4],
            ["", "the caller may use 4 CPUs, and its helpers keep to them"],
        ),
        (
            {"client": "clear_gigantic_page", "size": "1GiB"},
            {"version": "ktask-v1", "max_threads": [4], "chunk_size": "512MiB", "chunks": "fixed"},
            [2],
            ["the others found no chunk left when they started"],
        ),
    ],
)
def test_threads_allowed_and_at_work_are_two_columns(
    task: dict[str, object], kernel: dict[str, object], at_work: list[float], note: list[str], tmp_path: Path
) -> None:
    """A case that doesn't get the threads that it asks for says how many worked and why, in table, CSV and words."""
    content = {"title": "t", "question": "q", "machine": "xeon-platinum-8160-2s", "task": task, "kernel": kernel}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump({**content, "replications": 1}))
    scenario = sim.load(tmp_path / "case.yaml")
    results = sim.run(scenario)
    assert list(results.summary["nthreads"]) == kernel["max_threads"]
    assert list(results.summary["n_workers"]) == at_work == list(results.runs["n_workers"])
    assert list(results.summary["note"]) == note
    told = describe_results(results)
    assert all(f"{of} of {n}" in told for n, of in zip(results.summary["nthreads"], at_work, strict=True) if n > of)
    assert f": {note[-1]}." in told
    assert ("why fewer" in describe_scenario(scenario)) == (note[-1] in describe_scenario(scenario))


def test_plus_minus_is_a_standard_deviation_or_nothing(small_scenario: Scenario) -> None:
    """± is one standard deviation over the runs of a case, which the table says; with one run there is none."""
    results = sim.run(small_scenario)
    first = results.runs[results.runs["case"] == 0]["time_s"]
    assert f"{first.mean():.2f} ± {first.std():.2f}" in describe_results(results)
    assert "± is one standard deviation over the 3 runs of a case." in describe_results(results)
    once = sim.run(small_scenario.with_values({"replications": 1}))
    assert once.summary["time_stdev_s"].isna().all()
    assert "±" not in describe_results(once)


def test_a_table_fits_the_terminal_or_says_what_is_left_out(root: Path) -> None:
    """Columns go from the right until the table fits, named below it; threads and time stay; energy is rounded."""
    scenario = sim.load(root / "scenarios" / "energy.yaml").with_values(
        {"kernel.max_threads": [1, 4], "replications": 1}
    )
    results = sim.run(scenario)
    wide, narrow = describe_results(results), describe_results(results, 60)
    assert "energy (J)" in wide and "Left out" not in wide
    rows = narrow.partition("\n\n")[2].partition("\n\n")[0].splitlines()
    assert max(map(len, rows)) <= 60 and "allowed" in rows[1] and "time (s)" in rows[0]
    assert "Left out, to fit: energy (J), of the job (J); --wide has all." in narrow
    joule = results.summary["energy_j"].iloc[0]
    assert f"{float(f'{joule:.3g}'):,.0f}" in wide and f"{joule:.2f}" not in wide


def test_results_and_machines_show_themselves_in_a_notebook(small_scenario: Scenario) -> None:
    """Both are tables of HTML, without the names of types."""
    text = sim.run(small_scenario.with_values({"replications": 1}))._repr_html_()
    assert "<table" in text and "n_workers" in text and "np.float64" not in text
    told = small_scenario.cases[0].machine._repr_html_()
    assert "<td>288</td>" in told and "xeon-e7-8895v3-8s" in told


def test_the_form_of_advice_answers() -> None:
    """The form asks for what its fields say; a mistake is said in it."""
    form = advice_form()
    form.memory.value, form.machine.value, form.client.value = "1GiB", "laptop-ryzen-4800u", "qemu_prealloc"
    form.pages.value = "2MiB"
    form.ask.click()
    assert "Use " in form.answer.value and "prealloc-threads=" in form.answer.value
    form.memory.value = "1 gig"
    form.ask.click()
    assert "task.size: found" in form.answer.value and not form.ask.disabled
