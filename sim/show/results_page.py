"""A result folder as one HTML page that needs nothing else: the table, its figures, its scenario and versions."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import yaml

from models.results.regret import pareto_front, tied
from models.results.regret_table import identity, situation_columns, varying
from models.results.tables import other_works, threads_worked
from sim.figures.kinds import KINDS, OF_A_CASE, best_kind, draw
from sim.figures.names import axis_label, case_names, word
from sim.show.page import Cell, Html, page, paragraphs, picture, preformatted, table

if TYPE_CHECKING:
    import pandas as pd

    from models.results import Results

_TITLES = {"speedup": "Throughput and speed-up", "heat-map": "Heat map", "pareto": "Time against CPU-seconds",
           "regret": "Regret", "interference": "What they cost each other", "energy": "Energy",
           "timeline": "Who did what when", "loads": "Memory and links"}  # fmt: skip
_WORDS = {"time_s": "time (s)", "cpu_s": "CPU-seconds", "speedup": "speed-up", "imbalance": "imbalance"}


def results_html(results: Results) -> str:
    """Return the page of results: the cases, the figures that they allow, the scenario, the machines, the versions."""
    sections: list[tuple[str, list[Html]]] = [("In short", list(_in_short(results))), ("Cases", list(_cases(results)))]
    first = best_kind(results)
    missing = []
    for kind in (first, *(kind for kind in KINDS if kind != first)):
        try:
            figure = draw(kind, results)
        except ValueError as error:
            missing.append(f"no {kind}: {error}")
            continue
        what = " of case 0" if kind in OF_A_CASE else ""
        words = f"{_TITLES[kind]}{what}; the values stand under Cases"
        sections.append((_TITLES[kind], [picture(figure, kind, words)]))
    if missing:
        sections[-1][1].append(paragraphs("\n\n".join(f"{text[:1].upper()}{text[1:]}." for text in missing)))
    scenario = yaml.safe_dump(dict(results.scenario), sort_keys=False, allow_unicode=True)
    sections.append(("Scenario", [preformatted(scenario)]))
    sections.append(("Made with", [_made_with(results)]))
    return page(results.title, paragraphs(results.question), sections)


def _in_short(results: Results) -> Iterator[Html]:
    """Yield what came out: the least time of each situation, of which policy, and what is a tie with it."""
    summary = results.summary
    over = situation_columns(summary)
    policy = [name for name in varying(summary) if name not in over]
    groups = [part for _, part in summary.groupby(over, sort=False, dropna=False)] if over else [summary]
    columns: dict[str, list[Cell]] = {}
    if over:
        columns["situation"] = [case_names(part, over)[0] for part in groups]
    best = [int(part["time_s"].to_numpy().argmin()) for part in groups]
    spreads = [part["time_stdev_s"].where(part["replications"] > 1) for part in groups]
    columns["least time (s)"] = [float(part["time_s"].iloc[at]) for part, at in zip(groups, best, strict=True)]
    columns["± (s)"] = [float(spread.iloc[at]) for spread, at in zip(spreads, best, strict=True)]
    if policy:
        named = [case_names(part, policy) for part in groups]
        within = [tied(part["time_s"], part["time_stdev_s"], part["replications"]) for part in groups]
        columns["by"] = [names[at] for names, at in zip(named, best, strict=True)]
        columns["a tie with"] = [
            _others([names[i] for i, tie in enumerate(ties) if tie and i != at])
            for names, ties, at in zip(named, within, best, strict=True)
        ]
        columns["the slowest takes (times as long)"] = [
            float(part["time_s"].max() / part["time_s"].min()) for part in groups
        ]
    yield table("in short", columns)
    if policy:
        yield paragraphs("A tie is within twice the standard error of the difference, of the runs of both.")
    if results.summary["published_time_s"].notna().any():
        predicted = summary[summary["published_time_s"].notna() & ~summary["fitted"]]["error_pct"].abs()
        if len(predicted):
            yield paragraphs(
                f"{len(predicted)} published cells are predicted with a mean error of {predicted.mean():.1f} %, "
                f"at worst {predicted.max():.1f} %."
            )


def _others(names: Sequence[str]) -> str:
    """Return names as one text, of many the first."""
    return "; ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _cases(results: Results) -> Iterator[Html]:
    summary = results.summary
    names = [name for name in identity(summary) if name in (*varying(summary), "nthreads", "size_gib")]
    columns: dict[str, list[Cell]] = {"case": list(range(len(summary)))}
    shown: dict[str, list[str]] = {}
    for name in names:
        columns[axis_label(name)] = [_plain(value) for value in summary[name]]
        shown[axis_label(name)] = [word(name, value) for value in summary[name]]
        if name == "nthreads":
            columns["threads at work"] = list(threads_worked(summary))
    columns["time (s)"] = summary["time_s"].tolist()
    columns["± (s)"] = summary["time_stdev_s"].tolist()
    columns["runs"] = summary["replications"].tolist()
    measures = ["speedup", "published_time_s", "error_pct", "cpu_s", "slowdown"]
    measures += [f"{name}_{what}" for name in other_works(summary) for what in ("slowdown", "p99_s")]
    measures += ["energy_j", "energy_added_j"]
    for name in measures:
        if name in summary and summary[name].notna().any():
            columns[_WORDS.get(name, axis_label(name))] = summary[name].tolist()
    beaten = _beaten_by(summary)
    if any(beaten):
        columns["beaten by"] = list(beaten)
    if "note" in summary and summary["note"].fillna("").any():
        columns["why fewer threads"] = summary["note"].fillna("").tolist()
    yield table("cases", columns, shown=shown)
    if summary["replications"].max() > 1:
        yield paragraphs("± is one standard deviation over the runs of a case.")
    fixed = [name for name in identity(summary) if name not in names]
    yield paragraphs("All have " + ", ".join(f"{name} {word(name, summary[name].iloc[0])}" for name in fixed) + ".")


def _plain(value: object) -> Cell:
    """Return a value of a table for HTML: a number as a number, the rest as text."""
    if isinstance(value, (bool, str)) or value is None:
        return None if value is None else str(value)
    number = float(value)  # type: ignore[arg-type]
    return None if math.isnan(number) else int(number) if number.is_integer() else number


def _beaten_by(summary: pd.DataFrame) -> list[str]:
    """Return, for each case that another beats in time and CPU-seconds, the name of the one that does so by most."""
    over = situation_columns(summary)
    policy = [name for name in varying(summary) if name not in over]
    if not policy:
        return [""] * len(summary)
    names = case_names(summary, policy)
    found = [""] * len(summary)
    groups = [part.index for _, part in summary.groupby(over, dropna=False)] if over else [summary.index]
    for index in groups:
        part = summary.loc[index, ["time_s", "cpu_s"]]
        front = part[pareto_front(part, ["time_s", "cpu_s"])]
        for number in index.difference(front.index):
            own = part.loc[number]
            better = front[(front["time_s"] <= own["time_s"]) & (front["cpu_s"] <= own["cpu_s"])]
            found[number] = names[(better["time_s"] * better["cpu_s"]).idxmin()]
    return found


def _made_with(results: Results) -> Html:
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>"
        for key, value in results.provenance.items()
    )
    machines = ", ".join(str(machine["name"]) for machine in results.machines)
    return Html(f"<p>Machines: {html.escape(machines)}.</p><div class='wide'><table>{rows}</table></div>")
