"""The parts of every version of the framework: a policy, the costs of its machinery, and rules for each client.

Source of the costs, where not said otherwise: the traced no-op ktask_run of msgid
20181106190029.epktpxhimrca4f4a@ca-dmjordan1.us.oracle.com (models/published/workqueue_latency.csv), on a newer Xeon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from models.machine import RECLAIM_DISTANCE, Machine
from models.policies.options import PRESETS, PolicyOptions
from models.text.units import Time


@dataclass(frozen=True)
class ClientRules:
    """The values that a version's code passes to the framework for a client.

    Values are parameters of a kernel. `mended` are the values that differ where a slip of the posted code is put right.
    """

    values: Mapping[str, Any]
    source: str
    mended: Mapping[str, Any] | None = None


# Parameters whose default differs between versions.
StartLatency = Annotated[
    Time,
    Field(
        ge=0,
        description="mean time from queue_work to the start on an unbound worker: ~50 us stated; of a new kernel "
        "thread from its wake-up: 17 us, an estimate from the caller's own",
    ),
]
LockHandoverTime = Annotated[
    Time,
    Field(
        ge=0,
        description="more if another work waits for it: the waiter spins, and fetches the lock's line; a mutex "
        "spins too while its owner runs; an estimate",
    ),
]
FirstEntry = Annotated[
    Literal["node", "number"],
    Field(
        description="entry of a task that a work begins with: that of the node it runs on (ktask v1 and v2), or its "
        "own number's, modulo (v3 and v4)"
    ),
]
Migration = Annotated[
    Literal["cpumask", "requeue", "none"],
    Field(
        description="how a helper changes nodes: it changes its own CPU mask (ktask v1 and v2), or it queues its "
        "work again on the other node (v3 and v4)"
    ),
]
Start = Annotated[
    Literal["workqueue", "kthread"],
    Field(description="helpers are workers of an unbound workqueue, or new kernel threads"),
]
StopsAtError = Annotated[
    bool,
    Field(description="after an error no more chunks are handed out; the functions of padata's clients return none"),
]
LateStart = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="probability that the thread that is made last starts only when the others have made their parts "
        "present, where those keep mmap_lock: it maps memory as it starts; seen with QEMU",
    ),
]
Undo = Annotated[
    bool, Field(description="after an error that stops the task, the caller alone undoes the chunks that were done")
]


WakePull = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="probability that the helper that wakes the caller pulls it to its own node (wake-affine). Since "
        "Linux 5.11 (wake_affine_idle) an idle previous CPU is kept: 0. Before: 1, for ktask v1 inferred from the "
        "table of clear_gigantic_page, for the others taken from that",
    ),
]
BalanceMasks = Annotated[
    bool,
    Field(
        description="whether the CPUs that threads may use are balanced as if they were all; false: not while others "
        "of their domain are idle, as the published contention test of ktask v4 shows of its kernel (helper_renice)"
    ),
]
BusyFactor = Annotated[
    int,
    Field(
        ge=1,
        description="factor by which busy CPUs balance less often: 16 since Linux 5.10, 32 before (sd_init)",
    ),
]


class Kernel(PolicyOptions):
    """A version of the framework, with every figure of it free to be changed.

    `client_rules` are for the clients that the version's code has, `other_clients` for all others. In the version's
    code `works` of a client stands for its max_threads: a scenario that gives max_threads gives that too.
    """

    client_rules: ClassVar[Mapping[str, ClientRules]] = {}
    other_clients: ClassVar[ClientRules] = ClientRules({}, "the parameters' own defaults")
    one_job_a_zone: ClassVar[bool] = False  # of struct pages, not one each free range (models.memory.deferred)
    since_5_4: ClassVar[bool] = True  # of the kernels that it runs on
    asks_old_node: ClassVar[bool] = False  # as posted, for room when a work is queued again (models.policies.places)

    version: Annotated[str, Field(description="of the framework")]
    as_posted: Annotated[
        bool,
        Field(
            description="false: slips of the code that change its timing are mended (ktask v2 to v4, cloud-hypervisor)"
        ),
    ] = True
    setup_time: Annotated[Time, Field(ge=0, description="ktask_run entry to the first queue_work: 3 us traced")] = 3e-6
    start_latency: StartLatency = 50e-6
    start_latency_cv: Annotated[
        float, Field(ge=0, le=5, description="its coefficient of variation (gamma distribution); an assumption")
    ] = 0.5
    wake_latency: Annotated[
        Time, Field(ge=0, description="last work done to the waiting caller running again: 17 us, of barrier to return")
    ] = 17e-6
    lock_handover_time: LockHandoverTime = 0.1e-6
    lock_hold_time: Annotated[
        Time,
        Field(ge=0, description="time in the task's lock to take a chunk; an estimate: two or three cache misses"),
    ] = 0.3e-6
    chunk_time: Annotated[
        Time,
        Field(ge=0, description="time for a chunk outside that lock and the client's function; in a kernel, nothing"),
    ] = 0.0
    time_slice: Annotated[
        Time,
        Field(
            ge=1e-4,
            le=0.1,
            description="turn of a thread on a CPU that background load wants too: 4 ms, a tick at 250 Hz; helpers "
            "queued to a busy CPU were measured to wait half of that (Linux 6.18, 2 CPUs)",
        ),
    ] = 4e-3
    busy_factor: BusyFactor = 16
    balance_masks: BalanceMasks = True
    pinned: Annotated[
        bool,
        Field(
            description="threads of the job are bound to the CPU that they are put on, and wait for it beside other "
            "work, as those of the real backend"
        ),
    ] = False
    wake_pull: WakePull = 1.0
    wake_pull_max_distance: Annotated[
        int | None,
        Field(
            ge=10,
            le=255,
            description="greatest NUMA distance of such a pull, the kernel's RECLAIM_DISTANCE; default 30, and 32 on "
            "AMD Zen since Linux 5.4 (init_amd_zn)",
        ),
    ] = None

    stray_block: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="probability, for each task with helpers, that the caller blocks for a reason not modelled "
            "(preemption, a contended lock) and is woken by a helper; fitted, see VALIDATION.md",
        ),
    ] = 0.015
    first_entry: FirstEntry = "node"
    migration: Migration = "cpumask"
    start: Start = "workqueue"
    kthread_time: Annotated[
        Time,
        Field(ge=0, description="start: kthread: time of the caller to make each one; an estimate: 20 us for a clone"),
    ] = 20e-6
    late_start: LateStart = 0.0
    stops_at_error: StopsAtError = True
    undo: Undo = False

    def pull_distance(self, machine: Machine) -> int:
        """Return the greatest NUMA distance over which a woken caller is pulled on a machine."""
        if self.wake_pull_max_distance is not None:
            return self.wake_pull_max_distance
        return machine.reclaim_distance if self.since_5_4 else RECLAIM_DISTANCE

    def for_client(self, client: str) -> Self:
        """Return the kernel with its code's values for this client, wherever the scenario gives no other."""
        rules = self.client_rules.get(client, self.other_clients)
        values = {**rules.values, **({} if self.as_posted else rules.mended or {})}
        given = self.model_fields_set | (set(PRESETS[self.policy]) if "policy" in self.model_fields_set else set())
        if "max_threads" in given:
            given.add("works")
        changed = {name: value for name, value in values.items() if name not in given}
        return self.model_copy(update=changed) if changed else self
