"""The command for advice."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pandas as pd
from tqdm import tqdm

from models.files.machine import load_machine
from models.machine import Machine
from models.text.checks import Checker
from models.text.document import EMPTY, Located, parse, read
from models.text.problems import InputError, Problem
from models.text.units import describe
from sim.cli.hosts import real_backend
from sim.cli.jobs import JOBS
from sim.cli.widths import table_width, wide_option
from sim.runs.experiment import available_cpus
from sim.search.advice import Advice, describe_advice
from sim.search.advice import advise as find_advice
from sim.search.advice.request import CONTAINER, container_beside

# What a user gave, by its place in the scenario that is made of it.
_OPTIONS = {
    "task.client": "--client",
    "task.size": "--memory",
    "task.page_size": "--page-size",
    "task.thp": "--thp",
    "kernel.smp": "--smp",
    "keep_free": "--keep-free",
    "kernel.version": "--kernel",
    "task.nice": "--nice",
    "groups.container.quota": "--cpus",
    "groups.container.cpus": "--cpuset",
}


@click.command()
@click.option("--client", required=True, help="The program that prepares its memory, such as qemu_prealloc.")
@click.option("--memory", "size", required=True, metavar="SIZE", help="How much, such as 64GiB.")
@click.option("--page-size", metavar="SIZE", help="Its pages, such as 2MiB; default the client's.")
@click.option("--thp", is_flag=True, help="Transparent huge pages.")
@click.option("--task", "more", multiple=True, metavar="KEY=VALUE",
              help="More of the memory, as in a scenario's task: share=true, memory_node=0.")  # fmt: skip
@click.option("--smp", type=int, metavar="N", help="CPUs of the guest, from which QEMU's default follows; default 1.")
@click.option("--machine", "machine_name", metavar="FILE", help="A machine file, or a shipped name; default this host.")
@click.option("--keep-free", default="0", metavar="CPUS", help="CPUs left to others, such as 4cpus.")
@click.option("--cpus", type=float, metavar="N", help="CPUs of its container, as docker run --cpus: a quota.")
@click.option("--cpuset", metavar="LIST", help='CPUs that it may use, as docker run --cpuset-cpus: "0-15".')
@click.option("--nice", type=click.IntRange(-20, 19), default=0, metavar="LEVEL", help="Its nice level; default 0.")
@click.option("--kernel", metavar="VERSION", help="The kernel, for a job of the kernel's, such as padata-6.18.")
@click.option("--beside", type=click.Path(path_type=Path), metavar="FILE",
              help="Other work: a file with a `background:`, as in a scenario.")  # fmt: skip
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True,
              help="csv: the table alone.")  # fmt: skip
@click.option("--jobs", type=JOBS, help="Processes; default the CPUs this process may use.")
@wide_option
def advise(
    client: str,
    size: str,
    page_size: str | None,
    thp: bool,
    more: tuple[str, ...],
    smp: int | None,
    machine_name: str | None,
    keep_free: str,
    cpus: float | None,
    cpuset: str | None,
    nice: int,
    kernel: str | None,
    beside: Path | None,
    style: str,
    jobs: int | None,
    wide: bool,
) -> None:
    """Say how many threads should prepare the memory of a virtual machine, a Java heap or the like, and why."""
    machine = _machine(machine_name)
    document = EMPTY if beside is None else read(beside)
    background, groups = _others(document, beside)
    n_free = _cpus(keep_free)
    bar = "{desc}: {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} runs"
    with tqdm(desc="advise", total=0, bar_format=bar, disable=None, leave=False) as progress:

        def show(n_made: int, n_planned: int) -> None:
            progress.total = n_planned
            progress.update(n_made - progress.n)

        try:
            advice = find_advice(
                client,
                size,
                machine,
                page_size=page_size,
                thp=thp,
                task=_more(more),
                smp=smp,
                keep_free=n_free,
                background=background,
                groups=groups,
                cpus=cpus,
                cpuset=cpuset,
                nice=nice,
                kernel=kernel,
                jobs=jobs or available_cpus(),
                on_done=show,
            )
        except InputError as error:
            raise InputError(_as_given(problem, beside, document) for problem in error.problems) from None
    _print(advice, style, wide)


def _more(texts: Sequence[str]) -> dict[str, Any]:
    """Return the values of texts such as share=true by key. Raises UsageError, or InputError for bad YAML."""
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not key or not value:
            raise click.UsageError(f"--task: found {text!r}; allowed is KEY=VALUE, such as share=true")
        if key in ("client", "size", "page_size", "thp"):
            raise click.UsageError(f"--task: found {text!r}; {key} has an option of its own")
        found[key] = parse(f"- {value}", f"--task {text}").plain()[0]
    return found


def _machine(name: str | None) -> Machine:
    """Return the machine of this name, or this host. Raises UsageError if there is none."""
    if name is None:
        host: Machine = real_backend().host_machine()
        return host
    try:
        return load_machine(name)
    except ValueError as error:
        raise click.UsageError(f"--machine: {error}") from None


def _cpus(text: str) -> int:
    """Return the number of '4cpus', '1cpu' or '4'. Raises UsageError."""
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:cpus?)?\s*", text, re.IGNORECASE)
    if match is None:
        raise click.UsageError(f"--keep-free: found {text!r}; allowed is a number of CPUs, such as 4cpus")
    return int(match[1])


def _others(document: Located, beside: Path | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the background and the groups of a file, and ignore its other keys. Raises InputError."""
    if beside is None:
        return {}, {}
    check = Checker(document, str(beside))
    found = document.value if isinstance(document.value, dict) else {}
    if "background" not in found:
        check.problem((), "the key `background` is missing (other work, as in a scenario)")
        check.stop()
    parts = [found[key].plain() if key in found else {} for key in ("background", "groups")]
    for key, part in zip(("background", "groups"), parts, strict=True):
        if not isinstance(part, dict):
            check.problem((key,), f"found {describe(part)}; allowed is a mapping with a name for each")
    check.stop()
    return parts[0], parts[1]


def _as_given(problem: Problem, beside: Path | None, document: Located) -> Problem:
    """Return a problem with the option, or the place in the file of `--beside`, where the value was given."""
    own_group = container_beside(document.mapping("groups"))
    options = {path.replace(CONTAINER, own_group): option for path, option in _OPTIONS.items()}
    is_own = problem.path in options
    if beside is not None and not is_own and problem.path.startswith(("background", "groups")):
        line, column = document.place(tuple(problem.path.split(".")))
        return replace(problem, file=str(beside), line=line, column=column)
    part, _, key = problem.path.partition(".")
    own = f"--task {key}" if part == "task" and key else problem.path
    return replace(problem, file="ktask-sim advise", path=options.get(problem.path, own))


def _print(advice: Advice, style: str, wide: bool) -> None:
    words = "\n".join([*advice.sentences, advice.option])
    if style == "csv":
        click.echo(advice.table.to_csv(index=False), nl=False)
        click.echo(words, err=True)
    elif style == "json":
        rows = {"recommended": advice.recommended, "default": advice.default, "single": advice.single}
        content: dict[str, object] = {name: _plain(row.to_frame().T)[0] for name, row in rows.items()}
        content |= {"option": advice.option, "sentences": list(advice.sentences), "unsure": list(advice.unsure)}
        click.echo(json.dumps(content | {"table": _plain(advice.table)}, indent=1))
    else:
        click.echo(describe_advice(advice, table_width(wide)))


def _plain(table: pd.DataFrame) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(table.to_json(orient="records"))
    return rows
