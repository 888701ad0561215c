"""The comparison with published tables as one HTML page that needs nothing else: tables and figures are in it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from sim.compare.published import TableResult, describe_published, describe_table
from sim.show.published_figure import plot_table

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
pre { font-size: 13px; overflow-x: auto; background: #f6f6f6; padding: .8rem; }
img { max-width: 100%; }
h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; }
"""


def published_html(results: Sequence[TableResult]) -> str:
    """Return the page: the summary, then each table with its figure, its cells, and what to know of it."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>ktask-sim: simulated and published</title><style>{_STYLE}</style></head><body>",
        "<h1>Simulated and published</h1>",
        f"<pre>{html.escape(describe_published(results))}</pre>",
    ]
    for result in results:
        parts.append(f"<h2 id='{html.escape(result.measured.name)}'>{html.escape(result.measured.name)}</h2>")
        if len(result.cells):
            buffer = io.BytesIO()
            plot_table(result).savefig(buffer, format="png", dpi=110, metadata={"Software": None})
            image = base64.b64encode(buffer.getvalue()).decode()
            words = f"errors of the cells of {result.measured.name}"
            parts.append(f"<img alt='{html.escape(words)}' src='data:image/png;base64,{image}'>")
        parts.append(f"<p>Verdict: {result.verdict}.</p><pre>{html.escape(describe_table(result))}</pre>")
    parts.append("</body></html>\n")
    return "\n".join(parts)
