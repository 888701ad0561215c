"""Memory that a program makes present before it is used: a database's shared memory, a pinned buffer pool.

Any framework's threads do it, by any policy. A program of its own would have MADV_POPULATE_WRITE or writes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.clients.page_faults import Populated, check_node
from models.machine import Machine
from models.text.checks import Checker


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

    def check(self, machine: Machine, check: Checker) -> None:
        before = len(check.problems)
        super().check(machine, check)
        if len(check.problems) == before and self.memory_node is not None:
            check_node(machine, check, ("task", "memory_node"), (self.memory_node,), self.size)
