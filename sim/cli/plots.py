"""The command for figures of results."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd
import yaml
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from tabulate import tabulate

from models.results import Results, load_results
from models.results.regret_table import policy_columns, regret_table, situation_columns
from models.text.problems import did_you_mean
from models.text.units import parse_time
from sim.figures.kinds import KINDS, OF_A_CASE, draw
from sim.figures.names import axis_label, case_names, decimals, word
from sim.figures.style import save
from sim.runs.store import FILE
from sim.search.tuning import FIGURE as TUNING_FIGURE
from sim.search.tuning import RECORD


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    help=f"One of them: {', '.join(KINDS)}; default all there are.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Folder, or with --kind a file, such as figure.pdf; default FOLDER.")  # fmt: skip
@click.option("--case", type=int, help="Case of timeline and loads, counted from 0 as in runs.csv; default 0.")
@click.option("--from", "begin", metavar="TIME", help="Of timeline: where it begins, such as 20ms; default 0.")
@click.option("--to", "end", metavar="TIME", help="Of timeline: where it ends; default after the first tasks.")
def plot(
    folder: Path, kind: str | None, output: Path | None, case: int | None, begin: str | None, end: str | None
) -> None:
    """Draw the figures of a result FOLDER, and print its table of regret."""
    if kind is not None and kind not in KINDS:
        hint = did_you_mean(kind, list(KINDS))
        raise click.UsageError(f"--kind: found {kind!r}; allowed are {', '.join(KINDS)}{hint}")
    results = read_folder(folder)
    _check_case(case, kind, results)
    window = _window(kind, begin, end)
    target = folder if output is None else output
    _check_output(target, kind)
    drawn: dict[str, Figure] = {}
    for name in KINDS if kind is None else [kind]:
        try:
            drawn[name] = draw(name, results, case=case or 0, window=window)
        except ValueError as error:
            if kind is not None:
                raise click.UsageError(f"no {name}: {error}") from None
            click.echo(f"no {name}: {error}", err=True)
    for name, figure in drawn.items():
        path = target if _is_file(target, kind) else target / _file_name(name, case or 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(figure, path)
        click.echo(f"figure: {path}", err=True)
    if "regret" in drawn:
        click.echo(_regret_words(results))


def _window(kind: str | None, begin: str | None, end: str | None) -> tuple[float, float | None]:
    """Return the window of a timeline in seconds. Raises UsageError for texts that are not a time, or useless here."""
    if (begin or end) and kind not in (None, "timeline"):
        raise click.UsageError("--from and --to are of timeline")
    found: list[float | None] = []
    for option, text in (("--from", begin), ("--to", end)):
        try:
            found.append(None if text is None else float(parse_time(text)))
        except ValueError as error:
            raise click.UsageError(f"{option}: {error}") from None
    begin_s, end_s = found[0] or 0.0, found[1]
    if end_s is not None and end_s <= begin_s:
        raise click.UsageError(f"--to: found {end}; allowed is more than --from")
    return begin_s, end_s


def _file_name(kind: str, case: int) -> str:
    return f"{kind}-{case}.png" if kind in OF_A_CASE else f"{kind}.png"


def read_folder(folder: Path) -> Results:
    """Return the results in a folder. Raises UsageError with the problem if there are none."""
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is {'a file' if folder.exists() else 'not there'}; give a result folder")
    if (folder / RECORD).exists():
        raise click.UsageError(f"{folder} is of `ktask-sim tune`, whose figure is {folder / TUNING_FIGURE}")
    if not (folder / "provenance.json").exists():
        if (folder / FILE).exists():
            raise click.UsageError(f"the sweep in {folder} is not done; the command that began it goes on")
        raise click.UsageError(f"{folder} is no result folder; `ktask-sim run` makes one")
    try:
        results = load_results(folder)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise click.UsageError(f"{folder} is no result folder that can be read: {error}") from None
    if results.summary is None:
        raise click.UsageError(f"{folder} is no result folder that can be read: it has no summary.parquet")
    return results


def _check_case(case: int | None, kind: str | None, results: Results) -> None:
    """Raise UsageError for a case that is not there, or that the figure has no use for."""
    if case is None:
        return
    if kind is not None and kind not in OF_A_CASE:
        raise click.UsageError(f"--case is of {' and '.join(OF_A_CASE)}; {kind} shows all cases")
    last = len(results.summary) - 1
    if not 0 <= case <= last:
        allowed = "0, the only one" if last == 0 else f"0 to {last}"
        raise click.UsageError(f"--case: found {case}; allowed is {allowed}")


def _is_file(output: Path, kind: str | None) -> bool:
    """Return whether a figure of one kind is to be written to this very path, not to a folder of that name."""
    return kind is not None and output.suffix != "" and not output.is_dir()


def _check_output(output: Path, kind: str | None) -> None:
    """Raise UsageError if nothing can be written to a file or folder of that name."""
    suffix = output.suffix.removeprefix(".").lower()
    formats = FigureCanvasBase.get_supported_filetypes()
    if _is_file(output, kind):
        if suffix not in formats:
            raise click.UsageError(f"-o: found a file ending in .{suffix}; allowed are {', '.join(sorted(formats))}")
    elif output.is_file() or (suffix in formats and not output.is_dir()):
        raise click.UsageError(f"-o: found {output}, a file; give a folder, or --kind and a file such as figure.png")


def _regret_words(results: Results) -> str:
    """Return the table of regret as a person reads it."""
    summary = results.summary
    over = situation_columns(summary)
    policy = policy_columns(summary, over)
    table = regret_table(summary)
    shown = pd.DataFrame({"policy": case_names(table, policy)})
    for name in over:
        shown[axis_label(name)] = [word(name, value) for value in table[name]]
    for name in ("time_s", "cpu_s"):
        n_decimals = decimals(table[name].min())
        shown[axis_label(name)] = [f"{value:.{n_decimals}f}" for value in table[name]]
    for name in ("regret_pct", "regret_mean_pct", "regret_worst_pct") if over else ("regret_pct",):
        shown[axis_label(name)] = [f"{value:.1f}" for value in table[name]]
    return tabulate(shown.to_dict("list"), headers="keys", disable_numparse=True, stralign="right")
