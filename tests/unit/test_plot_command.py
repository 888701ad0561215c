"""`ktask-sim plot` as a user meets it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import sim
from models.scenario import load_scenario
from sim.cli import cli
from tests.conftest import ROOT

CHANGES = {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1}
CHUNKS = {**CHANGES, "kernel.min_chunk": ["1MiB", "64MiB"]}


def plot(*arguments: str | Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(cli, ["plot", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with result folders: `traced`, of 2 cases, `grid`, of threads and chunks, `alone`, of one case."""
    folder = tmp_path_factory.mktemp("results")
    scenario = load_scenario(ROOT / "scenarios" / "clear_gigantic_page.yaml")
    sim.run(scenario.with_values(CHANGES), traces=True).save(folder / "traced")
    sim.run(scenario.with_values(CHUNKS)).save(folder / "grid")
    sim.run(scenario.with_values({**CHANGES, "kernel.max_threads": 4})).save(folder / "alone")
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of these folders."""
    return Path(shutil.copytree(made, tmp_path / "results"))


def pictures(folder: Path) -> set[str]:
    """Return the names of the PNG files in a folder, all of which must be such."""
    paths = list(folder.glob("*.png"))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    return {path.name for path in paths}


def test_all_figures_that_there_is_data_for(results: Path) -> None:
    """Figures are written beside the results, each other one has a line that says why, the table goes to stdout."""
    done = plot(results / "traced")
    assert done.exit_code == 0
    assert pictures(results / "traced") == {
        *("speedup.png", "energy.png", "pareto.png", "regret.png", "timeline-0.png", "loads-0.png"),
    }
    assert done.stderr.splitlines() == [
        "no heat-map: two columns must vary besides machine and task; found nthreads",
        "no interference: there is no other work beside the job; `background` of a scenario says what there is",
        *(f"figure: {results / 'traced' / name}.png" for name in ("speedup", "energy", "pareto", "regret")),
        *(f"figure: {results / 'traced' / name}-0.png" for name in ("timeline", "loads")),
    ]
    head, _, first, second = done.stdout.splitlines()
    assert head.split("  ")[-1].strip() == "regret (%)"
    assert first.split()[:2] == ["4", "threads"] and first.split()[-1] == "0.0"
    assert second.split()[:2] == ["1", "thread"]


def test_untraced_and_single(results: Path) -> None:
    """Without traces there is no timeline, and with one case only its throughput."""
    done = plot(results / "grid")
    assert pictures(results / "grid") == {"speedup.png", "energy.png", "heat-map.png", "pareto.png", "regret.png"}
    assert "no timeline: there are no traces; `ktask-sim run SCENARIO --trace` keeps them\n" in done.stderr
    done = plot(results / "alone")
    assert (done.exit_code, done.stdout) == (0, "")
    assert pictures(results / "alone") == {"speedup.png"}
    assert "no regret: at least two policies are needed; found one, over one case\n" in done.stderr


def test_figures_do_not_take_a_folder(results: Path) -> None:
    """Results can be saved again to a folder with figures, and the figures stay."""
    plot(results / "grid")
    sim.load_results(results / "grid").save(results / "grid")
    assert len(pictures(results / "grid")) == 5


def test_one_figure_of_one_case_elsewhere(results: Path, tmp_path: Path) -> None:
    """One kind goes to a file of the wanted format, or to a folder, which is made."""
    done = plot(results / "traced", "--kind", "timeline", "--case", "1", "-o", tmp_path / "new" / "a.svg")
    assert (done.exit_code, done.stdout) == (0, "")
    assert (tmp_path / "new" / "a.svg").read_text().startswith("<?xml")
    folder = tmp_path / "v1.2"
    folder.mkdir()
    assert plot(results / "traced", "--kind", "loads", "--case", "1", "-o", folder).exit_code == 0
    assert plot(results / "grid", "-o", folder / "all.of.it").exit_code == 0
    assert (pictures(folder), len(pictures(folder / "all.of.it"))) == ({"loads-1.png"}, 5)
    assert pictures(results / "traced") == set()


def test_a_sweep_is_drawn(tmp_path: Path) -> None:
    """The folder of a sweep has the same figures as one of a run."""
    scenario = load_scenario(ROOT / "scenarios" / "clear_gigantic_page.yaml").with_values(CHUNKS)
    sim.sweep(scenario, tmp_path / "sweep")
    assert plot(tmp_path / "sweep").exit_code == 0
    assert pictures(tmp_path / "sweep") == {"speedup.png", "energy.png", "heat-map.png", "pareto.png", "regret.png"}
    sim.sweep(scenario, tmp_path / "sweep")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["traced", "--kind", "timelin"], "--kind: found 'timelin'; allowed are speedup, energy, heat-map, pareto, "
         "regret, interference, timeline, loads; did you mean timeline?"),
        (["traced", "--kind", "heat-map"], "no heat-map: two columns must vary besides machine and task; "),
        (["grid", "--kind", "timeline"], "no timeline: there are no traces; `ktask-sim run SCENARIO --trace` keeps"),
        (["grid", "--kind", "loads"], "no loads: there are no traces; "),
        (["traced", "--case", "2"], "--case: found 2; allowed is 0 to 1"),
        (["traced", "--case", "-1"], "--case: found -1; allowed is 0 to 1"),
        (["alone", "--case", "1"], "--case: found 1; allowed is 0, the only one"),
        (["traced", "--kind", "pareto", "--case", "0"], "--case is of timeline and loads; pareto shows all cases"),
        (["traced", "-o", "a.png"], "-o: found a.png, a file; give a folder, or --kind and a file such as figure.png"),
        (["traced", "-o", "traced/runs.csv"], "-o: found traced/runs.csv, a file; give a folder, or --kind and"),
        (["traced", "--kind", "loads", "-o", "a.xls"], "-o: found a file ending in .xls; allowed are "),
        (["nowhere"], "nowhere is not there; give a result folder"),
        (["traced/runs.csv"], "traced/runs.csv is a file; give a result folder"),
        (["."], ". is no result folder; `ktask-sim run` makes one"),
    ],
)  # fmt: skip
def test_bad_input(arguments: list[str], message: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake gives what was found and what is allowed, status 2, and no figure."""
    monkeypatch.chdir(made)
    done = plot(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert not list(made.rglob("*.png"))


def test_broken_folders(results: Path) -> None:
    """A folder with a file missing or broken, of a stopped sweep or of a search is refused with what it is."""
    grid, alone, traced = (results / name for name in ("grid", "alone", "traced"))
    (grid / "summary.parquet").unlink()
    (alone / "provenance.json").write_text("[]")
    provenance = json.loads((traced / "provenance.json").read_text())
    (traced / "provenance.json").write_text(json.dumps(provenance | {"schema_version": 99}))
    stopped, search = results / "stopped", results / "search"
    for folder in (stopped, search):
        folder.mkdir()
        sqlite3.connect(folder / "runs.sqlite").close()
    (search / "tuning.json").write_text("{}")
    messages = {
        grid: "it has no summary.parquet",
        alone: "is no result folder that can be read: ",
        traced: "has schema version 99; this program reads 1",
        stopped: "is not done; the command that began it goes on",
        search: f"is of `ktask-sim tune`, whose figure is {search / 'pareto.png'}",
    }
    for folder, message in messages.items():
        done = plot(folder)
        assert (done.exit_code, done.stdout) == (2, ""), folder
        assert message in done.stderr
