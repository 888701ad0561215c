"""Memory-bound work: threads that clear, read or copy memory, as of usemem, or of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.clear_gigantic_page import clearing
from models.clients.client import Stream
from models.loads.load import Load, LoadStep, Move
from models.machine import Machine
from models.units import GIB, Rate, Size
from models.validation import Checker

_AT_ONCE_BYTES = GIB


class MemoryLoad(Load):
    """Use memory, for ever or an amount of it."""

    traffic: ClassVar[float | None] = None  # bytes over the memory bus for a byte; None: as the machine clears

    size: Annotated[Size | None, Field(gt=0, description="amount for each thread; default it never ends")] = None
    rate: Annotated[
        Rate | None,
        Field(
            description="of one thread alone with memory of its node; default the machine's rate of clearing, or that "
            "which moves as many bytes over the memory bus, an estimate"
        ),
    ] = None
    memory_node: Annotated[int | None, Field(ge=0, description="node of the memory; default the thread's own")] = None

    @property
    def is_finite(self) -> bool:
        return self.size is not None

    def stream(self, machine: Machine) -> Stream:
        """Return what a byte asks of a machine."""
        clear = clearing(machine.rates)[0]
        traffic = clear.traffic if self.traffic is None else self.traffic
        rate = clear.rate_bytes_per_s * clear.traffic / traffic if self.rate is None else self.rate
        return Stream(self.load, rate, traffic)

    def steps(self, machine: Machine, random: Random) -> list[Iterator[LoadStep]]:  # noqa: ARG002
        stream = self.stream(machine)
        return [self._steps(stream) for _ in range(self.n_threads)]

    def _steps(self, stream: Stream) -> Iterator[LoadStep]:
        if self.size is not None:
            yield Move(stream, self.size, self.memory_node)
            return
        while True:
            yield Move(stream, _AT_ONCE_BYTES, self.memory_node)

    def check(self, machine: Machine, check: Checker, at: tuple[str, ...]) -> None:
        super().check(machine, check, at)
        with_memory = [node.nid for node in machine.nodes if node.memory_bytes]
        if self.memory_node is not None and self.memory_node not in with_memory:
            check.problem(
                (*at, "memory_node"),
                f"found node {self.memory_node}; allowed are the nodes with memory of machine {machine.name}: "
                f"{', '.join(map(str, with_memory))}",
            )


class Clear(MemoryLoad):
    """Clear memory."""

    load: Annotated[Literal["clear"], Field(description="what kind of work it is")]


class Read(MemoryLoad):
    """Read memory: each byte crosses the memory bus once."""

    traffic = 1.0

    load: Annotated[Literal["read"], Field(description="what kind of work it is")]


class Copy(MemoryLoad):
    """Copy memory: a byte is read, its place is read to be written, and it is written."""

    traffic = 3.0

    load: Annotated[Literal["copy"], Field(description="what kind of work it is")]
