"""Simulate how a kernel splits big jobs over many CPUs.

import sim

scenario = sim.load("scenarios/clear_gigantic_page.yaml")
scenario = scenario.with_values({"kernel.max_threads": [1, 6, 12], "task.size": "100GiB"})
results = sim.run(scenario)
results.summary  # a tidy DataFrame, one row for each case
sim.trace(scenario, case=2)  # who worked on which chunk, where, from when to when
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.files.machine import load_machine
    from models.measured.measurements import read_measurements
    from models.results import Results, load_results
    from models.results.regret_table import regret_table
    from models.scenario import Scenario
    from sim.compare.folders import compare_results
    from sim.compare.host import Validation, describe_validation, validate
    from sim.compare.published import compare as compare_published
    from sim.compare.published import describe_published
    from sim.figures import (
        plot_heat_map,
        plot_interference,
        plot_loads,
        plot_pareto,
        plot_regret,
        plot_speedup,
        plot_timeline,
    )
    from sim.fit.host import Calibration, CalibrationError, calibrate, describe_calibration
    from sim.fit.table import describe_fit, figures_of, fit_table
    from sim.runs.experiment import load, run, trace
    from sim.runs.sweep import sweep
    from sim.search.advice import Advice, advise, describe_advice
    from sim.search.tuning import Tuning, describe_tuning, tune
    from sim.show.advice_form import advice_form
    from sim.show.host_figure import plot_validation
    from sim.show.published_figure import plot_table

__all__ = [
    "Advice",
    "Calibration",
    "CalibrationError",
    "Results",
    "Scenario",
    "Tuning",
    "Validation",
    "advice_form",
    "advise",
    "calibrate",
    "compare_published",
    "compare_results",
    "describe_advice",
    "describe_calibration",
    "describe_fit",
    "describe_published",
    "describe_tuning",
    "describe_validation",
    "figures_of",
    "fit_table",
    "load",
    "load_machine",
    "load_results",
    "plot_heat_map",
    "plot_interference",
    "plot_loads",
    "plot_pareto",
    "plot_regret",
    "plot_speedup",
    "plot_table",
    "plot_timeline",
    "plot_validation",
    "read_measurements",
    "regret_table",
    "run",
    "sweep",
    "trace",
    "tune",
    "validate",
]
__version__: str

_ROOMS = {  # where each public name is; a name is imported when it is asked for
    "Advice": "sim.search.advice",
    "Calibration": "sim.fit.host",
    "CalibrationError": "sim.fit.host",
    "Results": "models.results",
    "Scenario": "models.scenario",
    "Tuning": "sim.search.tuning",
    "Validation": "sim.compare.host",
    "advice_form": "sim.show.advice_form",
    "advise": "sim.search.advice",
    "calibrate": "sim.fit.host",
    "compare_results": "sim.compare.folders",
    "compare_published": "sim.compare.published:compare",
    "describe_advice": "sim.search.advice",
    "describe_calibration": "sim.fit.host",
    "describe_fit": "sim.fit.table",
    "describe_published": "sim.compare.published",
    "describe_tuning": "sim.search.tuning",
    "describe_validation": "sim.compare.host",
    "figures_of": "sim.fit.table",
    "fit_table": "sim.fit.table",
    "load": "sim.runs.experiment",
    "load_machine": "models.files.machine",
    "load_results": "models.results",
    "plot_heat_map": "sim.figures",
    "plot_interference": "sim.figures",
    "plot_loads": "sim.figures",
    "plot_pareto": "sim.figures",
    "plot_regret": "sim.figures",
    "plot_speedup": "sim.figures",
    "plot_table": "sim.show.published_figure",
    "plot_timeline": "sim.figures",
    "plot_validation": "sim.show.host_figure",
    "read_measurements": "models.measured.measurements",
    "regret_table": "models.results.regret_table",
    "run": "sim.runs.experiment",
    "sweep": "sim.runs.sweep",
    "trace": "sim.runs.experiment",
    "tune": "sim.search.tuning",
    "validate": "sim.compare.host",
}


def _refuse_others(home: Path) -> None:
    """Raise ImportError if Python would take somebody else's `models` or `real` for the packages beside this one."""
    for name in ("models", "real"):
        spec = sys.modules[name].__spec__ if name in sys.modules else find_spec(name)
        places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        found = next((Path(place) for place in places if place), None)
        if found is not None and home not in found.parents:
            raise ImportError(
                f"{found} is in the way: ktask-sim has a package `{name}` of its own; rename that one, or start Python "
                "in another folder"
            )


_refuse_others(Path(__file__).resolve().parents[1])


def __getattr__(name: str) -> Any:
    """Import a public name: pandas, Matplotlib and others take a second, which most uses don't need."""
    if name == "__version__":
        from models.results.code import code_identity

        return code_identity()["version"]
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, own_name = _ROOMS[name].partition(":")
    value = globals()[name] = getattr(import_module(module), own_name or name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
