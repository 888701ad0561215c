"""Ways of having memory cleared on this host: by the kernel, as ktask's clients do, or in user space.

An `Arena` is the memory of a run. Its parts are cleared by any number of threads at once, without the interpreter lock.
Then all of it is given back, and can be cleared again. Nothing of it outlives the process: private mappings and
anonymous files only.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models.text.units import format_size
from real import system_calls
from real.huge_pages import GrownPool, PoolError
from real.limits import DEFAULT_SHARE, NotEnoughMemoryError, check_budget, check_huge_pages, huge_page_sizes

_THP = Path("/sys/kernel/mm/transparent_hugepage")
# Chunks whose edges fall within a huge page are moved to its end. Below this many huge pages a chunk, that changes
# their sizes by more than 1/8.
_LEAST_PAGES_IN_CHUNK = 8


class Arena(ABC):
    """Memory of a run, addressed from 0 to `size_bytes`, in pages of `page_bytes`."""

    def __init__(self, size_bytes: int, page_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.page_bytes = page_bytes

    @abstractmethod
    def place(self, start: int, size_bytes: int, nid: int) -> None:
        """Have memory that isn't cleared yet come from a NUMA node. Raises OSError (EINVAL: no such node)."""

    def clear(self, start: int, size_bytes: int) -> None:
        """Clear [start, start + size), its edges moved up to whole pages. Raises OSError or MemoryError."""
        low, high = self._whole(start), self._whole(start + size_bytes)
        if high > low:
            self._clear(low, high - low)

    def _whole(self, size_bytes: int) -> int:
        return -(-size_bytes // self.page_bytes) * self.page_bytes

    @abstractmethod
    def _clear(self, start: int, size_bytes: int) -> None: ...

    @abstractmethod
    def give_back(self, start: int, size_bytes: int) -> None:
        """Give the pages of [start, start + size) back, so that none of them is cleared. Files go whole."""

    @abstractmethod
    def cleared_bytes(self) -> int:
        """Return how much is there, cleared by nothing but `clear`: looking at it must not clear it."""

    @abstractmethod
    def read(self, start: int, size_bytes: int) -> bytes:
        """Return the content of memory that was cleared."""

    @abstractmethod
    def soil(self) -> None:
        """Write over all that is there, so that the next user of those pages would find it."""

    @abstractmethod
    def nodes(self, starts: Sequence[int]) -> list[int | None]:
        """Return the NUMA node of the page at each place, or None where there is no page."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""


class MappedArena(Arena):
    """Private memory that the kernel clears as it maps it, many pages a call (MADV_POPULATE_WRITE)."""

    def __init__(self, size_bytes: int, page_bytes: int, *, pool: bool = False) -> None:
        """Make private memory.

        `pool` takes pages of the huge-page pool, else they are base or transparent huge pages.
        """
        super().__init__(-(-size_bytes // page_bytes) * page_bytes, page_bytes)
        self._address, self._mapped_at, self._mapped_bytes = system_calls.map_anonymous(
            self.size_bytes, align_bytes=page_bytes, huge_page_bytes=page_bytes if pool else None
        )
        if not pool:
            system_calls.want_huge_pages(self._address, self.size_bytes, page_bytes > mmap.PAGESIZE)

    def place(self, start: int, size_bytes: int, nid: int) -> None:
        low, high = self._whole(start), self._whole(start + size_bytes)  # as `clear` does; pages can't be cut
        if high > low:
            system_calls.bind_memory(self._address + low, high - low, nid)

    def _clear(self, start: int, size_bytes: int) -> None:
        try:
            system_calls.populate(self._address + start, size_bytes)
        except OSError as error:
            if error.errno in (errno.EFAULT, errno.ENOMEM):
                raise MemoryError(f"no page of {format_size(self.page_bytes)} is left to clear") from None
            raise

    def give_back(self, start: int, size_bytes: int) -> None:
        low, high = self._whole(start), self._whole(start + size_bytes)
        system_calls.discard(self._address + low, high - low)

    def cleared_bytes(self) -> int:
        return system_calls.resident_bytes(self._address, self.size_bytes)

    def read(self, start: int, size_bytes: int) -> bytes:
        return bytes(system_calls.bytes_at(self._address + start, size_bytes))

    def soil(self) -> None:
        system_calls.fill(self._address, 0xA5, self.size_bytes)

    def nodes(self, starts: Sequence[int]) -> list[int | None]:
        return system_calls.nodes_of([self._address + start for start in starts])

    def close(self) -> None:
        system_calls.unmap(self._mapped_at, self._mapped_bytes)


class FilledArena(MappedArena):
    """Memory that is there already and is set to zero in user space (memset). Its uncleared parts are not zero."""

    def __init__(self, size_bytes: int) -> None:
        huge = transparent_huge_page_bytes()
        super().__init__(size_bytes, mmap.PAGESIZE if huge is None else huge)
        self._wanted_bytes = size_bytes
        self._placed: dict[int, tuple[int, int]] = {}  # start -> (end, node) of what is placed
        system_calls.populate(self._address, self.size_bytes)
        self._mark(0, self.size_bytes)
        self.page_bytes = 1  # of what `clear` can do

    def _mark(self, start: int, size_bytes: int) -> None:
        """Write a byte that is not zero into each base page."""
        view = system_calls.bytes_at(self._address + start, size_bytes)
        view[:: mmap.PAGESIZE] = b"\xa5" * -(-size_bytes // mmap.PAGESIZE)

    def place(self, start: int, size_bytes: int, nid: int) -> None:
        low = start // mmap.PAGESIZE * mmap.PAGESIZE
        high = -(-(start + size_bytes) // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._placed.get(low) != (high, nid):
            system_calls.discard(self._address + low, high - low)
            system_calls.bind_memory(self._address + low, high - low, nid)
            system_calls.populate(self._address + low, high - low)
            system_calls.fill(self._address + low, 0xA5, high - low)
            apart = {at: other for at, other in self._placed.items() if other[0] <= low or high <= at}
            self._placed = apart | {low: (high, nid)}

    def _clear(self, start: int, size_bytes: int) -> None:
        system_calls.fill(self._address + start, 0, size_bytes)

    def give_back(self, start: int, size_bytes: int) -> None:
        self._mark(start, size_bytes)

    def cleared_bytes(self) -> int:
        view = system_calls.bytes_at(self._address, self._wanted_bytes)
        return sum(not byte for byte in bytes(view[:: mmap.PAGESIZE])) * mmap.PAGESIZE


class FileArena(Arena):
    """Anonymous files on huge pages, a file for each chunk, which the kernel clears to allocate them (fallocate).

    A file for each chunk, since fallocate holds the file's lock all the time: chunks of one file wait for each other.
    """

    def __init__(self, size_bytes: int, page_bytes: int) -> None:
        super().__init__(-(-size_bytes // page_bytes) * page_bytes, page_bytes)
        self._files: dict[int, tuple[int, int]] = {}  # start -> (descriptor, size)
        self._nids: dict[int, int] = {}  # number of a page that is placed -> node
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def place(self, start: int, size_bytes: int, nid: int) -> None:
        system_calls.bind_thread_memory(nid)  # raises OSError if there is no such node
        system_calls.bind_thread_memory(None)
        pages = range(self._whole(start) // self.page_bytes, self._whole(start + size_bytes) // self.page_bytes)
        self._nids.update(dict.fromkeys(pages, nid))

    def _clear(self, start: int, size_bytes: int) -> None:
        try:
            descriptor = system_calls.huge_memory_file(self.page_bytes, size_bytes)
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise OSError(
                    errno.EMFILE,
                    f"more than {len(self._files)} chunks need more open files than allowed (ulimit -n); "
                    "make chunks larger",
                ) from None
            raise
        self._files[start] = (descriptor, size_bytes)
        nid = self._nids.get(start // self.page_bytes)
        try:
            if nid is not None:  # the memory policy of the caller of fallocate counts, not that of a mapping
                system_calls.bind_thread_memory(nid)
            os.posix_fallocate(descriptor, 0, size_bytes)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                raise MemoryError(f"no page of {format_size(self.page_bytes)} is left to clear") from None
            raise
        finally:
            if nid is not None:  # what this thread and its child processes allocate later comes from anywhere
                system_calls.bind_thread_memory(None)

    def give_back(self, start: int, size_bytes: int) -> None:
        for low, (descriptor, length) in list(self._files.items()):
            if low < start + size_bytes and start < low + length:
                os.close(descriptor)
                del self._files[low]

    def cleared_bytes(self) -> int:
        return sum(os.fstat(descriptor).st_blocks * 512 for descriptor, _ in self._files.values())

    def read(self, start: int, size_bytes: int) -> bytes:
        parts = []
        for at, (descriptor, length) in sorted(self._files.items()):
            low, high = max(start, at), min(start + size_bytes, at + length)
            if low < high:
                address = system_calls.map_file(descriptor, length)
                parts.append(bytes(system_calls.bytes_at(address + low - at, high - low)))
                system_calls.unmap(address, length)
        return b"".join(parts)

    def soil(self) -> None:
        for descriptor, length in self._files.values():
            address = system_calls.map_file(descriptor, length)
            system_calls.fill(address, 0xA5, length)
            system_calls.unmap(address, length)

    def nodes(self, starts: Sequence[int]) -> list[int | None]:
        found: list[int | None] = []
        for start in starts:
            at = max((low for low in self._files if low <= start), default=None)
            if at is None or start >= at + self._files[at][1]:
                found.append(None)
                continue
            descriptor, length = self._files[at]
            address = system_calls.map_file(descriptor, length)
            system_calls.bytes_at(address + start - at, 1)[0]  # maps the page, which is there
            found += system_calls.nodes_of([address + start - at])
            system_calls.unmap(address, length)
        return found

    def close(self) -> None:
        self.give_back(0, self.size_bytes)


@dataclass(frozen=True)
class Method:
    """A way of clearing memory."""

    name: str
    page_bytes: int  # memory comes in these; chunks are moved to their edges
    from_pool: bool  # the pages are of the huge-page pool
    measures: str
    needs: str
    open: Callable[[int], Arena]  # of a size in bytes


def transparent_huge_page_bytes() -> int | None:
    """Return the size of a transparent huge page on this host.

    Returns:
        The size in bytes, or None if this kernel has none or does not give them.

    Example:
        >>> transparent_huge_page_bytes() in (None, 2 * 2**20, 32 * 2**20, 512 * 2**20)
        True
    """
    try:
        if "[never]" in (_THP / "enabled").read_text():
            return None
        return int((_THP / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return None


def _word(size_bytes: int) -> str:
    return format_size(size_bytes).replace(" ", "")


def methods() -> tuple[Method, ...]:
    """Return the methods of clearing that this kernel and processor may have, the nearest to ktask's clients first.

    Returns:
        The methods. `choose` finds the one that works here now.

    Example:
        >>> "memset" in [method.name for method in methods()]
        True
    """
    sizes = sorted(huge_page_sizes(), reverse=True)
    found = [
        Method(
            f"fallocate-{_word(size)}",
            size,
            True,
            f"fallocate on hugetlb memory, pages of {format_size(size)}: what the published tables measured",
            "free huge pages of that size",
            lambda size_bytes, page=size: FileArena(size_bytes, page),  # type: ignore[misc]
        )
        for size in sizes
    ]
    found += [
        Method(
            f"populate-{_word(size)}",
            size,
            True,
            f"page faults on hugetlb memory, pages of {format_size(size)}, many at a call",
            "free huge pages of that size",
            lambda size_bytes, page=size: MappedArena(size_bytes, page, pool=True),  # type: ignore[misc]
        )
        for size in sizes
    ]
    huge = transparent_huge_page_bytes()
    if huge is not None:
        found.append(
            Method(
                "populate-thp",
                huge,
                False,
                f"page faults on transparent huge pages of {format_size(huge)}: the kernel's clearing loop, no pool",
                "transparent huge pages allowed (always or madvise)",
                lambda size_bytes: MappedArena(size_bytes, huge),
            )
        )
    base = mmap.PAGESIZE
    found.append(
        Method(
            "populate-base",
            base,
            False,
            f"page faults on pages of {format_size(base)}: mostly the cost of a fault, not of clearing",
            "nothing",
            lambda size_bytes: MappedArena(size_bytes, base),
        )
    )
    found.append(
        Method(
            "memset",
            1,
            False,
            "memset in user space on memory that is there: the C library's loop, not the kernel's",
            "nothing",
            FilledArena,
        )
    )
    return tuple(found)


class NoMethodError(ValueError):
    """No method can clear this much memory in chunks like these, or not the one asked for."""


@dataclass(frozen=True)
class Choice:
    """The method chosen, and why each one that comes before it was not."""

    method: Method
    passed_over: tuple[tuple[str, str], ...]  # (method, reason)

    def __str__(self) -> str:
        reasons = "".join(f"\n  not {name}: {reason}" for name, reason in self.passed_over)
        return f"method {self.method.name}: {self.method.measures}{reasons}"


def choose(
    size_bytes: int,
    chunk_bytes: Sequence[int],
    *,
    wanted: str | None = None,
    allow_pool: bool = False,
    share: float = DEFAULT_SHARE,
    by_nid: Mapping[int | None, int] | None = None,
) -> Choice:
    """Return the best method to clear memory of a size in chunks of such sizes.

    Args:
        size_bytes: The memory that is cleared.
        chunk_bytes: The sizes of chunks that occur, in bytes.
        wanted: The name of a method to take in place of the best.
        allow_pool: Whether the pool of huge pages may be grown, which needs root.
        share: The largest share of the available memory that may be used, 0 to 1.
        by_nid: The bytes that must be free on each node, where pages are taken from certain nodes.

    Returns:
        The method, and for each better one the reason why it can't be used.

    Raises:
        NoMethodError: No method works, or not the wanted one. The message has the reason for each.
        NotEnoughMemoryError: The memory is too small for any.

    Example:
        >>> choose(4 * 2**20, [2**20], wanted="memset").method.name
        'memset'
    """
    check_budget(size_bytes, share=share, what="the job")
    passed_over: list[tuple[str, str]] = []
    known = methods()
    if wanted is not None and wanted not in [method.name for method in known]:
        names = ", ".join(method.name for method in known)
        raise NoMethodError(f"found method {wanted!r}; this host has {names}")
    for method in known:
        if wanted not in (None, method.name):
            continue
        reason = why_not(method, size_bytes, chunk_bytes, allow_pool=allow_pool, share=share, by_nid=by_nid)
        if reason is None:
            return Choice(method, tuple(passed_over))
        passed_over.append((method.name, reason))
    raise NoMethodError("; ".join(f"{name} can't be used: {reason}" for name, reason in passed_over))


def why_not(
    method: Method,
    size_bytes: int,
    chunk_bytes: Sequence[int],
    *,
    allow_pool: bool = False,
    share: float = DEFAULT_SHARE,
    by_nid: Mapping[int | None, int] | None = None,
) -> str | None:
    """Return why a method can't clear memory of a size in such chunks, or None if it can."""
    page = method.page_bytes
    poor = [chunk for chunk in chunk_bytes if chunk % page and chunk < _LEAST_PAGES_IN_CHUNK * page]
    if poor:
        return f"chunks of {format_size(min(poor))} would be cut out of pages of {format_size(page)}"
    if method.from_pool:
        try:
            with ExitStack() as pools:
                for nid, needed_bytes in (by_nid or {None: size_bytes}).items():
                    if not allow_pool:
                        check_huge_pages(needed_bytes, page, nid)
                    else:  # whether it can be grown is known only when it has been
                        pools.enter_context(GrownPool(page, -(-needed_bytes // page), nid, share=share))
                return _refusal(method)
        except (NotEnoughMemoryError, PoolError) as error:
            return str(error)
    return _refusal(method)


def _refusal(method: Method) -> str | None:
    """Return why the kernel refuses a method, or None if it does not."""
    page = method.page_bytes
    try:
        arena = method.open(page if method.from_pool else max(page, mmap.PAGESIZE))
        try:
            if not method.from_pool:
                arena.clear(0, arena.size_bytes)
        finally:
            arena.close()
    except (OSError, NotImplementedError) as error:
        return f"the kernel refuses: {error}"
    return None
