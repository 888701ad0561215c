"""Figures, made from results: a file for each."""

from sim.figures.heat_map import plot_heat_map
from sim.figures.interference import plot_interference
from sim.figures.loads import plot_loads
from sim.figures.pareto import plot_pareto
from sim.figures.regret import plot_regret
from sim.figures.speedup import plot_speedup
from sim.figures.timeline import plot_timeline

__all__ = [
    "plot_heat_map",
    "plot_interference",
    "plot_loads",
    "plot_pareto",
    "plot_regret",
    "plot_speedup",
    "plot_timeline",
]
