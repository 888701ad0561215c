"""What tells the versions of the framework apart: works, chunks and limits, as in the tables of the posted code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.clients import CLIENTS, ClearGigantic
from models.clients.hugetlb_boot_alloc import HugetlbBoot
from models.kernels import VERSIONS, Kernel
from models.machine import Machine
from models.policies import Chunk, NodeEntry, Policy
from models.policies.options import PRESETS
from models.scenario.case import Case
from models.text.units import GIB, KIB, MIB

BASE, HUGE = 4 * KIB, 2 * MIB
OF_KERNELS = [name for name in VERSIONS if name.startswith(("ktask", "padata"))]  # the others are of programs


def never_asked(n: int) -> int:
    """A choice of the next entry in a task that has only one."""
    raise AssertionError(f"asked to pick one of {n} entries")


def kernel_for(version: str, client: str, **values: object) -> Kernel:
    """A version's kernel for a client, with values as in a file."""
    return VERSIONS[version].model_validate(values).for_client(client)


def cut(
    machine: Machine, version: str, client: str, size_bytes: int, unit: int = BASE, **values: object
) -> tuple[int, list[int]]:
    """Return the works that a version gives a task on node 0, and the bytes of its chunks."""
    policy = Policy(kernel_for(version, client, **values), machine, never_asked, unit_bytes=unit)
    works = policy.n_works(size_bytes // unit, 0)
    return works, [size * unit for size in policy.chunk_sizes(size_bytes // unit, works)]


def of_one_node(machine: Machine, n_cpus: int) -> Machine:
    """The machine with so many CPUs, all of node 0."""
    return replace(machine, cpus=machine.cpus_of(0)[:n_cpus])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_is_named_as_in_files(version: str) -> None:
    """A version's name is its default, its preset is one that there is, and its parameters are all described."""
    kernel = VERSIONS[version]()
    assert kernel.version == version
    assert kernel.policy in PRESETS
    fields = type(kernel).model_fields
    assert [name for name, field in fields.items() if name != "version" and not field.description] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_rules_of_clients_are_parameters(version: str) -> None:
    """What a version asks for a client, mended or not, is a valid value of a parameter, and has a source."""
    kernel = VERSIONS[version]
    for rules in (*kernel.client_rules.values(), kernel.other_clients):
        assert rules.source
        values = {**rules.values, **(rules.mended or {})}
        sizes = {name: f"{value}B" for name, value in values.items() if name in ("min_chunk", "align")}
        checked = kernel.model_validate(values | sizes)
        assert {name: getattr(checked, name) for name in values} == values


@pytest.mark.parametrize("as_posted", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_rules_for_every_client(quiet_machine: Machine, version: str, as_posted: bool) -> None:
    """Each version cuts a task of each client into chunks that are the whole of it."""
    for client in [*CLIENTS, "a client to come"]:
        works, chunks = cut(quiet_machine, version, client, 4 * GIB, as_posted=as_posted)
        assert works >= 1
        assert sum(chunks) == 4 * GIB


@pytest.mark.parametrize(
    ("version", "as_posted", "works", "chunk_mib"),
    [
        ("ktask-v1", True, [1, 2, 4, 8, 16], [1024, 128, 64, 32, 16]),
        ("ktask-v2", True, [1, 1, 1, 1, 1], [1024] * 5),
        ("ktask-v3", True, [1, 1, 1, 1, 1], [1024] * 5),
        ("ktask-v4", True, [1, 1, 1, 1, 1], [1024] * 5),
        ("ktask-v4", False, [1, 2, 4, 8, 8], [1024, 128, 128, 128, 128]),
        ("padata-5.8", True, [1, 2, 4, 8, 8], [1024, 128, 128, 128, 128]),
    ],
)
def test_gigantic_page(
    quiet_machine: Machine, version: str, as_posted: bool, works: list[int], chunk_mib: list[int]
) -> None:
    """A page of 1 GiB with at most 1, 2, 4, 8 and 16 threads: only v1's posted code can make the published table."""
    for threads, expected, mib in zip([1, 2, 4, 8, 16], works, chunk_mib, strict=True):
        task = ClearGigantic(client="clear_gigantic_page", size="1GiB")
        kernel = kernel_for(version, "clear_gigantic_page", max_threads=threads, as_posted=as_posted)
        case = Case(quiet_machine, task, kernel, 1, 1)
        assert case.n_works == expected
        assert case.chunk_bytes() == [mib * MIB] * (1024 // mib)


@pytest.mark.parametrize(
    ("version", "as_posted", "works", "chunk_pages"),
    [
        ("ktask-v1", True, 16, 3072),  # 204800 // 16 // 4 = 3200, down to a multiple of 256
        ("ktask-v2", True, 1, 204_800),  # a least chunk of 262144 huge pages
        ("ktask-v3", True, 1, 204_800),
        ("ktask-v2", False, 16, 3072),  # 3200, down to a multiple of 512
        ("ktask-v4", True, 16, 3200),  # a multiple of 64
    ],
)
def test_hugetlbfs_fallocate(
    quiet_machine: Machine, version: str, as_posted: bool, works: int, chunk_pages: int
) -> None:
    """400 GiB of huge pages of 2 MiB with at most 16 threads."""
    values = {"max_threads": 16, "as_posted": as_posted}
    found, chunks = cut(quiet_machine, version, "hugetlbfs_fallocate", 400 * GIB, HUGE, **values)
    assert found == works
    assert chunks[0] == chunk_pages * HUGE


@pytest.mark.parametrize(
    ("version", "works", "chunk_mib"),
    [
        ("ktask-v2", 36, 1024),  # all CPUs of the node; 910 MiB are less than the least chunk
        ("ktask-v3", 9, 3072),  # a quarter of them; 3640 MiB, down to a multiple of 1 GiB
        ("ktask-v4", 9, 3584),  # 3640 MiB, down to a multiple of 128 MiB
        ("padata-5.8", 36, 1024),  # 910.2 MiB, up to a multiple of a section
        ("padata-6.9", 36, 1024),
        ("padata-rfc-2022", 36, 1024),
    ],
)
def test_deferred_init(quiet_machine: Machine, version: str, works: int, chunk_mib: int) -> None:
    """128 GiB of a node of 36 CPUs, and no max_threads given but the client's own."""
    found, chunks = cut(quiet_machine, version, "deferred_struct_page_init", 128 * GIB)
    assert found == works
    assert chunks[0] == chunk_mib * MIB


@pytest.mark.parametrize("version", ["ktask-v3", "ktask-v4"])
def test_a_quarter_of_a_node_is_rounded_up(quiet_machine: Machine, version: str) -> None:
    """A node of 10 CPUs gives ceil(10 / 4) = 3 works."""
    assert cut(of_one_node(quiet_machine, 10), version, "deferred_struct_page_init", 128 * GIB)[0] == 3


@pytest.mark.parametrize("version", OF_KERNELS)
def test_max_threads_of_a_scenario_is_that_of_the_client(quiet_machine: Machine, version: str) -> None:
    """Who gives max_threads gets as many works, whatever the client itself would ask for."""
    for client in ("deferred_struct_page_init", "hugetlb_boot_alloc", "vfio_pin"):
        assert cut(quiet_machine, version, client, 128 * GIB, max_threads=20)[0] == 20


def test_works_and_sizes_that_a_scenario_gives_stay(quiet_machine: Machine) -> None:
    """A client's rules give way to a scenario's own values, and to a preset that it names."""
    own = kernel_for("ktask-v2", "deferred_struct_page_init", works="cores", min_chunk="64MiB")
    assert (own.rule("works"), own.min_chunk) == ("cores", 64 * MIB)
    assert kernel_for("ktask-v3", "deferred_struct_page_init", policy="padata").rule("works") == "padata"
    assert cut(quiet_machine, "ktask-v2", "clear_gigantic_page", GIB, min_chunk="1MiB")[0] == 4


@pytest.mark.parametrize(("version", "works"), [("ktask-v4", 4), ("padata-5.8", 3), ("padata-6.9", 3)])
def test_works_are_rounded_up_by_ktask_and_down_by_padata(quiet_machine: Machine, version: str, works: int) -> None:
    """3.5 times the least chunk, 128 MiB, feed 4 works of ktask and 3 of padata."""
    assert cut(quiet_machine, version, "deferred_struct_page_init", 448 * MIB)[0] == works
    assert cut(quiet_machine, version, "deferred_struct_page_init", 448 * MIB, max_threads=16)[0] == works


@pytest.mark.parametrize(("version", "works"), [("padata-5.8", 16), ("padata-6.9", 8), ("padata-rfc-2022", 8)])
def test_a_work_of_padata_gets_align_since_6_9(quiet_machine: Machine, version: str, works: int) -> None:
    """1 GiB with a min_chunk of 2 MiB and an align of 128 MiB: 512 works, cut to 16, or 8."""
    values = {"min_chunk": "2MiB", "align": "128MiB", "max_threads": 16}
    assert cut(quiet_machine, version, "free_pages", GIB, **values)[0] == works


@pytest.mark.parametrize(
    ("version", "as_posted", "threads", "size_mib", "works", "chunk_mib"),
    [
        ("ktask-v4", True, 16, 320 * 1024, 16, 5 * 1024),  # as stated in the posting
        ("ktask-v4", True, None, 320 * 1024, 4, 20 * 1024),  # KTASK_DEFAULT_MAX_THREADS
        ("ktask-v4", True, 16, 100, 16, 2),  # PMD_SIZE: 100 // 16 // 4 = 1 MiB is less
        ("ktask-v4", False, 16, 300, 3, 128),
        ("padata-rfc-2022", True, None, 320 * 1024, 16, 5 * 1024),
        ("padata-rfc-2022", True, None, 300, 2, 128),
    ],
)
def test_vfio_pin(
    quiet_machine: Machine,
    version: str,
    as_posted: bool,
    threads: int | None,
    size_mib: int,
    works: int,
    chunk_mib: int,
) -> None:
    """Guests of 320 GiB, 300 MiB and 100 MiB."""
    values = {"max_threads": threads} if threads else {}
    found, chunks = cut(quiet_machine, version, "vfio_pin", size_mib * MIB, as_posted=as_posted, **values)
    assert found == works
    assert chunks[0] == chunk_mib * MIB


def test_huge_pages_at_boot_are_one_chunk_for_each_work(quiet_machine: Machine) -> None:
    """Twice 8 nodes with memory: 16 works; 1001 pages, 8 threads: chunks of 1001 // 8 = 125 pages, and a last one."""
    works, chunks = cut(quiet_machine, "padata-6.9", "hugetlb_boot_alloc", 1600 * HUGE, HUGE)
    assert (works, chunks) == (16, [100 * HUGE] * 16)
    works, chunks = cut(quiet_machine, "padata-6.9", "hugetlb_boot_alloc", 1001 * HUGE, HUGE, max_threads=8)
    assert (works, chunks) == (8, [125 * HUGE] * 8 + [HUGE])


def test_huge_pages_at_boot_have_a_quarter_of_the_cpus_since_6_15(quiet_machine: Machine) -> None:
    """288 // 4 = 72 works, chunks of 7200 // 72 = 100 pages; hugepage_alloc_threads=6: 1024 // 6 = 170, and 4."""
    for version in ("padata-6.15", "padata-6.18"):
        works, chunks = cut(quiet_machine, version, "hugetlb_boot_alloc", 7200 * HUGE, HUGE)
        assert (works, chunks) == (72, [100 * HUGE] * 72)
        works, chunks = cut(quiet_machine, version, "hugetlb_boot_alloc", 1024 * HUGE, HUGE, max_threads=6)
        assert (works, chunks) == (6, [170 * HUGE] * 6 + [4 * HUGE])


@pytest.mark.parametrize("version", ["padata-6.9", "padata-6.15", "padata-6.18"])
def test_gigantic_pages_at_boot_have_a_work_for_each_node(quiet_machine: Machine, version: str) -> None:
    """8 nodes with memory are 8 units: 8 works of a chunk each, also with 4 CPUs, a quarter of which is 1."""
    client = HugetlbBoot.model_validate({"client": "hugetlb_boot_alloc", "size": "8GiB", "page_size": "1GiB"})
    few = replace(quiet_machine, cpus=tuple(quiet_machine.cpus_of(nid)[0] for nid in range(4)))
    for machine in (quiet_machine, few):
        kernel = VERSIONS[version].model_validate({"helper_pool": 8}).for_client(client.rules_on(machine))
        policy = Policy(kernel, machine, never_asked, unit_bytes=GIB)
        assert (policy.n_works(8, None), policy.chunk_sizes(8, 8)) == (8, [1] * 8)


def test_padata_is_limited_by_its_pool_of_helpers(quiet_machine: Machine) -> None:
    """The caller and a helper for each CPU that could be online: 288, or 20 where helper_pool says so."""
    for pool, works in ((None, 289), (20, 21)):
        kernel = kernel_for("padata-6.15", "hugetlb_boot_alloc", max_threads=400, helper_pool=pool)
        policy = Policy(kernel, quiet_machine, never_asked, unit_bytes=HUGE)
        entries = [NodeEntry(None, 0, 4000)]
        wanted = policy.n_works(4000, None)
        assert (wanted, 1 + len(policy.place_helpers(entries, wanted, 0))) == (400, works)
        policy.task_done(works, 1, 1.0, [None] * (works - 1))
        assert policy.queue(entries, works).take(0) == Chunk(0, 0, max(4000 // (4 * works), 10))


def test_a_node_without_cpus_has_one_work(quiet_machine: Machine) -> None:
    """No CPU of node 7: its pages are initialised by one thread. Helpers that go round begin behind node 0."""
    machine = replace(quiet_machine, cpus=tuple(cpu for cpu in quiet_machine.cpus if cpu.nid not in (0, 7)))
    policy = Policy(kernel_for("padata-6.18", "deferred_struct_page_init"), machine, never_asked)
    assert (policy.n_works(10**8, 7), policy.n_works(10**8, 3)) == (1, 36)
    policy = Policy(kernel_for("padata-6.18", "hugetlb_boot_alloc"), machine, never_asked)
    assert policy.place_helpers([NodeEntry(None, 0, 1)], 8, 1) == [1, 2, 3, 4, 5, 6, 1]


def placed(policy: Policy, works: int, nid: int | None = 0) -> list[int | None]:
    """Return where a task of so many works, with data and caller on a node, gets its helpers."""
    return policy.place_helpers([NodeEntry(nid, 0, 1)], works, 0)


def policy_of(machine: Machine, version: str) -> Policy:
    """The policy of a version for a client of no rules."""
    return Policy(kernel_for(version, "free_pages"), machine, never_asked)


def test_helpers_over_four_fifths_of_a_node_go_anywhere_since_v3(quiet_machine: Machine) -> None:
    """Of 39 helpers for a node of 36 CPUs, v2 queues all there, v3 and v4 4 * 36 // 5 = 28."""
    assert placed(policy_of(quiet_machine, "ktask-v2"), 40) == [0] * 39
    for version in ("ktask-v3", "ktask-v4"):
        assert placed(policy_of(quiet_machine, version), 40) == [0] * 28 + [None] * 11


@pytest.mark.parametrize(
    ("version", "first", "second"),
    [
        ("ktask-v2", 5, 5),
        ("ktask-v3", 5, 3),  # 4 * 10 // 5 = 8 helpers of all tasks
        ("padata-5.8", 5, 5),  # a pool of 10 works
        ("padata-rfc-2022", 5, 3),  # 10 CPUs for 2 callers and 8 helpers
    ],
)
def test_limits_of_all_tasks_together(quiet_machine: Machine, version: str, first: int, second: int) -> None:
    """Two tasks that want 6 works each at once on 10 CPUs; the places are free again when a task ends."""
    policy = policy_of(of_one_node(quiet_machine, 10), version)
    helpers = placed(policy, 6)
    assert (len(helpers), len(placed(policy, 6))) == (first, second)
    policy.task_done(6, 1, 1.0, helpers)
    assert len(placed(policy, 6)) == first


def test_padatas_pool_runs_dry(quiet_machine: Machine) -> None:
    """With 10 CPUs three jobs of 6 works get 5, 5 and no helpers."""
    policy = policy_of(of_one_node(quiet_machine, 10), "padata-5.8")
    assert [len(placed(policy, 6)) for _ in range(3)] == [5, 5, 0]


def test_a_helper_that_is_queued_again_needs_room(quiet_machine: Machine) -> None:
    """With node 1 full, a helper of node 0 goes anywhere; as posted node 0 is asked, and node 1 gets one too many."""
    for asks_old, expected in ((False, None), (True, 1)):
        policy = policy_of(quiet_machine, "ktask-v4")
        assert placed(policy, 29, 1) == [1] * 28
        assert placed(policy, 2) == [0]
        assert policy.move_helper(0, 1, asks_old=asks_old) == expected
        assert placed(policy, 29, 0) == [0] * 28  # the place on node 0 is free again


def test_a_helper_of_no_node_finds_room_only_on_the_node_it_wants(quiet_machine: Machine) -> None:
    """Who was queued anywhere goes to the empty node 1, but as posted no node is asked and it goes anywhere again."""
    policy = policy_of(quiet_machine, "ktask-v4")
    assert policy.move_helper(None, 1, asks_old=False) == 1
    assert policy.move_helper(None, 1, asks_old=True) is None
    assert policy.move_helper(1, None, asks_old=False) is None  # data of no node in particular


@pytest.mark.parametrize(
    ("version", "migration", "first_entry", "start", "stops_at_error", "undo"),
    [
        ("ktask-v1", "cpumask", "node", "workqueue", True, False),
        ("ktask-v2", "cpumask", "node", "workqueue", True, False),
        ("ktask-v3", "requeue", "number", "workqueue", True, False),
        ("ktask-v4", "requeue", "number", "workqueue", True, True),
        ("padata-5.8", "none", "node", "workqueue", False, False),
        ("padata-6.9", "none", "node", "workqueue", False, False),
        ("padata-6.18", "none", "node", "workqueue", False, False),
        ("padata-rfc-2022", "none", "node", "kthread", True, True),
    ],
)
def test_machinery(
    version: str, migration: str, first_entry: str, start: str, stops_at_error: bool, undo: bool
) -> None:
    """How helpers move and start, and what an error does."""
    kernel = VERSIONS[version]()
    assert (kernel.migration, kernel.first_entry, kernel.start) == (migration, first_entry, start)
    assert (kernel.stops_at_error, kernel.undo) == (stops_at_error, undo)
    mutex = VERSIONS["ktask-v1"]().lock_handover_time
    assert (kernel.lock_handover_time < mutex) == version.startswith("padata")


def test_where_helpers_run(quiet_machine: Machine) -> None:
    """Data on node 3, caller on node 0: ktask's helpers go to the data, padata's to the caller or from node to node.

    Threads of programs run anywhere.
    """
    found = {version: placed(policy_of(quiet_machine, version), 4, 3) for version in VERSIONS}
    assert found == {
        **{f"ktask-v{n}": [3, 3, 3] for n in (1, 2, 3, 4)},
        "padata-5.8": [0, 0, 0],
        **{f"padata-{release}": [1, 2, 3] for release in ("6.9", "6.15", "6.18")},
        "padata-rfc-2022": [None, None, None],
        **{name: [None, None, None] for name in VERSIONS if name not in OF_KERNELS},
    }
    at_boot = Policy(kernel_for("padata-6.9", "deferred_struct_page_init"), quiet_machine, never_asked)
    assert placed(at_boot, 4, 3) == [0, 0, 0]  # not numa_aware


def test_who_wakes_the_caller_pulls_it_before_5_11_only(quiet_machine: Machine) -> None:
    """1 for ktask and padata of Linux 5.8; not later. AMD Zen: distance 32 since 5.4, else 30."""
    pulls = {version: VERSIONS[version]().wake_pull for version in VERSIONS}
    assert {version for version, pull in pulls.items() if pull == 1.0} == {
        "ktask-v1", "ktask-v2", "ktask-v3", "ktask-v4", "padata-5.8",
    }  # fmt: skip
    assert set(pulls.values()) == {0.0, 1.0}
    zen = replace(quiet_machine, title="2 x AMD EPYC 7742 (64 cores)")
    found = {version: VERSIONS[version]().pull_distance(zen) for version in VERSIONS}
    assert {version for version, distance in found.items() if distance == 30} == {f"ktask-v{n}" for n in (1, 2, 3, 4)}
    assert {VERSIONS[version]().pull_distance(quiet_machine) for version in VERSIONS} == {30}
    assert VERSIONS["padata-5.8"](wake_pull_max_distance=21).pull_distance(zen) == 21
