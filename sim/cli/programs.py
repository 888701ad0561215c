"""The part of `validate` that starts real programs on this host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from tqdm import tqdm

from models.machine import Machine
from models.measured.designs import page_fault_design, program_design
from models.scenario import Scenario
from sim.compare.host import Validation
from sim.compare.programs import compare_programs, describe_programs
from sim.fit.host import describe_parameters
from sim.fit.page_faults import fit_page_faults
from sim.show.host_figure import plot_validation

COUNT = "{desc}: {n_fmt} runs, {elapsed}"
_MOST_REPLICATIONS = 40


def validate_programs(
    real: ModuleType,
    clients: Sequence[str],
    machine: Machine,
    *,
    calibrated: bool,
    share: float,
    allow_pool: bool,
    seconds: float,
    output: Path,
) -> Validation:
    """Time programs on this host, print them against the simulation, and write tables and a figure to a folder.

    With `allow_pool` in the smallest huge pages of hugetlbfs as well. Page faults of our own are measured among the
    programs' runs: to fit the machine to them, or, if it is `calibrated`, to tell the host's drift. Raises UsageError
    where a program, huge pages or the machine file's page faults are missing, and for the errors that `refused`
    catches.
    """
    try:
        programs = real.find_programs(clients)
    except real.NoProgramError as error:
        raise click.UsageError(str(error)) from None
    if calibrated and not machine.pages and programs:
        raise click.UsageError(
            f"machine {machine.name} has no `pages`; `ktask-sim calibrate` measures what programs need"
        )
    click.echo("\n".join(f"{client}: {program.version()}" for client, program in programs.items()), err=True)
    huge_page = _huge_page(real) if allow_pool else None
    designs = [
        program_design(machine, client, _MOST_REPLICATIONS, thp=has_thp(real), huge_page=huge_page)
        for client in programs
    ]
    own, prepared = measure_page_faults(
        real, machine, designs, programs, share=share, allow_pool=allow_pool, seconds=seconds
    )
    output.mkdir(parents=True, exist_ok=True)
    reference = None
    if calibrated:
        reference = own, prepared.runs[0]
    else:
        machine, parameters = fit_page_faults(own, prepared.runs[0], machine, rates=True)
        click.echo(describe_parameters(parameters) + "\n")
    validation = compare_programs(list(zip(designs, prepared.runs[1:], strict=True)), machine, reference)
    validation.cells.to_csv(output / "programs.csv", index=False)
    for client, runs in zip(programs, prepared.runs[1:], strict=True):
        runs.to_csv(output / f"{client}.csv", index=False)
    plot_validation(validation, output / "programs.png")
    click.echo(describe_programs(validation))
    for client, startup_s in prepared.startup_s.items():
        click.echo(f"{client}: start-up {startup_s * 1e3:.1f} ms, measured apart, is not in its times.")
    click.echo(f"figure: {output / 'programs.png'}\ntables: {output}", err=True)
    return validation


def measure_page_faults(
    real: ModuleType,
    machine: Machine,
    designs: Sequence[Scenario] = (),
    programs: Any = None,
    *,
    share: float,
    allow_pool: bool = False,
    seconds: float,
) -> tuple[Scenario, Any]:
    """Measure the costs of pages, by threads of our own, interleaved with designs of programs. Return real.Prepared."""
    own = page_fault_design(machine, _MOST_REPLICATIONS, thp=has_thp(real))
    with tqdm(desc="page faults", unit=" runs", bar_format=COUNT, disable=None, leave=False) as progress:
        prepared = real.measure_preparation(
            [own, *designs],
            programs or {},
            share=share,
            allow_pool=allow_pool,
            seconds=seconds,
            on_done=progress.update,
        )
    return own, prepared


def has_thp(real: ModuleType) -> bool:
    """Return whether this host gives transparent huge pages."""
    return real.transparent_huge_page_bytes() is not None


def _huge_page(real: ModuleType) -> int:
    """Return the size of the smallest huge pages that this host has a pool for. Raises UsageError if it has none."""
    sizes: Sequence[int] = real.huge_page_sizes()
    if not sizes:
        raise click.UsageError("--allow-hugepage-pool: this host's kernel has no huge pages; leave the option out")
    return sizes[0]
