"""The command line. Tables go to stdout, messages and progress to stderr; status 2 is bad input, 1 a failed run.

The only place that knows both the simulation and the real backend.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from models.results import FolderTakenError
from models.text.problems import InputError
from sim.cli import advice, hosts, plots, scenarios, sweeps, tuning
from sim.runs.executors import LostWorkersError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ktask-sim")
def cli() -> None:
    """Simulate how a kernel splits big jobs over many CPUs."""


for command in (
    scenarios.run,
    sweeps.sweep,
    tuning.tune,
    advice.advise,
    scenarios.show,
    plots.plot,
    scenarios.describe,
    scenarios.machines,
    scenarios.policies,
    scenarios.schema,
    hosts.host,
    hosts.import_machine,
    hosts.calibrate,
    hosts.validate,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the exit status is 0, 2 for bad input, 1 for a run that failed."""
    try:
        status = cli.main(list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except InputError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        n = len(error.problems)
        click.echo(f"{n} problem{'s' if n > 1 else ''}; nothing was run", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
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
    except (OSError, MemoryError, LostWorkersError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
