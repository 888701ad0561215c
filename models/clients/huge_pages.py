"""Memory in huge pages of a pool: the common parts of the clients that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from models.clients.client import Client, check_caller
from models.machine import Machine
from models.text.problems import Finding
from models.text.units import MIB, Size, format_size


class HugePages(Client):
    """Memory in huge pages of a pool, counted in them."""

    clears: ClassVar[bool] = True

    size: Annotated[Size, Field(gt=0, description="memory to allocate")]
    page_size: Annotated[Size, Field(gt=0, description="size of a huge page")] = 2 * MIB
    pool: Annotated[
        Size | None,
        Field(description="huge pages set aside, spread evenly over the nodes; default: all memory of every node"),
    ] = None

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def unit_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.page_size

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from check_caller(self, machine)
        yield from check_huge_pages(machine, self.size, self.page_size, self.pool)


def check_huge_pages(machine: Machine, size: int, page_size: int, pool: int | None) -> Iterator[Finding]:
    """Find sizes of a job in huge pages (task.size, task.page_size, task.pool) that a machine has no room for."""
    base = machine.base_page_bytes
    largest = max(node.memory_bytes for node in machine.nodes)
    if page_size % base or page_size > largest:
        yield (
            ("page_size",),
            f"found {{page_size:{format_size(page_size)}}}; allowed is a multiple of the base "
            f"page, {format_size(base)}, up to the memory of a node, {format_size(largest)}",
        )
        return  # what else is wrong may follow from this
    pages = f"pages of {format_size(page_size)}"
    room = sum(node.memory_bytes // page_size for node in machine.nodes) * page_size
    what = f"at most {format_size(room)}, the room of machine {machine.name} in {pages}"
    found_size, found_pool = "{size}", "{pool}"
    if pool is not None and pool > room:
        yield (("pool",), f"found {found_pool}; allowed is {what}")
    elif pool is not None and pool % page_size:
        yield (("pool",), f"found {found_pool}; allowed is a whole number of {pages}")
    elif size > (room if pool is None else pool):
        limit = what if pool is None else f"at most the pool, {found_pool}"
        yield (("size",), f"found {found_size}; allowed is {limit}")
    if size % page_size:
        yield (("size",), f"found {found_size}; allowed is a whole number of {pages}")
