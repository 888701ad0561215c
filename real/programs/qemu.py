"""QEMU, started with its guest stopped: preallocation is over when the monitor greets.

Its time is from its start to the greeting (https://www.qemu.org/docs/master/interop/qmp-spec.html), so it has the
start-up in it. A start with hardly any memory is timed apart. Emulation (TCG) will do: the guest never runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from models.clients.advised import suffixed
from models.scenario.case import Case
from real.programs.program import Program, Running, options


@dataclass(frozen=True)
class QemuProgram(Program):
    """qemu-system-x86_64."""

    client: ClassVar[str] = "qemu_prealloc"
    executable: ClassVar[str] = "qemu-system-x86_64"
    install: ClassVar[str] = "apt install qemu-system-x86 (Debian), dnf install qemu-system-x86-core (Fedora)"
    has_startup: ClassVar[bool] = True

    def command(self, case: Case) -> list[str]:
        quiet = ["-S", "-display", "none", "-nodefaults", "-no-user-config", "-machine", "q35,accel=tcg"]
        return [str(self.path), *quiet, "-qmp", "stdio", "-m", suffixed(case.size_bytes), *options(case)]

    def timing(self, process: Running) -> tuple[float, float | None]:
        greeting = process.line()
        time_s = time.perf_counter() - process.begin_s
        if not greeting.startswith('{"QMP"'):
            raise process.failure()
        return time_s, process.cpu_s()
