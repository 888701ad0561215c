"""QEMU's threads that preallocate memory: not a kernel's framework, but rules of the same kind.

Source: QEMU, util/oslib-posix.c (get_memset_num_threads, touch_all_pages), which holds for 7.0 and later. Threads are
the least of prealloc-threads, online CPUs, MAX_MEM_PREALLOC_THREAD_COUNT (16), pages, and one for each whole 64 MiB.
The last two limits come from D. Hildenbrand's series of 2021-12-17 (with msgid
20211217134611.31172-4-david@redhat.com), in 7.0. Pages are split evenly, a part for each thread, and nobody takes
another's.

prealloc-threads is max_threads. Its default is the guest's CPUs (-smp), up to 4.2 and since 7.1 (commit f8d426a6852c).
From 5.0 to 7.0 it was 1 for a backend with prealloc=on (recalled).

Threads that have started wait until all are made. The last one maps memory as it starts (mmap), for which it needs
mmap_lock for writing. If others already hold it for reading, in MADV_POPULATE_WRITE of a part, the last thread begins
when they are done. Traced with QEMU 7.2, two threads on 2 CPUs (sched_switch with stacks, Linux 6.18, glibc 2.36): of
32 starts 15 took as long as with one thread while nothing else ran, and all of 16 while the CPUs were busy. So
`late_start` is a count of QEMU's own runs. With more than two threads, one late thread is an assumption too.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from models.kernels.kernel import ClientRules, Kernel, LateStart, Migration, Start, StartLatency, WakePull
from models.policies.options import PolicyName
from models.text.units import MIB


class Qemu(Kernel):
    """The rules of QEMU."""

    other_clients: ClassVar[ClientRules] = ClientRules(
        {"min_chunk": 64 * MIB}, "get_memset_num_threads: no threads for comparatively little memory"
    )

    version: Literal["qemu"] = "qemu"
    policy: PolicyName = "qemu"
    wake_pull: WakePull = 0.0
    smp: Annotated[
        int, Field(ge=1, le=65536, description="CPUs of the guest (-smp): the default of max_threads, prealloc-threads")
    ] = 1
    start: Start = "kthread"
    start_latency: StartLatency = 17e-6
    migration: Migration = "none"
    late_start: LateStart = 0.5

    def for_client(self, client: str) -> Self:
        """Return the kernel with the values of QEMU's code, and its max_threads if the scenario gives none."""
        kernel = super().for_client(client)
        return kernel if kernel.max_threads is not None else kernel.model_copy(update={"max_threads": self.smp})
