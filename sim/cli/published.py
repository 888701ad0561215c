"""The simulation against tables: the published ones (`compare`), and anybody's (`fit TIMES.csv`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import yaml
from tqdm import tqdm

from models.files.machine import find_machine_file, load_machine
from models.files.machine_writer import write_machine
from models.measured.measurements import known_tables
from models.measured.traces import read_any_measurements
from models.text.problems import InputError
from models.text.units import parse_time
from sim.cli.jobs import JOBS
from sim.compare.published import compare, describe_cells, describe_published, describe_table, summary
from sim.compare.transfer import describe_transfer, transfer, transfer_summary, words_of_fallback
from sim.fit.table import describe_fit, figures_of, fit_table, fitted_document
from sim.runs.experiment import available_cpus
from sim.show.published_figure import plot_table
from sim.show.published_page import published_html


def validate_tables(tables: Sequence[str], output: Path | None, jobs: int | None) -> None:
    """Compare the published tables of these names, by default all, and print a verdict for each."""
    try:
        names = known_tables(tables)
        with tqdm(total=len(names), unit=" tables", disable=None, leave=False) as progress:
            results = compare(names, jobs=jobs or available_cpus(), on_table=lambda _name: progress.update())
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(describe_published(results))
    if len(results) <= 3:
        for result in results:
            click.echo(f"\n{result.measured.name}: {result.verdict}\n\n{describe_table(result)}")
    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    summary(results).to_csv(output / "tables.csv", index=False)
    for result in results:
        if len(result.cells):
            result.cells.to_csv(output / f"{result.measured.name}.csv", index=False)
            plot_table(result, output / f"{result.measured.name}.png")
    (output / "index.html").write_text(published_html(results), encoding="utf-8")
    click.echo(f"page: {output / 'index.html'}\ntables and figures: {output}", err=True)


def validate_transfer(tables: Sequence[str], output: Path | None, jobs: int | None) -> None:
    """Predict the published tables of these names, by default all, each from what is known without it."""
    try:
        names = known_tables(tables)
        with tqdm(total=len(names), unit=" tables", disable=None, leave=False) as progress:
            found = transfer(names, jobs=jobs or available_cpus(), on_table=lambda _name: progress.update())
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not found:
        raise click.UsageError(f"nothing to predict: {', '.join(names)} tell of the work itself, or have no case")
    click.echo(describe_transfer(found))
    if len(found) <= 3:
        for each in found:
            told = [f"{m}: {words_of_fallback(one)}" for m, some in each.fallbacks.items() for one in some]
            click.echo("\n" + "\n".join([each.result.measured.name, "", describe_cells(each.result), "", *told]))
    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    transfer_summary(found).to_csv(output / "transfer.csv", index=False)
    for each in found:
        each.result.cells.to_csv(output / f"{each.result.measured.name}.csv", index=False)
    click.echo(f"tables: {output}", err=True)


_JOBS = click.option("--jobs", type=JOBS, help="Processes; default the CPUs there are.")


@click.command()
@click.argument("tables", nargs=-1)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for page, tables and figures.")
@click.option("--transfer", "without", is_flag=True, help="Predict each table without any row of it.")
@_JOBS
def compare_tables(tables: tuple[str, ...], output: Path | None, without: bool, jobs: int | None) -> None:
    """Compare the simulation with published TABLES, by default all."""
    (validate_transfer if without else validate_tables)(tables, output, jobs)


@click.command()
@click.argument("times", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Machine file to write; default TIMES-fitted.yaml."
)
@click.option("--machine", "machine_name", help="The machine before the fit: a file, or a shipped name.")
@click.option("--client", help="The job that was measured.")
@click.option("--kernel", help="The kernel's version; default the table's, else ktask-v1.")
@click.option(
    "--fit",
    "figures",
    metavar="NAMES",
    help="The figures to fit, such as rates.clear_rate,links.bandwidth,kernel.stray_block; by default of the machine "
    "file those that the client mostly depends on.",
)
@click.option("--note", "notes", multiple=True, metavar="COLUMN", help="A column that is for people; may be repeated.")
@click.option("--resolution", metavar="TIME", help="The step of rounded times, such as 0.1s: a time of 0 is below it.")
@_JOBS
@click.option("--force", is_flag=True, help="Overwrite the files.")
def fit_times(
    times: Path,
    output: Path | None,
    machine_name: str | None,
    client: str | None,
    kernel: str | None,
    figures: str | None,
    notes: tuple[str, ...],
    resolution: str | None,
    jobs: int | None,
    force: bool,
) -> None:
    """Fit a machine file to a CSV of TIMES, say whether the model describes them, and predict what was held out.

    The CSV has time_s, and as far as there are such columns nthreads, size_gib, stdev_s, resolution_s, node, chunk,
    kernel, page_size, and held_out for rows that are only to be predicted. Other columns are refused, but those named
    with --note.

    It takes some hundred times as long as to simulate the rows: seconds to a minute for 20 rows, more for pages that
    are cleared one by one.

    Exit status: 0 if the model describes the table, or nothing says that it does not; 3 if it does not.
    """
    output = output or Path(f"{times.stem}-fitted.yaml")
    table = output.with_suffix(".csv")
    for path in (output, table):
        if path.exists() and not force:
            raise click.UsageError(f"{path} exists; give another file (-o), or --force to overwrite it")
    if machine_name is None or client is None:
        raise click.UsageError(f"{times} needs --machine BASE.yaml, what is known of the machine, and --client NAME")
    try:
        path = find_machine_file(machine_name, Path.cwd())
        machine = load_machine(path)
        resolution_s = 0.0 if resolution is None else parse_time(resolution)
        measured = read_any_measurements(times, machine, client, kernel, notes=notes, resolution_s=resolution_s)
        names = None if figures is None else [name.strip() for name in figures.split(",") if name.strip()]
        fitted = fit_table(measured, figures_of(measured, client, names), jobs=jobs or available_cpus())
        document = fitted_document(yaml.safe_load(path.read_text(encoding="utf-8")), fitted, times.name)
    except InputError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    write_machine(document, output)
    fitted.cells.to_csv(table, index=False)
    click.echo(describe_fit(fitted, measured))
    click.echo(f"machine file: {output}\ncells: {table}", err=True)
    sys.exit(fitted.verdict.exit_status)
