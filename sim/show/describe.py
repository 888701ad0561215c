"""Scenarios, machines and results in words and tables, for a person to read."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import pandas as pd
from tabulate import tabulate

from models.machine import Machine, Power
from models.policies.chunks import CHUNKS
from models.policies.options import PRESETS, PolicyOptions
from models.policies.works import WORKS
from models.results import Results
from models.results.regret_table import identity, varying
from models.results.tables import other_works, threads_worked
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.cpu_list import format_cpu_list
from models.text.tables import fit_table
from models.text.units import format_rate, format_size, format_time

_BY_CHANCE = 0.9  # a slowdown that is less is not that of other work that was slowed down


def describe_scenario(scenario: Scenario) -> str:
    """Describe the simulation of a scenario in words."""
    cases = scenario.cases
    n_runs = sum(case.replications for case in cases)
    parts = [
        f"{scenario.title}\n{scenario.question}".rstrip(),
        f"{_n(len(cases), 'case')}, {_n(n_runs, 'run')} in all. Seed{'s' * (len({c.seed for c in cases}) > 1)} "
        f"{', '.join(str(seed) for seed in sorted({case.seed for case in cases}))}."
        + (f" Compared with the published table {scenario.compare_with.name}." if scenario.compare_with else ""),
    ]
    parts += [describe_machine(machine) for machine in {case.machine.name: case.machine for case in cases}.values()]
    parts.append(_task(cases[0]))
    if any(case.background or case.groups for case in cases):
        parts.append(_beside(cases))
    rows = pd.DataFrame([_row(case) for case in cases])
    shown = rows if rows["why fewer"].any() else rows.drop(columns="why fewer")
    parts.append(tabulate(shown.to_dict("list"), headers="keys", disable_numparse=True))
    parts.append(_kernel(cases[0]))
    parts.append(_chance(cases[0]))
    return "\n\n".join(parts)


def describe_machine(machine: Machine, *, with_sources: bool = False) -> str:
    """Describe a machine: topology, distances, calibrated rates, and on request the source of each figure."""
    rates = machine.rates
    sockets = {node.socket_id for node in machine.nodes}
    cores = {cpu.core_id for cpu in machine.cpus}
    caches = {cpu.cache_id for cpu in machine.cpus}
    lines = [
        f"Machine {machine.name}: {machine.title}.",
        f"  {_n(len(sockets), 'socket')}, {_n(len(machine.nodes), 'NUMA node')}, {_n(len(cores), 'core')}, "
        f"{_n(len(machine.cpus), 'CPU')}, {_n(len(caches), 'last-level cache')}, {_n(len(machine.links), 'link')}; "
        f"{format_size(machine.memory_bytes)} of memory.",
    ]
    seen: dict[tuple[int, int], list[int]] = {}
    for (a, b), distance in machine.distances.items():
        if a != b:
            seen.setdefault((machine.hops(a, b), distance), []).append(a)
    for (hops, distance), starts in sorted(seen.items()):
        per_node = sorted({starts.count(nid) for nid in machine.nids})
        peers = f"{per_node[0]}" if len(per_node) == 1 else f"{per_node[0]} to {per_node[-1]}"
        place = f"{_n(hops, 'link')} away (distance {distance})" if machine.links else f"At distance {distance}"
        lines.append(
            f"  {place}: {peers} of the other nodes; a stream of stores runs at "
            f"{rates.remote_factors.get(distance, 1.0):.3g} of its local rate."
        )
    if machine.links:
        speeds = sorted({format_rate(link.rate_bytes_per_s) for link in machine.links})
        lines.append(f"  Links carry {', '.join(speeds)} each way.")
    curve = rates.memory_curve
    shape = "with a sharp knee" if curve.knee is None else f"with a soft knee (exponent {curve.knee:g})"
    if curve.decline:
        shape += f", losing {curve.decline:.0%} for each further multiple of it that is asked for"
    lines.append(
        f"  One thread clears {format_rate(rates.clear_bytes_per_s)} of local memory "
        f"({format_rate(rates.serial_clear_bytes_per_s)} where a task has no helper); a node's memory takes "
        f"{format_rate(rates.memory_bytes_per_s)} of traffic, {rates.clear_traffic:g} bytes for a byte cleared, so "
        f"{format_rate(rates.memory_bytes_per_s / rates.clear_traffic)} of clearing, {shape}."
    )
    if any(node.memory_bytes_per_s is not None for node in machine.nodes):
        lines.append(f"  The memory of nodes differs: {machine.memory_rates_in_words} of traffic.")
    lines.append(f"  The threads of a core together do {rates.core_throughput:g} of what one does alone.")
    if rates.cache_bytes_per_s is not None:
        lines.append(f"  A last-level cache lets {format_rate(rates.cache_bytes_per_s)} of clearing through.")
    if machine.host_page_bytes is not None:
        size = format_size(machine.host_page_bytes)
        lines.append(f"  It is a guest: its host makes memory present as the guest first uses it, {size} at a time.")
    if machine.power is not None:
        lines.append(_power(machine.power))
    lines += [
        f"  Fitted to {_n(len(fit.cells), 'cell')} of {fit.table}: {', '.join(fit.parameters)}. Sources tell the rest."
        for fit in machine.fits
    ]
    if with_sources:
        lines += ["  Sources:", *(f"    {what}: {source}" for what, source in machine.sources.items())]
    return "\n".join(lines)


def _power(power: Power) -> str:
    """Return the power of a machine, without figures that its file leaves out."""
    more = {
        "for each core with a busy thread": f"{power.core_busy_w:.3g} W",
        "for each further busy thread of a core": power.thread_busy_w and f"{power.thread_busy_w:.3g} W",
        "for each socket with a busy core": power.socket_awake_w and f"{power.socket_awake_w:.3g} W",
        "for each byte of traffic": power.memory_j_per_byte and f"{power.memory_j_per_byte * 1e9:.3g} nJ",
    }
    added = _and(f"{figure} {what}" for what, figure in more.items() if figure)
    return f"  At rest it takes {power.rest_w:.4g} W, and more when it works: {added}."


def describe_policies() -> str:
    """Return the presets, and every rule of the decisions with its description and its source."""
    parts = ("works", "chunks", "helper_node", "next_entry", "end", "priority", "helper_group")
    presets = [
        {"policy": name, **{part: rules[part] for part in parts}, "node_share": rules.get("node_share", "")}
        for name, rules in PRESETS.items()
    ]
    lines = ["Presets (kernel.policy):", tabulate(presets, headers="keys", disable_numparse=True), ""]
    for part, rules in (("works", WORKS), ("chunks", CHUNKS)):
        lines += [f"kernel.{part}:", _rules({name: inspect.getdoc(rule) or "" for name, rule in rules.items()}), ""]
    fields = PolicyOptions.model_fields
    options = [name for name in fields if name not in ("policy", "works", "chunks")]
    rows = [(f"kernel.{name}", _allowed(fields[name].annotation), fields[name].description or "") for name in options]
    lines += ["Parameters, and the other decisions:"]
    lines.append(tabulate(rows, headers=["key", "values", "meaning"], maxcolwidths=[None, 24, 70]))
    return "\n".join(lines)


def _rules(texts: Mapping[str, str]) -> str:
    rows = [(name, " ".join(text.split())) for name, text in texts.items()]
    return tabulate(rows, headers=["rule", "meaning and source"], maxcolwidths=[None, 95])


def _allowed(annotation: object) -> str:
    """Return the words that an option may be, or '' for numbers and sizes."""
    words = [str(word) for part in get_args(annotation) for word in get_args(part) if isinstance(word, str)]
    return ", ".join(words)


_LONGEST = 24  # characters of a value that says what a case is, where a table must fit


def describe_results(results: Results, width: int | None = None) -> str:
    """Return the summary as a person reads it: rounded, with units in the heads, and constant columns above it.

    With `width`, a number of characters, the table is made to fit: long values are shortened, then the measures at the
    right are left out, and named below it.
    """
    summary = results.summary
    constant = [name for name in identity(summary) if name not in (*varying(summary), "nthreads", "size_gib")]
    shown = pd.DataFrame(
        {_head(name): summary[name].map(_choice) for name in identity(summary) if name not in constant}
    )
    at = list(shown.columns).index("nthreads") + 1
    shown.insert(at, "threads\nat work", [_count(n) for n in threads_worked(summary)])
    shown = shown.rename(columns={"nthreads": "threads\nallowed", "size_gib": "size\n(GiB)"})
    unit, factor = ("s", 1.0) if summary["time_s"].max() >= 1.0 else ("ms", 1e3)
    times = zip(factor * summary["time_s"], factor * summary["time_stdev_s"], summary["replications"], strict=True)
    shown[f"time ({unit})"] = [f"{mean:.2f}" + (f" ± {spread:.2f}" if n > 1 else "") for mean, spread, n in times]
    if summary[summary["nthreads"] > 1]["speedup"].notna().any() or "slowdown" not in summary:
        shown["speed-up"] = _rounded(summary["speedup"])
    if "kernel_share" in summary and summary["kernel_share"].notna().any():
        shown["kernel's share (%)"] = [f"{100 * share:.1f}" for share in summary["kernel_share"]]
    if "speedup_limit" in summary and summary["speedup_limit"].notna().any():
        shown["left to gain (Amdahl)"] = _rounded(summary["speedup_limit"])
    compared = summary["published_time_s"].notna()
    if "energy_j" in summary and not compared.any():  # beside published times there is no energy to compare with
        shown["energy (J)"] = [_three_digits(joule) for joule in summary["energy_j"]]
        shown["of the job (J)"] = [_three_digits(joule) for joule in summary["energy_added_j"]]
    for head, values in _interference(summary).items():
        shown[head] = values
    if compared.any():
        shown[f"published ({unit})"] = _rounded(factor * summary["published_time_s"])
        shown["error (%)"] = [
            f"{error:+.1f}{'*' if fitted else ' '}" if pd.notna(error) else ""
            for error, fitted in zip(summary["error_pct"], summary["fitted"], strict=True)
        ]
    lines = [results.title, ", ".join(f"{name} {summary[name].iloc[0]}" for name in constant), ""]
    heads = {_head(name) for name in identity(summary)}
    measures = [str(name) for name in shown if name not in heads and not str(name).startswith(_ALWAYS)]
    lines.append(fit_table({str(name): list(shown[name]) for name in shown}, width, measures))
    if summary["replications"].max() > 1:
        n = summary["replications"]
        runs = f"{n.min()}" if n.nunique() == 1 else f"{n.min()} to {n.max()}"
        lines += ["", f"± is one standard deviation over the {runs} runs of a case."]
    lines += _notes(summary)
    if compared.any():
        predicted = summary[compared & ~summary["fitted"]]["error_pct"].abs()
        fitted = int(summary["fitted"].sum())
        if len(predicted):
            lines += [
                "",
                f"{len(predicted)} cells predicted: mean error {predicted.mean():.1f} %, worst {predicted.max():.1f} %."
                + (f" * {fitted} cells to which the machine's rates were fitted." if fitted else ""),
            ]
    return "\n".join(lines)


def _three_digits(value: float) -> str:
    """Return a figure of three digits, as its sources support no more, or '' for none."""
    if pd.isna(value):
        return ""
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.3g}"


_ALWAYS = ("threads", "size", "time", "speed-up", "published", "error")  # how heads begin of what always stays


def _count(number: float) -> str:
    """Return a mean number of threads: whole, or with one decimal."""
    return f"{number:.0f}" if abs(number - round(number)) < 0.05 else f"{number:.1f}"


def _notes(summary: pd.DataFrame) -> list[str]:
    """Return a line for each reason why cases had fewer threads at work than were allowed."""
    if "note" not in summary:
        return []
    fewer = summary[summary["note"].fillna("") != ""]
    lines = []
    for note, cases in fewer.groupby("note", sort=False):
        pairs = zip(cases["nthreads"], threads_worked(cases), strict=True)
        counts = _and(dict.fromkeys(f"{_count(worked)} of {allowed}" for allowed, worked in pairs))
        lines.append(f"Fewer threads worked than were allowed, {counts}: {note}.")
    lines += [
        f"{name} got more done beside the job than alone (slowdown below 1): its bursts, turns or periods of a quota "
        "fall otherwise, in a job that is shorter than some of them."
        for name in other_works(summary)
        if (summary[f"{name}_slowdown"] < _BY_CHANCE).any()
    ]
    return lines


def _head(column: str) -> str:
    """Return the head of a column that describes a case. Other work and cgroups have two lines."""
    part, _, rest = column.partition("_")
    return rest.replace("_", "\n", 1) if part in ("background", "groups") else column


def _choice(value: object) -> object:
    """Return a value of such a column, or nothing where a case has the default."""
    if value is None or value is pd.NA or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else value


def _interference(summary: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns of the mutual cost of job and other work. Heads of two lines keep the table narrow."""
    columns = {}
    if "slowdown" in summary:
        columns["job\nslowdown"] = _rounded(summary["slowdown"])
    for name in other_works(summary):
        columns[f"{name}\nslowdown"] = _rounded(summary[f"{name}_slowdown"])
        if f"{name}_p99_s" in summary:
            columns[f"{name}\np99 (ms)"] = [
                "" if pd.isna(p99_s) else f"{1e3 * p99_s:.1f}" for p99_s in summary[f"{name}_p99_s"]
            ]
    return columns


def _rounded(values: pd.Series) -> list[str]:
    return ["" if pd.isna(value) else f"{value:.2f}" for value in values]


def _task(case: Case) -> str:
    task = case.task
    nids = case.caller_nids
    start = f"node {nids[0]}" if len(nids) == 1 else "a random node, another in each replication"
    if task.cpus is not None:
        keep = "keep" if case.kernel.rule("helper_node") == "caller-cpus" else "do not keep"
        cpus = f"CPU{'s' * (len(task.cpus) > 1)} {format_cpu_list(task.cpus)}"
        start += f", may use just {cpus}, to which its helpers {keep}"
    caller = "" if task.on_every_node else f"The calling thread starts on {start}. "
    return f"Task: {task.client}. {caller}{task.words(case.machine)}"


def _beside(cases: Sequence[Case]) -> str:
    """Return the other work and the cgroups, each combination that the cases have once."""
    loads = [(name, load) for case in cases for name, load in case.background.items()]
    rows = [
        (name, load.words(), load.n_threads, load.nice, load.group or "the root", format_time(load.start))
        for name, load in dict.fromkeys(loads)
    ]
    heads = ["other work", "meaning", "threads", "nice", "cgroup", "starts at"]
    parts = [tabulate(rows, headers=heads, disable_numparse=True)] if rows else []
    for name, group in dict.fromkeys((name, group) for case in cases for name, group in case.groups.items()):
        quota = (
            "any CPU time" if group.quota is None else f"{group.quota:g} CPUs' time each {format_time(group.period)}"
        )
        where = "" if group.cpus is None else f", on CPUs {format_cpu_list(group.cpus)}"
        parts.append(f"cgroup {name}: {quota}{where}.")
    return "\n".join(parts)


def _row(case: Case) -> dict[str, object]:
    chunks = case.chunk_bytes()
    n_tasks = case.task.n_tasks(case.machine)
    return {
        "machine": case.machine.name,
        "size": format_size(case.size_bytes),
        "tasks": n_tasks,
        "threads\nallowed": case.threads_allowed,
        "threads\nat work": case.n_works,
        "first chunk": format_size(chunks[0]),
        "chunks a task": len(chunks),
        "chunks in all": len(chunks) * n_tasks,
        "runs": case.replications,
        "why fewer": case.limit,
    }


def _kernel(case: Case) -> str:
    kernel = case.kernel
    fields = type(kernel).model_fields
    rows = [
        (name, _value(name, getattr(kernel, name)), fields[name].description or "")
        for name in fields
        if name != "version"
    ]
    return f"Kernel: {kernel.version} (first case).\n" + tabulate(
        rows, headers=["parameter", "value", "meaning"], disable_numparse=True, maxcolwidths=[None, None, 80]
    )


def _value(name: str, value: object) -> str:
    if isinstance(value, float) and name.endswith(("_time", "_latency")):
        return format_time(value)
    if isinstance(value, int) and name == "min_chunk":
        return format_size(value)
    return str(value)


def _chance(case: Case) -> str:
    kernel, rates = case.kernel, case.machine.rates
    sources = []
    if len(case.caller_nids) > 1:
        sources.append("the caller's first node")
    if kernel.start_latency and kernel.start_latency_cv:
        sources.append("each helper's start latency")
    if rates.chunk_noise:
        sources.append(f"the time of each chunk ({rates.chunk_noise:.1%})")
    sources.append("whether the caller is moved when it is woken")
    if case.background:
        sources += ["the times of the ticks of each CPU", "the next step of other work"]
    return f"Random, from one seed, a stream for each: {_and(sources)}."


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _n(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
