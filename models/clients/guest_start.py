"""The parts of a guest's start that prepare no memory: its program, its devices, its boot."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.clients.client import Pause
from models.memory.figures import Costs
from models.text.units import GIB, Time


class GuestStartCosts(Costs):
    """The costs of a start beside the work on memory.

    The sum is published: 65 s for 320 GiB with one thread, of which 2.4 s are not pinning (fitted, vfio_pin.before of
    the Xeon Platinum 8160). A part of that grows with memory. The division of the rest is an assumption.
    """

    program: Annotated[Time, Field(ge=0, description="from the start of the program to its memory; an assumption")] = (
        0.4
    )
    program_per_gib: Annotated[
        Time,
        Field(
            ge=0,
            description="more for each GiB of memory in huge pages of a pool: 4.4 and 4.75 ms on two machines, between "
            "16 and 360 GiB (padata RFC of 2022: QEMU's start less pinning)",
        ),
    ] = 4.4e-3
    other_per_gib: Annotated[
        Time,
        Field(ge=0, description="more for each GiB of other memory: 1.1 ms, of transparent huge pages (same series)"),
    ] = 1.1e-3
    devices: Annotated[Time, Field(ge=0, description="from the memory to the pinning; an assumption")] = 0.4
    boot: Annotated[Time, Field(ge=0, description="from the pinning to the guest's boot; an assumption")] = 0.2


def program(costs: GuestStartCosts, size_bytes: int, *, of_pool: bool) -> Pause:
    """Return the stretch before the memory of a guest is prepared."""
    per_gib = costs.program_per_gib if of_pool else costs.other_per_gib
    return Pause(costs.program + size_bytes / GIB * per_gib, "program")
