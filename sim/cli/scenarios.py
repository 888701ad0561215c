"""Commands on scenarios, machines and results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

import sim
from models.files.machine import iter_shipped, load_machine, machine_schema
from models.results import check_folder, may_replace, provenance_of
from models.scenario.keys import scenario_schema
from models.text.units import format_rate, format_size
from sim.cli.given import complete_machine, read_scenario, scenario_arguments, stem_of
from sim.cli.host_options import host_options
from sim.cli.jobs import JOBS, note_long_runs
from sim.cli.widths import table_width, wide_option
from sim.runs.experiment import available_cpus

if TYPE_CHECKING:
    from models.results import Results


@click.command()
@scenario_arguments
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Result folder; default results/SCENARIO.")
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@wide_option
@click.option("--replications", type=click.IntRange(min=1), help="Runs of each case, in place of the file's.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of all random streams, in place of the file's.")
@click.option("--jobs", type=JOBS, help="Processes; default the CPUs this process may use.")
@click.option(
    "--trace",
    is_flag=True,
    help="Keep each worker's work over time, of replication 0 of each case; a file for Perfetto too.",
)
@click.option("--backend", type=click.Choice(["sim", "real"]), default="sim", show_default=True,
              help="real: clear memory of this host, in place of the scenario's machine.")  # fmt: skip
@host_options
def run(
    scenario: str,
    values: tuple[str, ...],
    set_file: Path | None,
    output: Path | None,
    style: str,
    wide: bool,
    replications: int | None,
    seed: int | None,
    jobs: int | None,
    trace: bool,
    backend: str,
    method: str | None,
    memory_share: float,
    allow_hugepage_pool: bool,
) -> None:
    """Run SCENARIO, a YAML file or a shipped name: print its table, write its result folder and figure.

    PATH=VALUE stands in place of the file's value: a list has commas, 1-16 is 1 to 16.
    """
    from tqdm import tqdm

    from models.results.tables import unmatched_note
    from sim.cli.hosts import real_backend, refused, stability

    if backend == "sim":
        _refuse_host_options()
    loaded = read_scenario(scenario, values, set_file)
    changes = {"replications": replications, "seed": seed}
    loaded = loaded.with_values({key: value for key, value in changes.items() if value is not None})
    provenance = provenance_of(loaded, backend, with_traces=trace)
    folder = _free_folder(Path("results") / stem_of(scenario), provenance) if output is None else output
    check_folder(folder, provenance, loaded.document.plain())
    if backend == "sim":

        def execute() -> Results:
            return sim.run(loaded, jobs=jobs or available_cpus(), traces=trace, progress=stem_of(scenario))
    else:
        real = real_backend()
        with refused():
            plan = real.plan(loaded, method=method, share=memory_share, allow_pool=allow_hugepage_pool)
        click.echo(str(plan.choice), err=True)

        def execute() -> Results:
            total = sum(case.replications for case in loaded.cases)
            bar = "{desc}: {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} runs, {remaining} left"
            with (
                refused(),
                tqdm(total=total, desc=stem_of(scenario), bar_format=bar, disable=None, leave=False) as done,
            ):
                results: Results = real.run(plan, traces=trace, on_done=done.update)
            return results

    note_long_runs(loaded)
    results = execute()
    results.save(folder)
    figure = _draw(results, folder)
    print_results(results, style, wide=wide)
    note = unmatched_note(loaded, results.summary)
    if note:
        click.echo(f"note: {note}", err=True)
    if results.host is not None:
        click.echo(stability(results.runs, results), err=True)
    click.echo(f"figure: {figure}", err=True)
    if trace:
        _write_trace(folder, results)
    click.echo(f"results: {folder}", err=True)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@wide_option
def show(folder: Path, style: str, wide: bool) -> None:
    """Print the table of a result FOLDER again, and draw its figure anew."""
    from sim.cli.plots import read_folder

    results = read_folder(folder)
    figure = _draw(results, folder)
    print_results(results, style, wide=wide)
    click.echo(f"figure: {figure}", err=True)


@click.command()
@scenario_arguments
def describe(scenario: str, values: tuple[str, ...], set_file: Path | None) -> None:
    """Say in words what SCENARIO simulates: machine, topology, task, chunks, policy, what is random."""
    from sim.show.describe import describe_scenario

    click.echo(describe_scenario(read_scenario(scenario, values, set_file)))


@click.command()
@click.argument("name", required=False, shell_complete=complete_machine)
def machines(name: str | None) -> None:
    """List the shipped machines; with NAME (or the path of a machine file), describe one with its sources."""
    from tabulate import tabulate

    if name is not None:
        from sim.show.describe import describe_machine

        try:
            click.echo(describe_machine(load_machine(name), with_sources=True))
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        return
    rows = [
        {
            "machine": machine.name,
            "CPUs": len(machine.cpus),
            "sockets": len({node.socket_id for node in machine.nodes}),
            "nodes": len(machine.nodes),
            "memory": format_size(machine.memory_bytes),
            "one thread clears": format_rate(machine.rates.clear_bytes_per_s),
            "a node takes": format_rate(machine.rates.memory_bytes_per_s / machine.rates.clear_traffic),
            "title": machine.title,
        }
        for machine in iter_shipped()
    ]
    click.echo(tabulate(rows, headers="keys"))


@click.command()
def policies() -> None:
    """List the policies: presets, the rules for each decision with their source, and their parameters."""
    from sim.show.describe import describe_policies

    click.echo(describe_policies())


@click.command()
@click.argument("what", type=click.Choice(["scenario", "machine"]), default="scenario")
def schema(what: str) -> None:
    """Print the JSON Schema of a scenario or machine file, for completion and checks in an editor."""
    click.echo(json.dumps(scenario_schema() if what == "scenario" else machine_schema(), indent=2))


def _draw(results: Results, folder: Path) -> Path:
    """Draw the figure that fits the results best, and return where it is."""
    from sim.figures.kinds import best_kind, draw
    from sim.figures.style import save

    kind = best_kind(results)
    path = folder / f"{kind}.png"
    save(draw(kind, results), path)
    return path


def _write_trace(folder: Path, results: Results) -> None:
    """Write who did what when for a viewer, of as many cases as it takes."""
    from sim.cli.traces import FILE
    from sim.show.trace_file import MOST_EVENTS, write_trace

    n = write_trace(folder / FILE, [(folder.resolve().name, results)], most=MOST_EVENTS)
    left = "" if n == len(results.summary) else f", the first {n} of {len(results.summary)} cases; `perfetto` has all"
    click.echo(f"trace: {folder / FILE}, for ui.perfetto.dev{left}", err=True)


def _refuse_host_options() -> None:
    """Raise UsageError if an option was given that means nothing in a simulation."""
    context = click.get_current_context()
    for name in ("method", "memory_share", "allow_hugepage_pool"):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} is of the real backend; add --backend real")


def _free_folder(folder: Path, provenance: dict[str, object]) -> Path:
    """Return the folder, or the first of folder-2, folder-3 ... whose results are these or that is free."""
    number = 1
    while True:
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        if may_replace(candidate, provenance):
            return candidate
        number += 1


def print_results(results: Results, style: str, *, wide: bool = False) -> None:
    """Print the table of cases in a style, made to fit the terminal if it goes to one, unless it may be wide."""
    if style == "csv":
        click.echo(results.summary.to_csv(index=False), nl=False)
    elif style == "json":
        click.echo(results.summary.to_json(orient="records", indent=1))
    else:
        from sim.show.describe import describe_results

        click.echo(describe_results(results, table_width(wide)))
