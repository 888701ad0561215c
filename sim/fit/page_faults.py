"""The costs of a page on a host, beside its clearing: from runs that populate memory and touch it page by page.

Only runs of threads of our own go in, none of a program's. With one thread the costs are differences between runs. The
mutual cost of several threads, at the zone's lock and at the line that every fault takes, is found by simulating them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from models.clients.page_faults import PageFaultCosts
from models.clients.populate import Populate
from models.machine import Machine
from models.machine.capacity import CapacityCurve
from models.scenario import Scenario
from models.scenario.case import Case
from sim.engine.run import run_case
from sim.fit.host import DEFAULT_KNEE, PAGE_FAULTS, Calibration, Parameter, measured_cells

_ROUNDS = 8  # of fitting rate and bandwidth to each other
_MOST = 50.0  # times the estimates of a lock's transfer and hand-over; beyond that something else is at work


def with_page_faults(calibration: Calibration, scenario: Scenario, runs: pd.DataFrame) -> Calibration:
    """Return a calibration with the costs of a page, by runs of models.measured.designs.page_fault_design.

    Raises CalibrationError for a case without runs.
    """
    parameters = fit_page_faults(scenario, runs, calibration.machine)
    costs = {parameter.name.removeprefix(PAGE_FAULTS): parameter.value for parameter in parameters}
    machine = _with_costs(calibration.machine, costs)
    return replace(calibration, machine=machine, parameters=(*calibration.parameters, *parameters))


def machine_by_page_faults(
    scenario: Scenario, runs: pd.DataFrame, machine: Machine
) -> tuple[Machine, tuple[Parameter, ...]]:
    """Return a machine whose rates of clearing are fitted to the same runs as well, and all that was found.

    The rate of one thread and the memory bandwidth are those of transparent huge pages that are populated. Where there
    are none, both stay as they were. Raises CalibrationError for a case without runs.
    """
    found = _times(scenario, runs, machine)
    parameters: list[Parameter] = []
    if (True, True, False) in found:
        case, time_s, error_s = found[True, True, False]
        assert isinstance(case.task, Populate)
        n_pages = case.size_bytes // case.task.present_bytes(machine)
        rate = case.size_bytes / (time_s - n_pages * PageFaultCosts().huge_page)
        words = "measured: one thread that populates transparent huge pages, less the estimate of huge_page"
        parameters.append(Parameter("rates.clear_rate", rate, rate * error_s / time_s, words))
        rates = replace(machine.rates, clear_bytes_per_s=rate, serial_clear_bytes_per_s=rate, cache_bytes_per_s=None)
        rates = replace(rates, memory_curve=CapacityCurve(DEFAULT_KNEE), share_exponent=1.0)
        machine = replace(machine, rates=rates)
    if (True, True, True) in found:
        single, single_s, _ = found[True, True, False]
        case, time_s, error_s = found[True, True, True]
        for _ in range(_ROUNDS):  # a limit near what one thread moves slows that one too, at the knee
            bandwidth = _bandwidth(replace(case, machine=machine), time_s)
            machine = replace(machine, rates=replace(machine.rates, memory_bytes_per_s=bandwidth))
            rate = machine.rates.clear_bytes_per_s * _time_s(replace(single, machine=machine)) / single_s
            machine = replace(
                machine, rates=replace(machine.rates, clear_bytes_per_s=rate, serial_clear_bytes_per_s=rate)
            )
        error = abs(_bandwidth(replace(case, machine=machine), time_s + error_s) - bandwidth)
        words = f"fitted: {case.n_works} threads that populate transparent huge pages"
        parameters[-1] = replace(parameters[-1], value=rate)
        parameters.append(Parameter("rates.memory_bandwidth", bandwidth, error, words))
    parameters += fit_page_faults(scenario, runs, machine)
    costs = {p.name.removeprefix(PAGE_FAULTS): p.value for p in parameters if p.name.startswith(PAGE_FAULTS)}
    return _with_costs(machine, costs), tuple(parameters)


def _time_s(case: Case) -> float:
    """Return the time that a case takes without noise."""
    return run_case(case.without_noise(), 0).time_s


def _bandwidth(case: Case, time_s: float) -> float:
    """Return the memory bandwidth with which a case takes so long, up to one that is hardly a limit."""
    from scipy.optimize import brentq  # takes long to import, and other commands don't need it

    rates = case.machine.rates
    alone = rates.clear_bytes_per_s * rates.clear_traffic

    def excess_s(share: float) -> float:
        limited = replace(rates, memory_bytes_per_s=share * alone)
        return _time_s(replace(case, machine=replace(case.machine, rates=limited))) - time_s

    least, most = 0.5, 10.0 * case.n_works
    if excess_s(most) >= 0.0:
        return most * alone
    return least * alone if excess_s(least) <= 0.0 else float(brentq(excess_s, least, most, xtol=1e-4)) * alone


def fit_page_faults(scenario: Scenario, runs: pd.DataFrame, machine: Machine) -> tuple[Parameter, ...]:
    """Return the costs of PageFaultCosts that the runs of `populate` tell, for a machine whose rates are calibrated."""
    return _PageFit(_times(scenario, runs, machine), machine).parameters()


def _times(
    scenario: Scenario, runs: pd.DataFrame, machine: Machine
) -> dict[tuple[bool, bool, bool], tuple[Case, float, float]]:
    """Return the cases by (in transparent huge pages, populated, by several threads): case, time, standard error."""
    cells = measured_cells(scenario, runs)
    found: dict[tuple[bool, bool, bool], tuple[Case, float, float]] = {}
    for cell in cells.to_dict("records"):
        case = replace(scenario.cases[cell["case"]], machine=machine)
        task = case.task
        assert isinstance(task, Populate)
        time_s = float(cell["time_s"])
        found[task.thp, task.populate, case.n_works > 1] = case, time_s, time_s * float(cell["stderr"])
    return found


def _with_costs(machine: Machine, costs: Mapping[str, float]) -> Machine:
    return replace(machine, pages={**machine.pages, **costs})


class _PageFit:
    """The costs of a page, found one after the other."""

    def __init__(self, found: Mapping[tuple[bool, bool, bool], tuple[Case, float, float]], machine: Machine) -> None:
        self._found = found
        self._machine = machine
        self._costs: dict[str, float] = {}
        self._parameters: list[Parameter] = []

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the costs that the runs show, those of one thread first, because those of locks build on them."""
        base, rate = self._machine.base_page_bytes, self._machine.rates.clear_bytes_per_s
        populated_s, error_s = self._page_s(False, True)
        touched_s, touched_error_s = self._page_s(False, False)
        error_of_touch_s = math.hypot(error_s, touched_error_s)
        self._add("base_page", populated_s - base / rate, error_s, "to populate a base page, less its clearing")
        self._add("touch", touched_s - populated_s, error_of_touch_s, "to touch a base page, less to populate it")
        if (True, True, False) in self._found:
            huge = self._found[True, True, False][0].task.present_bytes(self._machine)  # type: ignore[attr-defined]
            populated_s, error_s = self._page_s(True, True)
            touched_s, touched_error_s = self._page_s(True, False)
            what = "to populate a transparent huge page, less its clearing"
            self._add("huge_page", populated_s - huge / rate, error_s, what)
            n = huge // base
            self._add(
                "write",
                (touched_s - populated_s - self._costs["touch"]) / n,
                math.hypot(error_s, touched_error_s) / n,
                "to touch a transparent huge page base page by base page, less to populate it",
            )
        for lock, populated, what in (("zone", True, "populate"), ("vma", False, "touch")):
            if (False, populated, True) in self._found:
                self._add_lock(lock, populated, what)
        return tuple(self._parameters)

    def _page_s(self, thp: bool, populated: bool) -> tuple[float, float]:
        """Return the time for a page with one thread, and its standard error."""
        case, time_s, error_s = self._found[thp, populated, False]
        n_pages = case.size_bytes // case.task.present_bytes(self._machine)  # type: ignore[attr-defined]
        return time_s / n_pages, error_s / n_pages

    def _add(self, name: str, value: float, stderr: float, what: str) -> None:
        self._costs[name] = max(0.0, value)
        self._parameters.append(Parameter(PAGE_FAULTS + name, self._costs[name], stderr, f"measured: {what}"))

    def _add_lock(self, lock: str, populated: bool, what: str) -> None:
        """Find the factor of a lock's transfer and hand-over over their estimates, with several threads."""
        from scipy.optimize import brentq  # takes long to import, and other commands don't need it

        case, time_s, error_s = self._found[False, populated, True]
        own = PageFaultCosts()
        names = (f"{lock}_transfer", f"{lock}_handover")

        def excess_s(factor: float) -> float:
            costs = self._costs | {name: factor * getattr(own, name) for name in names}
            return self._time_s(case, costs) - time_s

        def factor_at(wanted_s: float) -> float:
            """Return the factor with which the case takes so much longer than measured."""
            if excess_s(0.0) >= wanted_s:
                return 0.0
            return float(brentq(lambda factor: excess_s(factor) - wanted_s, 0.0, _MOST, xtol=1e-3))

        if excess_s(_MOST) <= error_s:
            how = f"not determined: {case.n_works} threads that {what} wait longer than this lock can explain"
            self._parameters += [Parameter(PAGE_FAULTS + name, getattr(own, name), None, how) for name in names]
            return
        factor, error = factor_at(0.0), factor_at(error_s) - factor_at(0.0)
        how = f"fitted: {case.n_works} threads that {what} base pages, both in the estimates' proportion"
        for name in names:
            self._costs[name] = factor * getattr(own, name)
            stderr = max(error, 1e-3) * getattr(own, name)
            self._parameters.append(Parameter(PAGE_FAULTS + name, self._costs[name], stderr, how))

    def _time_s(self, case: Case, costs: Mapping[str, Any]) -> float:
        return _time_s(replace(case, machine=_with_costs(self._machine, costs)))
