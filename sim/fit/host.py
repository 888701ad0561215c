"""Fitting a machine's rates to measured runs: the simulation itself is the model that is fitted.

Only measurements go in (the tables of `real.run`, or of a simulation that stands in for a host). There is no Linux
here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from models.machine import Machine
from models.machine.capacity import CapacityCurve
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.units import format_rate, format_size, format_time
from sim.engine.run import run_case
from sim.fit.figures import DEFAULT_KNEE, ESTIMATED, Figure, Unit, file_value, put
from sim.fit.fit import Posterior, Prior, Rows, Vector, fit
from sim.fit.table import DETERMINED, machine_with, values_at

_LEAST_STDERR = 0.002  # of a median of times; more exact than the clock and the host's drift is nothing
_LEAST_RUNS = 3
_MOST_VARIATION, _MOST_NOISE = 5.0, 0.5  # that a machine file may have
_MOST_ERROR_PCT = 10.0  # mean, of a calibration's own cases: beyond it the host was not one machine meanwhile
_MOST_DISTURBED = 0.5  # of its runs
_MOST_UNSTABLE = 1 / 3  # of its cases, that have too few undisturbed runs
_MOST_SECONDS = 3600.0
_PRIOR_RUNS = 4  # how many runs of a case what is known of the others is worth
_BOOST = 1.25  # standard deviation of a median over that of a mean (normal distribution, sqrt(pi / 2))
# The model's own error for the very loop that it was made after, before a run is seen: median, deviation of logarithm.
_MODEL_ERROR, _MODEL_ERROR_SPREAD = 0.001, 1.0
_CHUNK_US = 40.0  # a chunk's cost, before a run is seen: one standard deviation above 0
_UNLIMITED = 0.8  # of what one thread does, by each of several: with less something limits them
_EXACT = 0.02  # error of a rate, which nobody needs to know better
_SEEN_BY = 4.0  # of chi-square: two standard errors
_CLEAR, _MEMORY, _KNEE, _CORE = (
    "rates.clear_rate",
    "rates.memory_bandwidth",
    "rates.memory_knee",
    "rates.core_throughput",
)


class CalibrationError(ValueError):
    """The measurements are too few or too unstable to fit anything to."""


@dataclass(frozen=True)
class Parameter:
    """A figure of a machine file, and its value by the measurements."""

    name: str  # its key in the file: rates.clear_rate
    value: float  # in SI units; bytes
    stderr: float | None  # its standard error, in the same unit; None if not determined
    how: str  # fitted; measured; or why it is not determined and what was taken

    @property
    def determined(self) -> bool:
        """Return whether the measurements determine it."""
        return self.stderr is not None

    def words(self) -> str:
        """Return value and error with their unit."""
        if self.stderr is None:
            return f"not known, taken as {self._in_words(self.value)}"
        return f"{self._in_words(self.value)} ± {self._in_words(self.stderr)}"

    def _in_words(self, value: float) -> str:
        unit = _unit(self.name)
        return f"{value:.3g}" if unit == "number" else format_rate(value) if unit == "rate" else format_time(value)

    def text(self) -> str | float:
        """Return the value as a machine file has it."""
        return file_value(_unit(self.name), self.value)

    def source(self, of: str) -> str:
        """Return how it is known, with its error, of these measurements."""
        error = "" if self.stderr is None else f", ± {self._in_words(self.stderr)}"
        return f"{self.how}{error}; {of}"


@dataclass(frozen=True)
class Calibration:
    """A machine with fitted rates (`calibrate`).

    ``machine`` is the machine, ``parameters`` the fitted figures with their errors. ``cells`` has a row for each case
    that was used: measured median and predicted time in seconds, error in per cent.

    Example:
        >>> calibrate(scenario, runs, machine).machine.rates  # doctest: +SKIP
    """

    machine: Machine
    parameters: tuple[Parameter, ...]
    cells: pd.DataFrame
    n_runs: int = 0
    n_unstable: int = 0

    @property
    def failure(self) -> str:
        """Return in words why the calibration failed (the host was disturbed or changed), or '' if it did not."""
        if not len(self.cells):
            return ""
        errors = self.cells["error_pct"].abs()
        reasons = []
        if self.n_unstable > _MOST_DISTURBED * self.n_runs:
            reasons.append(f"{self.n_unstable} of {self.n_runs} runs were disturbed")
        few = int(self.cells["unstable"].sum())
        if few > _MOST_UNSTABLE * len(self.cells):
            reasons.append(f"{few} of {len(self.cells)} cases have too few undisturbed runs")
        if errors.mean() > _MOST_ERROR_PCT:
            reasons.append(f"its own cases are {errors.mean():.1f} % off in the mean, {errors.max():.1f} % at worst")
        return "; ".join(reasons)

    @property
    def exit_status(self) -> int:
        """3 if the calibration failed, as a fit has it whose model does not describe the table. Else 0."""
        return 3 if self.failure else 0

    def remedy(self, seconds: float) -> str:
        """Return how much quieter or longer than `seconds` it has to be, or '' if nothing is wanting."""
        if not self.failure:
            return self._longer(seconds)
        n_quiet = self.n_runs - self.n_unstable
        needed = math.ceil((1.0 - _MOST_DISTURBED) * self.n_runs)
        words = [
            f"Stop what else runs on this host, or wait until it is quieter: {n_quiet} of {self.n_runs} runs were "
            f"undisturbed, and {needed} have to be, {_LEAST_RUNS} of each case."
        ]
        if n_quiet:
            longer = seconds * max(2.0, 2.0 * _LEAST_RUNS * len(self.cells) / n_quiet)
            words.append(f"Calibrate again for longer: --seconds {math.ceil(min(_MOST_SECONDS, longer))}.")
        words.append("On a shared machine whose CPUs are taken away, no time may be enough.")
        return " ".join(words)

    def _longer(self, seconds: float) -> str:
        """Say by how much longer runs would make the least exact rate exact enough: errors shrink with the root."""
        errors = {
            each.name: each.stderr / each.value
            for each in self.parameters
            if each.stderr is not None and each.name in (_CLEAR, _MEMORY) and each.value > 0.0
        }
        name = max(errors, key=lambda each: errors[each], default="")
        if not name or errors[name] <= _EXACT:
            return ""
        times = (errors[name] / _EXACT) ** 2
        return (
            f"{name} is known to {errors[name]:.1%}. For {_EXACT:.0%} it takes about {times:.0f} times as long "
            f"(--seconds {math.ceil(min(_MOST_SECONDS, seconds * times))}), or a host on which runs differ less."
        )

    def parameter(self, name: str) -> Parameter:
        """Return a parameter by name. Raises KeyError."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)

    def least_chunk_bytes(self, share: float = 0.01) -> float:
        """Return the chunk size from which on a chunk's costs beside clearing are below a share of its time."""
        costs_s = self.parameter("workers.chunk_time").value + self.parameter("workers.lock_hold_time").value
        return costs_s / share * self.parameter("rates.clear_rate").value

    def document(self, document: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Return a machine file's data with the parameters in place. `source` says where the measurements are from."""
        if self.failure:
            source = f"{source}; of a calibration that failed ({self.failure})"
        changed = {**document, "rates": dict(document["rates"]), "workers": {}}
        for name in ("serial_clear_rate", "cache_bandwidth", "memory_decline", "share_exponent"):
            changed["rates"].pop(name, None)  # the reference's; none of them was seen here
        factors: dict[str, float] = {}
        hows = []
        for parameter in self.parameters:
            part, _, name = parameter.name.partition(".")
            said = parameter.source(source)
            if name.startswith("remote_factors."):
                factors[name.rpartition(".")[2]] = round(parameter.value, 4)
                hows.append(f"{name.rpartition('.')[2]}: {said}")
            else:
                changed.setdefault(part, {})[name] = {"value": parameter.text(), "source": said}
        if factors:
            changed["rates"]["remote_factors"] = {"value": factors, "source": " - ".join(hows)}
        return changed


def calibrate(scenario: Scenario, runs: pd.DataFrame, machine: Machine) -> Calibration:
    """Fit the rates of a machine to measured runs of a scenario.

    Unstable runs are left out where enough others are left. Weights are the errors of the medians. A figure that the
    data do not determine keeps the value of the machine (a knee the usual one), and says so.

    Args:
        scenario: The cases that were run.
        runs: Their runs, with the columns of a real run (`real.measure(...).results.runs`).
        machine: The machine as far as it is known.

    Returns:
        The machine with fitted rates, and the error of each figure.

    Raises:
        CalibrationError: The measurements are too few or too unstable.

    Example:
        >>> calibration = calibrate(scenario, real.measure(machine, design).results.runs, machine)  # doctest: +SKIP
        >>> print(describe_calibration(calibration))  # doctest: +SKIP
    """
    cells = measured_cells(scenario, runs)
    cases = [replace(scenario.cases[number], machine=machine) for number in cells["case"]]
    usable = runs[runs["unstable"] == ""] if "unstable" in runs else runs
    costs = _worker_costs(usable, runs, scenario)
    noises = _noises(usable if (usable["nthreads"] == 1).sum() >= _LEAST_RUNS else runs)
    rates = replace(machine.rates, memory_curve=CapacityCurve(DEFAULT_KNEE), cache_bytes_per_s=None, share_exponent=1.0)
    known = {p.name.partition(".")[2]: p.value for p in costs}
    base = replace(machine, rates=rates, worker_costs={**known, "chunk_time": 0.0})
    fitted, parameters = _fit_cells(cases, cells, _deviations(cells, runs), base)
    for noise in noises:
        fitted = put(fitted, noise.name, noise.value)
    predicted = np.array([_predict(case, fitted) for case in cases])
    table = cells.assign(predicted_s=predicted, error_pct=(predicted / cells["time_s"] - 1) * 100)
    return Calibration(fitted, (*parameters, *costs, *noises), table, len(runs), len(runs) - len(usable))


def measured_cells(scenario: Scenario, runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each case: its median time, the standard error of that and the spread of runs, as shares of it.

    Stable runs are taken if there are at least three, else all runs, with `unstable` true. Raises CalibrationError for
    no runs.
    """
    rows = []
    for number in range(len(scenario.cases)):
        own = runs[runs["case"] == number]
        stable = own[own["unstable"] == ""] if "unstable" in own else own
        used = stable if len(stable) >= min(_LEAST_RUNS, len(own)) and len(stable) else own
        if not len(used):
            raise CalibrationError(f"case {number} has no runs")
        logs = np.log(used["time_s"].to_numpy(float))
        spread = _spread(logs)
        unstable = used is own and len(stable) < len(own)
        # What disturbs runs disturbs their median too, however many there are.
        of_median = spread if unstable else _BOOST * spread / math.sqrt(len(logs))
        rows.append(
            {
                "case": number,
                "time_s": float(np.exp(np.median(logs))),
                "spread": spread,
                "stderr": max(_LEAST_STDERR, of_median),
                "n_runs": len(used),
                "unstable": unstable,
            }
        )
    return pd.DataFrame(rows)


def _predict(case: Case, machine: Machine) -> float:
    """Return the time of a case without any noise: one task, times their number (all are alike on fixed nodes)."""
    update = {**(machine.worker_costs or {}), "start_latency_cv": 0.0, "wake_pull": 0.0, "stray_block": 0.0}
    quiet = replace(
        case,
        machine=machine.without_noise(),
        kernel=case.kernel.model_copy(update=update),
        task=case.task.model_copy(update={"size": case.clearing.page_size}),
    )
    return run_case(quiet, 0).time_s * (case.clearing.size // case.clearing.page_size)


# --- the fit --------------------------------------------------------------------------------------------------------


def fit_cells(
    figures: Sequence[Figure], predict_s: Callable[[Mapping[str, float], int], float], times_s: Vector, stderrs: Vector
) -> Posterior:
    """Fit figures to the median times of a host's cases: the common fit, for a model of this very host.

    Args:
        figures: the figures, with their priors.
        predict_s: maps values by name, and the number of a case, to its time.
        times_s: shape (n,), the measured medians.
        stderrs: shape (n,), their standard errors, as shares.

    Returns:
        The posterior.
    """
    known: dict[tuple[float, ...], float] = {}

    def log_time(x: Vector, number: int) -> float:
        key = (*map(float, x), float(number))
        if key not in known:
            known[key] = math.log(predict_s(values_at(figures, x), number))
        return known[key]

    bounds = np.array([figure.bounds() for figure in figures])
    prior = Prior(
        np.array([figure.prior for figure in figures]), bounds[:, 0], bounds[:, 1], _MODEL_ERROR, _MODEL_ERROR_SPREAD
    )
    numbers = range(len(times_s))
    return fit(
        lambda x, chosen: np.array([log_time(x, number) for number in chosen]),
        Rows(np.log(times_s), stderrs),
        numbers,
        len(numbers),
        prior,
    )


def _fit_cells(
    cases: Sequence[Case], cells: pd.DataFrame, deviations: Vector, base: Machine
) -> tuple[Machine, list[Parameter]]:
    """Return the machine with the figures that the cases determine, and all figures that they might."""
    times_s = cells["time_s"].to_numpy(float)
    stderrs = _steadied(cells["stderr"].to_numpy(float), cells["n_runs"].to_numpy(float))
    reached = [case.clearing.size / time_s for case, time_s in zip(cases, times_s, strict=True)]
    alone = [rate for case, rate in zip(cases, reached, strict=True) if case.n_works == 1]
    if not alone:
        raise CalibrationError("no case with one thread was measured; a calibration needs some")

    def predict_s(at: Machine) -> Callable[[Mapping[str, float], int], float]:
        return lambda values, number: _predict(cases[number], with_figures(at, values))

    every = list(_figures(cases, max(alone), max(reached)))
    defaults = _defaults(every, base, max(reached))
    # Memory may be what limits all threads together, or cores, or both, or neither. What is no limit has no slope, so
    # each is tried. One figure more has to bring the rows nearer by two standard errors.
    found: list[tuple[list[Figure], Machine, Posterior]] = []
    at_once = min(max(case.n_works for case in cases), _n_cores(base))
    unlimited = max(reached) > _UNLIMITED * at_once * max(alone)
    for limits in ({_CORE, _MEMORY}, {_MEMORY}, {_CORE}, set[str]()):
        if limits <= {each.name for each in every} and (limits or unlimited):
            gone = {_CORE, _MEMORY} - limits | ({_KNEE} if _MEMORY not in limits else set())
            figures = [each for each in every if each.name not in gone]
            at = with_figures(base, {name: defaults[name][0] for name in gone if name in defaults})
            found.append((figures, at, fit_cells(figures, predict_s(at), times_s, stderrs)))
    sigma = np.hypot(stderrs, found[0][2].model_error)
    figures, base, posterior = min(
        found, key=lambda each: _SEEN_BY * len(each[0]) + (((each[2].log_times - np.log(times_s)) / sigma) ** 2).sum()
    )
    gone = {each.name for i, each in enumerate(figures) if each.name != _CLEAR and not _is_told(each, posterior, i)}
    gone |= {_KNEE} if _MEMORY in gone else set()
    kept = [each for each in figures if each.name not in gone]
    if len(kept) < len(figures):
        base = with_figures(base, {name: defaults[name][0] for name in gone if name in defaults})
        posterior = fit_cells(kept, predict_s(base), times_s, stderrs)
    parameters = _told(kept, posterior, deviations, stderrs)
    values = {parameter.name: parameter.value for parameter in parameters}
    for name, (value, why) in defaults.items():
        if name not in values:
            parameters.append(Parameter(name, value, None, f"not determined by the measurements: {why}"))
    return with_figures(base, values), parameters


def _figures(cases: Sequence[Case], alone: float, reached: float) -> Iterator[Figure]:
    """Yield the figures that cases may tell, by the greatest throughputs of one thread and of all."""
    machine = cases[0].machine
    threads = {case.n_works for case in cases}
    yield Figure(_CLEAR, alone, ESTIMATED, "rate")
    yield Figure("workers.chunk_time", 1e-6, _CHUNK_US, "time", 0.0, 1e-3, additive=True)
    if max(threads) > 1:
        yield Figure(_MEMORY, reached * machine.rates.clear_traffic, ESTIMATED, "rate")
    if len(threads) > 3:
        yield Figure(_KNEE, DEFAULT_KNEE, ESTIMATED, low=1.0, high=32.0)
    if _n_cores(machine) < min(max(threads), len(machine.cpus_of(machine.cpu_nids[0]))):
        usual = min(4.0, max(0.5, reached / alone / _n_cores(machine)))
        yield Figure(_CORE, usual, ESTIMATED, low=0.5, high=4.0)
    for distance in sorted({machine.distances[a, b] for a, b in map(_nodes_of, cases) if a != b}):
        usual = machine.rates.remote_factors.get(distance, 1.0)
        yield Figure(f"rates.remote_factors.{distance}", usual, ESTIMATED, low=0.01, high=1.0)


def _n_cores(machine: Machine) -> int:
    """Return the number of cores of the first node, where the runs are."""
    return len({cpu.core_id for cpu in machine.cpus_of(machine.cpu_nids[0])})


def _defaults(figures: Sequence[Figure], base: Machine, reached: float) -> dict[str, tuple[float, str]]:
    """Return what is taken for figures that the cases don't tell, and why."""
    twice = 2 * reached * base.rates.clear_traffic
    said = {
        "workers.chunk_time": (0.0, "too small to be seen beside clearing"),
        _MEMORY: (
            max(base.rates.memory_bytes_per_s, twice),
            f"memory never limited clearing here, which reached {format_rate(reached)}",
        ),
        _CORE: (
            base.rates.core_throughput,
            "two threads of a core made no difference that can be told from that of memory",
        ),
    }
    found = {
        each.name: said.get(each.name, (each.value, "not seen")) for each in figures if each.name not in (_CLEAR, _KNEE)
    }
    if _MEMORY in found:
        found[_KNEE] = DEFAULT_KNEE, _NO_KNEE
    return found


def with_figures(machine: Machine, values: Mapping[str, float]) -> Machine:
    """Return a machine with these figures. One rate of clearing serves one thread and several."""
    machine = machine_with(machine, values)
    rates = machine.rates
    return replace(machine, rates=replace(rates, serial_clear_bytes_per_s=rates.clear_bytes_per_s))


def _is_told(figure: Figure, posterior: Posterior, i: int) -> bool:
    """Return whether the cases determine the i-th figure."""
    value = figure.at(float(posterior.x[i]))
    return bool(posterior.unsure[i] <= DETERMINED) and not figure.at_a_limit(value)


def _told(figures: Sequence[Figure], posterior: Posterior, deviations: Vector, stderrs: Vector) -> list[Parameter]:
    """Return the figures with their standard errors.

    A block of runs that is slow as a whole moves all cases, and more cases don't make that noise smaller. So the error
    is at least that of the blocks.
    """
    variance = stderrs**2 + posterior.model_error**2
    covariance = np.einsum("t,tij->ij", posterior.weights, posterior.covariances)
    of_blocks = [_stderr(column) for column in (deviations @ (covariance @ (posterior.slopes.T / variance)).T).T]
    found = []
    for figure, x, own, of_block in zip(figures, posterior.x, posterior.stderrs, of_blocks, strict=True):
        value = figure.at(float(x))
        scale = figure.value if figure.additive else value
        found.append(Parameter(figure.name, value, max(float(own), of_block) * scale, "fitted"))
    return found


def _deviations(cells: pd.DataFrame, runs: pd.DataFrame) -> Vector:
    """Return how far each run is from its case's median, as a share: a row for each replication, 0 if not run."""
    stable = runs[runs["unstable"] == ""] if "unstable" in runs else runs
    stable = stable if len(stable) else runs
    medians = cells.set_index("case")["time_s"]
    logs = np.log(stable["time_s"] / stable["case"].map(medians))
    table = stable.assign(log=logs).pivot_table(index="replication", columns="case", values="log")
    return table.reindex(columns=medians.index).fillna(0.0).to_numpy(float)


def _steadied(stderrs: Vector, n_runs: Vector) -> Vector:
    """Return the errors of medians, each drawn towards that of most cases: a spread of five runs is hardly known."""
    weight = _PRIOR_RUNS / (_PRIOR_RUNS + n_runs - 1)
    return np.asarray(np.sqrt(weight * np.median(stderrs) ** 2 + (1 - weight) * stderrs**2), dtype=float)


_NO_KNEE = "too few numbers of threads for the shape of the knee; the best exponent on 25 published curves"


def _nodes_of(case: Case) -> tuple[int, int]:
    """Return the nodes of the caller and of the pages, the first node where a case does not say."""
    first = case.machine.cpu_nids[0]
    task = case.clearing
    caller = first if task.caller_node is None else task.caller_node
    return caller, caller if task.page_node is None else task.page_node


def _worker_costs(stable: pd.DataFrame, runs: pd.DataFrame, scenario: Scenario) -> list[Parameter]:
    """Return the costs of the threads' machinery, by their clocks: medians over runs of each run's mean.

    Each is judged by its stable runs, where there are enough, or else by all runs, with a remark.
    """
    found = []
    for name, column, what in (
        ("setup_time", "setup_s", "queueing the helpers of a task"),
        ("start_latency", "start_s", "from queueing a helper to its start"),
        ("start_latency_cv", "start_cv", "that latency's coefficient of variation"),
        ("wake_latency", "wake_s", "from the end of the last work to the caller's going on"),
        ("lock_hold_time", "hold_s", "holding the lock to take a chunk"),
    ):
        values, every = _quiet_values(stable, column, scenario), _quiet_values(runs, column, scenario)
        if len(values) < min(_LEAST_RUNS, len(every)):
            values, what = every, f"{what}, in runs that were disturbed"
        if not len(values):
            found.append(Parameter(f"workers.{name}", 0.0, None, f"never seen: {what}"))
            continue
        value = float(np.median(values))
        value = min(value, _MOST_VARIATION) if name.endswith("_cv") else value
        found.append(Parameter(f"workers.{name}", value, _stderr(values), f"measured: {what}"))
    return found


def _quiet_values(runs: pd.DataFrame, column: str, scenario: Scenario) -> Vector:
    """Return the values of a column in runs without other work beside them."""
    if column not in runs or not len(runs):
        return np.array([])
    quiet = runs[[not scenario.cases[number].background for number in runs["case"]]]
    return np.asarray(quiet[column].dropna().to_numpy(float))


def _noises(runs: pd.DataFrame) -> list[Parameter]:
    """Return the noise of a chunk, from those of one run, and of a run, from the runs of a case with one thread."""
    alone = runs[runs["nthreads"] == 1]
    chunk = alone["chunk_cv"].dropna().to_numpy(float) if "chunk_cv" in alone else np.array([])
    found = []
    if len(chunk):
        value = min(float(np.median(chunk)), _MOST_NOISE)
        found.append(
            Parameter("rates.chunk_noise", value, _stderr(chunk), "measured: chunks of one thread within a run")
        )
    else:
        value = 0.0
        found.append(Parameter("rates.chunk_noise", 0.0, None, "no run had enough chunks of one thread to tell"))
    spreads = []
    for _, own in alone.groupby("case"):
        if len(own) >= _LEAST_RUNS:
            logs = np.log(own["time_s"].to_numpy(float))
            whole = _spread(logs)
            spreads.append(math.sqrt(max(0.0, whole**2 - value**2 / float(own["n_chunks"].iloc[0]))))
    if spreads:
        stderr = _stderr(np.array(spreads))
        words = "measured: runs of a case with one thread, without the noise of their chunks"
        found.append(Parameter("rates.run_noise", min(float(np.median(spreads)), _MOST_NOISE), stderr, words))
    else:
        found.append(Parameter("rates.run_noise", 0.0, None, "too few runs of a case to tell"))
    return found


def _spread(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return a standard deviation that a few wild values don't move: from the quartiles (1.349 of them, if normal)."""
    return float(np.subtract(*np.percentile(values, [75, 25]))) / 1.349 if len(values) > 2 else float(np.ptp(values))


def _stderr(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return the standard error of the median, which is 0 of nothing."""
    return 0.0 if not len(values) else _BOOST * _spread(values) / math.sqrt(len(values))


def _unit(name: str) -> Unit:
    """Return the unit of a figure of a machine file."""
    if name.endswith(("_rate", "_bandwidth")):
        return "rate"
    return "time" if name.startswith("pages.") or name.endswith(("_time", "_latency")) else "number"


def describe_calibration(calibration: Calibration) -> str:
    """Return the fitted figures as lines for a person, and the chunk size from which on chunks cost next to nothing.

    Args:
        calibration: A machine with fitted rates (`calibrate`).

    Returns:
        Lines of text.

    Example:
        >>> print(describe_calibration(calibrate(scenario, runs, machine)))  # doctest: +SKIP
    """
    size = format_size(calibration.least_chunk_bytes())
    failed = f"THE CALIBRATION FAILED: {calibration.failure}.\n" if calibration.failure else ""
    return failed + (
        f"{describe_parameters(calibration.parameters)}\n"
        "± is one standard deviation.\n"
        f"Python's own work for a chunk is below 1 % of its time from chunks of {size} on."
    )


def describe_parameters(parameters: Sequence[Parameter]) -> str:
    """Return parameters as lines for a person."""
    width = max(len(parameter.name) for parameter in parameters)
    return "\n".join(f"  {p.name:<{width}}  {p.words()}  ({p.how})" for p in parameters)
