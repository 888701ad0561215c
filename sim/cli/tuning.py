"""The command for tuning."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sim.cli.given import read_scenario, scenario_arguments, stem_of
from sim.cli.jobs import JOBS
from sim.cli.sweeps import go_on, progress, stoppable
from sim.cli.widths import table_width, wide_option
from sim.runs.executors import LostWorkersError
from sim.runs.experiment import available_cpus
from sim.search.tuning import FIGURE, OBJECTIVES, Tuning, describe_tuning
from sim.search.tuning import tune as search


@click.command()
@scenario_arguments
@click.option("--objective", default="time,cpu_seconds", show_default=True, metavar="NAME,...",
              help=f"What is to be least: {', '.join(OBJECTIVES)}; one, or several for a Pareto front.")  # fmt: skip
@click.option("--trials", type=click.IntRange(min=1), default=100, show_default=True,
              help="Policies tried in all, those of earlier calls included.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder; default results/SCENARIO-tune.")
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True,
              help="csv: the front alone.")  # fmt: skip
@click.option("--jobs", type=JOBS, help="Processes; default the CPUs this process may use.")
@wide_option
def tune(
    scenario: str,
    values: tuple[str, ...],
    set_file: Path | None,
    objective: str,
    trials: int,
    output: Path | None,
    style: str,
    jobs: int | None,
    wide: bool,
) -> None:
    """Search the policies that the lists of SCENARIO span for the best ones, and tell how far presets are from them.

    Each run is stored at once: the same command goes on where it was stopped, one with more --trials goes further.
    """
    loaded = read_scenario(scenario, values, set_file)
    folder = output or Path("results") / f"{stem_of(scenario)}-tune"
    with stoppable(folder), progress(stem_of(scenario)) as show:
        try:
            tuning = search(
                loaded,
                folder,
                objectives=[name.strip() for name in objective.split(",")],
                trials=trials,
                jobs=jobs or available_cpus(),
                on_done=show.runs,
            )
        except (ImportError, ValueError) as error:
            raise click.UsageError(str(error)) from None
        except LostWorkersError as error:
            raise click.ClickException(f"{error}; {go_on(folder)}") from None
    _print(tuning, style, wide)
    click.echo(f"figure: {folder / FIGURE}", err=True)
    click.echo(f"results: {folder}", err=True)


def _print(tuning: Tuning, style: str, wide: bool) -> None:
    if style == "csv":
        click.echo(tuning.front.to_csv(index=False), nl=False)
    elif style == "json":
        tables = {"front": tuning.front, "regret": tuning.regret}
        click.echo(json.dumps({name: json.loads(t.to_json(orient="records")) for name, t in tables.items()}, indent=1))
    else:
        click.echo(describe_tuning(tuning, table_width(wide)))
