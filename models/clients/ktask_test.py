"""A job that only computes, in a tight loop without memory: the test that ktask's priorities were measured with.

Source: ktask_test of ktask RFC v4, 4/13 and 5/13 (integer multiplication to keep CPUs busy, which is not part of the
series).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Client, Step, Stream, Task, check_caller
from models.machine import Machine
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import Time, format_time

if TYPE_CHECKING:
    from models.kernels import Kernel

_STEPS = 2**20  # client units, which chunks are made of


class KtaskTest(Client):
    """Compute."""

    client: Annotated[Literal["ktask_test"], Field(description="the kernel code or program that has the job done")]
    cpu_time: Annotated[Time, Field(gt=0, description="CPU time of the whole job, on cores of their own")]

    def size_bytes(self, machine: Machine) -> int:
        return _STEPS * machine.base_page_bytes  # what stands for its steps, where jobs are counted in memory

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        start = self.start_nid(machine, random)
        stream = Stream("compute", self.size_bytes(machine) / self.cpu_time, traffic=0.0, memory_share=0.0)

        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield Task([NodeEntry(start, 0, _STEPS)], stream)

        return [Caller(start, steps)]

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        return f"It computes for {format_time(self.cpu_time)} of CPU time, in one task; it uses no memory."

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from check_caller(self, machine)
