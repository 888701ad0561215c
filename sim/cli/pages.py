"""The command for a result folder as a page."""

from __future__ import annotations

from pathlib import Path

import click

from sim.cli.plots import read_folder


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default DIR/index.html.")
def page(folder: Path, output: Path | None) -> None:
    """Write the result folder DIR as one HTML page that works offline: tables to sort and filter, and all figures."""
    from sim.show.results_page import results_html

    path = output or folder / "index.html"
    path.write_text(results_html(read_folder(folder)), encoding="utf-8")
    click.echo(f"page: {path}", err=True)
