"""cgroups: how much CPU time the threads of a group get together, and which CPUs they may use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from models.clients.client import check_cpus
from models.machine import Machine
from models.text.checks import FileKeys
from models.text.cpu_list import CpuList
from models.text.problems import Finding
from models.text.units import Time, format_time

LEAST_QUOTA_S = 1e-3  # CPU time of a period; source: min_cfs_quota_period, kernel/sched/core.c


class Group(FileKeys):
    """A cgroup: its quota (cpu.max) and its CPUs (cpuset.cpus). It has no weight of its own: threads compete singly."""

    quota: Annotated[
        float | None,
        Field(gt=0, le=65536, description="CPUs that its threads may use together, on average over a period (cpu.max)"),
    ] = None
    period: Annotated[
        Time,
        Field(
            ge=1e-3, le=1.0, description="in which the quota is counted; 100 ms is the kernel's default, 1 s its most"
        ),
    ] = 0.1
    cpus: Annotated[CpuList | None, Field(description='CPUs that its threads may use, such as "0-7"; default all')] = (
        None
    )

    def limit(self, cpu_ids: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Return the CPUs of a list of ids that its threads may use. None is all."""
        if self.cpus is None or cpu_ids is None:
            return self.cpus if cpu_ids is None else cpu_ids
        return tuple(cpu_id for cpu_id in cpu_ids if cpu_id in self.cpus)

    def check(self, machine: Machine) -> Iterator[Finding]:
        """Find CPUs that don't exist, and a quota that is too small."""
        if self.quota is not None and self.quota * self.period < LEAST_QUOTA_S:
            yield (
                ("quota",),
                f"found {self.quota:g}, {format_time(self.quota * self.period)} in a period of "
                f"{format_time(self.period)}; allowed is at least {format_time(LEAST_QUOTA_S)} in a period, "
                f"{LEAST_QUOTA_S / self.period:g} here",
            )
        yield from check_cpus(self.cpus, machine)
