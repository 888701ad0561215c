"""Figures of a machine, a kernel or other work fitted to a table of somebody's measurements (`sim.fit.fit`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from models.clients import CLIENTS
from models.machine import Machine
from models.measured.measurements import Measurements, spread_of
from models.scenario.case import Case
from models.text.units import parse_rate
from sim.engine.run import run_case
from sim.fit.figures import DEFAULT_KNEE, Figure, figure_of, names_for, put, put_into, scaled
from sim.fit.fit import IMPOSSIBLE_S, MODEL_ERROR, MODEL_ERROR_SPREAD, SEEN, Posterior, Prior, Rows, Vector, fit
from sim.fit.verdict import Verdict, judge
from sim.runs.executors import processes

DETERMINED = 0.5  # a figure is, up to this share of the standard deviation that it had before
_LEAST_SPREAD = 0.01  # of a measurement whose spread is not stated
_FAR = 4.0  # standard deviations of a prior: a figure that moved further is told
_FELT = 0.03  # a figure that changes no row by this, moved by twice its standard deviation, is left out


@dataclass(frozen=True)
class Fitted:
    """A figure after the fit.

    Attributes:
        figure: the figure before.
        value: the fitted value, in SI units.
        stderr: its standard error, likewise.
        unsure: that error over the one before.
    """

    figure: Figure
    value: float
    stderr: float
    unsure: float

    @property
    def name(self) -> str:
        """Return its path."""
        return self.figure.name

    @property
    def at_limit(self) -> bool:
        """Return whether it ended at a limit of a file's range."""
        return self.figure.at_a_limit(self.value)

    @property
    def determined(self) -> bool:
        """Return whether the data tell it much better than it was known before."""
        return self.unsure <= DETERMINED and not self.at_limit

    @property
    def seen(self) -> bool:
        """Return whether the data determine it. If not, it stays as it was."""
        return self.unsure <= SEEN

    @property
    def is_far(self) -> bool:
        """Return whether it is further from where it was than its prior allows for."""
        figure = self.figure
        return not figure.additive and abs(math.log(self.value / figure.value)) > _FAR * figure.prior

    @property
    def verdict(self) -> str:
        """Return whether the data determine it, in a few words."""
        if self.seen and self.at_limit:
            return "no: at the limit of what a file may have"
        return "yes" if self.determined else "hardly" if self.seen else "no: as before"

    def words(self) -> str:
        """Return the value and its error with their unit."""
        return f"{self.figure.words(self.value)} ± {self.figure.words(self.stderr)}"


@dataclass(frozen=True)
class TableFit:
    """A machine fitted to a table.

    Attributes:
        machine: with the figures that the rows say something of.
        figures: the fitted figures.
        cells: the table's rows, with `predicted_s`, `error_pct`, `low_s` and `high_s`, between which a measurement of
            the row lies with a probability of 95 %, `low50_s` and `high50_s` with one of 50 %, and for fitted rows
            `left_out_s` and `left_out_error_pct`, of the prediction by the other rows.
        model_error: the model's own error, as a share of a time, as the rows tell it.
        verdict: whether the model describes the table.
        unfelt: names of figures that no row depends on.
    """

    machine: Machine
    figures: tuple[Fitted, ...]
    cells: pd.DataFrame
    model_error: float
    verdict: Verdict
    unfelt: tuple[str, ...] = ()


def figures_of(measured: Measurements, client: str | None = None, names: Sequence[str] | None = None) -> list[Figure]:
    """Return the figures that a table may determine, or those of certain names.

    Args:
        measured: the table.
        client: of a machine file's `clients:`, by default that of the table.
        names: paths of figures, by default all of the machine file that the client may depend on.

    Returns:
        The figures, with their priors.

    Raises:
        ValueError: a name is none that can be fitted, or no case can be made of the table.

    >>> from models.measured.measurements import load_measurements
    >>> [figure.name for figure in figures_of(load_measurements("vfio_pin_xeon_8160"), names=["links.bandwidth"])]
    ['links.bandwidth']
    """
    if measured.scenario is None:
        raise ValueError(f"{measured.name} has no row that a case can be made of")
    cases = measured.scenario.cases
    if client is not None and client not in CLIENTS:
        raise ValueError(f"found client {client!r}; allowed are {', '.join(CLIENTS)}")
    chosen = names_for(cases[0]) if names is None else list(dict.fromkeys(names))
    return [_of_any(cases, name) for name in chosen]


def _of_any(cases: Sequence[Case], name: str) -> Figure:
    """Return a figure of the first case that has it. Raises ValueError where none has."""
    first: ValueError | None = None
    for case in cases:
        try:
            return figure_of(case, name)
        except ValueError as error:
            first = first or error
    assert first is not None
    raise first


def fit_table(
    measured: Measurements,
    figures: Sequence[Figure],
    *,
    jobs: int = 1,
    model_error: float = MODEL_ERROR,
    model_error_spread: float = MODEL_ERROR_SPREAD,
) -> TableFit:
    """Fit figures to the fitted rows of a table of measurements, all on one machine, and predict the others.

    Args:
        measured: the table, with the rows that are `fitted`.
        figures: the figures to fit (`figures_of`).
        jobs: processes.
        model_error: median of the model's own error before a row is seen, as a share of a time.
        model_error_spread: standard deviation of its logarithm.

    Returns:
        The machine, the posterior of each figure, and each row's prediction.

    Raises:
        ValueError: no row is to be fitted.

    >>> from models.measured.measurements import load_measurements
    >>> vfio = load_measurements("vfio_pin_xeon_8160")
    >>> found = fit_table(vfio, figures_of(vfio, names=["pages.pin_rate"]))
    >>> found.figures[0].name
    'pages.pin_rate'
    """
    chosen = np.flatnonzero(measured.rows["fitted"].to_numpy(bool))
    if measured.scenario is None or not len(chosen):
        raise ValueError("no row is to be fitted")
    rows, cases = measured.rows, measured.scenario.cases
    spread = _spreads(rows)
    log_times = np.log(rows["time_s"].to_numpy(float))
    below = rows["below"].to_numpy(bool) if "below" in rows else np.zeros(len(rows), bool)
    with _Times.of(cases, jobs) as times:
        felt = _felt(times, figures, rows["time_s"].to_numpy(float))
        prior = Prior(
            np.array([figure.prior for figure in felt]),
            np.array([figure.bounds()[0] for figure in felt]),
            np.array([figure.bounds()[1] for figure in felt]),
            model_error,
            model_error_spread,
        )

        def predict(x: Vector, numbers: Sequence[int]) -> Vector:
            return np.log(times(values_at(felt, x), numbers))

        fitted_rows = Rows(log_times[chosen], spread[chosen], below[chosen])
        found = fit(predict, fitted_rows, [int(i) for i in chosen], len(cases), prior)
    kept = {f.name: x for f, x in zip(felt, found.x, strict=True) if x != 0.0 or f.additive}
    values = values_at(felt, found.x)
    machine = machine_with(cases[0].machine, {name: values[name] for name in kept if values[name] or name in kept})
    results = tuple(_fitted(felt[i], values, found, i) for i in range(len(felt)))
    table = _cells(rows, found, spread, chosen, below)
    unfelt = tuple(figure.name for figure in figures if figure.name not in values)
    far = [f"{each.name} {_times_of(each)}" for each in results if each.seen and each.is_far]
    return TableFit(machine, results, table, found.model_error, judge(table, found.model_error, far), unfelt)


def _spreads(rows: pd.DataFrame) -> Vector:
    """Return the spread of each row's measurement as a share, with the spread from its resolution."""
    spread = spread_of(rows).fillna(_LEAST_SPREAD).clip(lower=_LEAST_SPREAD).to_numpy(float)
    if "resolution_s" in rows:
        rounded = rows["resolution_s"].fillna(0.0).to_numpy(float) / rows["time_s"].to_numpy(float) / math.sqrt(12)
        spread = np.hypot(spread, rounded)
    return np.asarray(spread)


def values_at(figures: Sequence[Figure], x: Vector) -> dict[str, float]:
    """Return the values of figures at x, by name. Some move in proportion to others."""
    values = {figure.name: figure.at(float(at)) for figure, at in zip(figures, x, strict=True)}
    before = {figure.name: figure.value for figure in figures}
    for figure in figures:
        if figure.relative_to in values:
            values[figure.name] *= values[figure.relative_to] / before[figure.relative_to]
    return values


def machine_with(machine: Machine, values: Mapping[str, float]) -> Machine:
    """Return a machine with figures of its file in place. Those of a scenario are left out."""
    for name, value in values.items():
        if name.partition(".")[0] in ("rates", "pages", "clients", "links", "workers"):
            machine = put(machine, name, value)
    return machine


class _Times:
    """The times of cases with figures in place, each simulated once."""

    def __init__(self, cases: Sequence[Case], pool: Any) -> None:
        self._cases, self._pool = [_quiet(case) for case in cases], pool
        self._known: dict[tuple[int, tuple[tuple[str, float], ...]], float] = {}

    @staticmethod
    @contextmanager
    def of(cases: Sequence[Case], jobs: int) -> Iterator[_Times]:
        """Return the times of cases, made in this many processes."""
        if jobs == 1:
            yield _Times(cases, None)
            return
        with processes(jobs) as pool:
            yield _Times(cases, pool)

    def __call__(self, values: Mapping[str, float], numbers: Sequence[int]) -> Vector:
        key = tuple(values.items())
        missing = [i for i in dict.fromkeys(numbers) if (i, key) not in self._known]
        if missing:
            machine = machine_with(self._cases[0].machine, values)
            of_scenario = {n: v for n, v in values.items() if n.partition(".")[0] in ("kernel", "task", "background")}
            cases = [replace(self._cases[i], machine=machine) for i in missing]
            for name, value in of_scenario.items():
                cases = [_put_where_it_is(case, name, value) for case in cases]
            found = self._pool.map(_time, cases) if self._pool else map(_time, cases)
            self._known |= {(i, key): time_s for i, time_s in zip(missing, found, strict=True)}
        return np.array([self._known[i, key] for i in numbers])


def _put_where_it_is(case: Case, name: str, value: float) -> Case:
    try:
        return put_into(case, name, value)
    except AttributeError:  # a figure of another row's task
        return case


def _quiet(case: Case) -> Case:
    """Return a case without noise. The start node of a caller and its pulls stay random."""
    kernel = case.kernel.model_copy(update={"start_latency_cv": 0.0})
    return replace(case.without_noise(), kernel=kernel)


def _time(case: Case) -> float:
    try:
        return float(np.mean([run_case(case, i).time_s for i in range(max(1, case.replications))]))
    except ValueError:  # figures that contradict each other, as a lock that is held for longer than the work takes
        return IMPOSSIBLE_S


def _felt(times: _Times, figures: Sequence[Figure], measured_s: Vector) -> list[Figure]:
    """Return the figures that some row depends on, with a scale for those that were 0."""
    numbers = list(range(len(measured_s)))
    plain = times({}, numbers)
    found = []
    for figure in figures:

        def added(value: float, name: str = figure.name) -> float:
            return float((np.abs(times({name: value}, numbers) - plain) / measured_s).max())

        def effect(value: float, name: str = figure.name) -> float:
            return float(np.abs(np.log(times({name: value}, numbers) / plain)).max())

        figure = scaled(figure, added)
        sides = (1.0,) if figure.additive else (2 * figure.prior, -2 * figure.prior)
        if any(effect(figure.at(side)) > _FELT for side in sides):
            found.append(figure)
    return found


def _fitted(figure: Figure, values: Mapping[str, float], found: Posterior, i: int) -> Fitted:
    value, stderr, unsure = values[figure.name], float(found.stderrs[i]), float(found.unsure[i])
    return Fitted(figure, value, stderr * (figure.value if figure.additive else value), unsure)


def _cells(rows: pd.DataFrame, found: Posterior, spread: Vector, chosen: Any, below: Any) -> pd.DataFrame:
    measured = rows["time_s"].to_numpy(float)
    predicted = np.exp(found.log_times)
    left_out = np.full(len(rows), math.nan)
    left_out[chosen] = np.exp(found.left_out)
    wide, half = (
        np.exp([found.interval(i, float(spread[i]), share) for i in range(len(rows))]) for share in (0.95, 0.5)
    )

    def error_pct(times: Vector) -> Vector:
        error = (times / measured - 1) * 100
        return np.asarray(np.where(below, np.maximum(0.0, error), error))

    return rows.assign(
        predicted_s=predicted,
        error_pct=error_pct(predicted),
        low_s=wide[:, 0],
        high_s=wide[:, 1],
        low50_s=half[:, 0],
        high50_s=half[:, 1],
        left_out_s=left_out,
        left_out_error_pct=error_pct(left_out),
    )


# --- what is made of it ---------------------------------------------------------------------------------------------


def fitted_document(document: Mapping[str, Any], fitted: TableFit, source: str) -> dict[str, Any]:
    """Return a machine file's data with the fitted figures in place.

    Args:
        document: the data of the file that the fit began with.
        fitted: the fitted figures.
        source: the table's name.

    Returns:
        The data. Figures that the table doesn't determine are as they were. Those of a scenario are in no machine file.
    """
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()}
    changed["rates"] = dict(document["rates"])
    factors: dict[str, float] = {}
    words = []
    seen = [each for each in fitted.figures if each.seen and each.figure.of_machine]
    if not fitted.verdict.describes:
        if not seen and "title" in document:  # no figure has moved, so that no source tells it
            changed["title"] = f"{document['title']}; as before {source}, which the model does not describe"
        source = f"{source}, which the model does not describe ({fitted.verdict.words})"
    for each in seen:
        part, _, rest = each.name.partition(".")
        said = f"fitted to {source}, {each.words()}"
        if not each.determined:
            said = f"hardly determined by {source} ({each.words()}; before {each.figure.words(each.figure.before)})"
        text = each.figure.text(each.value)
        entry = {"value": text, "source": said}
        if rest.startswith("remote_factors."):
            factors[rest.partition(".")[2]] = min(1.0, float(text))
            words.append(f"{rest.partition('.')[2]}: {said}")
        elif part == "links":
            changed["links"] = [_link(link, each, said) for link in document["links"]]
        elif part == "clients":
            client, _, cost = rest.partition(".")
            clients = {name: dict(costs) for name, costs in (changed.get("clients") or {}).items()}
            clients.setdefault(client, {})[cost] = entry
            changed["clients"] = clients
        else:
            changed[part] = {**(changed.get(part) or {}), rest: entry}
    names = {each.name for each in seen}
    if (
        "rates.clear_rate" in names
        and "rates.serial_clear_rate" not in names
        and "serial_clear_rate" in changed["rates"]
    ):
        value = f"{fitted.machine.rates.serial_clear_bytes_per_s / 2**30:.6g}GiB/s"
        changed["rates"]["serial_clear_rate"] = {"value": value, "source": "moved with clear_rate"}
    if factors:
        old = (document["rates"].get("remote_factors") or {}).get("value", {})
        changed["rates"]["remote_factors"] = {"value": {**old, **factors}, "source": "; ".join(words)}
    changed.pop("fits", None)  # of the rates that were there before
    return changed


def _link(link: Mapping[str, Any], each: Fitted, said: str) -> dict[str, Any]:
    """Return a group of links, with its bandwidth in proportion."""
    moved = parse_rate(link["bandwidth"]) * each.value / each.figure.value
    return {**link, "bandwidth": each.figure.text(moved), "source": f"{link['source']}; its bandwidth {said}"}


def scenario_lines(fitted: TableFit) -> list[str]:
    """Return the figures of a scenario that were found, as `path: value`: a machine file can't have them."""
    of_scenario = [each for each in fitted.figures if each.seen and not each.figure.of_machine]
    return [f"{each.name}: {each.figure.text(each.value)}" for each in of_scenario]


def describe_fit(fitted: TableFit, measured: Measurements) -> str:
    """Return the verdict, the figures with their errors, and measured against predicted times, for a person.

    Args:
        fitted: A fit (`fit_table`).
        measured: The table that was fitted (`read_measurements`).

    Returns:
        Lines of text.

    Example:
        >>> print(describe_fit(fit_table(measured, figures_of(measured)), measured))  # doctest: +SKIP
    """
    parts = [fitted.verdict.sentence()]
    rows = [(each.name, each.words(), each.verdict, each.figure.words(each.figure.before)) for each in fitted.figures]
    if rows:
        parts.append(
            tabulate(
                rows, headers=["figure", "value ± standard deviation", "determined", "before"], disable_numparse=True
            )
        )
    parts += _remarks(fitted, measured)
    parts.append(_describe_cells(fitted.cells))
    parts += _errors(fitted)
    parts += [f"{count} rows left out: {reason}." for count, reason in measured.left_out]
    parts += [measured.notes] if measured.notes else []
    return "\n\n".join(parts)


def _remarks(fitted: TableFit, measured: Measurements) -> Iterator[str]:
    limited = [each.name for each in fitted.figures if each.seen and each.at_limit]
    if limited:
        yield f"At the limit of what a file may have, so that the rows want more: {', '.join(limited)}."
    if fitted.unfelt:
        yield f"No row depends on {', '.join(fitted.unfelt)}: as before."
    lines = scenario_lines(fitted)
    if lines:
        yield f"For a scenario, since a machine file has no such figures: {'; '.join(lines)}"
    machine = measured.scenario.cases[0].machine if measured.scenario is not None else None
    names = {each.name for each in fitted.figures} | set(fitted.unfelt)
    if machine and "rates.clear_rate" in names and "rates.memory_knee" not in names:
        yield (
            f"Not fitted, since {machine.name} has none: rates.memory_knee. Name it with --fit to begin at "
            f"{DEFAULT_KNEE:g}."
        )


def _times_of(each: Fitted) -> str:
    """Return how many times what it was a figure is, or as how little of it."""
    factor = each.value / each.figure.value
    return f"{factor:.3g} times" if factor >= 1.0 else f"1/{1.0 / factor:.3g}"


def _describe_cells(cells: pd.DataFrame) -> str:
    known = [name for name in cells.columns if name in _KNOWN or "." in str(name)]
    below = cells["below"] if "below" in cells else pd.Series(False, index=cells.index)
    shown = [
        (
            *(_plain(row[name]) for name in known),
            ("< " if is_below else "") + f"{row['time_s']:.4g}",
            f"{row['predicted_s']:.4g}" + ("*" if row["fitted"] else ""),
            f"{row['low_s']:.4g} to {row['high_s']:.4g}",
            f"{row['error_pct']:+.1f}",
            "" if math.isnan(row["left_out_error_pct"]) else f"{row['left_out_error_pct']:+.1f}",
        )
        for (_, row), is_below in zip(cells.iterrows(), below, strict=True)
    ]
    heads = [*known, "measured (s)", "predicted (s)", "95 % of measured", "error (%)", "left out (%)"]
    return tabulate(shown, headers=heads, disable_numparse=True)


def _errors(fitted: TableFit) -> Iterator[str]:
    cells = fitted.cells
    own, held = cells[cells["fitted"]], cells[~cells["fitted"]]
    errors, left_out = own["error_pct"].abs(), own["left_out_error_pct"].abs()
    yield (
        f"{len(own)} rows fitted to (*): each predicted by the others (column left out) mean error "
        f"{left_out.mean():.1f} %, worst {left_out.max():.1f} %; with itself {errors.mean():.1f}, {errors.max():.1f} %."
    )
    yield (
        f"The model's own error is estimated as {100 * fitted.model_error:.1f} % of a time, and is in the intervals."
    )
    if len(held):
        errors = held["error_pct"].abs()
        inside = ((held["time_s"] >= held["low_s"]) & (held["time_s"] <= held["high_s"])).sum()
        yield f"{len(held)} rows predicted: mean error {errors.mean():.1f} %, worst {errors.max():.1f} %."
        yield f"{inside} of {len(held)} rows that were not fitted are within their interval."


_KNOWN = ("nthreads", "size_gib", "page_size", "chunk", "node", "kernel")


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value)
