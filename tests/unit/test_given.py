"""A scenario as it is given at the prompt: by name, with other values, with a file of values."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from models.files.shipped import shipped_files
from models.text.problems import InputError
from sim.cli import cli, main
from sim.cli.given import read_scenario
from sim.show.describe import describe_scenario


def test_lists_ranges_and_any_path() -> None:
    """Commas make a list, 1-4 four numbers; a list of CPUs stays what it is, and YAML is YAML."""
    scenario = read_scenario(
        "clear_gigantic_page", ["kernel.max_threads=1-3,8", "task.size=100GiB", "task.cpus=0-3,7", "replications=2"]
    )
    assert [case.kernel.max_threads for case in scenario.cases] == [1, 2, 3, 8]
    assert {case.replications for case in scenario.cases} == {2}
    assert scenario.cases[0].task.cpus == (0, 1, 2, 3, 7)
    kernels = read_scenario("clear_gigantic_page", ["kernel=[ktask-v1, {version: ktask-v4}]", "task.size=8GiB"])
    assert [case.kernel.version for case in kernels.cases] == ["ktask-v1", "ktask-v4"]
    loaded = read_scenario("clear_gigantic_page", ['background={other: {load: spin, cpus: "3"}}', "task.size=1GiB"])
    assert loaded.cases[0].background["other"].n_threads == 1


def test_a_file_of_values_and_the_prompt_before_it(tmp_path: Path) -> None:
    """--set FILE changes the keys that it has, and what stands at the prompt goes before it."""
    path = tmp_path / "less.yaml"
    path.write_text("task: {size: [8GiB, 16GiB]}\nkernel: {max_threads: 4}\n")
    scenario = read_scenario("clear_gigantic_page", ["kernel.max_threads=2"], path)
    assert [(case.size_bytes >> 30, case.kernel.max_threads) for case in scenario.cases] == [(8, 2), (16, 2)]
    assert scenario.cases[0].task.page_size == 2**30  # as the scenario has it


def test_what_is_wrong_is_said_where_it_was_given(tmp_path: Path) -> None:
    """Problems of values name the prompt or the file and place that they came from, all at once."""
    path = tmp_path / "less.yaml"
    path.write_text("task:\n  size: 8 gigs\n")
    with pytest.raises(InputError) as caught:
        read_scenario("clear_gigantic_page", ["kernel.max_thread=3", "seed=-1"], path)
    told = [str(problem) for problem in caught.value.problems]
    assert any(line.startswith(f"{path}:2:9: task.size: found '8 gigs'") for line in told)
    assert any(line.startswith("ktask-sim: kernel.max_thread: unknown key") for line in told)
    assert any(line.startswith("ktask-sim: seed: found -1") for line in told)


@pytest.mark.parametrize("text", ["kernel.max_threads", "=3", "kernel.max_threads=9-2", "replications=1-99999"])
def test_texts_that_are_no_value(text: str) -> None:
    """What is no PATH=VALUE, or an endless range, is refused with what is allowed."""
    with pytest.raises(click.UsageError, match="allowed is"):
        read_scenario("clear_gigantic_page", [text])


def test_scenarios_are_listed_run_and_copied_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder `scenarios` lists all with their questions, a name runs, and `copy` gives the very file."""
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(cli, ["scenarios"]).output
    assert all(name in listed for name in shipped_files("scenarios"))
    assert "Which chunk schedule clears 800 GiB soonest" in listed
    done = CliRunner().invoke(
        cli, ["run", "clear_gigantic_page", "task.size=1GiB", "kernel.max_threads=1", "replications=1", "--jobs", "1"]
    )
    assert done.exit_code == 0 and (tmp_path / "results" / "clear_gigantic_page" / "summary.csv").exists()
    assert CliRunner().invoke(cli, ["scenarios", "copy", "energy"]).exit_code == 0
    assert (tmp_path / "energy.yaml").read_bytes() == shipped_files("scenarios")["energy"].read_bytes()
    again = CliRunner().invoke(cli, ["scenarios", "copy", "energy"])
    assert again.exit_code == 2 and "energy.yaml exists" in again.output
    wrong = CliRunner().invoke(cli, ["describe", "clear_gigantic_pages"])
    assert wrong.exit_code == 2 and "did you mean clear_gigantic_page?" in wrong.output
    assert set(CliRunner().invoke(cli, ["notebooks"]).output.split()) == set(shipped_files("notebooks"))


def test_question_may_be_left_out(tmp_path: Path) -> None:
    """A scenario without a question is one."""
    path = tmp_path / "s.yaml"
    path.write_text(
        "title: T\nmachine: laptop-ryzen-4800u\ntask: {client: clear_gigantic_page, size: 1GiB}\nkernel: qemu\n"
    )
    scenario = read_scenario(str(path))
    assert scenario.question == "" and describe_scenario(scenario).startswith("T\n\n1 case")


def test_client_without_a_name_lists_the_clients(capsys: pytest.CaptureFixture[str]) -> None:
    """`advise --client`, and advise without it, say which clients there are."""
    for arguments in (["advise", "--client"], ["advise", "--memory", "1GiB"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "--client is one of: " in (told := capsys.readouterr().err) and "qemu_prealloc" in told


def test_completion_knows_names_and_keys() -> None:
    """The shell is told shipped scenarios, the keys that may be set, and the words that may stand there."""
    for words, word, expected in (
        ("run clear_g", 1, "clear_gigantic_page"),
        ("run clear_gigantic_page kernel.max", 2, "kernel.max_threads="),
        ("run clear_gigantic_page kernel=ktask-v", 2, "kernel=ktask-v4"),
        ("machines lap", 1, "laptop-ryzen-4800u"),
    ):
        environment = {
            "_KTASK_SIM_COMPLETE": "bash_complete",
            "COMP_WORDS": f"ktask-sim {words}",
            "COMP_CWORD": f"{word + 1}",
        }
        told = CliRunner().invoke(cli, prog_name="ktask-sim", env=environment).output
        assert expected in told, words
    assert "_KTASK_SIM_COMPLETE=bash_complete" in CliRunner().invoke(cli, ["completion", "bash"]).output
