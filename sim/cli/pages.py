"""The command for a result folder as a page."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from sim.cli.plots import read_folder
from sim.search.tuning import RECORD


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default DIR/index.html.")
def page(folder: Path, output: Path | None) -> None:
    """Write the result folder DIR, of run, sweep or tune, as one HTML page that works offline.

    It has what came out, tables to sort and filter, and all figures.
    """
    path = output or folder / "index.html"
    path.write_text(_html(folder), encoding="utf-8")
    click.echo(f"page: {path}", err=True)


def _html(folder: Path) -> str:
    """Return the page of a result folder, or of a search's. Raises UsageError."""
    if (folder / RECORD).exists():
        from sim.show.tuning_page import tuning_html

        try:
            return tuning_html(folder)
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise click.UsageError(f"{folder} is no folder of `ktask-sim tune` that can be read: {error}") from None
    from sim.show.results_page import results_html

    return results_html(read_folder(folder))
