"""The clients: jobs of the kernel that ktask and padata were made for. One file each, and an entry here."""

from __future__ import annotations

from collections.abc import Mapping

from models.clients.advised import Advised
from models.clients.clear_gigantic_page import ClearGigantic
from models.clients.client import Caller, CallingThread, Client, Pause, Step, Stream, Task
from models.clients.cloud_hypervisor_prefault import CloudHypervisorPrefault
from models.clients.database_startup import DatabaseStartup
from models.clients.deferred_struct_page_init import DeferredInit
from models.clients.free_pages import FreePages
from models.clients.hugetlb_boot_alloc import HugetlbBoot
from models.clients.hugetlbfs_fallocate import HugetlbfsFallocate
from models.clients.ib_umem import IbUmem
from models.clients.inode_eviction import InodeEviction
from models.clients.jvm_pretouch import JvmPretouch
from models.clients.ktask_test import KtaskTest
from models.clients.page_migration import PageMigration
from models.clients.pinned_pool import PinnedPool
from models.clients.populate import Populate
from models.clients.qemu_prealloc import QemuPrealloc
from models.clients.vfio_pin import VfioPin
from models.clients.vm_startup import VmStartup
from models.memory.figures import Costs

CLIENTS: Mapping[str, type[Client]] = {
    "clear_gigantic_page": ClearGigantic,
    "hugetlbfs_fallocate": HugetlbfsFallocate,
    "vfio_pin": VfioPin,
    "deferred_struct_page_init": DeferredInit,
    "hugetlb_boot_alloc": HugetlbBoot,
    "free_pages": FreePages,
    "ib_umem": IbUmem,
    "inode_eviction": InodeEviction,
    "ktask_test": KtaskTest,
    "vm_startup": VmStartup,
    "database_startup": DatabaseStartup,
    "qemu_prealloc": QemuPrealloc,
    "jvm_pretouch": JvmPretouch,
    "cloud_hypervisor_prefault": CloudHypervisorPrefault,
    "populate": Populate,
    "pinned_pool": PinnedPool,
    "page_migration": PageMigration,
}

__all__ = [
    "CLIENTS",
    "Advised",
    "Caller",
    "CallingThread",
    "ClearGigantic",
    "Client",
    "Costs",
    "Pause",
    "Step",
    "Stream",
    "Task",
]
