"""Memory-bound work: threads that clear, read or copy memory, as of usemem, or of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.client import Stream
from models.clients.page_faults import check_node
from models.loads.groups import Group
from models.loads.load import Load, LoadStep, Move
from models.machine import Machine
from models.text.problems import Finding
from models.text.units import GIB, Rate, Size, format_rate

_AT_ONCE_BYTES = GIB


def memory_stream(name: str, machine: Machine, traffic: float | None, rate: float | None = None) -> Stream:
    """Return a stream with this many bytes over the memory bus for a byte (None: as in clearing).

    Without a rate it moves as many of those in a second as clearing does: an estimate.
    """
    rates = machine.rates
    traffic = rates.clear_traffic if traffic is None else traffic
    return Stream(name, rates.clear_bytes_per_s * rates.clear_traffic / traffic if rate is None else rate, traffic)


class MemoryLoad(Load):
    """Use memory, endlessly or a given amount."""

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
        """Return the use of a machine by a byte."""
        return memory_stream(self.load, machine, self.traffic, self.rate)

    def steps(self, machine: Machine, random: Random) -> list[Iterator[LoadStep]]:  # noqa: ARG002
        stream = self.stream(machine)
        return [self._steps(stream) for _ in range(self.n_threads)]

    def _steps(self, stream: Stream) -> Iterator[LoadStep]:
        if self.size is not None:
            yield Move(stream, self.size, self.memory_node)
            return
        while True:
            yield Move(stream, _AT_ONCE_BYTES, self.memory_node)

    def check(self, machine: Machine, group: Group | None) -> Iterator[Finding]:
        yield from super().check(machine, group)
        stream = self.stream(machine)
        nids = machine.memory_nids if self.memory_node is None else (self.memory_node,)
        most = max(map(machine.memory_rate, nids)) / stream.traffic
        if self.rate is not None and self.rate > most:
            yield (
                ("rate",),
                f"found {{rate}}; allowed is at most {format_rate(most)}, with which the memory of a node is full",
            )
        if self.memory_node is not None:
            yield from check_node(machine, ("memory_node",), (self.memory_node,), 0)


class Clear(MemoryLoad):
    """Clear memory."""

    load: Annotated[Literal["clear"], Field(description="kind of work")]


class Read(MemoryLoad):
    """Read memory: each byte crosses the memory bus once."""

    traffic = 1.0

    load: Annotated[Literal["read"], Field(description="kind of work")]


class Copy(MemoryLoad):
    """Copy memory: a byte is read, its place is read to be written, and it is written."""

    traffic = 3.0

    load: Annotated[Literal["copy"], Field(description="kind of work")]
