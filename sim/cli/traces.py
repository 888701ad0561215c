"""The command for traces in the viewer of Perfetto."""

from __future__ import annotations

from pathlib import Path

import click

from sim.cli.plots import read_folder

FILE = "trace.json"


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(FILE), show_default=True,
              help="File to write, for ui.perfetto.dev or chrome://tracing.")  # fmt: skip
def perfetto(folders: tuple[Path, ...], output: Path) -> None:
    """Write the traces of result FOLDERs as one file for the viewer of Perfetto, side by side."""
    from sim.show.trace_file import write_trace

    try:
        n = write_trace(output, [(folder.resolve().name, read_folder(folder)) for folder in folders])
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"trace: {output} ({n} case{'s' * (n != 1)}), for ui.perfetto.dev", err=True)
