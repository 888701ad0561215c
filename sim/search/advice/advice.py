"""Advice as it is given: found for a request, and as a person reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import pandas as pd

from models.machine import Machine
from models.text.tables import fit_table
from models.text.units import format_size
from sim.runs.executors import local
from sim.search.advice.request import Request
from sim.search.advice.runs import Runs
from sim.search.advice.search import Search
from sim.search.advice.words import option, sentences, title

_WIDTH = 118  # of the words


@dataclass(frozen=True)
class Advice:
    """The answer for one job on one machine (`advise`).

    * ``table``: a row for each candidate, by threads and chunk: threads_allowed (the option's value), threads (those
      that work), chunk_bytes (the first one's, where chunks differ), time_s (mean), in_time_s and late_s (means of the
      starts in which the last thread begins in time, and late, where these differ), low_s and high_s (the interval),
      cpu_s (mean), limit (the reason why it is not faster), and note (recommended, default, one thread).
    * ``recommended``, ``default``, ``single``: rows of it.
    * ``sentences``: the advice in words, the answer first.
    * ``option``: the text to paste.
    * ``unsure``: the figures that are not measured on this machine.

    Example:
        >>> advise("jvm_pretouch", "1GiB", load_machine("laptop-ryzen-4800u")).option  # doctest: +SKIP
        '-Xms1G -Xmx1G -XX:+AlwaysPreTouch -XX:ParallelGCThreads=8 -XX:PreTouchParallelChunkSize=4M'
    """

    title: str
    table: pd.DataFrame
    recommended: pd.Series[Any]
    default: pd.Series[Any]
    single: pd.Series[Any]
    sentences: tuple[str, ...]
    option: str
    unsure: tuple[str, ...]


def advise(
    client: str,
    size: str | int,
    machine: Machine,
    *,
    page_size: str | int | None = None,
    thp: bool = False,
    smp: int | None = None,
    keep_free: int = 0,
    background: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    cpus: float | None = None,
    cpuset: str | None = None,
    nice: int = 0,
    kernel: str | None = None,
    seed: int = 1,
    jobs: int = 1,
    on_done: Callable[[int, int], object] | None = None,
) -> Advice:
    """Advise on how many threads should do a job on a machine, and with which chunk.

    Args:
        client: The name of the client, such as "jvm_pretouch".
        size: The size of the job, in bytes or as a text with a unit.
        machine: The machine (`load_machine`).
        page_size: The size of its pages, in bytes or as a text. None takes the client's default.
        thp: Whether its base pages come as transparent huge pages.
        smp: The number of the guest's CPUs, from which QEMU's default follows.
        keep_free: How many CPUs are left to others.
        background: Other work, as in a scenario but without lists.
        groups: Cgroups, as in a scenario.
        cpus: The CPUs of the job's container, a quota as of docker run --cpus.
        cpuset: The CPUs that it may use, such as "0-15".
        nice: Its nice level.
        kernel: The version of the kernel, for a job of the kernel.
        task: More of the memory, keys of a scenario's task: {"share": True}, {"memory_node": 0}.
        seed: The seed of the runs.
        jobs: How many processes share the work. The advice is the same for any number.
        on_done: Called with the number of runs made, and the number planned by now.

    Returns:
        The candidates, the recommendation and the reasons in words.

    Raises:
        InputError: There can be no such job on this machine.
        LostWorkersError: A process was lost.

    Example:
        >>> advice = advise("jvm_pretouch", "1GiB", load_machine("laptop-ryzen-4800u"))  # doctest: +SKIP
        >>> advice.sentences[0]  # doctest: +SKIP
    """
    request = Request(
        client,
        _as_text(size),
        machine,
        page_size=_as_text(page_size),
        thp=thp,
        smp=smp,
        keep_free=keep_free,
        background=background or {},
        groups=groups or {},
        seed=seed,
        task=task or {},
        cpus=cpus,
        cpuset=cpuset,
        nice=nice,
        kernel=kernel,
    )
    request.check()
    with local(jobs) as executor:
        found = Search(request, Runs(executor, on_done)).findings()
    candidates = found.candidates
    noted = {"recommended": found.best, "default": found.default, "one thread": found.single}
    told = [note for note in noted if note != "default" or request.has_default]
    notes = [", ".join(note for note in told if noted[note] is candidate) for candidate in candidates]
    table = pd.DataFrame([candidate.row() for candidate in candidates]).assign(note=notes)
    rows: dict[str, pd.Series[Any]] = {
        note: table.iloc[candidates.index(candidate)] for note, candidate in noted.items()
    }
    return Advice(
        title=title(found),
        table=table,
        recommended=rows["recommended"],
        default=rows["default"],
        single=rows["one thread"],
        sentences=tuple(sentences(found)),
        option=option(found),
        unsure=tuple(each.words for each in found.unsure.values()),
    )


def _as_text(size: Any) -> Any:
    return f"{size}B" if isinstance(size, int) else size


def describe_advice(advice: Advice, width: int | None = None) -> str:
    """Return an advice as a person reads it: the table, the sentences, and the option to paste.

    Args:
        advice: An advice (`advise`).
        width: The most characters of a line, such as a terminal has; columns that can be done without are then left
            out. None is any width.

    Returns:
        Lines of text.

    Example:
        >>> advice = advise("jvm_pretouch", "1GiB", load_machine("laptop-ryzen-4800u"))  # doctest: +SKIP
        >>> print(describe_advice(advice))  # doctest: +SKIP
    """
    table = advice.table
    unit, factor = ("s", 1.0) if table["time_s"].max() >= 1.0 else ("ms", 1e3)

    def pairs(first: str, word: str, second: str) -> list[str]:
        return [
            "" if math.isnan(a) else f"{factor * a:.2f} {word} {factor * b:.2f}"
            for a, b in zip(table[first], table[second], strict=True)
        ]

    shown: dict[str, list[Any]] = {
        "": list(table["note"]),
        "threads\nallowed": list(table["threads_allowed"]),
        "threads\nat work": list(table["threads"]),
        "chunk": [format_size(size) for size in table["chunk_bytes"]],
        f"time ({unit})": [f"{factor * time:.2f}" for time in table["time_s"]],
        "in time or late": pairs("in_time_s", "or", "late_s"),
        "from, to": pairs("low_s", "to", "high_s"),
        "CPU-seconds": [f"{cpu_s:.2f}" for cpu_s in table["cpu_s"]],
        "what limits it": list(table["limit"]),
    }
    if table["late_s"].isna().all():
        del shown["in time or late"]
    if (table["threads_allowed"] == table["threads"]).all():
        del shown["threads\nallowed"]
    dispensable = ("in time or late", "chunk", "threads\nallowed", "CPU-seconds")
    rows = fit_table(shown, width, dispensable, {"": "left", "what limits it": "left"})
    wrap = min(_WIDTH, width or _WIDTH)
    words = "\n".join(fill(sentence, wrap, break_on_hyphens=False) for sentence in advice.sentences)
    return "\n\n".join([advice.title, rows, words, f"    {advice.option}"])
