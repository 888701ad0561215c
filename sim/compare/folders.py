"""Two results side by side: the differences of their scenarios and machines, and of their cases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from models.results import Results
from models.results.differences import Difference, what_differs
from models.results.regret_table import identity
from models.results.tables import threads_worked
from models.text.tables import fit_table
from sim.figures.names import case_name
from sim.runs.replications import RunningMean

SLOWER, FASTER, ALIKE, UNSURE = "slower", "faster", "no difference", "one run: not known"
_OF_CODE = ("schema_version", "digest", "seeds", "traces", "backend", "cases")  # of a provenance, what is no version


@dataclass(frozen=True)
class Comparison:
    """Two results, A and B.

    * ``scenario``, ``machines``, ``versions``: (path, A's value, B's value) of all that differs.
    * ``cases``: a row for each pair of cases: case (its name), case_a and case_b (numbers), n_workers_a, n_workers_b,
      time_a_s, time_b_s (means), difference_pct (of B from A, in percent of A), half_width_pct (half the 95 %
          confidence interval of that, empty for one run), paired (whether both had the same random numbers) and
          verdict.
    * ``alone_a``, ``alone_b``: names of the cases that have no partner.
    """

    scenario: list[Difference]
    machines: list[Difference]
    versions: list[Difference]
    cases: pd.DataFrame
    alone_a: list[str]
    alone_b: list[str]


def compare_results(a: Results, b: Results) -> Comparison:
    """Return the differences between two results, in their inputs and their outcomes.

    Cases are partners if they agree in all columns that describe a case, but for those in which each of the two results
    has one value only. Replications of the same number and seed had the same random numbers: they are paired, and the
    interval is that of the mean of their differences (Student t). Else it is that of two independent means.

    Args:
        a: the results that are compared with.
        b: the results whose cases are slower or faster than those of `a`.

    Returns:
        The differences in scenario, machines and versions, and a row for each pair of cases.

    Raises:
        ValueError: no case of A has a partner in B.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": 4, "replications": 2})
        >>> a, b = run(scenario), run(scenario.with_values({"kernel.chunks": "factoring"}))
        >>> compare_results(a, b).scenario
        [('kernel.chunks', None, 'factoring')]
    """
    on = _common(a.summary, b.summary)
    ours, theirs = _by_key(a.summary, on), _by_key(b.summary, on)
    pairs = [(i, j) for key, numbers in ours.items() for i, j in _partners(numbers, theirs.get(key, []))]
    if not pairs:
        raise ValueError(f"no case of the one is a case of the other; they are told apart by {', '.join(on)}")
    paired = a.provenance["seeds"] == b.provenance["seeds"] and len(a.provenance["seeds"]) == 1
    paired = paired and a.provenance["backend"] == b.provenance["backend"] == "sim"
    names = _names(a.summary, on)
    rows = [_row(a, b, i, j, names[i], paired) for i, j in pairs]
    with_partner_a, with_partner_b = {i for i, _ in pairs}, {j for _, j in pairs}
    names_b = _names(b.summary, on)
    return Comparison(
        scenario=what_differs(a.scenario, b.scenario),
        machines=_machines(a, b),
        versions=[each for each in what_differs(a.provenance, b.provenance) if each[0].split(".")[0] not in _OF_CODE],
        cases=pd.DataFrame(rows),
        alone_a=[name for i, name in enumerate(names) if i not in with_partner_a],
        alone_b=[name for j, name in enumerate(names_b) if j not in with_partner_b],
    )


def _common(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    """Return the columns by which both results tell cases apart, without those in which each chose one value."""
    both = [name for name in identity(a) if name in identity(b)]

    def is_choice(name: str) -> bool:
        one, other = a[name].unique(), b[name].unique()
        return len(one) == len(other) == 1 and str(one[0]) != str(other[0])

    return [name for name in both if not is_choice(name)]


def _by_key(summary: pd.DataFrame, on: list[str]) -> dict[tuple[str, ...], list[int]]:
    keys: dict[tuple[str, ...], list[int]] = {}
    for number, values in enumerate(summary[on].itertuples(index=False, name=None)):
        keys.setdefault(tuple(str(value) for value in values), []).append(number)
    return keys


def _partners(ours: list[int], theirs: list[int]) -> list[tuple[int, int]]:
    """Return pairs of cases of one key. One case on a side is everybody's partner, else they pair in order."""
    if len(ours) > 1 and len(theirs) > 1 and len(ours) != len(theirs):
        return []
    n = max(len(ours), len(theirs)) if ours and theirs else 0
    return [(ours[i % len(ours)], theirs[i % len(theirs)]) for i in range(n)]


def _names(summary: pd.DataFrame, on: list[str]) -> list[str]:
    varying = [name for name in identity(summary) if summary[name].nunique(dropna=False) > 1]
    shown = varying or [name for name in on if name in ("nthreads", "size_gib")]
    return [case_name(shown, values) for values in summary[shown].itertuples(index=False, name=None)]


def _machines(a: Results, b: Results) -> list[Difference]:
    """Return the differences between machines of the same name, and the machines that only one has."""
    ours, theirs = ({str(each["name"]): each for each in results.machines} for results in (a, b))
    found: list[Difference] = [
        (name, "there" if name in ours else None, "there" if name in theirs else None)
        for name in dict.fromkeys([*ours, *theirs])
        if (name in ours) != (name in theirs)
    ]
    for name in ours.keys() & theirs.keys():
        found += [(f"{name}.{path}", one, other) for path, one, other in what_differs(ours[name], theirs[name])]
    return found


def _row(a: Results, b: Results, i: int, j: int, name: str, paired: bool) -> dict[str, object]:
    times_a = a.runs[a.runs["case"] == i].set_index("replication")["time_s"]
    times_b = b.runs[b.runs["case"] == j].set_index("replication")["time_s"]
    mean_a, mean_b = float(times_a.mean()), float(times_b.mean())
    both = times_a.index.intersection(times_b.index)
    if paired and len(both):
        step = times_b.loc[both] - times_a.loc[both]
        change, half_s = float(step.mean()), RunningMean(step.tolist()).half_width()
    else:
        change = mean_b - mean_a
        half_s = math.hypot(*(RunningMean(times.tolist()).half_width() for times in (times_a, times_b)))
    half_pct = 100 * half_s / mean_a
    change_pct = 100 * change / mean_a
    if math.isnan(half_pct):
        verdict = ALIKE if change_pct == 0.0 else UNSURE
    else:
        verdict = ALIKE if abs(change_pct) <= max(half_pct, 1e-9) else SLOWER if change_pct > 0 else FASTER
    return {
        "case": name,
        "case_a": i,
        "case_b": j,
        "n_workers_a": float(threads_worked(a.summary).iloc[i]),
        "n_workers_b": float(threads_worked(b.summary).iloc[j]),
        "time_a_s": mean_a,
        "time_b_s": mean_b,
        "difference_pct": change_pct,
        "half_width_pct": half_pct,
        "paired": paired,
        "verdict": verdict,
    }


def describe_comparison(comparison: Comparison, name_a: str, name_b: str, width: int | None = None) -> str:
    """Return a comparison for a person: the differences first, then the cases, then those without a partner.

    `width` is the most characters of a line of the tables, as far as it can be had.
    """
    lines = [f"A: {name_a}", f"B: {name_b}", ""]
    for head, found in (
        ("scenario", comparison.scenario),
        ("machine", comparison.machines),
        ("version", comparison.versions),
    ):
        if found:
            columns = {
                head: [path for path, _, _ in found],
                "A": [_text(one) for _, one, _ in found],
                "B": [_text(other) for _, _, other in found],
            }
            lines += [fit_table(columns, width, (), dict.fromkeys(columns, "left")), ""]
        else:
            lines += [f"The same {head}."]
    lines.append("")
    cells = comparison.cases
    unit, factor = ("s", 1.0) if cells[["time_a_s", "time_b_s"]].max().max() >= 1.0 else ("ms", 1e3)
    shown: dict[str, list[Any]] = {
        "case": list(cells["case"]),
        "threads at\nwork, A": [f"{n:.3g}" for n in cells["n_workers_a"]],
        "threads at\nwork, B": [f"{n:.3g}" for n in cells["n_workers_b"]],
        f"A ({unit})": [f"{factor * time:.4g}" for time in cells["time_a_s"]],
        f"B ({unit})": [f"{factor * time:.4g}" for time in cells["time_b_s"]],
        "B from A (%)": [
            f"{change:+.1f}" + ("" if math.isnan(half) else f" ({change - half:+.1f} to {change + half:+.1f})")
            for change, half in zip(cells["difference_pct"], cells["half_width_pct"], strict=True)
        ],
        "B is": list(cells["verdict"]),
    }
    said = ("threads at\nwork, A", "threads at\nwork, B")
    if (cells["n_workers_a"] == cells["n_workers_b"]).all():
        shown = {"threads\nat work" if name == said[0] else name: v for name, v in shown.items() if name != said[1]}
    lines.append(fit_table(shown, width, ("B is", "threads\nat work", *said), {"case": "left", "B is": "left"}))
    how = "both had the same random numbers" if cells["paired"].all() else "they had other random numbers"
    if cells["half_width_pct"].notna().any():
        lines += ["", f"In brackets: the 95 % confidence interval of the mean difference; {how}."]
    for name, alone in (("A", comparison.alone_a), ("B", comparison.alone_b)):
        if alone:
            more = f" and {len(alone) - 6} more" if len(alone) > 6 else ""
            lines.append(f"Only in {name}: {'; '.join(alone[:6])}{more}.")
    return "\n".join(lines)


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
