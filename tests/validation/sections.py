"""Studies as sections of the guides, in Markdown."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from sim.compare.reports import ReportResult, describe_reports
from sim.compare.transfer import Transfer, describe_transfer, transfer_summary, verdict, words_of_fallback


def reports_section(results: Sequence[ReportResult]) -> str:
    """Return the reports as Markdown: how many are within their bars, the table, and the likely cause of each miss."""
    open_ = [result for result in results if result.report.seen is None]
    within = sum(result.is_within for result in open_)
    factors = sorted(abs(math.log(factor)) for result in open_ for factor in result.factors)
    median = math.exp(factors[len(factors) // 2])
    words = (
        f"{within} of {len(open_)} reports that nothing was made with in view are predicted within their bar, a factor "
        f"of 2 where the machine is known and 3 where it is guessed; half of their times within {median:.2f}."
    )
    lines = [*textwrap.wrap(words, 118), "", describe_reports(results, style="github"), ""]
    for result in results:
        report = result.report
        text = f"* **{report.name}**: {report.told.rstrip('.')} ({report.source})."
        text += f" Not a prediction: {report.seen.rstrip('.')}." if report.seen else ""
        text += f" What the miss points to: {report.missed.rstrip('.')}." if report.missed else ""
        lines += textwrap.wrap(text, 118, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines)


def transfer_section(found: Sequence[Transfer]) -> str:
    """Return the study as Markdown: the tables, and the replacement of each figure."""
    lines = [*textwrap.wrap(verdict(transfer_summary(found)), 118), ""]
    lines += [describe_transfer(found, style="github").partition("\n\n")[0], ""]
    for each in found:
        parts = []
        for machine, fallbacks in each.fallbacks.items():
            told = "; ".join(words_of_fallback(fallback) for fallback in fallbacks)
            parts.append(f"on {machine} {told}")
        if parts:
            text = f"* **{each.result.measured.name}**: {'. '.join(parts)}."
            lines += textwrap.wrap(text, 118, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines)
