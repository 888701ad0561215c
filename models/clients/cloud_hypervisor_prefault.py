"""Cloud Hypervisor's prefault=on: guest memory populated by threads, modelled on QEMU's.

Source: Cloud Hypervisor, vmm/src/memory_manager.rs (get_prefault_num_threads), as of 2026; in its first versions one
thread populated all (MAP_POPULATE; recalled). Here one region; a guest with memory on both sides of
the hole below 4 GiB has two, populated in turn. Threads have no option: they follow from CPUs and size.

The thread that starts the others only waits. Here it stands for the first of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.advised import own_task, suffixed, works_for
from models.clients.page_faults import Populated
from models.kernels.cloud_hypervisor import CloudHypervisor
from models.machine import Machine

if TYPE_CHECKING:
    from models.case import Case


class CloudHypervisorPrefault(Populated):
    """Populate a guest's memory."""

    framework: ClassVar[str] = "cloud-hypervisor"

    client: Annotated[Literal["cloud_hypervisor_prefault"], Field(description="the program that prepares its memory")]

    def words(self, machine: Machine) -> str:
        return f"Cloud Hypervisor prefaults {self.what(machine)}. Memory is of the node of the thread that comes first."

    @classmethod
    def default_threads(cls, machine: Machine, size_bytes: int) -> int:
        """Return the threads for one region of base pages; there is no option for them."""
        return works_for(CloudHypervisor().for_client("cloud_hypervisor_prefault"), machine, size_bytes)

    @classmethod
    def advice_options(cls, threads: int, chunk_bytes: int | None, case: Case) -> str:  # noqa: ARG003 - no option
        """Return the --memory option, which has no threads. Raises TypeError for a case of another client."""
        task = own_task(cls, case)
        page = task.unit_bytes(case.machine)
        huge = "" if page == case.machine.base_page_bytes else f",hugepages=on,hugepage_size={suffixed(page)}"
        return f"--memory size={suffixed(task.size)},prefault=on,thp={'on' if task.thp else 'off'}{huge}"
