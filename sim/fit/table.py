"""Fitting a machine's figures to a table of somebody's measurements: the simulation is the model that is fitted.

Few rows, and figures that are roughly known before: each has a prior, wide, around the value that the machine's file or
the client has (a lognormal), and what is found is the most likely value given both. The errors are those of the
quadratic approximation there. A figure that is no better known afterwards was not determined by the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BeforeValidator
from tabulate import tabulate

from models.clients import CLIENTS, Costs
from models.machine import Machine
from models.machine.capacity import CapacityCurve
from models.measured.measurements import Measurements, spread_of
from models.memory.figures import PAGE_FIGURES, PageFigures, page_figures_of, width
from models.scenario.case import Case
from models.text.units import GIB, format_rate, format_time
from sim.engine.run import run_case
from sim.runs.executors import processes

Vector = np.ndarray[Any, np.dtype[np.float64]]

_WIDE, _NARROW = 0.7, 0.2  # standard deviation of ln(value) before the fit: a factor of 2, or of 1.2
_SHARE = 0.25  # of the shortest run: the standard deviation of a time of which nobody has said anything
_DETERMINED, _SEEN = 0.5, 0.95  # a figure is determined, or seen at all, up to this share of its prior's error
_MODEL_ERROR = 0.03  # of the simulation, as a share of a time: what it does at best on published tables
_LEAST_SPREAD = 0.01  # of a measurement whose spread is not stated
_STEP = 0.01  # of a derivative: the simulation has chance in it, and steps of whole chunks
_LARGEST = 3.0  # ln of the factor by which a figure may move


@dataclass(frozen=True)
class Figure:
    """A figure of a machine file before the fit: `prior` is the standard deviation of its logarithm.

    A figure that is 0 as far as is known is `additive`: `value` is then its standard deviation, and `prior` 1.
    """

    name: str  # its key: rates.clear_rate, pages.pin_rate
    value: float  # SI units
    prior: float
    additive: bool = False

    def at(self, x: float) -> float:
        """Return the value at a place on the scale of the fit, where 0 is what was known before."""
        return self.value * x if self.additive else self.value * math.exp(x)


@dataclass(frozen=True)
class Fitted:
    """A figure after the fit, with its standard error, in SI units; `unsure` is that error over the one before."""

    name: str
    value: float
    stderr: float
    unsure: float
    before: float

    @property
    def determined(self) -> bool:
        """Whether the data tell it much better than it was known before."""
        return self.unsure <= _DETERMINED

    @property
    def seen(self) -> bool:
        """Whether the data say anything of it."""
        return self.unsure <= _SEEN

    @property
    def verdict(self) -> str:
        """Whether the data determine it, in a word or two."""
        return "yes" if self.determined else "hardly" if self.seen else "no: as before"

    def words(self) -> str:
        """Return the value and its error with their unit."""
        return f"{_format(self.name, self.value)} ± {_format(self.name, self.stderr)}"


@dataclass(frozen=True)
class TableFit:
    """A machine fitted to a table.

    `cells` has the table's rows, with `predicted_s`, `error_pct`, and `low_s` and `high_s`: where a measurement of a
    row that was not fitted lies with a probability of 95 %, by the errors of the figures, the model's own and the
    spread.
    """

    machine: Machine
    figures: tuple[Fitted, ...]
    cells: pd.DataFrame


def fit_table(measured: Measurements, figures: Sequence[Figure], *, jobs: int = 1) -> TableFit:
    """Fit figures to the fitted rows of a table of measurements, all on one machine, and predict the others.

    Raises ValueError if no row is to be fitted.
    """
    chosen = np.flatnonzero(measured.rows["fitted"].to_numpy(bool))
    if measured.scenario is None or not len(chosen):
        raise ValueError("no row is to be fitted")
    rows, cases = measured.rows, measured.scenario.cases
    machine = cases[0].machine
    spread = spread_of(rows).fillna(_LEAST_SPREAD).clip(lower=_LEAST_SPREAD).to_numpy(float)
    sigma = np.hypot(spread, _MODEL_ERROR)
    log_times = np.log(rows["time_s"].to_numpy(float))
    with _predictor(jobs) as predict:
        fit = _Fit(machine, figures, [cases[i] for i in chosen], log_times[chosen], sigma[chosen], predict)
        fit.run()
        fitted = fit.machine_at(fit.found)
        slopes, predicted = fit.slopes(cases)
    covariance = fit.covariance()
    unsure = np.sqrt(np.einsum("ri,ij,rj->r", slopes, covariance, slopes))
    width = 1.96 * np.sqrt(unsure**2 + (sigma * fit.excess()) ** 2)
    stderrs = np.sqrt(np.diag(covariance))
    found = tuple(
        Fitted(
            f.name,
            value := fit.value_at(f, x, fitted),
            float(e) * (f.value if f.additive else value),
            float(e) / f.prior,
            f.at(0.0),
        )
        for f, x, e in zip(figures, fit.found, stderrs, strict=True)
    )
    table = rows.assign(
        predicted_s=predicted,
        error_pct=(predicted / rows["time_s"] - 1) * 100,
        low_s=predicted * np.exp(-width),
        high_s=predicted * np.exp(width),
    )
    return TableFit(fitted, found, table)


class _Fit:
    """Least squares over the logarithms of times, with the priors as further residuals."""

    def __init__(
        self,
        machine: Machine,
        figures: Sequence[Figure],
        cases: Sequence[Case],
        log_times: Vector,
        sigma: Vector,
        predict: Predict,
    ) -> None:
        self._machine = machine
        self._figures = figures
        self._cases = cases
        self._log_times = log_times
        self._sigma = sigma
        self._predict = predict
        self._priors = np.array([figure.prior for figure in figures])
        self.found: Vector = np.zeros(len(figures))

    def run(self) -> None:
        """Find the most likely figures, as logarithms of factors on what they were before."""
        from scipy.optimize import least_squares  # takes a while, which other commands don't need

        if self._figures:
            found = least_squares(
                self._residuals,
                [_STEP if f.additive else 0.0 for f in self._figures],
                jac=self._jacobian,
                bounds=([0.0 if f.additive else -_LARGEST for f in self._figures], _LARGEST),
                x_scale=self._priors,
                ftol=1e-5,
                xtol=1e-4,
                max_nfev=40,
            )
            self.found = np.asarray(found.x, dtype=float)

    def _residuals(self, x: Vector) -> Vector:
        times = self._predict(self._cases, self.machine_at(x))
        return np.concatenate([(np.log(times) - self._log_times) / self._sigma, x / self._priors])

    def _jacobian(self, x: Vector) -> Vector:
        slopes, _ = self._slopes(self._cases, x)
        return np.concatenate([slopes / self._sigma[:, None], np.diag(1.0 / self._priors)])

    def machine_at(self, x: Vector) -> Machine:
        """Return the machine with the figures moved by the factors exp(x)."""
        machine = self._machine
        for figure, value in zip(self._figures, x, strict=True):
            machine = put(machine, figure.name, self.value_at(figure, value, machine))
        return machine

    def value_at(self, figure: Figure, x: float, machine: Machine) -> float:
        """Return a figure's value at a place; the rate of the serial loop is known relative to that of clearing."""
        moved = machine.rates.clear_bytes_per_s / self._machine.rates.clear_bytes_per_s
        return figure.at(x) * (moved if figure.name == "rates.serial_clear_rate" else 1.0)

    def slopes(self, cases: Sequence[Case]) -> tuple[Vector, Vector]:
        """Return the derivatives of the logarithms of the times of cases by the figures, and the times."""
        return self._slopes(cases, self.found)

    def _slopes(self, cases: Sequence[Case], x: Vector) -> tuple[Vector, Vector]:
        times = self._predict(cases, self.machine_at(x))
        columns = []
        for i in range(len(self._figures)):
            moved = x.copy()
            moved[i] += _STEP
            columns.append((np.log(self._predict(cases, self.machine_at(moved))) - np.log(times)) / _STEP)
        slopes = np.array(columns).T if columns else np.zeros((len(cases), 0))
        return slopes, times

    def covariance(self) -> Vector:
        """Return the covariance of the figures' logarithms, measurements and priors taken together."""
        slopes, _ = self.slopes(self._cases)
        weighted = slopes / self._sigma[:, None]
        information = weighted.T @ weighted / self.excess() ** 2 + np.diag(1.0 / self._priors**2)
        return np.asarray(np.linalg.inv(information), dtype=float)

    def excess(self) -> float:
        """Return by how much fitted rows miss the model more than their errors say, at least 1."""
        free = len(self._cases) - len(self._figures)
        if free < 1:
            return 1.0
        misses = (np.log(self._predict(self._cases, self.machine_at(self.found))) - self._log_times) / self._sigma
        return max(1.0, float(np.sqrt(np.sum(misses**2) / free)))


Predict = Callable[[Sequence[Case], Machine], Vector]


@contextmanager
def _predictor(jobs: int) -> Iterator[Predict]:
    """Give what predicts the times of cases on a machine, each machine once."""
    known: dict[tuple[int, str], float] = {}
    with processes(jobs) if jobs > 1 else _nothing() as pool:

        def predict(cases: Sequence[Case], machine: Machine) -> Vector:
            key = repr((machine.rates, machine.pages, machine.clients))
            quiet = [_quiet(case, machine) for case in cases]
            missing = [i for i, case in enumerate(cases) if (id(case), key) not in known]
            times = pool.map(_time, [quiet[i] for i in missing]) if pool else map(_time, [quiet[i] for i in missing])
            for i, time_s in zip(missing, times, strict=True):
                known[id(cases[i]), key] = time_s
            return np.array([known[id(case), key] for case in cases])

        yield predict


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _quiet(case: Case, machine: Machine) -> Case:
    """Return a case without noise: what is left of chance is where a caller starts and is pulled to."""
    rates = replace(machine.rates, chunk_noise=0.0, run_noise=0.0)
    return replace(
        case,
        machine=replace(machine, rates=rates),
        kernel=case.kernel.model_copy(update={"start_latency_cv": 0.0}),
    )


def _time(case: Case) -> float:
    return float(np.mean([run_case(case, i).time_s for i in range(max(1, case.replications))]))


def figures_of(measured: Measurements, client: str, names: Sequence[str] | None = None) -> list[Figure]:
    """Return the figures that a table of a client may determine, or those of certain names.

    Raises ValueError for a name that is no figure of a machine file, and for a table without a case.
    """
    if measured.scenario is None:
        raise ValueError(f"{measured.name} has no row that a case can be made of")
    machine = measured.scenario.cases[0].machine
    if names is None:
        names = [*_rate_names(machine, client), *(cost_name(client, cost) for cost in _costs(client, machine))]
    shortest_s = float(measured.rows["time_s"].min())
    return [_figure(machine, name, _SHARE * shortest_s) for name in names]


def _rate_names(machine: Machine, client: str) -> list[str]:
    names = ["rates.memory_bandwidth"]
    if CLIENTS[client].clears:
        names = ["rates.clear_rate", "rates.serial_clear_rate", *names]
        names += [f"rates.remote_factors.{distance}" for distance in sorted(set(machine.distances.values()) - {10})]
        if machine.rates.memory_curve.knee is not None:
            names.append("rates.memory_knee")
    return names


def _costs(client: str, machine: Machine) -> Mapping[str, float]:
    """Return the costs of a client on a machine."""
    field = CLIENTS[client].model_fields.get("costs")
    if field is None:
        return {}
    default: Costs = field.default
    known = page_figures_of(type(default))
    pages = {name: value for name, value in machine.pages.items() if name in known}
    found = {**default.model_dump(), **pages, **machine.clients.get(client, {})}
    return {name: value for name, value in found.items() if isinstance(value, float)}


def cost_name(client: str, cost: str) -> str:
    """Return the path of a cost in a machine file: a page's figures are all clients'."""
    shared = page_figures_of(type(CLIENTS[client].model_fields["costs"].default))
    return f"pages.{cost}" if cost in shared else f"clients.{client}.{cost}"


def _figure(machine: Machine, name: str, unknown_s: float) -> Figure:
    part, _, rest = name.partition(".")
    rates = machine.rates
    known = {
        "clear_rate": (rates.clear_bytes_per_s, _WIDE),
        "serial_clear_rate": (rates.serial_clear_bytes_per_s, _NARROW),
        "memory_bandwidth": (rates.memory_bytes_per_s, _WIDE),
        "memory_knee": (rates.memory_curve.knee or 0.0, _WIDE),
        "core_throughput": (rates.core_throughput, _NARROW),
    }
    if part == "rates" and rest in known and known[rest][0]:
        return Figure(name, *known[rest])
    if part == "rates" and rest.startswith("remote_factors."):
        return Figure(name, rates.remote_factors.get(int(rest.partition(".")[2]), 1.0), _NARROW)
    if part == "pages" and rest in PAGE_FIGURES:
        value = machine.pages.get(rest, getattr(PageFigures(), rest))
        return Figure(name, value, width(rest)) if value > 0.0 else Figure(name, unknown_s, 1.0, additive=True)
    client, _, cost = rest.partition(".")
    if part == "clients" and client in CLIENTS and cost in _costs(client, machine):
        value = _costs(client, machine)[cost]
        return Figure(name, value, _WIDE) if value > 0.0 else Figure(name, unknown_s, 1.0, additive=True)
    raise ValueError(f"found {name!r}, which is no figure of machine {machine.name} that can be fitted")


def put(machine: Machine, name: str, value: float) -> Machine:
    """Return the machine with a figure in place."""
    part, _, rest = name.partition(".")
    if part == "clients":
        client, _, cost = rest.partition(".")
        own = {**machine.clients.get(client, {}), cost: value}
        return replace(machine, clients={**machine.clients, client: own})
    if part == "pages":
        return replace(machine, pages={**machine.pages, rest: value})
    rates = machine.rates
    if rest == "clear_rate":
        serial = rates.serial_clear_bytes_per_s / rates.clear_bytes_per_s * value
        rates = replace(rates, clear_bytes_per_s=value, serial_clear_bytes_per_s=serial)
    elif rest == "serial_clear_rate":
        rates = replace(rates, serial_clear_bytes_per_s=value)
    elif rest == "memory_bandwidth":
        rates = replace(rates, memory_bytes_per_s=value)
    elif rest == "memory_knee":
        rates = replace(rates, memory_curve=CapacityCurve(max(1.0, value), rates.memory_curve.decline))
    elif rest == "core_throughput":
        rates = replace(rates, core_throughput=value)
    else:
        factors = {**rates.remote_factors, int(rest.partition(".")[2]): min(1.0, value)}
        rates = replace(rates, remote_factors=factors)
    return replace(machine, rates=rates)


def _is_time(name: str) -> bool:
    """Return whether a figure is a cost of a client in seconds; others are rates and plain numbers."""
    part, _, rest = name.partition(".")
    client, _, cost = rest.partition(".")
    if part == "pages":
        field = PageFigures.model_fields[rest]
    elif part == "clients":
        field = type(CLIENTS[client].model_fields["costs"].default).model_fields[cost]
    else:
        return False
    return any(isinstance(part, BeforeValidator) for part in field.metadata) and not name.endswith("rate")


def _format(name: str, value: float) -> str:
    last = name.rpartition(".")[2]
    if last.endswith(("rate", "bandwidth")):
        return format_rate(value)
    if _is_time(name):
        return format_time(value)
    return f"{value:.3g}"


def fitted_document(document: Mapping[str, Any], fit: TableFit, source: str) -> dict[str, Any]:
    """Return a machine file's data with the fitted figures in place; `source` names the table."""
    changed = dict(document)
    changed["rates"] = dict(document["rates"])
    changed["pages"] = dict(document.get("pages") or {})
    changed["clients"] = {name: dict(costs) for name, costs in (document.get("clients") or {}).items()}
    factors: dict[str, float] = {}
    words = []
    for figure in (figure for figure in fit.figures if figure.seen):
        part, _, rest = figure.name.partition(".")
        said = f"fitted to {source}, {figure.words()}"
        if not figure.determined:
            said = f"hardly determined by {source} ({figure.words()}; before {_format(figure.name, figure.before)})"
        value = file_value(figure.name, figure.value)
        if rest.startswith("remote_factors."):
            factors[rest.partition(".")[2]] = min(1.0, float(value))
            words.append(f"{rest.partition('.')[2]}: {said}")
        elif part in ("rates", "pages"):
            changed[part][rest] = {"value": value, "source": said}
        else:
            client, _, cost = rest.partition(".")
            changed["clients"].setdefault(client, {})[cost] = {"value": value, "source": said}
    names = {figure.name for figure in fit.figures if figure.seen}
    moved = "rates.clear_rate" in names and "rates.serial_clear_rate" not in names
    if moved and "serial_clear_rate" in changed["rates"]:
        value = file_value("rates.serial_clear_rate", fit.machine.rates.serial_clear_bytes_per_s)
        changed["rates"]["serial_clear_rate"] = {"value": value, "source": "moved with clear_rate"}
    if factors:
        old = (document["rates"].get("remote_factors") or {}).get("value", {})
        changed["rates"]["remote_factors"] = {"value": {**old, **factors}, "source": "; ".join(words)}
    for part in ("pages", "clients"):
        if not changed[part]:
            del changed[part]
    changed.pop("fits", None)  # of the rates that were there before
    return changed


def file_value(name: str, value: float) -> str | float:
    """Return a figure as a machine file has it."""
    last = name.rpartition(".")[2]
    if last.endswith(("rate", "bandwidth")):
        return f"{value / GIB:.5g}GiB/s"
    if _is_time(name):
        units = (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))
        unit, factor = next((u, f) for u, f in units if value * f >= 1.0 or u == "ns")
        return f"{value * factor:.5g}{unit}"
    return float(f"{value:.4g}")


def describe_fit(fit: TableFit, measured: Measurements) -> str:
    """Return the figures with their errors, and measured against predicted times, for a person."""
    rows = [
        (figure.name, figure.words(), figure.verdict, _format(figure.name, figure.before)) for figure in fit.figures
    ]
    parts = [tabulate(rows, headers=["figure", "value", "determined", "before"], disable_numparse=True)]
    cells = fit.cells
    known = [name for name in cells.columns if name in _KNOWN or "." in str(name)]
    shown = [
        (
            *(_plain(row[name]) for name in known),
            f"{row['time_s']:.4g}",
            f"{row['predicted_s']:.4g}" + ("*" if row["fitted"] else ""),
            f"{row['low_s']:.4g} to {row['high_s']:.4g}",
            f"{row['error_pct']:+.1f}",
        )
        for _, row in cells.iterrows()
    ]
    heads = [*known, "measured (s)", "predicted (s)", "95 % of measured", "error (%)"]
    parts.append(tabulate(shown, headers=heads, disable_numparse=True))
    for words, chosen in (("fitted to (*)", cells["fitted"]), ("predicted", ~cells["fitted"])):
        errors = cells.loc[chosen, "error_pct"].abs()
        if len(errors):
            parts.append(f"{len(errors)} rows {words}: mean error {errors.mean():.1f} %, worst {errors.max():.1f} %.")
    held = cells[~cells["fitted"]]
    if len(held):
        inside = ((held["time_s"] >= held["low_s"]) & (held["time_s"] <= held["high_s"])).sum()
        parts.append(f"{inside} of {len(held)} rows that were not fitted are within their interval.")
    parts += [f"{count} rows left out: {reason}." for count, reason in measured.left_out]
    parts += [measured.notes] if measured.notes else []
    return "\n\n".join(parts)


_KNOWN = ("nthreads", "size_gib", "page_size", "chunk", "node", "kernel")


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value)
