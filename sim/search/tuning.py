"""Tuning: a search for the policies that nothing beats, and how far each shipped preset is from the best of them.

Policies are proposed in batches (space.py). A batch follows from the scenario's seed, its number and the batches before
it. So neither the number of jobs nor a stop changes the policies that are tried. A call for more trials gives the same
as one call for all. Runs and trials are in one file (sim/runs/store.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from models.files.machine import iter_shipped
from models.policies.options import PRESETS, PolicyOptions
from models.results import machine_as_data, machines_of, provenance_of
from models.results.folder import json_text, write_inputs, write_json, written_whole
from models.results.regret import pareto_front, regret_pct
from models.results.run import RunResult
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.problems import InputError, Problem, did_you_mean
from models.text.tables import fit_table
from sim.figures import plot_pareto
from sim.runs.executors import Executor, local, make_listed
from sim.runs.experiment import is_local
from sim.runs.replications import Key, RunningMean
from sim.runs.store import RunStore
from sim.runs.sweep import digest
from sim.search.space import Space

OBJECTIVES: Mapping[str, str] = {  # and their columns
    "time": "time_s",
    "cpu_seconds": "cpu_s",
    "imbalance": "imbalance",
    "energy": "energy_j",
    "energy_added": "energy_added_j",
}
_ENERGIES = ("energy", "energy_added")
STUDY = "study.sqlite"  # the trials for Optuna's own tools; never read here
FIGURE = "pareto.png"
RECORD = "tuning.json"
_TUNABLE = tuple(f"kernel.{name}" for name in PolicyOptions.model_fields)
_DECISIONS = frozenset().union(*PRESETS.values())  # what a preset says


@dataclass(frozen=True)
class Tuning:
    """The result of a search (`tune`).

    Measures are means over the replications: time_s, time_ci_s (half of the 95 % confidence interval of the mean time),
    cpu_s, imbalance, and where energy can be told energy_j and energy_added_j.

    * ``trials``: a row for each policy tried, in order: its parameters, its measures, and whether it is on the front.
    * ``front``: the trials and presets that nothing beats in all objectives, the best in the first objective first.
    * ``regret``: a row for each preset and each max_threads of the file: its measures, for each objective how much more
      it is than the least found, in percent of that, and whether it is on the front.
    * ``n_points``: how many policies the file spans.
    * ``provenance``: versions, code, seed, objectives and digest of the scenario.

    Example:
        >>> tune(load("tuning"), "folder", trials=20).front  # doctest: +SKIP
    """

    title: str
    question: str
    objectives: tuple[str, ...]
    n_points: int
    trials: pd.DataFrame
    front: pd.DataFrame
    regret: pd.DataFrame
    scenario: Mapping[str, Any]
    machines: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, Any]


def tune(
    scenario: Scenario,
    folder: str | Path,
    *,
    objectives: Sequence[str] = ("time", "cpu_seconds"),
    trials: int = 100,
    jobs: int = 1,
    on_done: Callable[[int, int], object] | None = None,
) -> Tuning:
    """Search the policies that a scenario's lists span for those with the least time, CPU-seconds, imbalance or energy.

    All policies meet the same luck: each is run with the scenario's replications and seed. The presets are run too,
    with each of the file's max_threads. Runs are stored in the folder at once, and a stored run is not made again. The
    results are the same for any number of jobs.

    Args:
        scenario: A scenario whose lists, under `kernel:`, span the policies.
        folder: Where runs and results are stored.
        objectives: The measures to minimise: time, cpu_seconds, imbalance, energy.
        trials: The number of policies to try in all, those of earlier calls included.
        jobs: How many processes share the work.
        on_done: Called at the start and after each run with the number of runs made, and the number expected in all.

    Returns:
        The trials, the front of those that nothing beats, and the regret of the presets.

    Raises:
        InputError: There is nothing to tune, or more than one situation.
        ValueError: An option is impossible.
        ImportError: Optuna is not installed.
        FolderTakenError: The folder holds something else, or another search is at work in it.
        LostWorkersError: A process was lost.
        OSError: The folder can't be written.

    Example:
        >>> scenario = load("tuning").with_values({"task.size": "1GiB", "replications": 1})  # doctest: +SKIP
        >>> tune(scenario, "folder", trials=20).front  # doctest: +SKIP
    """
    _check_options(objectives, trials, jobs)
    check_space(scenario)
    _check_energy(scenario.cases[0], objectives)
    if find_spec("optuna") is None:
        raise ImportError("tuning needs the package optuna, which is not installed: pip install 'ktask-sim[tune]'")
    folder, cases, presets = Path(folder), scenario.cases, _preset_cases(scenario)
    every = (*cases, *presets)
    provenance = provenance_of(scenario, "sim", with_traces=False)
    provenance |= {"optuna": version("optuna"), "objectives": list(objectives)}
    n_trials = min(trials, len(cases))
    n_processes = 1 if any(is_local(case) for case in cases) else jobs
    with RunStore(folder, provenance | {"cases": digest(every)}) as store, local(n_processes) as executor:
        runs = _Runs(every, store, executor, on_done)
        space = Space([_parameters(case) for case in cases], cases[0].seed)
        tried = store.trials()
        runs.expect([*range(len(cases), len(every)), *tried], max(n_trials - len(tried), 0))
        runs.make(range(len(cases), len(every)))
        runs.make(tried)
        while len(tried) < n_trials:
            batch = space.next_batch(tried, n_trials, lambda number: runs.values(number, objectives))
            runs.make(batch)
            store.add_trials(batch)
            tried += batch
        tuning = _tables(scenario, presets, tried, runs.measures, objectives, provenance)
        if not _is_written(tuning, folder):
            with written_whole(folder, RECORD, alone=True) as new:
                _write(tuning, new)
                space.export([(number, runs.values(number, objectives)) for number in tried], new / STUDY)
    return tuning


def describe_tuning(tuning: Tuning, width: int | None = None) -> str:
    """Return the front of a search and the regret of the presets as a person reads them.

    Of trials that are equal in all objectives the first is shown, and of each preset the max_threads that is best in
    the first objective.

    Args:
        tuning: The result of a search (`tune`).
        width: The most characters of a line, such as a terminal has; columns that can be done without are then left
            out. None is any width.

    Returns:
        Lines of text.

    Example:
        >>> print(describe_tuning(tune(load("tuning"), "folder")))  # doctest: +SKIP
    """
    columns = [OBJECTIVES[name] for name in tuning.objectives]
    heads = {
        "time_s": "time (s)",
        "cpu_s": "CPU-seconds",
        "energy_j": "energy (J)",
        "energy_added_j": "energy of the job (J)",
    }
    front = tuning.front.drop_duplicates(columns)
    parameters = list(front.columns[2 : front.columns.get_loc("time_s")])
    shown = front[["preset", *parameters, *columns]].rename(columns=heads)
    best = best_of_presets(tuning.regret, columns)
    regrets = [f"{name}_regret_pct" for name in tuning.objectives]
    marked = best.assign(front=best["front"].map({True: "yes", False: ""}))
    beaten = marked[["preset", "max_threads", *_interleaved(columns, regrets), "front"]]
    beaten = beaten.rename(columns=heads | dict.fromkeys(regrets, "regret (%)"))
    word = "Nothing beats" if len(columns) > 1 else "Best"
    return "\n".join(
        [
            tuning.title,
            f"{len(tuning.trials)} of {tuning.n_points} policies tried, and {len(PRESETS)} presets.",
            "",
            f"{word}, in {', '.join(heads.get(column, column) for column in columns)}:",
            _text(shown, width),
            "",
            f"Presets, each with the max_threads that is best in {tuning.objectives[0]}, against the least found:",
            _text(beaten, width),
        ]
    )


def _interleaved(columns: Sequence[str], regrets: Sequence[str]) -> list[str]:
    return [name for pair in zip(columns, regrets, strict=True) for name in pair]


def _text(table: pd.DataFrame, width: int | None) -> str:
    """Return a table as text; where it is too wide, parameters that are alike in all rows are left out, then others."""
    words = [[_word(value) for value in row] for row in table.astype(object).itertuples(index=False, name=None)]
    heads = [str(name) for name in table.columns]
    # A head may be there twice, as that of regrets: each column has a name of its own that looks the same.
    columns = {f"{head}{' ' * heads[:i].count(head)}": [row[i] for row in words] for i, head in enumerate(heads)}
    words_of = {"preset", "max_threads", "front", "regret (%)"}
    parameters = [name for name in columns if name.strip() not in words_of and not re.search(r"\(.*\)|seconds", name)]
    alike = [name for name in parameters if len(set(columns[name])) == 1]
    return fit_table(columns, width, [*(name for name in parameters if name not in alike), *alike])


def _word(value: object) -> str:
    if isinstance(value, float) and not math.isnan(value):
        return f"{value:.2f}" if value >= 1 or value == 0 else f"{value:.3g}"
    return "" if pd.isna(value) else f"{value}"  # type: ignore[call-overload]


def _check_options(objectives: Sequence[str], trials: int, jobs: int) -> None:
    if isinstance(objectives, str) or not objectives or len(set(objectives)) < len(objectives):
        raise ValueError(f"objectives must be some of {', '.join(OBJECTIVES)}, each once; found {objectives!r}")
    for name in objectives:
        if name not in OBJECTIVES:
            meant = did_you_mean(name, list(OBJECTIVES))
            raise ValueError(f"objectives must be some of {', '.join(OBJECTIVES)}; found {name!r}{meant}")
    if trials < 1:
        raise ValueError(f"trials must be 1 or more; found {trials}")
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more; found {jobs}")


def _check_energy(case: Case, objectives: Sequence[str]) -> None:
    """Raise ValueError if energy is asked for and can't be told."""
    asked = [name for name in objectives if name in _ENERGIES]
    if not asked:
        return
    others = ", ".join(name for name in OBJECTIVES if name not in _ENERGIES)
    if case.machine.power is None:
        with_power = ", ".join(machine.name for machine in iter_shipped() if machine.power is not None)
        raise ValueError(
            f"objectives: found {asked[0]!r}, but the file of {case.machine.name} has no section `power`; allowed are "
            f"{others}, or a machine with figures ({with_power}, or your own)"
        )
    if case.background:
        raise ValueError(
            f"objectives: found {asked[0]!r} beside a background load, whose energy is not told from the job's; "
            f"allowed are {others}, or no background"
        )


def check_space(scenario: Scenario) -> None:
    """Raise InputError unless the lists of a scenario span policies, and nothing else."""
    paths = scenario.cases[0].choices
    if not paths:
        message = "found no list of values; allowed are lists of the policies to choose from, such as"
        problems = [("kernel", f"{message} max_threads: [4, 8, 16] or chunks: [ktask, factoring]")]
    elif len(scenario.cases) != math.prod(_n_values(scenario, path) for path in paths):
        message = "found kernels that have lists of different values; allowed is one kernel, with lists of its values"
        problems = [("kernel", message)]
    else:
        message = "values; allowed is one, as policies are compared in one situation: make and tune a file of each"
        strange = [path for path in paths if path not in _TUNABLE]
        problems = [(path, f"found {_n_values(scenario, path)} {message}") for path in strange]
    if problems:
        file, document = str(scenario.path), scenario.document
        raise InputError([Problem(file, *document.place(tuple(path.split("."))), path, m) for path, m in problems])


def _n_values(scenario: Scenario, path: str) -> int:
    return len({case.choices[path] for case in scenario.cases})


def _preset_cases(scenario: Scenario) -> list[Case]:
    """Return the case of each preset with each max_threads of the scenario."""
    first = scenario.cases[0]
    fields = type(first.kernel).model_fields
    listed = [path.removeprefix("kernel.") for path in first.choices]
    shipped = {name: fields[name].default for name in {*listed, *_DECISIONS}}
    return [
        replace(
            first,
            kernel=first.kernel.model_copy(update=shipped | {"policy": name, "max_threads": most}),
            rules={},
            choices={"kernel.policy": name, "kernel.max_threads": most},
        )
        for name in PRESETS
        for most in dict.fromkeys(case.kernel.max_threads for case in scenario.cases)
    ]


class _Runs:
    """The runs of cases, made where they are not stored yet, and the means of their measures, by number of the case."""

    def __init__(
        self,
        cases: Sequence[Case],
        store: RunStore,
        executor: Executor,
        on_done: Callable[[int, int], object] | None,
    ) -> None:
        self.measures: dict[int, dict[str, float]] = {}
        self._cases = cases
        self._store = store
        self._executor = executor
        self._on_done = on_done
        self._stored = {key for key, _ in store.times()}
        self._counted: set[Key] = set()
        self._n_expected = 0

    def expect(self, numbers: Sequence[int], n_more: int) -> None:
        """Learn which cases will be made, and how many more."""
        keys = self._keys(numbers)
        self._n_expected = len(keys) + n_more * self._cases[0].replications
        self._count(self._stored.intersection(keys))

    def make(self, numbers: Sequence[int]) -> None:
        """Make the runs of cases that are not stored, and store each at once."""
        keys = self._keys(numbers)
        missing = [key for key in keys if key not in self._stored]
        self._count(self._stored.intersection(keys))

        def done(key: Key, result: RunResult) -> None:
            self._store.add(key, result)
            self._stored.add(key)
            self._count({key})

        make_listed(self._executor, self._cases, missing, done)
        for number in numbers:
            self.measures[number] = self._measure(number)

    def values(self, number: int, objectives: Sequence[str]) -> list[float]:
        """Return the objectives of a case whose runs are made."""
        return [self.measures[number][OBJECTIVES[name]] for name in objectives]

    def _measure(self, number: int) -> dict[str, float]:
        results = [result for *_, result in self._store.results(self._keys([number]))]
        times = RunningMean(result.time_s for result in results)
        return {
            "time_s": times.mean,
            "time_ci_s": times.half_width(),
            "cpu_s": fmean(result.cpu_s for result in results),
            "imbalance": fmean(result.imbalance for result in results),
            **{
                column: fmean(result.extra[column] for result in results)
                for column in (OBJECTIVES[name] for name in _ENERGIES)
                if column in results[0].extra
            },
        }

    def _keys(self, numbers: Sequence[int]) -> list[Key]:
        return [(number, i) for number in numbers for i in range(self._cases[number].replications)]

    def _count(self, keys: Set[Key]) -> None:
        n_before = len(self._counted)
        self._counted |= keys
        if self._on_done is not None and (len(self._counted) > n_before or not n_before):
            self._on_done(len(self._counted), self._n_expected)


def _parameters(case: Case) -> dict[str, Any]:
    return {path.removeprefix("kernel."): value for path, value in case.choices.items()}


def _tables(
    scenario: Scenario,
    presets: Sequence[Case],
    tried: Sequence[int],
    measures: Mapping[int, Mapping[str, float]],
    objectives: Sequence[str],
    provenance: Mapping[str, Any],
) -> Tuning:
    cases = scenario.cases
    columns = [OBJECTIVES[name] for name in objectives]
    rows = [{"trial": i, **_parameters(cases[number]), **measures[number]} for i, number in enumerate(tried)]
    for number, case in enumerate(presets, start=len(cases)):
        preset, most = case.kernel.policy, case.kernel.max_threads
        rows.append({"preset": preset, **PRESETS[preset], "max_threads": most, "policy": preset, **measures[number]})
    parameters = list(_parameters(cases[0]))
    whole = [name for name in parameters if all(isinstance(case.choices[f"kernel.{name}"], int) for case in cases)]
    points = pd.DataFrame(rows).astype(dict.fromkeys(("trial", "max_threads", *whole), "Int64"))
    points["front"] = pareto_front(points, columns)
    for name, column in zip(objectives, columns, strict=True):
        points[f"{name}_regret_pct"] = regret_pct(points[column])
    means = list(next(iter(measures.values())))
    front = points[points["front"]].sort_values([*columns, "trial"])
    identity = {"objectives": list(objectives), "trials": len(tried)}
    return Tuning(
        title=scenario.title,
        question=scenario.question,
        objectives=tuple(objectives),
        n_points=len(cases),
        trials=points.loc[points["preset"].isna(), ["trial", *parameters, *means, "front"]],
        front=front[["preset", "trial", *parameters, *means]].reset_index(drop=True),
        regret=points.loc[
            points["preset"].notna(),
            ["preset", "max_threads", *means, *(f"{name}_regret_pct" for name in objectives), "front"],
        ].reset_index(drop=True),
        scenario=scenario.document.plain(),
        machines=tuple(machine_as_data(machine) for machine in machines_of(scenario)),
        provenance=dict(provenance) | identity,
    )


def best_of_presets(regret: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the row of each preset that is best in the first column, then in the next."""
    best = regret.sort_values(list(columns), kind="stable").drop_duplicates("preset")
    return best.sort_index()


def _is_written(tuning: Tuning, folder: Path) -> bool:
    """Return whether the result files of a folder are of this very search."""
    record = folder / RECORD
    return record.exists() and record.read_text() == json_text(tuning.provenance)


def _write(tuning: Tuning, folder: Path) -> None:
    """Write the tables, the figure and the record into an empty folder."""
    for name, table in (("trials", tuning.trials), ("front", tuning.front), ("regret", tuning.regret)):
        table.to_csv(folder / f"{name}.csv", index=False)
        table.to_parquet(folder / f"{name}.parquet", index=False)
    write_inputs(folder, tuning.scenario, tuning.machines)
    plot_tuning(tuning.trials, tuning.regret, tuning.objectives, tuning.title, folder / FIGURE)
    write_json(folder / RECORD, tuning.provenance)


def plot_tuning(
    trials: pd.DataFrame, regret: pd.DataFrame, objectives: Sequence[str], title: str, path: Path | None = None
) -> Figure:
    """Draw the trials, and the presets with the max_threads that is best in the first objective."""
    columns = [OBJECTIVES[name] for name in objectives]
    y, x = columns[:2] if len(columns) > 1 else ("time_s", "cpu_s")
    parameters = list(trials.columns[1 : trials.columns.get_loc("time_s")])
    names = [" ".join(str(value) for value in row) for row in trials[parameters].itertuples(index=False)]
    trials = trials.assign(name=names, preset=False)
    best = best_of_presets(regret, columns)
    presets = best.assign(
        name=[f"{p} {t}" for p, t in zip(best["preset"], best["max_threads"], strict=True)], preset=True
    )
    points = pd.concat([part[["name", "preset", x, y]] for part in (presets, trials)], ignore_index=True)
    title = f"{title}: {', '.join(parameters)}"
    return plot_pareto(
        points.drop_duplicates([x, y]), x=x, y=y, label="name", highlight="preset", title=title, path=path
    )
