"""The costs of a page on a host, beside its clearing: from runs that populate memory and touch it page by page.

Only runs of threads of our own go in, none of a program's. All costs are fitted together. With one thread they are
mostly differences between runs. Several threads tell the mutual cost, at the zone's lock and at the line that every
fault takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from models.clients.populate import Populate
from models.machine import Machine
from models.machine.capacity import CapacityCurve
from models.memory.figures import PageFigures
from models.scenario import Scenario
from models.scenario.case import Case
from sim.engine.run import run_case
from sim.fit.figures import DEFAULT_KNEE, ESTIMATED, Figure, figure_of
from sim.fit.fit import SEEN, Posterior, Vector
from sim.fit.host import Calibration, Parameter, fit_cells, measured_cells, with_figures

_LOCKS = {"pages.zone_transfer": "pages.zone_handover", "pages.vma_transfer": "pages.vma_handover"}  # in proportion
_MOST = 50.0  # times the estimate of a lock's transfer; beyond that something else is at work
_MOST_OFF = 0.1  # the model's own error, with which runs of several threads tell nothing
_CLEAR, _MEMORY = "rates.clear_rate", "rates.memory_bandwidth"


def with_page_faults(calibration: Calibration, scenario: Scenario, runs: pd.DataFrame) -> Calibration:
    """Return a calibration with the costs of a page, by runs of models.measured.designs.page_fault_design.

    Raises CalibrationError for a case without runs.
    """
    machine, parameters = fit_page_faults(scenario, runs, calibration.machine)
    return replace(calibration, machine=machine, parameters=(*calibration.parameters, *parameters))


def fit_page_faults(
    scenario: Scenario, runs: pd.DataFrame, machine: Machine, *, rates: bool = False
) -> tuple[Machine, tuple[Parameter, ...]]:
    """Return a machine with the costs of a page that runs of `populate` tell, and all costs that they might tell.

    Args:
        scenario: the cases.
        runs: their runs.
        machine: the machine, whose rates are calibrated.
        rates: whether they are not, so that the rate of clearing and the memory bandwidth are fitted to the same runs,
            those in transparent huge pages. Where there are none, both stay as they were.

    Raises:
        CalibrationError: a case has no runs.
    """
    cells = measured_cells(scenario, runs)
    if rates:
        bare = replace(machine.rates, memory_curve=CapacityCurve(DEFAULT_KNEE), cache_bytes_per_s=None)
        machine = replace(machine, rates=replace(bare, share_exponent=1.0))
    cases = [replace(scenario.cases[number], machine=machine).without_noise() for number in cells["case"]]
    times_s, stderrs = cells["time_s"].to_numpy(float), cells["stderr"].to_numpy(float)
    figures = list(_figures(cases, times_s, rates=rates))
    found = _fit(figures, cases, times_s, stderrs)
    alone = [i for i, case in enumerate(cases) if case.n_works == 1]
    of_several: list[Figure] = []
    if found.model_error > _MOST_OFF and len(alone) < len(cases):  # what several threads wait for is something else
        single = list(_figures([cases[i] for i in alone], times_s[alone], rates=rates))
        of_several = [each for each in figures if each.name not in {other.name for other in single}]
        figures, found = single, _fit(single, [cases[i] for i in alone], times_s[alone], stderrs[alone])
    parameters = [each for i in range(len(figures)) for each in _told(figures[i], found, i)]
    for figure in of_several:
        words = "not determined: several threads wait longer than locks and memory can explain"
        parameters += [Parameter(name, value, None, words) for name, value in _both(figure, figure.before).items()]
    return with_figures(machine, {each.name: each.value for each in parameters}), tuple(parameters)


def _figures(cases: Sequence[Case], times_s: Vector, *, rates: bool) -> Iterator[Figure]:
    """Yield the figures that these cases tell something of."""
    kinds = {(_task(case).thp, _task(case).populate, case.n_works > 1) for case in cases}
    huge = [(case, float(time_s)) for case, time_s in zip(cases, times_s, strict=True) if _task(case).thp]
    if rates and huge:
        reached = {case.n_works: case.size_bytes / time_s for case, time_s in huge if _task(case).populate}
        yield Figure(_CLEAR, reached[1], ESTIMATED, "rate")
        if max(reached) > 1:
            most = max(reached.values()) * cases[0].machine.rates.clear_traffic
            yield Figure(_MEMORY, most, ESTIMATED, "rate")
    names = ["pages.base_page", "pages.touch", *(("pages.huge_page", "pages.write") if huge else ())]
    names += [lock for lock, populated in zip(_LOCKS, (True, False), strict=True) if (False, populated, True) in kinds]
    for name in names:
        figure = figure_of(cases[0], name)
        yield replace(figure, high=_MOST * figure.value) if name in _LOCKS else figure


def _fit(figures: Sequence[Figure], cases: Sequence[Case], times_s: Vector, stderrs: Vector) -> Posterior:
    def predict_s(values: Mapping[str, float], number: int) -> float:
        every = dict(values)
        for figure in figures:
            every |= _both(figure, values[figure.name])
        return run_case(replace(cases[number], machine=with_figures(cases[number].machine, every)), 0).time_s

    return fit_cells(figures, predict_s, times_s, stderrs)


def _told(figure: Figure, found: Posterior, i: int) -> Iterator[Parameter]:
    """Yield the parameters of a figure: itself, and of a lock's transfer also the hand-over."""
    value, share = figure.at(float(found.x[i])), float(found.stderrs[i])
    seen = found.unsure[i] <= SEEN and not figure.at_a_limit(value)
    if not seen:
        value = figure.before
    how = "fitted" if seen else "not determined by the measurements: as it was"
    how += ", both in the estimates' proportion" * (figure.name in _LOCKS)
    for name, at in _both(figure, value).items():
        yield Parameter(name, at, share * at if seen else None, how)


def _both(figure: Figure, value: float) -> dict[str, float]:
    """Return a figure's value, with that of a lock's hand-over."""
    if figure.name not in _LOCKS:
        return {figure.name: value}
    return {figure.name: value, _LOCKS[figure.name]: value * _proportion(figure)}


def _proportion(figure: Figure) -> float:
    """Return the estimate of a lock's hand-over over that of its transfer."""
    own = PageFigures()
    names = figure.name.partition(".")[2], _LOCKS[figure.name].partition(".")[2]
    return float(getattr(own, names[1]) / getattr(own, names[0]))


def _task(case: Case) -> Populate:
    assert isinstance(case.task, Populate)
    return case.task
