"""Times on a machine without other work are what they were without a scheduler, but for rounding.

Computed with the commit "sim.show.published_figure: cells that are not counted look so, and the label fits" (2256ef9).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.loads.groups import Group
from models.scenario import build_scenario
from models.scenario.case import Case
from models.text.document import parse
from sim.engine.run import run_case

# what: (machine, task, kernel, seconds, CPU-seconds)
TIMES = {
    "clear_gigantic_page": (
        "xeon-e7-8895v3-8s",
        "{client: clear_gigantic_page, size: 8GiB}",
        "{version: ktask-v1, max_threads: 8}",
        0.39310283156139775,
        3.086951661591632,
    ),
    "shared cores": (
        "laptop-ryzen-4800u",
        "{client: populate, size: 4GiB}",
        "{version: ktask-v4, max_threads: 16}",
        0.26361492970018474,
        2.8589494131689244,
    ),
    "shared cores, clear": (
        "laptop-ryzen-4800u",
        "{client: clear_gigantic_page, size: 4GiB, page_size: 1GiB}",
        "{version: ktask-v4, max_threads: 12, min_chunk: 4MiB}",
        0.24269347387744789,
        2.7933616546060427,
    ),
    "vfio_pin": (
        "xeon-e7-8895v3-8s",
        "{client: vfio_pin, size: 16GiB}",
        "{version: ktask-v2, max_threads: 16}",
        0.20325139760702968,
        3.1448679013906142,
    ),
    "deferred_struct_page_init": (
        "xeon-e5-2699v4-2s",
        "{client: deferred_struct_page_init, costs: {init_rate: 85.57GiB/s, zero_share: 0}}",
        "{version: ktask-v3, max_threads: 20}",
        0.39054089955765836,
        13.431748090602747,
    ),
    "padata": (
        "xeon-platinum-8160-2s",
        "{client: deferred_struct_page_init}",
        "{version: padata-5.8}",
        0.26092605480338776,
        24.498289804763726,
    ),
    "qemu_prealloc": (
        "xeon-platinum-8160-2s",
        "{client: qemu_prealloc, size: 16GiB, page_size: 2MiB}",
        "{version: qemu, max_threads: 12}",
        0.31810715742729523,
        3.770123854533744,
    ),
    "jvm_pretouch": (
        "laptop-ryzen-4800u",
        "{client: jvm_pretouch, size: 4GiB}",
        "{version: jvm}",
        0.23359605963318125,
        3.025877580260492,
    ),
    "taskset": (
        "xeon-e5-2699v4-2s",
        "{client: vfio_pin, size: 8GiB, cpus: '0-10'}",
        "{version: padata-rfc-2022}",
        0.14557094587429145,
        1.5709805571881903,
    ),
    "vm_startup": (
        "xeon-e7-8895v3-8s",
        "{client: vm_startup, size: 16GiB}",
        "{version: ktask-v4, max_threads: 8}",
        2.2742615900066956,
        10.588579372820732,
    ),
    "error and undo": (
        "xeon-e7-8895v3-8s",
        "{client: vfio_pin, size: 16GiB, fail_at: 9GiB}",
        "{version: ktask-v4, max_threads: 8}",
        1.1782125401675065,
        2.6522600978519284,
    ),
}


def case_of(machine: str, task: str, kernel: str, more: str = "") -> Case:
    """Return the one case of a scenario."""
    text = f"title: t\nquestion: q\nmachine: {machine}\ntask: {task}\nkernel: {kernel}\nseed: 7\n{more}\n"
    return build_scenario(parse(text, "s"), Path("s")).cases[0]


@pytest.mark.parametrize("what", TIMES)
@pytest.mark.parametrize("more", ["", "background: {other: {load: spin, threads: 0}}", "groups: {g: {cpus: '0'}}"])
def test_an_idle_machine_is_as_it_was(what: str, more: str) -> None:
    """Time and CPU time are the same but for rounding, with a load of no threads or a group for nobody too."""
    machine, task, kernel, time_s, cpu_s = TIMES[what]
    result = run_case(case_of(machine, task, kernel, more), 1)
    assert (result.time_s, result.cpu_s) == pytest.approx((time_s, cpu_s), rel=1e-12)


@pytest.mark.parametrize("what", TIMES)
def test_a_scheduler_for_nobody_else_changes_nothing(what: str) -> None:
    """With as many CPUs as threads, all at one nice level, the scheduler's CPUs are as own ones, but for rounding.

    (Threads of another level count less where an idle core is looked for, and so may share other cores.)
    """
    machine, task, kernel, time_s, _ = TIMES[what]
    case = case_of(machine, task, kernel)
    level = case.kernel.model_copy(update={"priority": "normal"})
    case = replace(case, kernel=level, groups={"g": Group(quota=1.0)})
    assert run_case(case, 1).time_s == pytest.approx(time_s, rel=1e-9)
