"""At which nice level helpers run, and who is raised first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.kernels import VERSIONS
from models.machine import Machine
from models.policies import Policy, PolicyOptions
from models.policies.priorities import Priorities


@pytest.mark.parametrize(
    ("rule", "caller", "helper"),
    [("normal", 0, 0), ("normal", 7, 7), ("nice", 0, 10), ("raise", 5, 10), ("raise-most", 15, 15), ("nice", -5, 10)],
)
def test_the_level_of_a_helper_that_starts(rule: str, caller: int, helper: int) -> None:
    """Where they are to be nice they are so at level 10, but never less nice than their caller."""
    assert Priorities(rule, 10).nice(caller) == helper


def test_who_is_raised_first() -> None:
    """The first that was queued; or the one with most left of its chunk, of those alike the first."""
    left = {3: 5, 1: 0, 2: 7, 4: 7}
    assert Priorities("raise", 19).next_raised(left) == 1
    assert Priorities("raise-most", 19).next_raised(left) == 2
    assert [Priorities(rule, 19).raises for rule in ("normal", "nice", "raise", "raise-most")] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("version", "priority", "group"),
    [
        ("ktask-v3", "normal", "outside"),
        ("ktask-v4", "raise", "outside"),
        ("padata-6.9", "normal", "outside"),
        ("padata-rfc-2022", "raise", "charged"),
        ("qemu", "normal", "caller"),
    ],
)
def test_what_versions_do(version: str, priority: str, group: str) -> None:
    """ktask v4 and padata's RFC of 2022 raise helpers, the latter charges them; a program's are in its group."""
    kernel = VERSIONS[version]()
    assert (kernel.rule("priority"), kernel.rule("helper_group")) == (priority, group)


def works(machine: Machine, quota: float | None = None, idle: int | None = None, **options: object) -> int:
    """Return the works of a large task, for a caller with a quota and so many idle CPUs."""
    rules = PolicyOptions.model_validate({"policy": "ktask-v1", **options})
    policy = Policy(rules, machine, lambda _n: 0, caller_quota=quota)
    if idle is not None:
        policy.count_idle(lambda: idle)
    return policy.n_works(2**30, 0)


def test_works_follow_the_idle_cpus(quiet_machine: Machine) -> None:
    """The caller and a helper for each idle CPU, at most max_threads; uncounted, all CPUs but the caller's are idle."""
    assert works(quiet_machine, works="idle-cpus", idle=5) == 6
    assert works(quiet_machine, works="idle-cpus", idle=0) == 1
    assert works(quiet_machine, works="idle-cpus", idle=5, max_threads=3) == 3
    assert works(quiet_machine, works="idle-cpus") == 288
    assert works(replace(quiet_machine, cpus=quiet_machine.cpus[:4]), works="idle-cpus") == 4


def test_helpers_leave_the_last_idle_cpus(quiet_machine: Machine) -> None:
    """With 6 idle CPUs and 4 to be kept, two helpers of seven; with 3 idle ones, none; of none to be kept, all."""
    assert works(quiet_machine, max_threads=8, keep_idle=4, idle=6) == 3
    assert works(quiet_machine, max_threads=8, keep_idle=4, idle=3) == 1
    assert works(quiet_machine, max_threads=8, idle=3) == 8


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.9, 1), (2.0, 2), (7.5, 7), (100.0, 8)])
def test_a_quota_limits_works_that_are_charged(quiet_machine: Machine, quota: float, expected: int) -> None:
    """Where helpers are charged to the caller's group there are no more works than whole CPUs of its quota, but one."""
    assert works(quiet_machine, quota, max_threads=8, helper_group="charged") == expected
    assert works(quiet_machine, quota, max_threads=8, helper_group="outside") == 8
    assert works(quiet_machine, quota, max_threads=8, helper_group="caller") == 8
