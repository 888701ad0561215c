"""Memory that a program makes present before it is used: a database's shared memory, a pinned buffer pool.

Any framework's threads do it, by any policy. A program of its own would have MADV_POPULATE_WRITE or writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from models.clients.page_faults import Populated, check_node
from models.machine import Machine
from models.text.problems import Finding


class Populate(Populated):
    """Make memory present."""

    client: Annotated[Literal["populate"], Field(description="any program that prepares its memory")]
    memory_node: Annotated[
        int | None,
        Field(ge=0, description="node that it is bound to; default: none, that of the thread that comes first"),
    ] = None

    def bound_nid(self) -> int | None:
        return self.memory_node

    def words(self, machine: Machine) -> str:
        where = (
            "of the node of the thread that comes first"
            if self.memory_node is None
            else f"bound to node {self.memory_node}"
        )
        return f"It makes memory present: {self.what(machine)}. Memory is {where}."

    def check(self, machine: Machine) -> Iterator[Finding]:
        found = list(super().check(machine))
        yield from found
        if not found and self.memory_node is not None:
            yield from check_node(machine, ("memory_node",), (self.memory_node,), self.size)
