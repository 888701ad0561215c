"""Cloud Hypervisor's prefault=on: guest memory populated by threads, modelled on QEMU's.

Source: Cloud Hypervisor, vmm/src/memory_manager.rs (get_prefault_num_threads), as of 2026. In its first versions one
thread populated all memory (MAP_POPULATE, recalled). The model has one region. A guest with memory on both sides of the
hole below 4 GiB has two, populated in turn. There is no option for the number of threads: it follows from CPUs and
size, 16 at most. A change that lifts that limit was under review in 2026 (here `kernel.works: padata`, with
`max_threads`).

The thread that starts the others only waits. Here it stands for the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.advised import suffixed, works_for
from models.clients.client import Caller
from models.clients.page_faults import Zoned
from models.kernels import Kernel
from models.kernels.cloud_hypervisor import CloudHypervisor
from models.machine import Machine


class CloudHypervisorPrefault(Zoned):
    """Populate a guest's memory."""

    framework: ClassVar[str] = "cloud-hypervisor"

    client: Annotated[Literal["cloud_hypervisor_prefault"], Field(description="the program that prepares its memory")]

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:
        return self.zone_callers(machine) if self.zones else super().callers(machine, kernel, random)

    def words(self, machine: Machine) -> str:
        if self.zones:
            return f"Cloud Hypervisor prefaults {self.what(machine)}: {self.zone_words()}, all zones at once."
        return f"Cloud Hypervisor prefaults {self.what(machine)}. Memory is of the node of the thread that comes first."

    @classmethod
    def default_threads(cls, machine: Machine, size_bytes: int) -> int:
        """Return the threads for one region of base pages. There is no option for them."""
        return works_for(CloudHypervisor().for_client("cloud_hypervisor_prefault"), machine, size_bytes)

    def advice_options(self, threads: int, chunk_bytes: int | None, machine: Machine, kernel: Kernel) -> str:  # noqa: ARG002 - no option
        """Return the --memory option, which has no threads."""
        page = self.unit_bytes(machine)
        huge = "" if page == machine.base_page_bytes else f",hugepages=on,hugepage_size={suffixed(page)}"
        return f"--memory size={suffixed(self.size)},prefault=on,thp={'on' if self.thp else 'off'}{huge}"
