"""Memory of this host is cleared by every method it allows: nothing before it is asked for, and nothing left out."""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.text.units import GIB, KIB, MIB
from real.huge_pages import GrownPool
from real.limits import NotEnoughMemoryError, free_huge_pages, read_fields
from real.zeroing import Arena, Method, NoMethodError, choose, methods, why_not
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux"),
    pytest.mark.xdist_group("huge_pages"),
]

POOL_PAGE_BYTES = 2 * MIB
N_POOL_PAGES = 16
MOST_BYTES = N_POOL_PAGES * POOL_PAGE_BYTES
BASE = mmap.PAGESIZE

Chunk = tuple[int, int]  # start, size


# Pages of 1 GiB would take too much for a test.
NAMES = [method.name for method in methods() if not method.from_pool or method.page_bytes == POOL_PAGE_BYTES]
POOL_NAMES = [method.name for method in methods() if method.from_pool and method.name in NAMES]
FILE_NAMES = [name for name in POOL_NAMES if name.startswith("fallocate")]


@pytest.fixture(params=NAMES)
def method(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Method]:
    """Each method of this host in turn, with a pool of 16 huge pages of 2 MiB where it needs one."""
    found = next(method for method in methods() if method.name == request.param)
    if not found.from_pool:
        reason = why_not(found, MOST_BYTES, [])
        if reason is not None:
            pytest.skip(reason)
        yield found
        return
    request.getfixturevalue("pool")
    n_free = free_huge_pages(POOL_PAGE_BYTES) + N_POOL_PAGES
    with GrownPool(POOL_PAGE_BYTES, n_free, state_dir=tmp_path / "pool"):
        yield found


@st.composite
def chunked(draw: st.DrawFn) -> tuple[int, list[Chunk]]:
    """A size, often odd, and its chunks in any order: often parts of a huge page, the last one whatever is left."""
    size = draw(st.integers(1, MOST_BYTES // KIB)) * KIB - draw(st.sampled_from([0, 0, 1, 1023]))
    cuts = draw(st.lists(st.integers(0, size), max_size=10, unique=True))
    near = [min(size, POOL_PAGE_BYTES * draw(st.integers(0, N_POOL_PAGES)) + draw(st.sampled_from([-1, 0, 1, BASE])))]
    edges = sorted({0, size, *cuts, *(max(0, cut) for cut in near)})
    return size, draw(st.permutations([(a, b - a) for a, b in itertools.pairwise(edges)]))


def granule_of(method: Method) -> int:
    """Return what clearing is counted in: pages."""
    return max(method.page_bytes, BASE)


def whole_bytes(method: Method, size_bytes: int) -> int:
    """Return a size up to the end of its last page."""
    granule = granule_of(method)
    return -(-size_bytes // granule) * granule


def pages_of(method: Method, start: int, size_bytes: int) -> int:
    """Return the bytes of the pages that begin within a chunk: those that are its own to clear."""
    granule = granule_of(method)
    return sum(granule for at in range(-(-start // granule) * granule, start + size_bytes, granule) if at >= start)


def soil(arena: Arena) -> None:
    """Leave something that is not zero all over the arena, and give it back."""
    arena.give_back(0, arena.size_bytes)
    arena.clear(0, arena.size_bytes)
    arena.soil()
    sample = min(64 * KIB, arena.size_bytes)
    assert set(arena.read(0, sample)) == set(arena.read(arena.size_bytes - sample, sample)) == {0xA5}
    arena.give_back(0, arena.size_bytes)


def open_arena(method: Method, size_bytes: int) -> Arena:
    """Open an arena, and say before a long traceback does if it is too small."""
    arena = method.open(size_bytes)
    assert arena.size_bytes >= size_bytes
    return arena


def test_chunks_of_any_pattern_clear_their_own_pages_and_no_others(method: Method) -> None:
    """After each chunk there are just the pages that begin in it, more; in the end all is there, and is zero."""

    @settings(max_examples=8, deadline=None)
    @given(chunked())
    def check(pattern: tuple[int, list[Chunk]]) -> None:
        size, chunks = pattern
        with closing(open_arena(method, size)) as arena:
            soil(arena)
            cleared = 0
            assert arena.cleared_bytes() == 0
            for start, length in chunks:
                arena.clear(start, length)
                cleared += pages_of(method, start, length)
                assert arena.cleared_bytes() == cleared
            assert cleared == whole_bytes(method, size)
            assert arena.read(0, size) == bytes(size)

    check()


def test_looking_clears_nothing(method: Method) -> None:
    """However often it is asked what is cleared, and on which nodes, nothing is until it is asked for."""
    with closing(open_arena(method, 8 * MIB)) as arena:
        for _ in range(2):
            soil(arena)
            places = arena.nodes([0, 4 * MIB])
            assert [arena.cleared_bytes() for _ in range(3)] == [0, 0, 0]
            assert method.name == "memset" or places == [None, None]  # memset clears memory that is there
            arena.clear(0, 8 * MIB)
            assert arena.cleared_bytes() == 8 * MIB
            assert None not in arena.nodes([0, 4 * MIB])


def test_memory_that_is_new_is_not_cleared_yet(method: Method) -> None:
    """An arena that has just been opened has nothing cleared."""
    with closing(open_arena(method, 4 * MIB)) as arena:
        assert arena.cleared_bytes() == 0


def test_a_chunk_left_out_is_found(method: Method) -> None:
    """Whichever chunk is missing, as much less is cleared as it has pages; where memory is there, it isn't zero."""
    chunks = [(0, 3 * MIB), (3 * MIB, 5 * MIB), (8 * MIB, 4 * MIB), (12 * MIB, 3 * MIB + 7)]
    size = sum(length for _, length in chunks)
    with closing(open_arena(method, size)) as arena:
        for missing in chunks:
            soil(arena)
            for chunk in chunks:
                if chunk != missing:
                    arena.clear(*chunk)
            assert arena.cleared_bytes() == whole_bytes(method, size) - pages_of(method, *missing)
            if method.name == "memset":
                assert arena.read(0, size) != bytes(size)
                assert arena.read(*missing) != bytes(missing[1])


@pytest.mark.parametrize("n_threads", [2, 5])
def test_threads_clear_all_of_it_together(method: Method, n_threads: int) -> None:
    """Chunks that several threads clear at once, in any order, are all cleared once they are done."""
    size, length = 24 * MIB + 4097, 768 * KIB + 1
    chunks = [(start, min(length, size - start)) for start in range(0, size, length)]
    with closing(open_arena(method, size)) as arena, ThreadPoolExecutor(n_threads) as threads:
        for seed in range(3):
            soil(arena)
            random.Random(seed).shuffle(chunks)
            list(threads.map(lambda chunk: arena.clear(*chunk), chunks))
            assert arena.cleared_bytes() == whole_bytes(method, size)
            assert arena.read(0, size) == bytes(size)


def test_a_part_given_back_is_not_cleared_and_can_be_again(method: Method) -> None:
    """What is given back in parts, each cleared as one, is missing until it is cleared again; the rest stays."""
    with closing(open_arena(method, 16 * MIB)) as arena:
        for start in range(0, 16 * MIB, 4 * MIB):
            arena.clear(start, 4 * MIB)
        arena.soil()
        arena.give_back(4 * MIB, 4 * MIB)
        assert method.name == "memset" or arena.cleared_bytes() == 12 * MIB  # else what is soiled counts as not cleared
        arena.clear(4 * MIB, 4 * MIB)
        assert arena.read(4 * MIB, 4 * MIB) == bytes(4 * MIB)
        assert set(arena.read(0, 4 * MIB)) == set(arena.read(8 * MIB, 8 * MIB)) == {0xA5}


def test_memory_comes_from_the_node_it_is_placed_on(method: Method) -> None:
    """Memory placed on a node is there; a node that doesn't exist is an error, at the latest when it is cleared."""
    node = min(int(folder.name.removeprefix("node")) for folder in Path("/sys/devices/system/node").glob("node[0-9]*"))
    with closing(open_arena(method, 4 * MIB)) as arena:
        try:
            arena.place(0, 4 * MIB, node)
        except (OSError, NotImplementedError) as error:
            pytest.skip(f"memory can't be bound to nodes here: {error}")
        assert arena.cleared_bytes() == 0
        arena.clear(0, 4 * MIB)
        assert arena.nodes([0, 2 * MIB]) == [node, node]
        assert arena.read(0, 4 * MIB) == bytes(4 * MIB)
        arena.give_back(0, 4 * MIB)
        with pytest.raises(OSError) as refused:
            arena.place(0, 4 * MIB, 1000)
            arena.clear(0, 4 * MIB)
        assert refused.value.errno == errno.EINVAL


def memory_policy() -> int:
    """Return the memory policy of this thread (get_mempolicy); 0 is the default."""
    number = {"x86_64": 239, "aarch64": 236}.get(platform.machine())
    if number is None:
        pytest.skip(f"the number of get_mempolicy on {platform.machine()} is not known")
    mode, libc = ctypes.c_int(-1), ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, ctypes.byref(mode), None, ctypes.c_ulong(0), None, ctypes.c_ulong(0)):
        pytest.skip(f"get_mempolicy: {os.strerror(ctypes.get_errno())}")
    return mode.value


def test_the_memory_policy_of_the_caller_is_as_before(method: Method) -> None:
    """A thread that has cleared memory of a node takes its other memory from where it did before."""
    before = memory_policy()
    with closing(open_arena(method, 4 * MIB)) as arena:
        try:
            arena.place(0, 4 * MIB, 0)
        except (OSError, NotImplementedError) as error:
            pytest.skip(f"memory can't be bound to nodes here: {error}")
        arena.clear(0, 4 * MIB)
    assert memory_policy() == before


def test_a_closed_arena_leaves_nothing(method: Method) -> None:
    """Arenas opened and closed many times leave no mapping, no open file and no huge page behind."""

    def taken() -> tuple[int, int]:
        pages = free_huge_pages(POOL_PAGE_BYTES) if method.from_pool else 0
        return len(list(Path("/proc/self/fd").iterdir())), pages

    def mapped_bytes() -> int:
        return int(read_fields(Path("/proc/self/status"))["VmSize"].split()[0]) * KIB

    def use() -> None:
        with closing(open_arena(method, 8 * MIB)) as arena:
            arena.clear(0, 6 * MIB)
            arena.soil()
            arena.read(0, 4 * MIB)
            arena.nodes([0, 7 * MIB])

    use()
    before, mapped_before = taken(), mapped_bytes()
    for _ in range(20):
        use()
    assert taken() == before
    assert mapped_bytes() - mapped_before < 20 * MIB  # of 160 MiB and more


@pytest.mark.parametrize("method", POOL_NAMES, indirect=True)
def test_an_empty_pool_is_a_memory_error(method: Method) -> None:
    """When huge pages run out it is an error that can be told, and not the end of the process."""
    n_bytes = (free_huge_pages(POOL_PAGE_BYTES) + 1) * POOL_PAGE_BYTES
    with pytest.raises((MemoryError, OSError)) as failed, closing(method.open(n_bytes)) as arena:
        arena.clear(0, n_bytes)
    assert "no page of 2 MiB is left" in str(failed.value) or getattr(failed.value, "errno", 0) == errno.ENOMEM
    with pytest.raises(NoMethodError, match=f"{method.name} can't be used: .* but the pool has"):
        choose(n_bytes, [POOL_PAGE_BYTES], wanted=method.name)


MANY_FILES = f"""
import resource
from real.zeroing import FileArena
resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
arena = FileArena({MOST_BYTES}, {POOL_PAGE_BYTES})
try:
    for start in range(0, {MOST_BYTES}, {POOL_PAGE_BYTES}):
        arena.clear(start, {POOL_PAGE_BYTES})
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("method", FILE_NAMES, indirect=True)
@pytest.mark.usefixtures("method")
def test_too_many_files_is_an_error_with_advice() -> None:
    """Where a file for each chunk is more than may be open, the error says what to do."""
    done = subprocess.run([sys.executable, "-c", MANY_FILES], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("chunks need more open files than allowed (ulimit -n); make chunks larger\n")


def refusal(size_bytes: int, chunk_bytes: Sequence[int], wanted: str) -> str:
    """Return why a method is refused."""
    with pytest.raises(NoMethodError) as refused:
        choose(size_bytes, chunk_bytes, wanted=wanted)
    return str(refused.value)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    """The error names every method of this host."""
    names = ", ".join(method.name for method in methods())
    assert refusal(MIB, [MIB], "bzero") == f"found method 'bzero'; this host has {names}"


def test_chunks_are_not_cut_out_of_huge_pages() -> None:
    """A method whose pages are larger than the chunks is refused for them; from 8 pages on, odd chunks will do."""
    page = max(method.page_bytes for method in methods())
    if page == BASE:
        pytest.skip("this kernel has no huge pages")
    name = next(method.name for method in methods() if method.page_bytes == page)
    assert "would be cut out of pages of" in refusal(MIB, [page, BASE], name)
    assert "would be cut out of pages of" in refusal(MIB, [8 * page - BASE], name)
    method = next(method for method in methods() if method.name == name)
    reason = why_not(method, MIB, [3 * page, 8 * page + BASE])
    assert reason is None or "would be cut" not in reason


def test_a_share_too_small_for_the_job_is_refused() -> None:
    """What doesn't fit into the share of the memory is refused before any method is tried."""
    with pytest.raises(NotEnoughMemoryError, match=r"the job needs 1 GiB of memory, but .* 0% may be used"):
        choose(GIB, [MIB], wanted="memset", share=1e-9)


def test_what_was_passed_over_is_told_with_the_reason() -> None:
    """The choice says of each method that comes before it why it is not the one."""
    choice = choose(64 * KIB, [64 * KIB])  # too small for huge pages
    names = [method.name for method in methods()]
    assert [name for name, _ in choice.passed_over] == names[: names.index(choice.method.name)]
    assert all(reason for _, reason in choice.passed_over)
    assert all(f"not {name}: {reason}" in str(choice) for name, reason in choice.passed_over)
