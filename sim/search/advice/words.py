"""The words of an advice: the recommendation, its reason, its certainty, and the text to paste."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import pandas as pd

from models.clients import Advised
from models.clients.jvm_pretouch import JvmPretouch
from models.loads import Service
from models.text.units import format_size, format_time
from sim.search.advice.candidate import CHUNK_WITHIN, THREADS_WITHIN, Candidate, recommend
from sim.search.advice.chunk import has_chunk
from sim.search.advice.limit import NO_LIMIT
from sim.search.advice.request import BOOT, PROGRAM
from sim.search.advice.search import Findings

_HARDLY = 0.97  # of an interval's width: what is left of it where a measurement tells hardly anything
_BOOT_OPTION = ("padata-6.15", "padata-6.18")  # versions with hugepage_alloc_threads


def title(found: Findings) -> str:
    """Return the title: the job and the machine."""
    machine = found.request.machine
    return f"{found.request.client}, {format_size(found.best.case.size_bytes)}, on {machine.name}: {machine.title}"


def sentences(found: Findings) -> Iterator[str]:
    """Yield the advice, the answer first."""
    best, default, single = found.best, found.default, found.single
    yield _answer(found)
    if best.threads > 1:
        coarse = f", no larger chunk within {CHUNK_WITHIN:.0%}" if has_chunk(best.case) else ""
        yield f"No fewer threads come within {THREADS_WITHIN:.0%} of the least time{coarse}."
    if best is default:
        yield "That is the default." if found.request.has_default else "More would do no better."
    elif not found.request.has_default:
        yield f"One thread takes {_time(single)}."
    elif found.request.is_serial:
        yield f"Released kernels do it with one thread, which takes {_time(default)}."
    else:
        yield f"The default, {_choice(default)}, takes {_time(default)}."
    if 1 not in (best.threads, default.threads):
        yield f"One thread takes {_time(single)}."
    yield _more(found)
    yield _neighbours(found)
    if isinstance(best.case.task, JvmPretouch) and best.threads < default.threads:
        yield (
            f"-XX:ParallelGCThreads={best.threads} also sets the threads of every later collection, which would have "
            f"{default.threads}: leave it out if collections matter more than the start."
        )
    if found.unsure:
        yield _doubt(found)


def option(found: Findings) -> str:
    """Return what to do: a program's or kernel's option, threads of a program, or a line of the kernel's code."""
    best = found.best
    chunk_bytes = best.chunk_bytes if has_chunk(best.case) else None
    if isinstance(best.case.task, Advised):
        return best.case.task.advice_options(best.threads, chunk_bytes, best.case.machine, best.case.kernel)
    client, version = best.case.task.client, best.case.kernel.version
    if client == BOOT and version in _BOOT_OPTION:
        return f"hugepage_alloc_threads={best.threads}"
    if client == BOOT:
        return f"hugepage_alloc_threads={best.threads} on the kernel's command line, from Linux 6.15 on"
    parts = f"{best.threads} threads of the program" if best.threads > 1 else "one thread"
    if client == PROGRAM:
        return f"{parts}, madvise(MADV_POPULATE_WRITE) on pieces of {format_size(best.chunk_bytes)}"
    if found.request.kernel is not None:
        is_ktask = version.startswith("ktask")
        code = f"ktask_ctl_set_max_threads(&ctl, {best.threads})" if is_ktask else f".max_threads = {best.threads}"
        return f"{code} where the code of a kernel with {version} calls it; released kernels have one thread"
    return f"{parts}, each with a part of it: one call has one thread in released kernels"


def _answer(found: Findings) -> str:
    """Say which candidate to take, and how long it takes, in each way to start if they differ."""
    best = found.best
    often = "in 9 of 10 starts"
    use = f"Use {_choice(best)}: {format_size(best.case.size_bytes)} then take about"
    if not best.has_two_times:
        row = best.row()
        return f"{use} {format_time(best.time_s)} ({_span(row['low_s'], row['high_s'])} {often})."
    in_time, late = best.outcomes
    return (
        f"{use} {format_time(in_time.time_s)} ({_span(*in_time.interval())} {often}), or {format_time(late.time_s)} "
        f"({_span(*late.interval())}) in the {late.share:.0%} of starts in which the last thread begins late; "
        f"{format_time(best.time_s)} in the mean."
    )


def _more(found: Findings) -> str:
    """Say what more threads would and would not bring, and why."""
    best, most_threads = found.best, found.request.most_threads
    more = [each for each in found.candidates if best.threads < each.threads <= most_threads]
    untried = ""
    if found.skipped:
        untried = f" With {_and(map(str, found.skipped))} threads it takes too long to simulate: not tried."
    if not more:
        if untried:
            return untried.strip()
        if best.threads < most_threads:
            return "More threads are not to be had: by its rules it takes no more for so much memory."
        of_it = found.request.cpus is not None or found.request.cpuset is not None
        what = "are left to it" if found.request.keep_free else "its container has" if of_it else "there are"
        return f"More threads would want more CPUs than {what}."
    fastest = min(more, key=lambda each: each.time_s)
    most = max(more, key=lambda each: each.threads)
    gain = 1 - fastest.time_s / best.time_s
    text = (
        f"More threads bring at most {gain:.1%} ({fastest.threads} of them: {_time(fastest)})"
        if gain > 0
        else "More threads bring nothing"
    )
    cost = most.cpu_s / best.cpu_s
    why = "" if most.limit == NO_LIMIT else f" What limits them: {most.limit}."
    return f"{text}; {most.threads} take {_time(most)} and {cost:.1f} times the CPU-seconds.{why}{untried}"


def _neighbours(found: Findings) -> str:
    """Say how much others are slowed down."""
    machine, alone, background = found.request.machine, found.alone, found.best.case.background
    names = [name for name in machine.bandwidths if name.startswith("memory")]
    used = {name: alone.utilisation(name) for name in names}
    busiest = max(used, key=lambda name: used[name])
    when = "Alone" if background else "Meanwhile"
    text = (
        f"{when} it keeps {alone.cpu_s / alone.time_s:.3g} of {len(machine.cpus)} CPUs busy and takes "
        f"{sum(used.values()) / len(used):.0%} of the machine's memory bandwidth"
    )
    if len(used) > 1:
        text += f", {used[busiest]:.0%} of that of node {busiest.removeprefix('memory')}"
    if not background:
        return f"{text}."
    felt = "; ".join(f"{name} ({load.words()}) {_felt(found.best, name)}" for name, load in background.items())
    return f"{text}; without {_and(background)} the job takes {_time(alone)}. Beside it {felt}."


def _felt(best: Candidate, name: str) -> str:
    """Say how much other work is slowed down by the job."""
    load, slowdown = best.case.background[name], best.slowdown(name)
    if slowdown is None:
        return "does nothing meanwhile"
    if isinstance(load, Service):
        return f"has a 99th percentile of response times that is {slowdown:.2f} times as long"
    if load.is_finite:
        return f"takes {slowdown:.2f} times as long"
    return f"runs at {1 / slowdown:.0%} of its speed"


def _doubt(found: Findings) -> str:
    """Say how uncertain the answer is as long as rates are not measured."""
    candidates = [each for each in found.candidates if each.threads <= found.request.most_threads]
    table = pd.DataFrame([{"threads": each.threads, "chunk_bytes": each.chunk_bytes} for each in candidates])
    counts = {found.best.threads}
    for name, side in itertools.product(found.unsure, (0, 1)):
        row = recommend(table.assign(time_s=[each.varied_s(name, side) for each in candidates]))
        counts.add(candidates[row].threads)
    threads = f"{min(counts)} to {max(counts)} threads" if len(counts) > 1 else "the same number of threads"
    verb = "is" if len(found.unsure) == 1 else "are"
    figures = _and(f"{each.words} (within {each.share:.0%})" for each in found.unsure.values())
    return (
        f"This is uncertain: {figures} {verb} not measured on {found.request.machine.name}. With each so far off, "
        f"which the interval allows for, {threads} would be best. `ktask-sim calibrate -o MACHINE.yaml` measures a "
        f"machine in a minute, on it; then give --machine MACHINE.yaml. {_most_doubted(found)}"
    ).strip()


def _most_doubted(found: Findings) -> str:
    """Say which unsure figure makes the interval widest, and how wide it is once that has been measured."""
    best = found.best
    widths = {name: _width(best, name) for name in found.unsure}
    name = min(widths, key=lambda each: widths[each])
    left = widths[name] / _width(best)
    if left > _HARDLY:
        return "To measure any one of them would hardly make the interval narrower."
    measure = {
        "clear_rate": "one thread that clears pages of this kind",
        "memory_bandwidth": f"{best.threads} threads at once",
    }.get(name, "one thread with this very job")
    return (
        f"Most is in doubt by {found.unsure[name].words}: measure {measure} and fit the time (`ktask-sim fit`), "
        f"and the interval has {left:.0%} of its width."
    )


def _width(best: Candidate, without: str | None = None) -> float:
    """Return the width of the interval, as the logarithm of high over low, in the mean of both kinds of start."""
    spans = [(each.share, each.interval(without)) for each in best.outcomes]
    return math.fsum(share * math.log(high_s / low_s) for share, (low_s, high_s) in spans)


def _choice(candidate: Candidate) -> str:
    """Return its threads and, where there is a choice, its chunks."""
    chunks = f" with chunks of {format_size(candidate.chunk_bytes)}" if has_chunk(candidate.case) else ""
    more = candidate.case.threads_allowed
    allowed = f" at work of {more} allowed" if more > candidate.threads else ""
    return f"{candidate.threads} thread{'s' * (candidate.threads > 1)}{allowed}{chunks}"


def _time(candidate: Candidate) -> str:
    """Return its mean time, or both where a mean would tell neither."""
    if not candidate.has_two_times:
        return format_time(candidate.time_s)
    return " or ".join(format_time(outcome.time_s) for outcome in candidate.outcomes)


def _span(low_s: float, high_s: float) -> str:
    """Return an interval such as '7.9 to 8.4 s'."""
    (low, low_unit), (high, high_unit) = format_time(low_s).split(), format_time(high_s).split()
    return f"{low} to {high} {high_unit}" if low_unit == high_unit else f"{low} {low_unit} to {high} {high_unit}"


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
