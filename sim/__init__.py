"""Simulate how a kernel splits big jobs over many CPUs.

import sim

scenario = sim.load("scenarios/clear_gigantic_page.yaml")
scenario = scenario.with_values({"kernel.max_threads": [1, 6, 12], "task.size": "100GiB"})
results = sim.run(scenario)
results.summary  # a tidy DataFrame, one row for each case
sim.trace(scenario, case=2)  # who worked on which chunk, where, from when to when
"""

from models.machine_file import load_machine
from models.readings import read_measurements
from models.regret_table import regret_table
from models.results import Results, load_results
from models.scenario import Scenario
from sim.advice import Advice, advise, describe_advice
from sim.calibration import Calibration, CalibrationError, calibrate, describe_calibration
from sim.experiment import load, run, trace
from sim.figures import (
    plot_heat_map,
    plot_interference,
    plot_loads,
    plot_pareto,
    plot_regret,
    plot_speedup,
    plot_table,
    plot_timeline,
    plot_validation,
)
from sim.gallery import compare as compare_published
from sim.gallery import describe_gallery
from sim.sweep import sweep
from sim.table_fit import describe_fit, figures_of, fit_table
from sim.tuning import Tuning, describe_tuning, tune
from sim.validation import Validation, describe_validation, validate

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
    "describe_gallery",
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
