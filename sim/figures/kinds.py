"""The kinds of figures that a result folder can have, by name, and which one fits it best."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from models.results.regret_table import situation_columns, varying
from models.results.tables import other_works, spread_over_runs
from sim.figures.energy import plot_energy
from sim.figures.heat_map import plot_heat_map
from sim.figures.interference import plot_interference
from sim.figures.loads import plot_loads
from sim.figures.names import case_names
from sim.figures.pareto import plot_pareto
from sim.figures.regret import plot_regret
from sim.figures.speedup import plot_speedup
from sim.figures.timeline import plot_timeline

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from models.results import Results

OF_A_CASE = ("timeline", "loads")
Window = tuple[float, float | None]  # seconds from and to; None is the default end


def draw(kind: str, results: Results, *, case: int = 0, window: Window = (0.0, None)) -> Figure:
    """Return the figure of a kind. `case` and `window` are for those of one case. Raises ValueError for none."""
    if kind == "timeline":
        trace = _of_case(results.traces, case)
        return plot_timeline(
            trace, node_of=nodes_of(results, case), begin_s=window[0], end_s=window[1], title=_title(results, case)
        )
    if kind == "loads":
        return plot_loads(_of_case(results.loads, case), title=_title(results, case))
    return _OF_ALL[kind](results)


def best_kind(results: Results) -> str:
    """Return the kind that fits the results: interference beside other work, energy where there is any, or speedup.

    Where runs are compared with published times, it is speedup, which shows both.
    """
    summary = results.summary
    if summary["published_time_s"].notna().any():
        return "speedup"
    if any(summary[f"{name}_slowdown"].notna().any() for name in other_works(summary)):
        return "interference"
    if "energy_j" in summary and summary["energy_j"].notna().any() and summary["nthreads"].nunique() > 1:
        return "energy"
    return "speedup"


def _pareto(results: Results) -> Figure:
    """Draw a panel for each situation: only cases that do the same job on the same machine are rivals."""
    summary = results.summary
    over = situation_columns(summary)
    policy = [name for name in varying(summary) if name not in over]
    if not policy:
        raise ValueError("only machine and task vary; there is nothing to choose between")
    points = summary.assign(
        case=case_names(summary, policy),
        name=case_names(summary, policy),
        situation=case_names(summary, over),
        time_s_spread=summary["time_stdev_s"],
        cpu_s_spread=spread_over_runs(results, ["cpu_s"])["cpu_s"].to_list(),
    )
    return plot_pareto(points, label="case", by="situation", title=f"{results.title}: time against CPU-seconds")


_OF_ALL: dict[str, Callable[[Results], Figure]] = {
    "speedup": plot_speedup,
    "energy": plot_energy,
    "heat-map": plot_heat_map,
    "pareto": _pareto,
    "regret": plot_regret,
    "interference": plot_interference,
}
KINDS = (*_OF_ALL, *OF_A_CASE)


def _of_case(table: pd.DataFrame | None, case: int) -> pd.DataFrame:
    if table is None:
        raise ValueError("there are no traces; `ktask-sim run SCENARIO --trace` keeps them")
    return table[table["case"] == case]


def nodes_of(results: Results, case: int) -> dict[int, int]:
    """Return the node of each CPU of the machine of a case."""
    name = results.summary["machine"].iloc[case]
    machine = next(each for each in results.machines if each["name"] == name)
    return {int(cpu["cpu_id"]): int(cpu["nid"]) for cpu in machine["cpus"]}


def _title(results: Results, case: int) -> str:
    """Return the title of a figure of one case."""
    summary = results.summary
    name = case_names(summary, varying(summary) or ["nthreads", "size_gib"])[case]
    return f"{results.title}: {name}"
