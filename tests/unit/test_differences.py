"""Two results side by side: what differed, and by how much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import sim
from models.results import FolderTakenError
from models.scenario import Scenario
from sim.cli import cli
from sim.compare.folders import ALIKE, FASTER, compare_results


def test_pairs_share_their_luck(small_scenario: Scenario) -> None:
    """The difference of paired runs is the mean of theirs, and its interval is that of those differences."""
    a = sim.run(small_scenario.with_values({"kernel.max_threads": 4}))
    b = sim.run(small_scenario.with_values({"kernel.max_threads": 4, "kernel.chunks": "factoring"}))
    found = compare_results(a, b)
    assert [path for path, _, _ in found.scenario] == ["kernel.chunks"]
    assert (found.machines, found.versions, found.alone_a, found.alone_b) == ([], [], [], [])
    row = found.cases.iloc[0]
    steps = b.runs.query("case == 0")["time_s"].to_numpy() - a.runs.query("case == 0")["time_s"].to_numpy()
    mean_s = a.runs.query("case == 0")["time_s"].mean()
    assert row["difference_pct"] == pytest.approx(100 * steps.mean() / mean_s)
    # Student t for 2 degrees of freedom and 95 %: 4.3027; three runs.
    assert row["half_width_pct"] == pytest.approx(100 * 4.3027 * steps.std(ddof=1) / 3**0.5 / mean_s, rel=1e-4)
    assert row["paired"] and row["verdict"] in (ALIKE, FASTER)


def test_the_same_is_no_difference_and_other_seeds_are_not_paired(small_scenario: Scenario) -> None:
    """A result beside itself differs by nothing; with another seed the interval is that of two means, and is wider."""
    a = sim.run(small_scenario)
    same = compare_results(a, a)
    assert set(same.cases["verdict"]) == {ALIKE} and not same.scenario
    other = compare_results(a, sim.run(small_scenario.with_values({"seed": 2})))
    assert not other.cases["paired"].any()
    assert (other.cases["half_width_pct"] > 0).all()


def test_cases_without_a_partner_are_named(small_scenario: Scenario) -> None:
    """What only one has is said; with nothing in common there is nothing to compare."""
    a, b = (sim.run(small_scenario.with_values({"kernel.max_threads": n, "replications": 1})) for n in ([1, 2], [2, 3]))
    found = compare_results(a, b)
    assert list(found.cases["case"]) == ["2 threads, 8 GiB", "2 threads, 16 GiB"]
    assert found.alone_a == ["1 thread, 8 GiB", "1 thread, 16 GiB"] and len(found.alone_b) == 2
    assert found.cases["half_width_pct"].isna().all()
    with pytest.raises(ValueError, match="no case of the one"):
        compare_results(replace(a, summary=a.summary.assign(nthreads=[1, 1, 5, 5])), b)


def test_the_command_and_a_folder_that_holds_something_else(
    small_scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`diff A B` prints what differed and writes a figure; a folder that is taken says what differs in it."""
    monkeypatch.chdir(tmp_path)
    short = small_scenario.with_values({"replications": 2, "kernel.max_threads": 4})
    sim.run(short).save(Path("a"))
    other = sim.run(short.with_values({"kernel.chunks": "guided"}))
    with pytest.raises(FolderTakenError, match=r"a holds something else: kernel\.chunks nothing, not guided"):
        other.save(Path("a"))
    other.save(Path("b"))
    done = CliRunner().invoke(cli, ["diff", "a", "b"])
    assert done.exit_code == 0, done.output
    assert "kernel.chunks" in done.output and "guided" in done.output and "The same machine." in done.output
    assert "In brackets: the 95 % confidence interval of the mean difference; both had the same random" in done.output
    assert (tmp_path / "a-b.png").read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(cli, ["diff", "a", "c"]).exit_code == 2
