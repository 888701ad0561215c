"""Cloud Hypervisor's threads that prefault memory; no kernel's framework, but rules of the same kind.

Source: Cloud Hypervisor, vmm/src/memory_manager.rs (get_prefault_num_threads, MAX_PREFAULT_THREAD_COUNT), as of 2026.
As QEMU: the least of online CPUs, 16, pages, and one for each so many bytes. A comment says 64 MiB for
those, the code 64 * (1 << 26), which is 4 GiB: the slip that `as_posted: false` puts right.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from models.kernels.kernel import ClientRules, Kernel, Migration, Start, StartLatency, WakePull
from models.policies.options import PolicyName
from models.text.units import GIB, MIB


class CloudHypervisor(Kernel):
    """What Cloud Hypervisor does."""

    other_clients: ClassVar[ClientRules] = ClientRules(
        {"min_chunk": 4 * GIB}, "get_prefault_num_threads", mended={"min_chunk": 64 * MIB}
    )

    version: Literal["cloud-hypervisor"] = "cloud-hypervisor"
    policy: PolicyName = "cloud-hypervisor"
    wake_pull: WakePull = 0.0
    start: Start = "kthread"
    start_latency: StartLatency = 17e-6
    migration: Migration = "none"
