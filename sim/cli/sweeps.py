"""The command for sweeps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from tqdm import tqdm

from models.results.tables import unmatched_note
from sim.cli.given import read_scenario, scenario_arguments, stem_of
from sim.cli.jobs import JOBS, note_long_runs
from sim.cli.scenarios import print_results
from sim.cli.widths import wide_option
from sim.runs.executors import LostWorkersError, SchedulerError
from sim.runs.experiment import available_cpus
from sim.runs.store import FILE
from sim.runs.sweep import FIGURE
from sim.runs.sweep import sweep as make_sweep


@click.command()
@scenario_arguments
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder; default results/SCENARIO-sweep.")
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@wide_option
@click.option("--jobs", type=JOBS, help="Processes; default the CPUs this process may use.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786, in place of processes.")
@click.option("--ci", type=click.FloatRange(0, 1, min_open=True, max_open=True), metavar="SHARE",
              help="Replicate until half the 95 % confidence interval is at most this share of the mean.")  # fmt: skip
@click.option("--max-replications", type=click.IntRange(min=2), default=100, show_default=True,
              help="With --ci, the most runs of a case.")  # fmt: skip
def sweep(
    scenario: str,
    values: tuple[str, ...],
    set_file: Path | None,
    output: Path | None,
    style: str,
    wide: bool,
    jobs: int | None,
    scheduler: str | None,
    ci: float | None,
    max_replications: int,
) -> None:
    """Run every case of SCENARIO, storing each run at once: the same command goes on where it was stopped."""
    loaded = read_scenario(scenario, values, set_file)
    folder = output or Path("results") / f"{stem_of(scenario)}-sweep"
    _refuse_idle_options(ci, jobs, scheduler)
    note_long_runs(loaded)
    with stoppable(folder), progress(stem_of(scenario)) as show:
        try:
            results = make_sweep(
                loaded,
                folder,
                jobs=jobs or available_cpus(),
                scheduler=scheduler,
                ci=ci,
                max_replications=max_replications,
                on_done=show.runs,
                on_amount=show.amount,
            )
        except (SchedulerError, ValueError) as error:
            raise click.UsageError(str(error)) from None
        except LostWorkersError as error:
            raise click.ClickException(f"{error}; {go_on(folder)}") from None
    print_results(results, style, wide=wide)
    note = unmatched_note(loaded, results.summary)
    if note:
        click.echo(f"note: {note}", err=True)
    if (folder / FIGURE).exists():
        click.echo(f"figure: {folder / FIGURE}", err=True)
    click.echo(f"results: {folder}", err=True)


def _refuse_idle_options(ci: float | None, jobs: int | None, scheduler: str | None) -> None:
    """Raise UsageError if an option was given that means nothing with the others."""
    given = click.get_current_context().get_parameter_source("max_replications")
    if ci is None and given is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError("--max-replications is of --ci; the scenario says how many replications there are else")
    if scheduler is not None and jobs is not None:
        raise click.UsageError("--jobs is of this host; with --scheduler, the cluster says how many workers it has")


def go_on(folder: Path) -> str:
    """Return the kept part of a stopped sweep or search."""
    return f"the runs that were done are in {folder / FILE}, and the same command goes on"


class Progress:
    """A bar of runs, which count by their number or, if amounts are told, by their length."""

    def __init__(self, bar: tqdm[NoReturn]) -> None:
        self._bar = bar
        self._by_amount = False

    def runs(self, n_made: int, n_in_all: int) -> None:
        """Show the number of runs made, and the number expected."""
        self._bar.set_postfix_str(f"{n_made}/{n_in_all} runs", refresh=False)
        if not self._by_amount:
            self._move(n_made, n_in_all)

    def amount(self, made: float, in_all: float) -> None:
        """Show the work done, and that expected, in the same unit."""
        self._by_amount = True
        self._move(made, in_all)

    def _move(self, made: float, in_all: float) -> None:
        if not self._bar.total:
            self._bar.initial = self._bar.n = made  # what earlier calls did says nothing of the speed
        self._bar.total = in_all
        self._bar.update(made - self._bar.n)


@contextmanager
def progress(name: str) -> Iterator[Progress]:
    """Show a bar, and yield what moves it."""
    form = "{desc}: {percentage:3.0f}% |{bar}|{postfix}, {remaining} left"
    with tqdm(desc=name, total=0, bar_format=form, disable=None, leave=False) as bar:
        yield Progress(bar)


@contextmanager
def stoppable(folder: Path) -> Iterator[None]:
    """On Ctrl-C or SIGTERM, stop at once, say which runs are kept, and exit with a shell's status for it."""
    status = 128 + signal.SIGINT

    def terminate(number: int, _frame: FrameType | None) -> None:
        nonlocal status
        status = 128 + number
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"stopped; {go_on(folder)}", err=True)
        click.get_current_context().exit(status)
    finally:
        signal.signal(signal.SIGTERM, before)
