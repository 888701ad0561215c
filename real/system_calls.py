"""The system calls that Python lacks or makes with the interpreter lock held. Through CDLL the lock is released.

Numbers and constants: Linux, include/uapi (mman-common.h, mempolicy.h, memfd.h) and the tables of system calls.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import signal
from collections.abc import Sequence

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_libc.memset.restype = ctypes.c_void_p
_libc.memmove.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_libc.memmove.restype = ctypes.c_void_p
_libc.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_libc.memchr.restype = ctypes.c_void_p
_libc.syscall.restype = ctypes.c_long

_MAP_PRIVATE, _MAP_SHARED, _MAP_ANONYMOUS, _MAP_NORESERVE, _MAP_HUGETLB = 0x02, 0x01, 0x20, 0x4000, 0x40000
_HUGE_SHIFT = 26  # the logarithm of the page size stands in the flags from this bit on
_MFD_CLOEXEC, _MFD_HUGETLB = 0x1, 0x4
_DONTNEED, _HUGEPAGE, _NOHUGEPAGE, _POPULATE_WRITE = 4, 14, 15, 23
_MPOL_DEFAULT, _MPOL_BIND = 0, 2
_NUMBERS = {
    "x86_64": {"mbind": 237, "set_mempolicy": 238, "move_pages": 279},
    "aarch64": {"mbind": 235, "set_mempolicy": 237, "move_pages": 239},
}
_MAX_NODES = 1024
_PR_SET_PDEATHSIG, _PR_SET_THP_DISABLE = 1, 41


def _call(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _number(name: str) -> int:
    """Return a system call's number. Raises NotImplementedError for a processor it isn't known for."""
    try:
        return _NUMBERS[platform.machine()][name]
    except KeyError:
        raise NotImplementedError(f"the number of {name} on {platform.machine()} is not known") from None


def map_anonymous(size_bytes: int, *, align_bytes: int, huge_page_bytes: int | None = None) -> tuple[int, int, int]:
    """Map private memory, without reserving it, and return (aligned address, mapping's address, mapping's size).

    With `huge_page_bytes`, of pages of the pool. Raises OSError (ENOMEM if the pool has too few pages).
    """
    flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
    mapped_bytes = size_bytes + align_bytes
    if huge_page_bytes is not None:
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_HUGETLB | (huge_page_bytes.bit_length() - 1) << _HUGE_SHIFT
        mapped_bytes = size_bytes
    address = _libc.mmap(None, mapped_bytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        raise OSError(number, f"mmap of {size_bytes} bytes: {os.strerror(number)}")
    return -(-address // align_bytes) * align_bytes, address, mapped_bytes


def unmap(address: int, size_bytes: int) -> None:
    """Give a mapping back."""
    _call(_libc.munmap(address, size_bytes), "munmap")


def populate(address: int, size_bytes: int) -> None:
    """Have the kernel clear and map every page that isn't there yet (MADV_POPULATE_WRITE, Linux 5.14).

    Raises OSError: EINVAL where the kernel is older, EFAULT where pages run out.
    """
    if _libc.madvise(address, size_bytes, _POPULATE_WRITE):
        _call(-1, "madvise(MADV_POPULATE_WRITE)")


def discard(address: int, size_bytes: int) -> None:
    """Give the pages back. The mapping stays, empty (MADV_DONTNEED)."""
    _call(_libc.madvise(address, size_bytes, _DONTNEED), "madvise(MADV_DONTNEED)")


def want_huge_pages(address: int, size_bytes: int, wanted: bool) -> None:
    """Allow or forbid transparent huge pages for a mapping. Raises OSError if the kernel has none to be wanted."""
    if wanted:
        _call(_libc.madvise(address, size_bytes, _HUGEPAGE), "madvise(MADV_HUGEPAGE)")
    else:
        _libc.madvise(address, size_bytes, _NOHUGEPAGE)  # fails where there are none, which is as good


def fill(address: int, value: int, size_bytes: int) -> None:
    """Set memory to a byte's value, in user space."""
    _libc.memset(address, value, size_bytes)


def copy(to_address: int, address: int, size_bytes: int) -> None:
    """Copy memory, in user space."""
    _libc.memmove(to_address, address, size_bytes)


def read_all(address: int, value: int, size_bytes: int) -> None:
    """Read memory up to a byte of this value, in user space: all of it, where there is none."""
    _libc.memchr(address, value, size_bytes)


def bytes_at(address: int, size_bytes: int) -> memoryview:
    """Return mapped memory as a view that can be written. It must not be used after the mapping has gone."""
    return memoryview((ctypes.c_ubyte * size_bytes).from_address(address)).cast("B")


def resident_bytes(address: int, size_bytes: int) -> int:
    """Return how much of a mapping is in memory (mincore), without touching it."""
    page_bytes = mmap.PAGESIZE
    n_pages = -(-size_bytes // page_bytes)
    present = (ctypes.c_ubyte * n_pages)()
    _call(_libc.mincore(address, size_bytes, present), "mincore")
    return sum(byte & 1 for byte in bytes(present)) * page_bytes


def huge_memory_file(page_bytes: int, size_bytes: int) -> int:
    """Return the descriptor of an anonymous file of huge pages, empty yet. It goes with its last descriptor."""
    descriptor = os.memfd_create(
        "ktask-sim", _MFD_CLOEXEC | _MFD_HUGETLB | (page_bytes.bit_length() - 1) << _HUGE_SHIFT
    )
    os.ftruncate(descriptor, size_bytes)
    return descriptor


def map_file(descriptor: int, size_bytes: int) -> int:
    """Map an anonymous memory file, shared, and return the address."""
    address = _libc.mmap(None, size_bytes, mmap.PROT_READ | mmap.PROT_WRITE, _MAP_SHARED, descriptor, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        raise OSError(number, f"mmap: {os.strerror(number)}")
    return int(address)


def _mask(nid: int) -> ctypes.Array[ctypes.c_ulong]:
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    words = (ctypes.c_ulong * (_MAX_NODES // bits))()
    words[nid // bits] = 1 << (nid % bits)
    return words


def bind_memory(address: int, size_bytes: int, nid: int) -> None:
    """Have the pages of a private mapping come from one NUMA node only (mbind). Raises OSError: EINVAL for no node."""
    mask = _mask(nid)
    _call(
        _libc.syscall(
            ctypes.c_long(_number("mbind")),
            ctypes.c_void_p(address),
            ctypes.c_ulong(size_bytes),
            ctypes.c_int(_MPOL_BIND),
            mask,
            ctypes.c_ulong(_MAX_NODES),
            ctypes.c_uint(0),
        ),
        f"mbind to node {nid}",
    )


def bind_thread_memory(nid: int | None) -> None:
    """Take the memory that this thread allocates from one NUMA node only, or from anywhere again (set_mempolicy)."""
    mode, mask, n_bits = (_MPOL_DEFAULT, None, 0) if nid is None else (_MPOL_BIND, _mask(nid), _MAX_NODES)
    _call(
        _libc.syscall(ctypes.c_long(_number("set_mempolicy")), ctypes.c_int(mode), mask, ctypes.c_ulong(n_bits)),
        f"set_mempolicy to node {nid}",
    )


def nodes_of(addresses: Sequence[int]) -> list[int | None]:
    """Return the NUMA node of the page at each address, or None where there is no page (move_pages)."""
    n = len(addresses)
    pages = (ctypes.c_void_p * n)(*addresses)
    status = (ctypes.c_int * n)()
    _call(
        _libc.syscall(
            ctypes.c_long(_number("move_pages")),
            ctypes.c_int(0),
            ctypes.c_ulong(n),
            pages,
            None,
            status,
            ctypes.c_int(0),
        ),
        "move_pages",
    )
    return [found if found >= 0 else None for found in status]


def current_cpu() -> int:
    """Return the CPU on which this thread runs now. Raises OSError."""
    return _call(_libc.sched_getcpu(), "sched_getcpu")


def end_with_parent(parent_id: int) -> None:
    """Have this process killed when its parent, whose process id is given, ends (prctl PR_SET_PDEATHSIG)."""
    _call(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl")
    if os.getppid() != parent_id:  # it ended before
        os._exit(1)


def forbid_huge_pages() -> None:
    """Have this process, and the program that it becomes, get no transparent huge pages (PR_SET_THP_DISABLE)."""
    _call(_libc.prctl(_PR_SET_THP_DISABLE, ctypes.c_ulong(1), 0, 0, 0), "prctl")
