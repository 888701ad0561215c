"""padata's multithreaded jobs for VFIO: an RFC of 2022 that was not merged (D. Jordan, on Linux 5.16).

Source: msgid 20220106004656.126790-1-daniel.m.jordan@oracle.com and its patches. Differences from 5.8: Helpers are new
kernel threads on the CPUs that the caller may use. Works of all jobs, callers included, are at most as many as CPUs. An
error stops the job, and the caller undoes the finished part. VFIO is a client. Helpers run at the lowest priority until
the caller waits for them. They are charged to the caller's cgroup when they end. With the caller they are no more than
the cgroup's quota.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import ClientRules, Kernel, LockHandoverTime, Migration, Start, StartLatency, Undo, WakePull
from models.kernels.ktask_v4 import TEST_OF_PRIORITIES
from models.kernels.padata_5_8 import DEFERRED_INIT, OTHER_CLIENTS, PMD, SPINLOCK_HANDOVER_S
from models.policies.options import PolicyName
from models.text.units import MIB


class Padata2022(Kernel):
    """The rules of padata in the RFC of 2022."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {
        "deferred_struct_page_init": DEFERRED_INIT,
        "vfio_pin": ClientRules(
            {"min_chunk": 128 * MIB, "align": PMD, "max_threads": 16}, "2022: 128 MiB, PMD_SIZE, 16 threads"
        ),
        "ktask_test": TEST_OF_PRIORITIES,
    }
    other_clients: ClassVar[ClientRules] = OTHER_CLIENTS

    version: Literal["padata-rfc-2022"] = "padata-rfc-2022"
    policy: PolicyName = "padata-rfc-2022"
    wake_pull: WakePull = 0.0
    start: Start = "kthread"
    start_latency: StartLatency = 17e-6
    lock_handover_time: LockHandoverTime = SPINLOCK_HANDOVER_S
    migration: Migration = "none"
    undo: Undo = True
