"""Examples in the help of commands: each command has some, and they are of options that there are."""

from __future__ import annotations

import shlex

import click
import pytest

from sim.cli import cli
from sim.cli.examples import EXAMPLES

LINES = [(name, line) for name, lines in EXAMPLES.items() for line in lines]


def command(name: str) -> click.Command:
    """Return a command by its name."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def test_every_command_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of each command ends with its examples."""
    assert sorted(EXAMPLES) == cli.list_commands(click.Context(cli))
    for name, lines in EXAMPLES.items():
        with pytest.raises(SystemExit), click.Context(cli):
            command(name).main(["--help"], prog_name=f"ktask-sim {name}")
        assert lines[-1] in capsys.readouterr().out


@pytest.mark.parametrize(("name", "line"), LINES, ids=[line for _, line in LINES])
def test_options_of_examples(name: str, line: str) -> None:
    """An example names a command and options that there are, and needs no other."""
    program, first, *words = shlex.split(line.partition(" > ")[0].partition(" | ")[0])
    assert program == "ktask-sim"
    assert first in EXAMPLES
    assert name in [words_of.split()[1] for words_of in EXAMPLES[name]]
    found = command(first)
    if isinstance(found, click.Group):
        return
    words = [word if not word.endswith((".txt", ".csv")) else "pyproject.toml" for word in words]  # files that exist
    found.make_context(first, list(words))
