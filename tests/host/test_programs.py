"""Programs on this host, where they are installed: started with hardly any memory, and ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import real
from models.measured.designs import program_design
from models.text.units import MIB
from real.limits import available_memory, free_huge_pages
from real.programs import PROGRAMS


@pytest.mark.parametrize("client", PROGRAMS)
def test_a_program_is_timed_and_ended(client: str) -> None:
    """A run with 64 MiB has a time and page faults, and no process of it is left."""
    try:
        program = real.find_programs([client])[client]
    except real.NoProgramError as error:
        pytest.skip(str(error))
    case = program_design(real.host_machine(), client, 1, thp=False).cases[0]
    small = replace(case, task=case.task.model_copy(update={"size": 64 * MIB}))
    timing = program.run(small)
    assert 0.0 < timing.time_s < 60.0
    assert timing.n_faults * small.machine.base_page_bytes >= 64 * MIB


def test_huge_pages_that_are_not_there(tmp_path: Path) -> None:
    """Without leave to grow the pool, runs that need more of it than there is are refused before anything is run."""
    machine, sizes = real.host_machine(), real.huge_page_sizes()
    if not sizes:
        pytest.skip("this kernel has no pools of huge pages")
    design = program_design(machine, "qemu_prealloc", 1, thp=False, huge_page=sizes[0])
    huge = design.cases[-1]
    n_free = free_huge_pages(sizes[0])
    task = huge.task.model_copy(update={"size": (n_free + 1) * sizes[0]})
    programs = {"qemu_prealloc": PROGRAMS["qemu_prealloc"](tmp_path / "none")}
    with pytest.raises(real.NotEnoughMemoryError, match="in huge pages of"):
        real.measure_preparation([replace(design, cases=(replace(huge, task=task),))], programs, seconds=1.0)


def test_a_pool_counts_as_memory_of_the_run(tmp_path: Path) -> None:
    """What the pool would grow by and what is held for a run are within the share of memory together, not each."""
    machine, sizes = real.host_machine(), real.huge_page_sizes()
    if not sizes:
        pytest.skip("this kernel has no pools of huge pages")
    design = program_design(machine, "qemu_prealloc", 1, thp=False, huge_page=sizes[0])
    program = PROGRAMS["qemu_prealloc"](tmp_path / "none")
    small, huge = design.cases[0], design.cases[-1]
    free_bytes = free_huge_pages(sizes[0]) * sizes[0]
    share = 1.5 * program.memory_bytes(small) / available_memory().size_bytes  # for the one, and half of the other
    if share > 1 or program.pool_bytes(huge) - free_bytes < program.memory_bytes(small) // 2:
        pytest.skip("this host has too little memory, or enough huge pages")
    with pytest.raises(real.NotEnoughMemoryError, match="a run, and what is held for it, needs"):
        real.measure_preparation(
            [replace(design, cases=(small, huge))],
            {"qemu_prealloc": program},
            share=share,
            allow_pool=True,
            seconds=1.0,
        )


def test_a_program_that_fails(tmp_path: Path) -> None:
    """What a program says last before it ends is in the error."""
    path = tmp_path / "qemu"
    path.write_text("#!/bin/sh\necho first >&2\necho no such option >&2\nexit 1\n")
    path.chmod(0o755)
    case = program_design(real.host_machine(), "qemu_prealloc", 1, thp=False).cases[0]
    with pytest.raises(real.ProgramError, match="qemu ended with status 1: no such option"):
        PROGRAMS["qemu_prealloc"](path).run(case)
