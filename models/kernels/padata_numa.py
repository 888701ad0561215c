"""padata's multithreaded jobs as in Linux 6.9 (G. Li, 2024).

Source: kernel/padata.c and mm/hugetlb.c of Linux 6.9, and msgid 20240222140422.393911-1-gang.li@linux.dev and its
patches. Differences from 5.8: A work gets at least max(min_chunk, align). Helpers of jobs that are numa_aware run on
one node with CPUs after the other. Huge pages are allocated at boot by such a job, with one chunk for each work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import ClientRules, Kernel, LockHandoverTime, Migration, StopsAtError, WakePull
from models.kernels.padata_5_8 import DEFERRED_INIT, OTHER_CLIENTS, SPINLOCK_HANDOVER_S
from models.policies.options import PolicyName

# A unit is a node with memory, so that twice the nodes are as many works as units.
GIGANTIC = ClientRules(
    {"min_chunk": 1, "works": "twice-nodes"},
    "gather_bootmem_prealloc: max_threads = nodes with memory, min_chunk 1, numa_aware",
)


class PadataNuma(Kernel):
    """The rules of padata in Linux 6.9."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {
        "deferred_struct_page_init": DEFERRED_INIT,
        # min_chunk is the share of a thread there, so that a job has as many works as threads, if it has the pages.
        # Here: at least a page for each work, and the rule of chunks knows the share.
        "hugetlb_boot_alloc": ClientRules(
            {"min_chunk": 1, "works": "twice-nodes", "chunks": "hugetlb"},
            "hugetlb_pages_alloc_boot: twice the nodes with memory, min_chunk = pages / max_threads, numa_aware",
        ),
        "hugetlb_boot_alloc, gigantic pages": GIGANTIC,
    }
    other_clients: ClassVar[ClientRules] = OTHER_CLIENTS

    version: Literal["padata-6.9"] = "padata-6.9"
    policy: PolicyName = "padata-numa-aware"
    wake_pull: WakePull = 0.0
    lock_handover_time: LockHandoverTime = SPINLOCK_HANDOVER_S
    migration: Migration = "none"
    stops_at_error: StopsAtError = False
