"""Writes the tables of VALIDATION.md and README.md; `make validate`, takes minutes.

`python -m tests.validation.study published transfer` writes these sections alone: transfer (each table predicted
without any row of it), reports (what people told), published (all tables as they are), figures (who uses them),
mechanisms (each row switches one mechanism off, leaves all else as fitted, and compares all 20 published cells of
clear_gigantic_page), locks (waits against a simulation of every section).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pandas as pd
from tabulate import tabulate

from models.machine.capacity import CapacityCurve
from models.results import Results
from models.scenario import Scenario, load_scenario
from models.scenario.case import Case
from sim.compare.published import compare, describe_cells, published_section
from sim.compare.reports import compare_reports
from sim.compare.transfer import transfer
from sim.runs.experiment import available_cpus, run
from sim.show.describe import describe_results
from tests.reference.plain_locks import drawn_case, error
from tests.validation.figure_uses import figures_section
from tests.validation.own_error import own_error_section
from tests.validation.page_figures import figures_table
from tests.validation.sections import reports_section, transfer_section

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "VALIDATION.md"
BESIDE_OTHERS = ("helper_max_nice", "helper_renice")  # tables whose cells VALIDATION.md shows
Change = Callable[[Case], Case]


def _rates(**changes: object) -> Change:
    def change(case: Case) -> Case:
        rates = replace(case.machine.rates, **changes)  # type: ignore[arg-type]
        return replace(case, machine=replace(case.machine, rates=rates))

    return change


def _kernel(**changes: object) -> Change:
    return lambda case: replace(case, kernel=case.kernel.model_copy(update=changes))


def _no_serial_loop(case: Case) -> Case:
    return _rates(serial_clear_bytes_per_s=case.machine.rates.clear_bytes_per_s)(case)


ABLATIONS: list[tuple[str, str, Change]] = [
    ("nothing: the model as shipped", "", lambda case: case),
    ("remote factor", "remote memory is as fast as local", _rates(remote_factors={})),
    (
        "wake-up pull",
        "the caller stays on its first node",
        _kernel(wake_pull=0.0),
    ),
    (
        "stray wake-ups",
        "only the join wakes the caller: a remote caller is last, never sleeps, and so is never pulled",
        _kernel(stray_block=0.0),
    ),
    ("limit of a pull", "the caller can be pulled across two links too", _kernel(wake_pull_max_distance=255)),
    ("node limit", "a node's memory takes any load", _rates(memory_bytes_per_s=1e15)),
    (
        "sharp knee",
        "soft knee, exponent 6",
        _rates(memory_curve=CapacityCurve(knee=6.0)),
    ),
    (
        "chunked tail",
        "32 chunks a work instead of 4: an eighth of the tail",
        _kernel(chunks_per_work=32),
    ),
    ("slower serial loop", "one thread clears as fast as each of several", _no_serial_loop),
    ("sharing by demand", "streams at a full node get equal rates, however far", _rates(share_exponent=0.0)),
    (
        "start and wake latency",
        "helpers start, and the caller wakes, at once",
        _kernel(start_latency=0.0, wake_latency=0.0),
    ),
    ("chunk noise", "every chunk takes its mean time", _rates(chunk_noise=0.0)),
]


def changed(scenario: Scenario, change: Change) -> Results:
    """The results of the scenario with every case changed."""
    cases = tuple(change(case) for case in scenario.cases)
    return run(replace(scenario, cases=cases), jobs=available_cpus())


def main(wanted: Sequence[str]) -> None:
    sections = {
        "page figures": write_page_figures,
        "transfer": write_transfer,
        "reports": write_reports,
        "published": write_published,
        "figures": write_figures,
        "mechanisms": write_mechanisms,
        "locks": write_locks,
    }
    unknown = [name for name in wanted if name not in sections]
    if unknown:
        sys.exit(f"found section {unknown[0]!r}; allowed are {', '.join(sections)}")
    for name, write in sections.items():
        if not wanted or name in wanted:
            write()


def write_page_figures() -> None:
    """Write the figures of a page's life, and which jobs use each."""
    write_section(ROOT / "MODEL.md", "page figures", figures_table())


def write_transfer() -> None:
    """Write how each published table is predicted without itself."""
    write_section(GUIDE, "transfer", transfer_section(transfer(jobs=available_cpus())))
    write_own_error()


def write_reports() -> None:
    """Write how what people told is met."""
    write_section(GUIDE, "reports", reports_section(compare_reports(jobs=available_cpus())))


def write_published() -> None:
    """Write how each published table is met."""
    results = compare(jobs=available_cpus())
    write_section(GUIDE, "published", published_section(results))
    for result in results:
        if result.measured.name in BESIDE_OTHERS:
            write_section(GUIDE, result.measured.name, describe_cells(result, style="github"))
    write_own_error()


def write_own_error() -> None:
    """Write the model's own error, which follows from two other sections."""
    write_section(GUIDE, "own-error", own_error_section())


def write_figures() -> None:
    """Write which figure is used by which clients."""
    write_section(GUIDE, "figures", figures_section())


def write_mechanisms() -> None:
    """Write what each mechanism contributes to clear_gigantic_page, and its cells."""
    scenario = load_scenario(ROOT / "scenarios" / "clear_gigantic_page.yaml")
    rows = []
    as_shipped = changed(scenario, lambda case: case)
    for name, meaning, change in ABLATIONS:
        summary = changed(scenario, change).summary if meaning else as_shipped.summary
        by_threads = {
            f"{n} thr.": f"{cells['error_pct'].mean():+.1f}" for n, cells in summary.groupby("nthreads") if n > 1
        }
        predicted = summary[~summary["fitted"]]["error_pct"].abs()
        rows.append(
            {
                "switched off": name,
                "what happens": meaning,
                "mean": f"{predicted.mean():.1f}",
                "worst": f"{predicted.max():.1f}",
                "1 thr.": f"{summary[summary['nthreads'] == 1]['error_pct'].mean():+.1f}",
                **by_threads,
            }
        )
        print(rows[-1], flush=True)
    write_section(GUIDE, "mechanisms", tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))
    write_section(GUIDE, "cells", cell_table(as_shipped.summary))
    write_section(ROOT / "README.md", "table", f"```text\n{describe_results(as_shipped)}\n```")


def write_locks(n_cases: int = 100) -> None:
    """Write how far waits at locks are from a simulation of every section, over cases drawn at random."""
    rows = []
    for n_locks in (1, 2, 3):
        for fixed, words in ((False, "drawn (exponential)"), (True, "of one length")):
            random = Random(f"{n_locks} locks")
            drawn = [drawn_case(random, n_locks, 0.0 if fixed else 1.0) for _ in range(n_cases)]
            errors = [100 * abs(error(*case, fixed=fixed)) for case in drawn]
            row = {"locks": n_locks, "sections": words, "cases": n_cases, "mean (%)": f"{sum(errors) / n_cases:.2f}"}
            rows.append(row | {"beyond 3 %": sum(each > 3 for each in errors), "worst (%)": f"{max(errors):.1f}"})
    write_section(ROOT / "MODEL.md", "locks", tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def cell_table(summary: pd.DataFrame) -> str:
    """The errors by cell as a Markdown table, fitted cells starred."""
    rows = []
    for nthreads, cells in summary.groupby("nthreads"):
        row = {"threads": str(nthreads)}
        for cell in cells.itertuples():
            mark = "*" if cell.fitted else ""
            row[f"{cell.size_gib} GiB"] = (
                f"{cell.time_s:.2f} / {cell.published_time_s:.2f} ({cell.error_pct:+.1f} %{mark})"
            )
        rows.append(row)
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def write_section(guide: Path, section: str, text: str) -> None:
    """Put a table between its markers in a guide. Raises ValueError if the guide has no such section."""
    content = guide.read_text()
    pattern = rf"(<!-- {section} -->\n).*?(<!-- end -->)"
    if not re.search(pattern, content, flags=re.DOTALL):
        raise ValueError(f"{guide} has no section {section}")
    guide.write_text(re.sub(pattern, lambda match: match[1] + text + "\n" + match[2], content, flags=re.DOTALL))


if __name__ == "__main__":
    main(sys.argv[1:])
