"""The folder of a search for policies as one HTML page: the best ones, the presets, the figure, all trials."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import yaml

from sim.search.tuning import OBJECTIVES, RECORD, best_of_presets, plot_tuning
from sim.show.page import Cell, Html, page, paragraphs, picture, preformatted, table

_WORDS = {"time_s": "time (s)", "cpu_s": "CPU-seconds", "energy_j": "energy (J)",
          "energy_added_j": "energy of the job (J)", "time_ci_s": "± (s)"}  # fmt: skip


def tuning_html(folder: Path) -> str:
    """Return the page of a folder that `ktask-sim tune` wrote.

    Raises OSError, ValueError or KeyError if it can't be read.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    scenario = yaml.safe_load((folder / "scenario.yaml").read_text(encoding="utf-8"))
    trials, front, regret = (pd.read_parquet(folder / f"{name}.parquet") for name in ("trials", "front", "regret"))
    columns = [OBJECTIVES[name] for name in record["objectives"]]
    presets = best_of_presets(regret, columns)
    nothing_beats = "Nothing beats these" if len(columns) > 1 else "The best"
    named = ", ".join(_WORDS.get(name, name) for name in columns)
    on_front = presets[presets["front"]]["preset"].tolist()
    verdict = f"Presets among them: {', '.join(on_front)}." if on_front else "No preset is among them."
    figure = plot_tuning(trials, regret, record["objectives"], scenario["title"])
    sections: list[tuple[str, list[Html]]] = [
        ("In short", [paragraphs(f"{nothing_beats}, in {named}, of {len(trials)} policies tried. {verdict}"),
                      _table("front", front.drop_duplicates(columns))]),
        ("Presets", [paragraphs("Each with the max_threads that is best in the first objective, against the least."),
                     _table("presets", presets)]),
        ("Trials and presets", [picture(figure, "trials", "Trials and presets; the values stand under All trials")]),
        ("All trials", [_table("all trials", trials)]),
        ("Scenario", [preformatted(yaml.safe_dump(scenario, sort_keys=False, allow_unicode=True))]),
    ]  # fmt: skip
    return page(scenario["title"], paragraphs(scenario.get("question", "")), sections)


def _table(name: str, found: pd.DataFrame) -> Html:
    """Return a table without columns that are empty."""
    shown = found.dropna(axis="columns", how="all")
    columns: dict[str, list[Cell]] = {}
    for head in shown:
        words = _WORDS.get(str(head), str(head).replace("_regret_pct", " regret (%)"))
        columns[words] = [_cell(value) for value in shown[head].astype(object)]
    return table(name, columns)


def _cell(value: object) -> Cell:
    if isinstance(value, bool):
        return "yes" if value else ""
    if value is None or value is pd.NA or value != value:
        return None
    return value if isinstance(value, (int, float, str)) else str(value)
