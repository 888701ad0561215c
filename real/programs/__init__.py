"""Programs that prepare their memory, started on this host and timed. One file each, and an entry here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.text.problems import did_you_mean
from real.programs.java import JavaProgram
from real.programs.program import NoProgramError, Program, ProgramError, Timing, from_pool
from real.programs.qemu import QemuProgram

PROGRAMS: Mapping[str, type[Program]] = {program.client: program for program in (QemuProgram, JavaProgram)}


def find_programs(clients: Sequence[str]) -> dict[str, Program]:
    """Return the installed programs of some clients.

    Args:
        clients: Names of clients whose memory a program prepares, such as "qemu_prealloc".

    Returns:
        The program of each client, by its name.

    Raises:
        NoProgramError: A program is not installed. The message names the package to install.

    Example:
        >>> find_programs([])
        {}
    """
    strange = [client for client in clients if client not in PROGRAMS]
    if strange:
        raise NoProgramError(
            f"found {strange[0]!r}; the programs that can be run here are of the clients {', '.join(PROGRAMS)}"
            f"{did_you_mean(strange[0], list(PROGRAMS))}"
        )
    return {client: PROGRAMS[client].find() for client in dict.fromkeys(clients)}


__all__ = ["PROGRAMS", "NoProgramError", "Program", "ProgramError", "Timing", "find_programs", "from_pool"]
