"""How much memory may be used: on captured trees of hosts, and on this host under limits of our own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from models.text.units import GIB, KIB, MIB
from real.limits import (
    MemoryLimit,
    NotEnoughMemoryError,
    available_memory,
    check_budget,
    check_huge_pages,
    free_huge_pages,
    huge_page_sizes,
    memory_limits,
    read_pool,
)
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="needs Linux")

NO_LIMIT = 9223372036854771712  # what cgroup v1 shows where there is none, with pages of 4 KiB
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max data size             {data}            unlimited            bytes
Max locked memory         8388608              8388608              bytes
Max address space         {space}            unlimited            bytes
"""
QUIET = {
    "proc/meminfo": "MemTotal:       67108864 kB\nMemFree:        1048576 kB\nMemAvailable:   33554432 kB\n",
    "proc/self/status": "Name:\tpython\nVmSize:\t  524288 kB\nVmData:\t  131072 kB\n",
    "proc/self/limits": LIMITS.format(data="unlimited", space="unlimited"),
    "proc/self/cgroup": "0::/\n",
    "proc/self/mountinfo": "22 27 0:21 / /proc rw,relatime - proc proc rw\n",
}
V2_MOUNT = "35 27 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"


def write_tree(folder: Path, *parts: Mapping[str, object]) -> Path:
    """Write the files of a host, later parts over earlier ones; return the folder."""
    for part in parts:
        for name, text in part.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}" if "\n" in str(text) else f"{text}\n")
    return folder


def v1_group(path: str, limit: int, usage: int, *, inactive: int = 0, above: int = NO_LIMIT) -> dict[str, object]:
    """Return the files of a memory cgroup of v1."""
    folder = f"sys/fs/cgroup/memory{path}"
    stat = f"inactive_file 7\nhierarchical_memory_limit {above}\ntotal_inactive_file {inactive}\n"
    return {
        f"{folder}/memory.limit_in_bytes": limit,
        f"{folder}/memory.usage_in_bytes": usage,
        f"{folder}/memory.use_hierarchy": 1,
        f"{folder}/memory.stat": stat,
    }


def test_without_other_limits_it_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    """A process in no cgroup and without resource limits may take MemAvailable: 33554432 KiB are 32 GiB."""
    tree = write_tree(tmp_path, QUIET)
    assert memory_limits(tree) == (MemoryLimit(32 * GIB, "MemAvailable of /proc/meminfo"),)


def test_v2_counts_every_level_and_what_can_be_reclaimed(tmp_path: Path) -> None:
    """Of a v2 group the least of max and high at each level counts: 4 - (3 - 0.5) = 1.5 GiB at /a, 2 - 1 at /a/b."""
    files: dict[str, object] = {
        "proc/self/cgroup": "0::/a/b\n",
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/a/memory.max": 4 * GIB,
        "sys/fs/cgroup/a/memory.high": "max",
        "sys/fs/cgroup/a/memory.current": 3 * GIB,
        "sys/fs/cgroup/a/memory.stat": f"anon 5\ninactive_file {GIB // 2}\nactive_file {GIB}\n",
        "sys/fs/cgroup/a/b/memory.max": "max",
        "sys/fs/cgroup/a/b/memory.high": 2 * GIB,
        "sys/fs/cgroup/a/b/memory.current": 1 * GIB,
    }
    tree = write_tree(tmp_path, QUIET, files)
    assert memory_limits(tree)[1:] == (
        MemoryLimit(1 * GIB, "memory cgroup /a/b (memory.high)"),
        MemoryLimit(3 * GIB // 2, "memory cgroup /a (memory.max)"),
    )
    assert available_memory(tree).limited_by == "memory cgroup /a/b (memory.high)"


def test_v2_without_the_controller_is_no_limit(tmp_path: Path) -> None:
    """A v2 group in which memory isn't counted has no files of it, and is passed over."""
    files: dict[str, object] = {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": V2_MOUNT}
    tree = write_tree(tmp_path, QUIET, files, {"sys/fs/cgroup/a/cgroup.procs": 1})
    assert len(memory_limits(tree)) == 1


def test_v1_counts_every_level(tmp_path: Path) -> None:
    """Of a v1 group the level above may be the tighter one: 8 - (7 - 2) = 3 GiB, against 6 - 1 = 5 GiB."""
    files: dict[str, object] = {"proc/self/cgroup": "4:cpu:/z\n3:memory:/a/b\n0::/\n"}
    files["proc/self/mountinfo"] = V1_MOUNT
    groups = v1_group("/a/b", 6 * GIB, 1 * GIB) | v1_group("/a", 8 * GIB, 7 * GIB, inactive=2 * GIB)
    tree = write_tree(tmp_path, QUIET, files, groups, v1_group("", NO_LIMIT, 9 * GIB))
    assert memory_limits(tree)[1:] == (
        MemoryLimit(5 * GIB, "memory cgroup /a/b (memory.limit_in_bytes)"),
        MemoryLimit(3 * GIB, "memory cgroup /a (memory.limit_in_bytes)"),
    )


def test_v1_without_hierarchy_leaves_out_the_levels_above(tmp_path: Path) -> None:
    """Where a v1 level doesn't count what is below, its limit doesn't hold for us."""
    files: dict[str, object] = {"proc/self/cgroup": "3:memory:/a/b\n", "proc/self/mountinfo": V1_MOUNT}
    groups = v1_group("/a/b", 6 * GIB, 1 * GIB) | v1_group("/a", 1 * GIB, 1 * GIB)
    groups["sys/fs/cgroup/memory/a/memory.use_hierarchy"] = 0
    tree = write_tree(tmp_path, QUIET, files, groups)
    assert available_memory(tree) == MemoryLimit(5 * GIB, "memory cgroup /a/b (memory.limit_in_bytes)")


def test_v1_in_a_container_finds_its_group_and_the_limit_above_it(tmp_path: Path) -> None:
    """A mount that shows a part of the hierarchy is read from there on; a limit above it is in memory.stat."""
    mount = V1_MOUNT.replace("0:32 /", "0:32 /pod\\0401")
    files: dict[str, object] = {"proc/self/cgroup": "3:memory:/pod 1/c\n", "proc/self/mountinfo": mount}
    groups = v1_group("/c", NO_LIMIT, 1 * GIB, above=2 * GIB) | v1_group("", NO_LIMIT, 1 * GIB, above=2 * GIB)
    tree = write_tree(tmp_path, QUIET, files, groups)
    expected = "memory cgroup /pod 1 or one above (hierarchical_memory_limit)"
    assert available_memory(tree) == MemoryLimit(1 * GIB, expected)


@pytest.mark.parametrize("path", ["/../other", "/docker/0123"])
def test_a_group_outside_of_the_mount_is_read_at_the_mount_point(tmp_path: Path, path: str) -> None:
    """A membership that the mount doesn't show stands for the mount point, the nearest that can be seen."""
    files: dict[str, object] = {"proc/self/cgroup": f"3:memory:{path}\n", "proc/self/mountinfo": V1_MOUNT}
    tree = write_tree(tmp_path, QUIET, files, v1_group("", 3 * GIB, 1 * GIB))
    assert available_memory(tree) == MemoryLimit(2 * GIB, "memory cgroup / (memory.limit_in_bytes)")


def test_a_group_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    """What is left is never negative."""
    files: dict[str, object] = {"proc/self/cgroup": "3:memory:/\n", "proc/self/mountinfo": V1_MOUNT}
    tree = write_tree(tmp_path, QUIET, files, v1_group("", 1 * GIB, 2 * GIB))
    assert available_memory(tree).size_bytes == 0


def test_resource_limits_count_less_what_is_mapped(tmp_path: Path) -> None:
    """Of RLIMIT_AS 1 GiB, 512 MiB are mapped (VmSize); of RLIMIT_DATA 512 MiB, 128 MiB (VmData)."""
    tree = write_tree(tmp_path, QUIET, {"proc/self/limits": LIMITS.format(data=512 * MIB, space=1 * GIB)})
    assert memory_limits(tree)[1:] == (
        MemoryLimit(512 * MIB, "RLIMIT_AS (ulimit -v)"),
        MemoryLimit(384 * MIB, "RLIMIT_DATA (ulimit -d)"),
    )


def test_the_refusal_says_what_would_do(tmp_path: Path) -> None:
    """What needs more than the share is refused with every figure; what it calls possible is possible."""
    tree = write_tree(tmp_path, QUIET)
    with pytest.raises(NotEnoughMemoryError) as refused:
        check_budget(20 * GIB, what="zeroing 20 GiB", root=tree)
    assert str(refused.value) == (
        "zeroing 20 GiB needs 20 GiB of memory, but only 32768 MiB are available (limited by MemAvailable of"
        " /proc/meminfo), of which 50% may be used; the largest possible is 16384 MiB"
    )
    check_budget(16384 * MIB, what="zeroing", root=tree)
    check_budget(20 * GIB, what="zeroing", share=0.9, root=tree)
    again = pickle.loads(pickle.dumps(refused.value))
    assert (type(again), str(again)) == (NotEnoughMemoryError, str(refused.value))


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_is_more_than_nothing_and_at_most_all(share: float) -> None:
    """A share outside 0 to 1 is a mistake of the caller."""
    with pytest.raises(ValueError, match="share: found"):
        check_budget(1, what="a byte", share=share)


def pool_files(folder: str, n_pages: int, n_free: int, n_reserved: int | None, n_surplus: int = 0) -> dict[str, object]:
    """Return the files of a pool of 2 MiB pages; a node's has no reservations."""
    folder = f"{folder}/hugepages-2048kB"
    files: dict[str, object] = {f"{folder}/nr_hugepages": n_pages, f"{folder}/free_hugepages": n_free}
    files[f"{folder}/surplus_hugepages"] = n_surplus
    return files if n_reserved is None else files | {f"{folder}/resv_hugepages": n_reserved}


def pools(folder: Path) -> Path:
    """Write a host with 10 huge pages, 2 of them surplus, 8 free, 3 of those promised; 6 free ones are on node 1."""
    return write_tree(
        folder,
        QUIET,
        pool_files("sys/kernel/mm/hugepages", 10, 8, 3, 2),
        pool_files("sys/devices/system/node/node0/hugepages", 4, 2, None, 2),
        pool_files("sys/devices/system/node/node1/hugepages", 6, 6, None),
    )


def test_promised_pages_are_not_free(tmp_path: Path) -> None:
    """8 free less 3 promised are 5; a promised page may be of any node, so node 1 has 5 for sure and node 0 its 2."""
    tree = pools(tmp_path)
    assert huge_page_sizes(root=tree) == (2 * MIB,)
    assert [free_huge_pages(2 * MIB, nid, root=tree) for nid in (None, 0, 1)] == [5, 2, 5]
    assert read_pool(2 * MIB, root=tree).n_persistent == 8


def test_the_refusal_of_huge_pages_says_how_to_get_more(tmp_path: Path) -> None:
    """8 pages are asked for and 5 free, so 3 more are needed than the 8 persistent ones."""
    tree = pools(tmp_path)
    check_huge_pages(10 * MIB, 2 * MIB, root=tree)
    with pytest.raises(NotEnoughMemoryError) as refused:
        check_huge_pages(15 * MIB, 2 * MIB, root=tree)
    assert str(refused.value) == (
        "15 MiB in huge pages of 2 MiB need 8 free pages, but the pool has 5; the largest possible is 10 MiB. To get"
        " more, run as root with --allow-hugepage-pool (the pool is restored afterwards), or as root:"
        " echo 11 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    )
    with pytest.raises(NotEnoughMemoryError, match=r"the pool has 2 on node 0.*node/node0/hugepages"):
        check_huge_pages(15 * MIB, 2 * MIB, 0, root=tree)


def test_a_hugetlb_group_limits_huge_pages(tmp_path: Path) -> None:
    """A container that may have one more huge page gets no second one out of a full pool."""
    files: dict[str, object] = {
        "proc/self/cgroup": "0::/a\n",
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/a/hugetlb.2MB.max": 6 * MIB,
        "sys/fs/cgroup/a/hugetlb.2MB.current": 4 * MIB,
    }
    tree = write_tree(pools(tmp_path), files)
    check_huge_pages(2 * MIB, 2 * MIB, root=tree)
    with pytest.raises(
        NotEnoughMemoryError, match=r"only 1 more \(limited by hugetlb cgroup /a \(hugetlb\.2MB\.max\)\)"
    ):
        check_huge_pages(3 * MIB, 2 * MIB, root=tree)


def test_a_page_size_or_node_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The errors say which page sizes and nodes there are."""
    tree = pools(tmp_path)
    with pytest.raises(ValueError, match="page_bytes: found 1 GiB; huge pages of this host: 2 MiB"):
        free_huge_pages(GIB, root=tree)
    with pytest.raises(ValueError, match="nid: found 7; nodes of this host with a pool: 0, 1"):
        free_huge_pages(2 * MIB, 7, root=tree)


def test_this_host_has_memory_and_some_limit() -> None:
    """On the real host something is available, and no limit is more than the host has."""
    available = available_memory()
    n_pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    assert 0 < available.size_bytes <= n_pages * page_bytes
    assert available.limited_by


# Refused once, then as much as is called possible is really taken: the kernel must not kill for that.
CHILD = """
import re, sys
from pathlib import Path
from real.limits import NotEnoughMemoryError, check_budget
if len(sys.argv) > 1:
    Path(sys.argv[1], "cgroup.procs").write_text("0")
try:
    check_budget(2**40, what="a TiB", share=0.9)
except NotEnoughMemoryError as error:
    print(error)
    possible = int(re.search(r"possible is (\\d+) MiB", str(error))[1]) * 2**20
check_budget(possible // 2, what="half", share=0.9)
memory = bytearray(possible // 2)
memory[::4096] = bytes([1]) * len(memory[::4096])
print("alive")
"""


def test_under_ulimit_it_is_refused_and_not_killed() -> None:
    """Under ulimit -v the refusal names RLIMIT_AS, and what is called possible can be had."""
    command = ["sh", "-c", f'ulimit -v {1536 * MIB // KIB} && exec "$0" -c "$1"', sys.executable, CHILD]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "limited by RLIMIT_AS (ulimit -v)" in done.stdout
    assert done.stdout.endswith("alive\n")


@pytest.fixture
def small_group() -> Iterator[tuple[Path, str]]:
    """A memory cgroup of 256 MiB below our own: its folder, and the file that limits it."""
    groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    if "memory" in groups:
        above, file = Path(f"/sys/fs/cgroup/memory{groups['memory']}"), "memory.limit_in_bytes"
    else:
        above, file = Path(f"/sys/fs/cgroup{groups.get('', '')}"), "memory.max"
    folder = above / f"ktask-sim-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        try:
            (folder / file).write_text(str(256 * MIB))
        except OSError as error:
            pytest.skip(f"no memory limit can be set here: {error}")
        yield folder, file
    finally:
        folder.rmdir()


def test_in_a_small_cgroup_it_is_refused_and_not_killed(small_group: tuple[Path, str]) -> None:
    """In a cgroup of 256 MiB the refusal names it, and what is called possible can be had without being killed."""
    folder, file = small_group
    command = [sys.executable, "-c", CHILD, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"{folder.name} ({file})" in done.stdout
    assert done.stdout.endswith("alive\n")
