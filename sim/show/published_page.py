"""The comparison with published tables as one HTML page that needs nothing else: verdicts first, then each table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sim.compare.published import AGREES, DIFFERS, NEARLY, TableResult, cells_shown, remarks, summary
from sim.show.page import Html, badge, link, page, paragraphs, picture, table
from sim.show.published_figure import plot_table

_KINDS = {AGREES: "good", NEARLY: "fair", DIFFERS: "bad"}


def published_html(results: Sequence[TableResult]) -> str:
    """Return the page: the verdicts, then each table with its figure, its cells, and its remarks."""
    sections = [("Verdicts", _verdicts(results))]
    sections += [(result.measured.name, list(_table(result))) for result in results]
    counts = {kind: sum(result.verdict == kind for result in results) for kind in _KINDS}
    words = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    predicted = sum(len(result.predicted) for result in results)
    means = sorted(result.mean_error_pct for result in results if len(result.predicted))
    text = (
        f"{len(results)} table{'s' * (len(results) != 1)}, {predicted} cells predicted: {words or 'nothing decided'}."
    )
    if means:
        middle = len(means) // 2
        median = means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2
        text += f" The median of the tables' mean errors is {median:.1f} %, the worst {means[-1]:.1f} %."
    return page("Simulated and published", paragraphs(text), sections)


def _verdicts(results: Sequence[TableResult]) -> list[Html]:
    rows = summary(results)
    names = [str(name) for name in rows["table"]]
    verdicts = [str(verdict) for verdict in rows["verdict"]]
    columns = {
        "table": names,
        "verdict": verdicts,
        "mean error (%)": rows["mean_error_pct"].tolist(),
        "worst (%)": rows["worst_error_pct"].tolist(),
        "spread of measured (%)": rows["spread_pct"].tolist(),
        "predicted": rows["predicted"].tolist(),
        "fitted": rows["fitted"].tolist(),
        "left out": rows["left_out"].tolist(),
        "misordered": rows["misranked"].tolist(),
        "of pairs": rows["ranked"].tolist(),
        "client": rows["client"].tolist(),
    }
    shown: dict[str, Sequence[str]] = {
        "table": [link(name, name) for name in names],
        "verdict": [badge(verdict, _KINDS.get(verdict, "none")) for verdict in verdicts],
    }
    for head in ("mean error (%)", "worst (%)", "spread of measured (%)"):
        shown[head] = ["" if value != value else f"{value:.1f}" for value in columns[head]]
    return [table("verdicts", columns, shown=shown)]


def _table(result: TableResult) -> Iterator[Html]:
    verdict = badge(result.verdict, _KINDS.get(result.verdict, "none"))
    errors = "" if not len(result.predicted) else (
        f" mean error {result.mean_error_pct:.1f} %, worst {result.worst_error_pct:.1f} %"
    )  # fmt: skip
    yield Html(f"<p>{verdict}{errors}. <a href='#verdicts'>all verdicts</a></p>")
    name = result.measured.name
    if len(result.cells):
        yield picture(plot_table(result), name, f"error of each cell of {name}, which the table below has")
        columns, shown = cells_shown(result)
        yield table(name, columns, shown=shown)
    for remark in remarks(result):
        yield paragraphs(remark)
