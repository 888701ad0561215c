"""The simulation against tables: the published ones (`validate`), and anybody's (`calibrate MEASUREMENTS.csv`)."""

from __future__ import annotations

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


def calibrate_table(
    measurements: Path,
    machine_name: str | None,
    client: str | None,
    kernel: str | None,
    figures: str | None,
    output: Path,
    jobs: int | None,
) -> None:
    """Fit a machine file to a CSV of measurements, print what was found, and predict what was held out."""
    if machine_name is None or client is None:
        raise click.UsageError(
            f"{measurements} needs --machine BASE.yaml, what is known of the machine, and --client NAME"
        )
    try:
        path = find_machine_file(machine_name, Path.cwd())
        machine = load_machine(path)
        measured = read_any_measurements(measurements, machine, client, kernel)
        names = None if figures is None else [name.strip() for name in figures.split(",") if name.strip()]
        fit = fit_table(measured, figures_of(measured, client, names), jobs=jobs or available_cpus())
        document = fitted_document(yaml.safe_load(path.read_text(encoding="utf-8")), fit, measurements.name)
    except InputError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    write_machine(document, output)
    table = output.with_suffix(".csv")
    fit.cells.to_csv(table, index=False)
    click.echo(describe_fit(fit, measured))
    click.echo(f"machine file: {output}\ncells: {table}", err=True)
