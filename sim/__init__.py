"""Simulate how a kernel splits big jobs over many CPUs.

import sim

scenario = sim.load("scenarios/clear_gigantic_page.yaml")
scenario = scenario.with_values({"kernel.max_threads": [1, 6, 12], "task.size": "100GiB"})
results = sim.run(scenario)
results.summary  # a tidy DataFrame, one row for each case
sim.trace(scenario, case=2)  # who worked on which chunk, where, from when to when
"""

from models.files.machine import load_machine
from models.measured.measurements import read_measurements
from models.results import Results, load_results
from models.results.regret_table import regret_table
from models.scenario import Scenario
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
    "advise",
    "calibrate",
    "compare_published",
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
