"""Fitting a machine's rates to measured runs: the simulation itself is the model that is fitted.

Only measurements go in (the tables of `real.run`, or of a simulation that stands in for a host). There is no Linux
here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from models.machine import Machine
from models.machine.capacity import CapacityCurve
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.units import GIB, format_rate, format_size, format_time
from sim.engine.run import run_case

# The best of the exponents tried on 25 published single-socket bandwidth curves (models.machine.capacity).
DEFAULT_KNEE = 6.0
# A log-scale standard error above this says that the data do not determine a parameter: a factor of 1.35 either way.
_LARGEST_STDERR = 0.3
_STEP = 1e-3  # of a derivative, on the scale of the fit
_WIDEST_STDERR = 1e3  # that of a parameter that changes nothing
_LEAST_STDERR = 0.002  # of a median of times; more exact than the clock and the host's drift is nothing
_LEAST_RUNS = 3
_MOST_VARIATION, _MOST_NOISE = 5.0, 0.5  # that a machine file may have
_MOST_ERROR_PCT = 10.0  # mean, of a calibration's own cases: beyond it the host was not one machine meanwhile
_MOST_DISTURBED = 0.5  # of its runs
_MOST_UNSTABLE = 1 / 3  # of its cases, that have too few undisturbed runs
_MOST_SECONDS = 3600.0
_PRIOR_RUNS = 4  # how many runs of a case what is known of the others is worth
PAGE_FAULTS = "pages."  # the part of a machine file that sim.fit.page_faults fits
_BOOST = 1.25  # standard deviation of a median over that of a mean (normal distribution, sqrt(pi / 2))

if TYPE_CHECKING:
    import lmfit

Vector = np.ndarray[Any, np.dtype[np.float64]]


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
            return _format(self.name, self.value)
        return f"{_format(self.name, self.value)} ± {_format(self.name, self.stderr)}"


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

    def remedy(self, seconds: float) -> str:
        """Return the next step after a failed calibration that took this many seconds."""
        longer = min(_MOST_SECONDS, seconds * max(2.0, self.n_runs / max(1, self.n_runs - self.n_unstable)))
        return (
            "Stop what else runs on this host, or wait until it is quieter, and calibrate again for longer: --seconds "
            f"{math.ceil(longer)}. On a shared machine whose CPUs are taken away, no time may be enough."
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
            said = f"{parameter.how}; {source}"
            if parameter.stderr is not None:
                said = f"{parameter.how}, ± {_format(parameter.name, parameter.stderr)}; {source}"
            if name.startswith("remote_factors."):
                factors[name.rpartition(".")[2]] = round(parameter.value, 4)
                hows.append(f"{name.rpartition('.')[2]}: {said}")
            elif not math.isnan(parameter.value):
                changed.setdefault(part, {})[name] = {"value": _text(parameter.name, parameter.value), "source": said}
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
    fit = _CellsFit(cases, cells, _deviations(cells, runs), machine, costs)
    parameters = [
        *fit.parameters(),
        *costs,
        *_noises(usable if (usable["nthreads"] == 1).sum() >= _LEAST_RUNS else runs),
    ]
    fitted = fit.machine_with(parameters)
    predicted = [_predict(case, fitted) for case in cases]
    table = cells.assign(predicted_s=predicted, error_pct=(np.array(predicted) / cells["time_s"] - 1) * 100)
    return Calibration(fitted, tuple(parameters), table, len(runs), len(runs) - len(usable))


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


@dataclass(frozen=True)
class _Free:
    """A parameter that is to be fitted."""

    name: str
    start: float
    low: float
    high: float
    put: Callable[[Machine, float], Machine]
    otherwise: str  # what is said, and taken, if the data do not determine it
    default: float


@dataclass(frozen=True)
class _Found:
    """The end of a fit."""

    free: list[_Free]
    undetermined: list[_Free]
    base: Machine  # with what is not free in place
    result: lmfit.minimizer.MinimizerResult
    stderrs: Vector


class _CellsFit:
    """The parameters that a set of cases may determine, fitted together."""

    def __init__(
        self,
        cases: Sequence[Case],
        cells: pd.DataFrame,
        deviations: Vector,
        machine: Machine,
        worker_costs: Sequence[Parameter],
    ) -> None:
        self._cases = cases
        self._log_times = np.log(cells["time_s"].to_numpy(float))
        self._stderrs = _steadied(cells["stderr"].to_numpy(float), cells["n_runs"].to_numpy(float))
        self._deviations = deviations / self._stderrs
        costs = {p.name.partition(".")[2]: 0.0 if math.isnan(p.value) else p.value for p in worker_costs}
        rates = replace(
            machine.rates,
            memory_curve=CapacityCurve(DEFAULT_KNEE),
            cache_bytes_per_s=None,
            share_exponent=1.0,
        )
        base = replace(machine, rates=rates, worker_costs={**costs, "chunk_time": 0.0})
        self._n_threads = {case.n_works for case in cases}
        throughputs = [case.clearing.size / time_s for case, time_s in zip(cases, cells["time_s"], strict=True)]
        alone = [t for case, t in zip(cases, throughputs, strict=True) if case.n_works == 1]
        if not alone:
            raise CalibrationError("no case with one thread was measured; a calibration needs some")
        free = [
            _rate("rates.clear_rate", max(alone), "never measured"),
            _Free("workers.chunk_time", 3e-6, 0.0, 1e-3, _put_chunk_time, "too small to be seen beside clearing", 0.0),
        ]
        if max(self._n_threads) > 1:
            traffic = machine.rates.clear_traffic
            kept = max(machine.rates.memory_bytes_per_s, 2 * max(throughputs) * traffic)
            words = f"memory never limited clearing here, which reached {format_rate(max(throughputs))}"
            free.append(
                _Free(
                    "rates.memory_bandwidth",
                    max(throughputs) * traffic,
                    0.3 * max(throughputs) * traffic,
                    20 * max(throughputs) * traffic,
                    _put_memory,
                    words,
                    kept,
                )
            )
        if len(self._n_threads) > 3:
            free.append(_Free("rates.memory_knee", DEFAULT_KNEE, 1.0, 32.0, _put_knee, _NO_KNEE, DEFAULT_KNEE))
        cores = {cpu.core_id for cpu in machine.cpus_of(machine.cpu_nids[0])}
        n_cpus = len(machine.cpus_of(machine.cpu_nids[0]))
        if len(cores) < n_cpus and max(self._n_threads) > len(cores):
            default = machine.rates.core_throughput
            words = "two threads of a core made no difference that can be told from that of memory"
            free.append(_Free("rates.core_throughput", default, 0.5, 4.0, _put_core, words, default))
        distances = sorted({machine.distances[a, b] for a, b in map(_nodes_of, cases) if a != b})
        free += [_remote(distance, machine.rates.remote_factors.get(distance, 1.0)) for distance in distances]
        fits = [self._minimise(free, base)]
        if any(each.name == "rates.core_throughput" for each in free):
            # Cores may be what limits all threads together as well as memory, and what does not limit has no slope: so
            # begin from either. The better one is that of the least chi-square with 2 for each parameter (Akaike).
            most = {"rates.memory_bandwidth": 2.0, "rates.core_throughput": max(throughputs) / max(alone) / len(cores)}
            starts = {"rates.memory_bandwidth": max(throughputs) * traffic, "rates.core_throughput": 1.0}
            other = [
                replace(each, start=most[each.name] * starts[each.name]) if each.name in most else each for each in free
            ]
            fits.append(self._minimise(other, base))
        best = min(fits, key=lambda fit: float(fit.result.chisqr) + 2 * len(fit.free))
        self._free, self._undetermined, self._base = best.free, best.undetermined, best.base
        self._result, self._errors_found = best.result, best.stderrs

    def _minimise(self, free: Sequence[_Free], base: Machine) -> _Found:
        """Fit, and fix undetermined parameters at their defaults, one at a time, the least determined first."""
        import lmfit  # takes half a second, which other commands don't need

        free = list(free)
        undetermined: list[_Free] = []
        while True:
            parameters = lmfit.Parameters()
            for number, each in enumerate(free):
                low, high = (_to(each, each.low), _to(each, each.high))
                start = min(max(_to(each, each.start), low), high)
                parameters.add(f"p{number}", value=start, min=low, max=high)
            result = lmfit.minimize(
                self._residuals,
                parameters,
                args=(free, base),
                method="least_squares",
                diff_step=1e-4,
                x_scale="jac",
                ftol=1e-6,
                xtol=1e-6,
                max_nfev=100 * (len(free) + 1),  # those for derivatives count too
            )
            stderrs = self._errors(result, free, base)
            # The rate of one thread is always determined.
            poor = {n: _poorness(result.params[f"p{n}"], free[n], stderrs[n]) for n in range(1, len(free))}
            worst = max(poor, key=lambda n: poor[n], default=None)
            if worst is None or poor[worst] <= _LARGEST_STDERR:
                return _Found(free, undetermined, base, result, stderrs)
            free = [replace(each, start=_from(each, result.params[f"p{n}"].value)) for n, each in enumerate(free)]
            gone = [free.pop(worst)]
            if gone[0].name == "rates.memory_bandwidth":  # whose knee is then anything
                gone += [free.pop(n) for n, each in enumerate(free) if each.name == "rates.memory_knee"]
            for each in gone:
                undetermined.append(each)
                base = each.put(base, each.default)

    def _errors(self, result: lmfit.minimizer.MinimizerResult, free: Sequence[_Free], base: Machine) -> Vector:
        """Return the standard error of each parameter, on the scale of the fit.

        It comes from the Jacobian, as in lmfit, which gives no errors where one parameter changes nothing. Here a very
        wide prior gives that parameter a very large error, and the others keep theirs. Where the model is off by more
        than the noise of the measurements, that counts as noise. A block of runs that is slow as a whole moves all
        cases, and more cases don't make that noise smaller. So the error is at least that of the blocks.
        """
        found = self._residuals(result.params, free, base)
        slopes = []
        for name in result.params:
            moved = result.params.copy()
            step = _STEP if moved[name].value + _STEP <= moved[name].max else -_STEP
            moved[name].value += step
            slopes.append((self._residuals(moved, free, base) - found) / step)
        covariance = np.linalg.inv(np.array(slopes) @ np.array(slopes).T + np.eye(len(slopes)) / _WIDEST_STDERR**2)
        excess = max(1.0, result.redchi) if result.nfree > 0 else 1.0
        of_blocks = [_stderr(column) for column in (self._deviations @ (covariance @ np.array(slopes)).T).T]
        return np.maximum(np.sqrt(excess * np.diag(covariance)), of_blocks)

    def _residuals(self, parameters: lmfit.Parameters, free: Sequence[_Free], base: Machine) -> Vector:
        machine = base
        for number, each in enumerate(free):
            machine = each.put(machine, _from(each, parameters[f"p{number}"].value))
        predicted = np.log([_predict(case, machine) for case in self._cases])
        return np.asarray((predicted - self._log_times) / self._stderrs, dtype=float)

    def parameters(self) -> list[Parameter]:
        """Return the parameters that were found, and those that were not."""
        found = []
        for number, free in enumerate(self._free):
            entry = self._result.params[f"p{number}"]
            value = _from(free, entry.value)
            stderr = float(self._errors_found[number]) * (1e-6 if free.low == 0.0 else value)
            found.append(Parameter(free.name, value, stderr, "fitted"))
        found += [
            Parameter(free.name, free.default, None, f"not determined by the measurements: {free.otherwise}")
            for free in self._undetermined
        ]
        names = [parameter.name for parameter in found]
        if "rates.memory_bandwidth" in names and "rates.memory_knee" not in names:
            how = f"not determined by the measurements: {_NO_KNEE}"
            found.append(Parameter("rates.memory_knee", DEFAULT_KNEE, None, how))
        return found

    def machine_with(self, parameters: Sequence[Parameter]) -> Machine:
        """Return the machine with the parameters put in."""
        machine = self._base
        for number, free in enumerate(self._free):
            machine = free.put(machine, _from(free, self._result.params[f"p{number}"].value))
        values = {parameter.name: parameter.value for parameter in parameters}
        rates = replace(
            machine.rates,
            chunk_noise=values["rates.chunk_noise"],
            run_noise=values["rates.run_noise"],
        )
        costs = {
            **(machine.worker_costs or {}),
            **{
                name.partition(".")[2]: value
                for name, value in values.items()
                if name.startswith("workers.") and not math.isnan(value)
            },
        }
        return replace(machine, rates=rates, worker_costs=costs)


def _poorness(found: lmfit.Parameter, free: _Free, stderr: float) -> float:
    """Return the standard error of a parameter on a log scale, or inf if it runs into a bound."""
    if free.low == 0.0:  # a cost: 0 is an answer like any other
        return 0.0 if stderr < 20.0 else math.inf
    if min(found.value - found.min, found.max - found.value) < 1e-3 and not free.name.startswith("rates.remote"):
        return math.inf
    return stderr


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


def _rate(name: str, start: float, otherwise: str) -> _Free:
    return _Free(name, start, 0.1 * start, 10 * start, _put_clear, otherwise, start)


def _remote(distance: int, default: float) -> _Free:
    return _Free(f"rates.remote_factors.{distance}", default, 0.01, 1.0, _put_remote(distance), "not seen", default)


def _put_clear(machine: Machine, value: float) -> Machine:
    rates = replace(machine.rates, clear_bytes_per_s=value, serial_clear_bytes_per_s=value)
    return replace(machine, rates=rates)


def _put_chunk_time(machine: Machine, value: float) -> Machine:
    return replace(machine, worker_costs={**(machine.worker_costs or {}), "chunk_time": value})


def _put_memory(machine: Machine, value: float) -> Machine:
    return replace(machine, rates=replace(machine.rates, memory_bytes_per_s=value))


def _put_knee(machine: Machine, value: float) -> Machine:
    return replace(machine, rates=replace(machine.rates, memory_curve=CapacityCurve(value)))


def _put_core(machine: Machine, value: float) -> Machine:
    return replace(machine, rates=replace(machine.rates, core_throughput=value))


def _put_remote(distance: int) -> Callable[[Machine, float], Machine]:
    def put(machine: Machine, value: float) -> Machine:
        factors = {**machine.rates.remote_factors, distance: value}
        return replace(machine, rates=replace(machine.rates, remote_factors=factors))

    return put


def _nodes_of(case: Case) -> tuple[int, int]:
    """Return the nodes of the caller and of the pages, the first node where a case does not say."""
    first = case.machine.cpu_nids[0]
    task = case.clearing
    caller = first if task.caller_node is None else task.caller_node
    return caller, caller if task.page_node is None else task.page_node


def _to(free: _Free, value: float) -> float:
    """Return a value on the scale of the fit: microseconds for a cost, else a logarithm."""
    return value * 1e6 if free.low == 0.0 else math.log(value)


def _from(free: _Free, value: float) -> float:
    return value / 1e6 if free.low == 0.0 else math.exp(value)


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


def _format(name: str, value: float) -> str:
    if name.endswith(("_rate", "_bandwidth")):
        return format_rate(value)
    if name.endswith(("_time", "_latency")) or name.startswith(PAGE_FAULTS):
        return format_time(value)
    return f"{value:.3g}"


def _text(name: str, value: float) -> str | float:
    """Return a value as a machine file has it."""
    if name.endswith(("_rate", "_bandwidth")):
        return f"{value / GIB:.5g}GiB/s"
    if name.startswith(PAGE_FAULTS):
        return f"{value * 1e9:.4g}ns"
    if name.endswith(("_time", "_latency")):
        return f"{value * 1e6:.4g}us"
    return float(f"{value:.4g}")


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
        "± is one standard deviation. "
        f"Python's own work for a chunk is below 1 % of its time from chunks of {size} on."
    )


def describe_parameters(parameters: Sequence[Parameter]) -> str:
    """Return parameters as lines for a person."""
    width = max(len(parameter.name) for parameter in parameters)
    return "\n".join(f"  {p.name:<{width}}  {p.words()}  ({p.how})" for p in parameters)
