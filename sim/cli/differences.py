"""The command for two results side by side."""

from __future__ import annotations

from pathlib import Path

import click

from sim.cli.plots import read_folder
from sim.cli.widths import table_width, wide_option


@click.command()
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Figure to write; default A-B.png beside B.")
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@wide_option
def diff(a: Path, b: Path, output: Path | None, style: str, wide: bool) -> None:
    """Compare the result folders A and B: what differed in the runs, and by how much each case differs."""
    from sim.compare.folders import compare_results, describe_comparison
    from sim.show.difference_figure import plot_difference

    try:
        comparison = compare_results(read_folder(a), read_folder(b))
    except ValueError as error:
        raise click.UsageError(f"{a} and {b}: {error}") from None
    if style == "csv":
        click.echo(comparison.cases.to_csv(index=False), nl=False)
    elif style == "json":
        click.echo(comparison.cases.to_json(orient="records", indent=1))
    else:
        click.echo(describe_comparison(comparison, str(a), str(b), table_width(wide)))
    path = output or b.resolve().parent / f"{a.resolve().name}-{b.resolve().name}.png"
    plot_difference(comparison, title=f"{b} (B) from {a} (A)", path=path)
    click.echo(f"figure: {path}", err=True)
