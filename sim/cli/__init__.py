"""The command line. Tables go to stdout, messages and progress to stderr. Status 2 is bad input, 1 a failed run.

The only place that knows both the simulation and the real backend.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from models.results import FolderTakenError
from models.text.problems import InputError
from sim.cli.examples import epilog

# Of each command: the module and the name of its function. A command is imported when it is asked for.
_COMMANDS = {
    "run": ("scenarios", "run"),
    "sweep": ("sweeps", "sweep"),
    "tune": ("tuning", "tune"),
    "advise": ("advice", "advise"),
    "show": ("scenarios", "show"),
    "plot": ("plots", "plot"),
    "diff": ("differences", "diff"),
    "perfetto": ("traces", "perfetto"),
    "page": ("pages", "page"),
    "describe": ("scenarios", "describe"),
    "scenarios": ("shipped", "scenarios"),
    "notebooks": ("shipped", "notebooks"),
    "completion": ("shipped", "completion"),
    "machines": ("scenarios", "machines"),
    "policies": ("scenarios", "policies"),
    "schema": ("scenarios", "schema"),
    "host": ("hosts", "host"),
    "import": ("hosts", "import_machine"),
    "calibrate": ("hosts", "calibrate"),
    "fit": ("published", "fit_times"),
    "compare": ("published", "compare_tables"),
    "validate": ("hosts", "validate"),
    "trace": ("boots", "trace"),
}


class _Commands(click.Group):
    """The commands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"sim.cli.{module}"), name)
        command.epilog = epilog(cmd_name)
        return command


def _say_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print the version, and the digest of the code by which results know it."""
    if wanted:
        from models.results.code import code_identity

        code = code_identity()
        click.echo(f"ktask-sim {code['version']} (code {code['digest'][:12]})")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version, help="Say the version."
)
def cli() -> None:
    """Simulate how a kernel splits big jobs over many CPUs."""


def _lost() -> type[Exception]:
    """Return the error of runs that were lost, to be asked for only when something has failed."""
    from sim.runs.executors import LostWorkersError

    return LostWorkersError


def _asks_for_client(error: click.ClickException) -> bool:
    """Return whether a command had no value for --client."""
    missing = isinstance(error, click.MissingParameter) and error.param is not None and error.param.name == "client"
    return missing or (isinstance(error, click.BadOptionUsage) and error.option_name == "--client")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. The exit status is 0, 2 for bad input, 1 for a run that failed."""
    try:
        status = cli.main(list(arguments) if arguments is not None else None, standalone_mode=False)
    except InputError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        n = len(error.problems)
        click.echo(f"{n} problem{'s' if n > 1 else ''}; nothing was run", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        if _asks_for_client(error):
            from models.clients import CLIENTS  # takes a while, which the start of other commands doesn't need

            click.echo(f"--client is one of: {', '.join(CLIENTS)}", err=True)
        sys.exit(error.exit_code)
    except FolderTakenError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; nothing was written", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (OSError, MemoryError, _lost()) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
