"""ktask RFC v1 (D. Jordan, 2017-07-14, on Linux 4.12).

Source of the rules: msgid 1500070573-3948-1-git-send-email-daniel.m.jordan@oracle.com and its replies; of the costs,
where not said otherwise: the traced no-op ktask_run of msgid 20181106190029.epktpxhimrca4f4a@ca-dmjordan1.us.oracle.com
(models/published/workqueue_latency.csv), on a newer Xeon.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.policies.options import PolicyOptions
from models.units import Time


class KtaskV1(PolicyOptions):
    """What ktask v1 does, with every figure of it free to be changed."""

    version: Literal["ktask-v1"] = "ktask-v1"
    setup_time: Annotated[Time, Field(ge=0, description="ktask_run entry to the first queue_work: 3 us traced")] = 3e-6
    start_latency: Annotated[
        Time, Field(ge=0, description="mean time from queue_work to the start on an unbound worker: ~50 us stated")
    ] = 50e-6
    start_latency_cv: Annotated[
        float, Field(ge=0, le=5, description="its coefficient of variation (gamma distribution); an assumption")
    ] = 0.5
    wake_latency: Annotated[
        Time, Field(ge=0, description="last work done to the waiting caller running again: 17 us, of barrier to return")
    ] = 17e-6
    lock_hold_time: Annotated[
        Time,
        Field(ge=0, description="time in the task's mutex to take a chunk; an estimate: two or three cache misses"),
    ] = 0.3e-6
    chunk_time: Annotated[
        Time,
        Field(ge=0, description="time for a chunk outside that lock and the client's function; in a kernel, nothing"),
    ] = 0.0
    time_slice: Annotated[
        Time,
        Field(
            gt=0,
            description="turn of a thread on a CPU that background load wants too: 4 ms, a tick at 250 Hz; helpers "
            "queued to a busy CPU were measured to wait half of that (Linux 6.18, 2 CPUs)",
        ),
    ] = 4e-3
    wake_pull: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="probability that the helper that wakes the caller pulls it to its own node (wake-affine); "
            "1 is the kernel's rule for an idle machine",
        ),
    ] = 1.0
    wake_pull_max_distance: Annotated[
        int,
        Field(ge=10, le=255, description="greatest NUMA distance of such a pull: 30, the kernel's RECLAIM_DISTANCE"),
    ] = 30

    stray_block: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="probability, for each task with helpers, that the caller blocks for a reason not modelled "
            "(preemption, a contended lock) and is woken by a helper; fitted, see VALIDATION.md",
        ),
    ] = 0.015
