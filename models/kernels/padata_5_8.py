"""padata's multithreaded jobs as merged in Linux 5.8 (D. Jordan, 2020).

Source: kernel/padata.c and mm/page_alloc.c of Linux 5.8, and msgid 20200527173608.2885243-1-daniel.m.jordan@oracle.com
and its patches. Differences from ktask: The number of works that a job can feed is rounded down. Chunks are rounded up
to a multiple of `align`, with absolute edges. A job has one range and no nodes, and helpers run near the caller. Each
client gives max_threads (all CPUs here, where a client gives none). Helpers of all jobs come from one pool, which has
as many as there are CPUs. The lock is a spinlock. The function of a client returns no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import BusyFactor, ClientRules, Kernel, LockHandoverTime, Migration, StopsAtError
from models.policies.options import PolicyName
from models.text.units import MIB

SECTION = 128 * MIB  # of memory, on x86 with 4 KiB pages (SECTION_SIZE_BITS of arch/x86/include/asm/sparsemem.h)
PMD = 2 * MIB
SPINLOCK_HANDOVER_S = 0.05e-6  # an estimate: one transfer of a line where ktask's mutex takes two

DEFERRED_INIT = ClientRules(
    {"min_chunk": SECTION, "align": SECTION, "works": "padata-node", "helper_node": "caller"},
    "deferred_init_memmap: a section, all CPUs of the node, not numa_aware",
)
OTHER_CLIENTS = ClientRules({"min_chunk": 128 * MIB, "align": PMD}, "an assumption: what VFIO gives in the RFC of 2022")


class Padata58(Kernel):
    """The rules of padata in Linux 5.8."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {"deferred_struct_page_init": DEFERRED_INIT}
    other_clients: ClassVar[ClientRules] = OTHER_CLIENTS

    version: Literal["padata-5.8"] = "padata-5.8"
    policy: PolicyName = "padata"
    busy_factor: BusyFactor = 32
    lock_handover_time: LockHandoverTime = SPINLOCK_HANDOVER_S
    migration: Migration = "none"
    stops_at_error: StopsAtError = False
