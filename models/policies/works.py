"""How many works a task gets, the caller included.

A rule is made for one run and asked before each task. All are limited by the works that the task can feed (one for each
min_chunk), by the online CPUs, and by max_threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from models.machine import Machine


class WorksRule:
    """A rule. Your own is a subclass with `wanted`.

    It may look at `self.max_threads`, the cap or None, and ask `self.idle_cpus()` how many CPUs nobody uses just now.
    """

    default_cap: int | None = None  # where the file gives no max_threads
    within_cpus = True  # False: beside max_threads, just the pool of helpers limits works (see Places)
    counts_align = False  # True: a work gets at least `align`, which then comes as min_chunk if it is more

    def __init__(self, machine: Machine, max_threads: int | None = None, threshold: float = 0.05) -> None:
        self.machine = machine
        self.max_threads = self.default_cap if max_threads is None else max_threads
        self.threshold = threshold
        self.idle_cpus: Callable[[], int] = lambda: len(machine.cpus) - 1  # all but the caller's, where nobody counts
        self.container_cpus = len(machine.cpus)  # that a program counts which knows the limits of its cgroup
        self.keep_idle = 0  # CPUs that helpers leave idle

    def n_works(self, size: int, min_chunk: int, nid: int | None) -> int:
        """Return the number of works for a task of `size` client units, with data on node `nid` (None: anywhere)."""
        most = self.feeds(size, min_chunk)
        if self.within_cpus:
            most = min(most, len(self.machine.cpus))
        if self.max_threads is not None:
            most = min(most, self.max_threads)
        if self.keep_idle:
            most = min(most, 1 + max(0, self.idle_cpus() - self.keep_idle))
        return max(1, min(self.wanted(size, min_chunk, nid), most))

    def feeds(self, size: int, min_chunk: int) -> int:
        """Return how many works a task of `size` client units can feed: one for each min_chunk."""
        return -(-size // min_chunk)

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:
        """Return how many works the rule would have, before the limits."""
        raise NotImplementedError

    def task_done(self, works: int, size_bytes: int, seconds: float) -> None:
        """Learn how long a task took."""


class KtaskWorks(WorksRule):
    """ceil(size / min_chunk), online CPUs, max_threads (4). Source: ktask RFC v1, ktask_run_numa."""

    default_cap = 4

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return self.feeds(size, min_chunk)


class KtaskV3Works(KtaskWorks):
    """As ktask, with at most 80 % of all CPUs as helpers. Source: ktask RFC v3 and v4, ktask_init (4/5 of the CPUs)."""

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:
        return min(super().wanted(size, min_chunk, nid), 1 + 4 * len(self.machine.cpus) // 5)


class PadataWorks(WorksRule):
    """floor(size / min_chunk), at least 1, and max_threads, or the CPUs if that is not given.

    Source: kernel/padata.c (Linux 5.8), whose callers all give max_threads.
    """

    within_cpus = False

    def feeds(self, size: int, min_chunk: int) -> int:
        return max(1, size // min_chunk)

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return self.feeds(size, min_chunk) if self.max_threads is not None else len(self.machine.cpus)


class PadataAligned(PadataWorks):
    """floor(size / max(min_chunk, align)), at least 1, and max_threads. Source: kernel/padata.c (Linux 6.9)."""

    counts_align = True


class PadataNode(PadataWorks):
    """As padata, with all online CPUs of the page's node as max_threads, one for a node without CPUs.

    Source: deferred_init_memmap and deferred_page_init_max_threads (Linux 5.8, on x86).
    """

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return len(self.machine.cpus if nid is None else self.machine.cpus_of(nid))


class NodeCpus(WorksRule):
    """All CPUs of the page's node. Source: ktask RFC v2, 7/7, deferred struct page init."""

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return len(self.machine.cpus_near(nid))


class QuarterOfNode(WorksRule):
    """A quarter of the CPUs of the page's node, up. Source: ktask RFC v3 and v4, deferred struct page init."""

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return -(-len(self.machine.cpus_near(nid)) // 4)


class Quarter(WorksRule):
    """A quarter of all CPUs, as hugetlb takes them at boot since Linux 6.15 (hugetlb_pages_alloc_boot)."""

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return len(self.machine.cpus) // 4


class TwiceNodes(WorksRule):
    """Twice the nodes with memory, as hugetlb took them at boot from Linux 6.9 to 6.14."""

    within_cpus = False

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return 2 * sum(node.memory_bytes > 0 for node in self.machine.nodes)


class Cores(WorksRule):
    """The physical cores of the page's node: no two threads of one core."""

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return len({cpu.core_id for cpu in self.machine.cpus_near(nid)})


class Bandwidth(WorksRule):
    """As many as fill the memory of the page's node: its limit over the rate of one thread, rounded up."""

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        rates = self.machine.rates
        return math.ceil(self.machine.memory_rate(nid) / rates.clear_traffic / rates.clear_bytes_per_s - 1e-9)


class Adaptive(WorksRule):
    """Start with two works, add one while throughput grows by more than `threshold`, else take one off.

    Hill climbing over the tasks of a job, as in feedback-driven threading (Suleman, Qureshi and Patt, ASPLOS 2008). A
    job of one task gets two works.
    """

    def __init__(self, machine: Machine, max_threads: int | None = None, threshold: float = 0.05) -> None:
        super().__init__(machine, max_threads, threshold)
        self._works = 2
        self._before: tuple[int, float] | None = None  # works and throughput of the task before
        self._settled = False

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return self._works

    def task_done(self, works: int, size_bytes: int, seconds: float) -> None:
        if self._settled or not seconds:
            return
        throughput = size_bytes / seconds
        if self._before is None or throughput > self._before[1] * (1 + self.threshold):
            self._before = (works, throughput)
            self._works = works + 1
        else:
            self._works, self._settled = self._before[0], True


class IdleCpus(WorksRule):
    """The caller and a helper for each CPU that is idle just now, as reviewers of ktask v3 asked for (M. Hocko)."""

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        return 1 + self.idle_cpus()


class QemuWorks(PadataWorks):
    """As padata, and at most 16 and the host's CPUs, whatever its cgroup allows.

    Source: QEMU, get_memset_num_threads. Cloud Hypervisor has the same rule.
    """

    within_cpus = True

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:
        return min(super().wanted(size, min_chunk, nid), 16)  # MAX_MEM_PREALLOC_THREAD_COUNT


class JvmWorks(WorksRule):
    """Java's ParallelGCThreads: max_threads, else CPUs up to 8 and 5/8 of the others, at most ceil(size / min_chunk).

    CPUs are the container's: those of its cpuset, and a quota rounded up (active_processor_count). Source: OpenJDK,
    WorkerPolicy::parallel_worker_threads, PretouchTask::pretouch and CgroupUtil::processor_count.
    """

    def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
        if self.max_threads is not None:
            return self.max_threads
        n_cpus = self.container_cpus
        return min(n_cpus, 8) + max(0, n_cpus - 8) * 5 // 8


WORKS: Mapping[str, type[WorksRule]] = {
    "ktask": KtaskWorks,
    "ktask-v3": KtaskV3Works,
    "padata": PadataWorks,
    "padata-6.9": PadataAligned,
    "padata-node": PadataNode,
    "node": NodeCpus,
    "quarter-of-node": QuarterOfNode,
    "quarter": Quarter,
    "twice-nodes": TwiceNodes,
    "cores": Cores,
    "bandwidth": Bandwidth,
    "adaptive": Adaptive,
    "idle-cpus": IdleCpus,
    "qemu": QemuWorks,
    "jvm": JvmWorks,
}
