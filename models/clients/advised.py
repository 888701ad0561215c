"""Clients that are programs of today: the values that their users choose, and the options that set them."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from models.kernels import Kernel
from models.machine import Machine
from models.policies.works import WORKS
from models.text.units import GIB, KIB, MIB


@runtime_checkable
class Advised(Protocol):
    """A client whose threads and chunks its user can choose."""

    framework: ClassVar[str]  # the kernel.version with the program's own rules

    @classmethod
    def default_threads(cls, machine: Machine, size_bytes: int) -> int:
        """Return the number of threads that the program takes for base pages by default."""
        ...

    def advice_options(self, threads: int, chunk_bytes: int | None, machine: Machine, kernel: Kernel) -> str:
        """Return the option to paste for this number of threads and these chunks. None leaves chunks to the program."""
        ...


def works_for(kernel: Kernel, machine: Machine, size_bytes: int) -> int:
    """Return the threads that a program's rules give a task of base pages."""
    rule = WORKS[kernel.rule("works")](machine, kernel.max_threads)
    return rule.n_works(size_bytes, kernel.min_chunk, None)


def suffixed(size_bytes: int) -> str:
    """Return a size as QEMU, Java and Cloud Hypervisor read it: 64G, 1536M, 4K, or else in bytes."""
    return next(
        (
            f"{size_bytes // unit}{suffix}"
            for suffix, unit in (("G", GIB), ("M", MIB), ("K", KIB))
            if not size_bytes % unit
        ),
        str(size_bytes),
    )
