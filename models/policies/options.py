"""The keys of a scenario's policy: a preset, and the parts that differ from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from models.text.checks import FileKeys
from models.text.units import MIB, Size

Works = Literal[
    "ktask",
    "ktask-v3",
    "padata",
    "padata-6.9",
    "padata-node",
    "node",
    "quarter-of-node",
    "quarter",
    "twice-nodes",
    "cores",
    "bandwidth",
    "adaptive",
    "idle-cpus",
    "qemu",
    "jvm",
]
Chunks = Literal[
    "ktask",
    "padata",
    "hugetlb",
    "one-per-work",
    "even",
    "fixed",
    "guided",
    "factoring",
    "trapezoid",
    "weighted",
]
HelperNode = Literal["page", "caller", "any", "round-robin", "caller-cpus"]
NextEntryName = Literal["random", "nearest", "most", "none"]
End = Literal["as-is", "split", "cancel"]
Priority = Literal["normal", "nice", "raise", "raise-most"]
HelperGroup = Literal["outside", "caller", "charged"]
Preset = Literal[
    "ktask-v1",
    "ktask-v2",
    "ktask-v3",
    "ktask-v4",
    "padata",
    "padata-numa-aware",
    "padata-rfc-2022",
    "hugetlb-boot-2024",
    "hugetlb-boot-2025",
    "qemu",
    "jvm",
    "cloud-hypervisor",
]
PolicyName = Annotated[Preset, Field(description="preset of the five decisions; parts given below differ from it")]

_OUTSIDE = {"priority": "normal", "helper_group": "outside"}  # workers of an unbound workqueue are in the root cgroup
_V1 = _OUTSIDE | {
    "works": "ktask",
    "chunks": "ktask",
    "helper_node": "page",
    "next_entry": "random",
    "end": "as-is",
}
_V3 = _V1 | {"works": "ktask-v3", "node_share": 0.8, "system_share": 0.8}
_V4 = _V3 | {"priority": "raise"}
_PADATA = _OUTSIDE | {
    "works": "padata",
    "chunks": "padata",
    "helper_node": "caller",
    "system_share": 1.0,  # padata's pool has as many works as there are CPUs
    "next_entry": "none",
    "end": "as-is",
}
# Threads of a process run where it may.
_PROCESS = {
    "priority": "normal",
    "helper_group": "caller",
    "helper_node": "caller-cpus",
    "next_entry": "none",
    "end": "as-is",
}
_RFC_2022 = {"helper_node": "caller-cpus", "callers_count": True, "priority": "raise", "helper_group": "charged"}
# Sources: the postings and kernel/padata.c, mm/hugetlb.c, as told with each rule (models.policies.works and .chunks).
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ktask-v1": _V1,
    "ktask-v2": _V1,
    "ktask-v3": _V3,
    "ktask-v4": _V4,
    "padata": _PADATA,
    "padata-numa-aware": _PADATA | {"works": "padata-6.9", "helper_node": "round-robin"},
    "padata-rfc-2022": _PADATA | {"works": "padata-6.9"} | _RFC_2022,
    "hugetlb-boot-2024": _PADATA | {"works": "twice-nodes", "chunks": "one-per-work", "helper_node": "round-robin"},
    "hugetlb-boot-2025": _PADATA | {"works": "quarter", "chunks": "one-per-work", "helper_node": "round-robin"},
    "qemu": _PROCESS | {"works": "qemu", "chunks": "even"},
    "jvm": _PROCESS | {"works": "jvm", "chunks": "fixed"},
    "cloud-hypervisor": _PROCESS | {"works": "qemu", "chunks": "even"},
}


class PolicyOptions(FileKeys):
    """The policy part of a kernel version's parameters. Parts that are not given are the preset's."""

    policy: PolicyName = "ktask-v1"
    max_threads: Annotated[
        int | None,
        Field(
            ge=1,
            le=65536,
            description="most works for a task, the caller included; default 4 where works is ktask, else no limit",
        ),
    ] = None
    min_chunk: Annotated[
        Size, Field(gt=0, description="least amount for one call of the client (KTASK_BPGS_MINCHUNK: 256 base pages)")
    ] = MIB
    works: Annotated[Works | None, Field(description="how many works a task gets; default the preset's")] = None
    growth_threshold: Annotated[
        float, Field(ge=0, le=1, description="works: adaptive adds one while throughput grows by more than this share")
    ] = 0.05
    chunks: Annotated[Chunks | None, Field(description="rule of the next chunk; default the preset's")] = None
    chunks_per_work: Annotated[
        int, Field(ge=1, le=4096, description="chunks of ktask and padata for each work (4, in ktask as a shift by 2)")
    ] = 4
    chunk_size: Annotated[Size | None, Field(gt=0, description="chunks: fixed; default min_chunk")] = None
    align: Annotated[Size | None, Field(gt=0, description="chunks: padata are multiples of this; default 1 page")] = (
        None
    )
    helper_node: Annotated[
        HelperNode | None,
        Field(
            description="where helpers are queued: node of the data (ktask_run_numa), the caller's (ktask_run), "
            "any, one node after the other, or anywhere on the caller's CPUs (task.cpus) with as many works at most; "
            "default the preset's"
        ),
    ] = None
    node_share: Annotated[
        float | None,
        Field(gt=0, le=1, description="most of a node's CPUs that helpers take; the rest go anywhere"),
    ] = None
    system_share: Annotated[
        float | None,
        Field(gt=0, le=1, description="most of all CPUs that helpers of all tasks take; there are no more then"),
    ] = None
    helper_pool: Annotated[
        int | None,
        Field(
            ge=1,
            le=65536,
            description="most helpers of all tasks at once: padata's pool has as many as CPUs that could be online; "
            "default what system_share says",
        ),
    ] = None
    callers_count: Annotated[
        bool | None,
        Field(description="callers too count in system_share; default the preset's"),
    ] = None
    next_entry: Annotated[
        NextEntryName | None,
        Field(description="where a work goes when its own node's part of a task is dry; default the preset's"),
    ] = None
    end: Annotated[
        End | None,
        Field(
            description="split: no chunk is more than what is left for each work; cancel: helpers that have not "
            "started when all is taken are not waited for; default the preset's"
        ),
    ] = None

    priority: Annotated[
        Priority | None,
        Field(
            description="nice level of helpers: the caller's; helper_nice; helper_nice, and while the caller waits its "
            "own level for one after the other, in their order or the one with most left first; default the preset's"
        ),
    ] = None
    helper_nice: Annotated[
        int, Field(ge=-20, le=19, description="nice level of helpers where priority is not normal; 19 is MAX_NICE")
    ] = 19
    helper_group: Annotated[
        HelperGroup | None,
        Field(
            description="cgroup of helpers: outside of the caller's (the root), in it, or outside and charged to it "
            "when they end; default the preset's"
        ),
    ] = None
    keep_idle: Annotated[int, Field(ge=0, le=65536, description="idle CPUs that helpers never take")] = 0

    def rule(self, part: str) -> str:
        """Return the name of the rule for a part: as given, else the preset's."""
        given = getattr(self, part)
        name: str = PRESETS[self.policy][part] if given is None else given
        return name

    def share(self, part: str) -> float | None:
        """Return `node_share` or `system_share`, as given or else the preset's. None is no limit."""
        given: float | None = getattr(self, part)
        preset: float | None = PRESETS[self.policy].get(part)
        return preset if given is None else given

    def counts_callers(self) -> bool:
        """Return `callers_count`, as given or else the preset's."""
        preset: bool = PRESETS[self.policy].get("callers_count", False)
        return preset if self.callers_count is None else self.callers_count
