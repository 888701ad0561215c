"""Cloud Hypervisor's threads that prefault memory: not a kernel's framework, but rules of the same kind.

Source: Cloud Hypervisor, vmm/src/memory_manager.rs (get_prefault_num_threads, MAX_PREFAULT_THREAD_COUNT), as of 2026.
As in QEMU, threads are the least of online CPUs, 16, pages, and one for each fixed number of bytes. A comment says that
this number is 64 MiB. The code says 64 * (1 << 26), which is 4 GiB. `as_posted: false` puts that slip right.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from models.kernels.kernel import ClientRules, Kernel, Migration, Start, StartLatency, WakePull
from models.policies.options import PolicyName
from models.text.units import GIB, MIB


class CloudHypervisor(Kernel):
    """The rules of Cloud Hypervisor."""

    other_clients: ClassVar[ClientRules] = ClientRules(
        {"min_chunk": 4 * GIB}, "get_prefault_num_threads", mended={"min_chunk": 64 * MIB}
    )

    version: Literal["cloud-hypervisor"] = "cloud-hypervisor"
    policy: PolicyName = "cloud-hypervisor"
    wake_pull: WakePull = 0.0
    start: Start = "kthread"
    start_latency: StartLatency = 17e-6
    migration: Migration = "none"
