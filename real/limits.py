"""How much memory this process may use: ordinary pages, and the huge pages that are set aside in pools.

A memory cgroup kills where it could refuse, so it is asked before, not after. Huge pages of a pool count neither as
available memory nor, as a rule, in a memory cgroup, so they are budgeted apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.text.units import GIB, KIB, MIB, format_size

HOST = Path("/")  # what `root` is unless a captured tree is read
UNLIMITED_BYTES = 2**62  # cgroup v1 writes "no limit" as 2**63 - 1, rounded down to a page
DEFAULT_SHARE = 0.5  # half is left to the rest of the host: its page cache, and programs that start meanwhile


class NotEnoughMemoryError(ValueError):
    """The wanted memory doesn't fit. The message names an amount that would."""


@dataclass(frozen=True)
class MemoryLimit:
    """The bytes that can still be taken, as far as `limited_by` is concerned."""

    size_bytes: int
    limited_by: str


@dataclass(frozen=True)
class HugePagePool:
    """The pool of one page size, of a node or (`nid` None) of the whole system. Surplus pages are among `n_pages`."""

    page_bytes: int
    nid: int | None
    n_pages: int
    n_free: int  # of the system: those promised to a mapping deducted
    n_surplus: int

    @property
    def n_persistent(self) -> int:
        """Return the pages that are set aside for good, as a write to nr_hugepages changes them."""
        return self.n_pages - self.n_surplus


@dataclass(frozen=True)
class _Group:
    """One level of a cgroup hierarchy: its folder, its path as the kernel names it, and if it is the last we see."""

    folder: Path
    path: str
    version: int
    topmost: bool


def available_memory(root: Path = HOST) -> MemoryLimit:
    """Return the least of all limits. Raises OSError where there is no /proc."""
    return min(memory_limits(root), key=lambda limit: limit.size_bytes)


def memory_limits(root: Path = HOST) -> tuple[MemoryLimit, ...]:
    """Return every limit on ordinary memory that this process is under. Raises OSError where there is no /proc."""
    meminfo = read_meminfo(root)
    name = "MemAvailable" if "MemAvailable" in meminfo else "MemFree"
    limits = [MemoryLimit(meminfo[name], f"{name} of /proc/meminfo")]
    limits += _group_limits(root)
    status = read_fields(root / "proc/self/status")
    for row, used, words in (
        ("Max address space", "VmSize", "RLIMIT_AS (ulimit -v)"),
        ("Max data size", "VmData", "RLIMIT_DATA (ulimit -d)"),
    ):
        limit_bytes = soft_limit(row, root)
        if limit_bytes is not None:
            used_bytes = int(status[used].split()[0]) * KIB
            limits.append(MemoryLimit(max(0, limit_bytes - used_bytes), words))
    return tuple(limits)


def check_budget(needed_bytes: int, *, what: str, share: float = DEFAULT_SHARE, root: Path = HOST) -> None:
    """Refuse a run that needs more than `share` of the available memory.

    Raises NotEnoughMemoryError, and ValueError for a share outside 0 to 1 or a negative size.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: found {share}; allowed is more than 0, up to 1")
    if needed_bytes < 0:
        raise ValueError(f"needed_bytes: found {needed_bytes}; allowed is 0 or more")
    available = available_memory(root)
    largest_bytes = int(available.size_bytes * share)
    if needed_bytes > largest_bytes:
        raise NotEnoughMemoryError(
            f"{what} needs {format_size(needed_bytes)} of memory, but only {_at_most(available.size_bytes)} are"
            f" available (limited by {available.limited_by}), of which {share:.0%} may be used;"
            f" the largest possible is {_at_most(largest_bytes)}"
        )


def check_huge_pages(needed_bytes: int, page_bytes: int, nid: int | None = None, *, root: Path = HOST) -> None:
    """Refuse a run that needs more huge pages than the pool has free or a hugetlb cgroup allows this process.

    Raises NotEnoughMemoryError, and ValueError for a page size or node that isn't there.
    """
    pool = read_pool(page_bytes, nid, root=root)
    n_needed = -(-needed_bytes // page_bytes)
    asked = f"{format_size(needed_bytes)} in huge pages of {format_size(page_bytes)} need {n_needed} free pages"
    place = "" if nid is None else f" on node {nid}"
    for limit in _huge_page_group_limits(page_bytes, root):
        if n_needed * page_bytes > limit.size_bytes:
            raise NotEnoughMemoryError(
                f"{asked}, but this process may have only {limit.size_bytes // page_bytes} more (limited by"
                f" {limit.limited_by}); the largest possible is"
                f" {_at_most(min(pool.n_free, limit.size_bytes // page_bytes) * page_bytes)}"
            )
    if n_needed > pool.n_free:
        file = "/" / (pool_folder(page_bytes, nid, root=root) / "nr_hugepages").relative_to(root)
        raise NotEnoughMemoryError(
            f"{asked}, but the pool has {pool.n_free}{place}; the largest possible is"
            f" {_at_most(pool.n_free * page_bytes)}. To get more, run as root with --allow-hugepage-pool (the pool is"
            f" restored afterwards), or as root: echo {pool.n_persistent + n_needed - pool.n_free} > {file}"
        )


def huge_page_sizes(*, root: Path = HOST) -> tuple[int, ...]:
    """Return the sizes of huge pages that this kernel has pools for.

    Args:
        root: The root of the file system, for a copy of /sys.

    Returns:
        Sizes in bytes, ascending. There may be none.

    Example:
        >>> all(size % 4096 == 0 for size in huge_page_sizes())
        True
    """
    found = (root / "sys/kernel/mm/hugepages").glob("hugepages-*kB")
    return tuple(sorted(int(folder.name[len("hugepages-") : -len("kB")]) * KIB for folder in found))


def free_huge_pages(page_bytes: int, nid: int | None = None, *, root: Path = HOST) -> int:
    """Return how many pages can be taken from the pool of a node or of the system.

    Raises ValueError for a page size or node that isn't there.
    """
    return read_pool(page_bytes, nid, root=root).n_free


def read_pool(page_bytes: int, nid: int | None = None, *, root: Path = HOST) -> HugePagePool:
    """Return the pool of a node or of the system. Raises ValueError for a page size or node that isn't there."""
    system = pool_folder(page_bytes, None, root=root)
    folder = pool_folder(page_bytes, nid, root=root)
    n_free = _count(system / "free_hugepages") - _count(system / "resv_hugepages")
    if nid is not None:
        # Reservations are kept for the system, not for nodes: a node's free page may be promised to somebody.
        n_free = min(n_free, _count(folder / "free_hugepages"))
    return HugePagePool(
        page_bytes, nid, _count(folder / "nr_hugepages"), max(0, n_free), _count(folder / "surplus_hugepages")
    )


def pool_folder(page_bytes: int, nid: int | None = None, *, root: Path = HOST) -> Path:
    """Return the pool's folder in /sys. Raises ValueError for a page size or node that isn't there."""
    name = f"hugepages-{page_bytes // KIB}kB"
    if not (root / "sys/kernel/mm/hugepages" / name).is_dir() or page_bytes % KIB:
        sizes = ", ".join(format_size(size_bytes) for size_bytes in huge_page_sizes(root=root)) or "none"
        raise ValueError(f"page_bytes: found {format_size(page_bytes)}; huge pages of this host: {sizes}")
    if nid is None:
        return root / "sys/kernel/mm/hugepages" / name
    folder = root / f"sys/devices/system/node/node{nid}/hugepages" / name
    if not folder.is_dir():
        nids = ", ".join(map(str, pool_nids(page_bytes, root=root))) or "none"
        raise ValueError(f"nid: found {nid}; nodes of this host with a pool: {nids}")
    return folder


def pool_nids(page_bytes: int, *, root: Path = HOST) -> tuple[int, ...]:
    """Return the nodes that have a pool for this size, ascending, or none where the kernel knows no nodes."""
    nodes = (root / "sys/devices/system/node").glob(f"node*/hugepages/hugepages-{page_bytes // KIB}kB")
    return tuple(sorted(int(folder.parent.parent.name.removeprefix("node")) for folder in nodes))


def read_meminfo(root: Path = HOST) -> dict[str, int]:
    """Return /proc/meminfo: bytes, or counts for the lines without a unit. Raises OSError."""
    fields = read_fields(root / "proc/meminfo")
    return {name: int(text.split()[0]) * (KIB if text.endswith("kB") else 1) for name, text in fields.items()}


def read_fields(file: Path) -> dict[str, str]:
    """Return the lines 'name: text' of a file, or of its first block where it has several. Raises OSError."""
    block = file.read_text().partition("\n\n")[0]
    lines = (line.partition(":") for line in block.splitlines())
    return {name.strip(): text.strip() for name, _, text in lines}


def soft_limit(row: str, root: Path = HOST) -> int | None:
    """Return a soft limit of /proc/self/limits, such as 'Max address space', or None if there is none."""
    for line in (root / "proc/self/limits").read_text().splitlines():
        if line.startswith(row):
            text = line[len(row) :].split()[0]
            return None if text == "unlimited" else int(text)
    return None


def _group_limits(root: Path) -> Iterator[MemoryLimit]:
    """Yield the rest of the memory cgroups' limits, at each level up to the visible root."""
    for group in _groups("memory", root):
        stat = _stat(group.folder / "memory.stat")
        words = f"memory cgroup {group.path}"
        if group.version == 2:
            reclaimable_bytes = stat.get("inactive_file", 0)
            files = [("memory.max", "memory.current"), ("memory.high", "memory.current")]
        else:
            reclaimable_bytes = stat.get("total_inactive_file", stat.get("inactive_file", 0))
            files = [
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
                ("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"),
            ]
        for limit_file, used_file in files:
            limit_bytes, used_bytes = _group_bytes(group.folder / limit_file), _group_bytes(group.folder / used_file)
            if limit_bytes is not None and used_bytes is not None:
                free_bytes = limit_bytes - max(0, used_bytes - reclaimable_bytes)
                yield MemoryLimit(max(0, free_bytes), f"{words} ({limit_file})")
        # In a container the levels above may be out of sight; v1 tells their least limit, though not their use.
        limit_bytes = stat.get("hierarchical_memory_limit", UNLIMITED_BYTES) if group.topmost else UNLIMITED_BYTES
        used_bytes = _group_bytes(group.folder / "memory.usage_in_bytes")
        if limit_bytes < UNLIMITED_BYTES and used_bytes is not None:
            free_bytes = limit_bytes - max(0, used_bytes - reclaimable_bytes)
            yield MemoryLimit(max(0, free_bytes), f"{words} or one above (hierarchical_memory_limit)")


def _huge_page_group_limits(page_bytes: int, root: Path) -> Iterator[MemoryLimit]:
    """Yield the rest of the hugetlb cgroups' limits for one page size, or nothing without such a controller."""
    # The kernel's names of the sizes, mm/hugetlb_cgroup.c: mem_fmt
    size = f"{page_bytes // GIB}GB" if page_bytes >= GIB else f"{page_bytes // MIB}MB"
    size = size if page_bytes >= MIB else f"{page_bytes // KIB}KB"
    names = {
        1: [
            (f"hugetlb.{size}.limit_in_bytes", f"hugetlb.{size}.usage_in_bytes"),
            (f"hugetlb.{size}.rsvd.limit_in_bytes", f"hugetlb.{size}.rsvd.usage_in_bytes"),
        ],
        2: [
            (f"hugetlb.{size}.max", f"hugetlb.{size}.current"),
            (f"hugetlb.{size}.rsvd.max", f"hugetlb.{size}.rsvd.current"),
        ],
    }
    for group in _groups("hugetlb", root):
        for limit_file, used_file in names[group.version]:
            limit_bytes, used_bytes = _group_bytes(group.folder / limit_file), _group_bytes(group.folder / used_file)
            if limit_bytes is not None and used_bytes is not None:
                yield MemoryLimit(max(0, limit_bytes - used_bytes), f"hugetlb cgroup {group.path} ({limit_file})")


def _groups(controller: str, root: Path) -> Iterator[_Group]:
    """Yield the cgroups of v1 and v2 that this process is in, from its own up to the mount point."""
    try:
        memberships = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
        mounts = [_mount(line) for line in (root / "proc/self/mountinfo").read_text().splitlines()]
    except FileNotFoundError:  # a kernel without cgroups
        return
    for number, controllers, path in memberships:
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        for kind, options, mounted_path, mount_point in mounts:
            if (kind == "cgroup2") if version == 2 else (kind == "cgroup" and controller in options):
                yield from _levels(path, mounted_path, root / mount_point.lstrip("/"), version)
                break


def _levels(path: str, mounted_path: str, mount_point: Path, version: int) -> Iterator[_Group]:
    """Yield a cgroup and those above it, as far as the mount shows them."""
    inside = Path(mounted_path) == Path("/") or Path(path).is_relative_to(mounted_path)
    # A path outside of the mount ("/../x", or of the host seen from a container): the mount point is all we see.
    relative = Path(path).relative_to(mounted_path) if inside and ".." not in Path(path).parts else Path()
    if not (mount_point / relative).is_dir():
        relative = Path()
    for level in (relative, *relative.parents):
        above = mount_point / level.parent / "memory.use_hierarchy"
        # v1 without hierarchy: those above neither count nor limit what is below.
        alone = version == 1 and above.exists() and above.read_text().strip() == "0"
        topmost = level == Path() or alone
        yield _Group(mount_point / level, str(Path(mounted_path) / level), version, topmost)
        if topmost:
            return


def _mount(line: str) -> tuple[str, set[str], str, str]:
    """Return the file system, its options, the path inside of it and the mount point of a line of mountinfo."""
    head, _, tail = line.partition(" - ")
    inside, point = (re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), word) for word in head.split()[3:5])
    kind, *_, options = tail.split()
    return kind, set(options.split(",")), inside, point


def _stat(file: Path) -> dict[str, int]:
    """Return a cgroup's statistics, empty where it has none."""
    if not file.exists():
        return {}
    pairs = (line.split() for line in file.read_text().splitlines())
    return {name: int(number) for name, number in pairs}


def _group_bytes(file: Path) -> int | None:
    """Return a figure of a cgroup, None if it has no such file or no limit."""
    if not file.exists():  # the root, or a controller that isn't enabled here
        return None
    text = file.read_text().strip()
    return None if text == "max" or int(text) >= UNLIMITED_BYTES else int(text)


def _count(file: Path) -> int:
    """Return a count of a pool, or 0 where nodes don't have such a file."""
    return int(file.read_text()) if file.exists() else 0


def _at_most(size_bytes: int) -> str:
    """Return a size rounded down, so that a size that a message calls possible works."""
    return f"{size_bytes // MIB} MiB" if size_bytes >= MIB else f"{size_bytes} B"
