"""Commands on the files of the program: scenarios and notebooks to copy, completion for a shell."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import click
from click.shell_completion import get_completion_class

from models.files.shipped import shipped_files
from models.scenario import load_scenario
from models.text.problems import did_you_mean


@click.group(invoke_without_command=True)
@click.pass_context
def scenarios(context: click.Context) -> None:
    """List the shipped scenarios and the question that each answers; `copy` gives one to edit."""
    if context.invoked_subcommand is None:
        rows = [(name, load_scenario(path).question) for name, path in shipped_files("scenarios").items()]
        width = max(30, shutil.get_terminal_size((120, 24)).columns - max(len(name) for name, _ in rows) - 3)
        from tabulate import tabulate

        click.echo(tabulate(rows, headers=["scenario", "its question"], maxcolwidths=[None, width]))
        click.echo("\n`ktask-sim run NAME` runs one, `ktask-sim scenarios copy NAME` gives one to edit.", err=True)


@click.group(invoke_without_command=True)
@click.pass_context
def notebooks(context: click.Context) -> None:
    """List the shipped notebooks; `copy` gives one to open in Jupyter (`pip install 'ktask-sim[lab]'`)."""
    if context.invoked_subcommand is None:
        click.echo("\n".join(shipped_files("notebooks")))


def _copy_command(kind: Literal["scenarios", "notebooks"]) -> click.Command:
    """Return the command that copies a shipped file of a kind."""

    @click.command("copy")
    @click.argument(
        "name", shell_complete=lambda _c, _p, start: [n for n in shipped_files(kind) if n.startswith(start)]
    )
    @click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default NAME, here.")
    @click.option("--force", is_flag=True, help="Overwrite the file.")
    def copy(name: str, output: Path | None, force: bool) -> None:
        """Copy a shipped file, to edit it."""
        known = shipped_files(kind)
        if name not in known:
            raise click.UsageError(f"found {name!r}; allowed are {', '.join(known)}{did_you_mean(name, tuple(known))}")
        path = output or Path(known[name].name)
        if path.exists() and not force:
            raise click.UsageError(f"{path} exists; give another file (-o), or --force to overwrite it")
        path.write_bytes(known[name].read_bytes())
        click.echo(f"written: {path}", err=True)

    return copy


scenarios.add_command(_copy_command("scenarios"))
notebooks.add_command(_copy_command("notebooks"))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands, options, scenarios and their keys in a SHELL."""
    root = click.get_current_context().find_root()
    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(root.command, {}, "ktask-sim", "_KTASK_SIM_COMPLETE").source())
