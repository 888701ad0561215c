"""The rules of ktask v1: number of works, chunk size, order of chunks."""

from __future__ import annotations

import pytest

from models.policy import Chunk, ChunkQueue, NodeEntry, ktask_chunk, ktask_works

PAGES_OF_1GIB = 262_144  # base pages of 4 KiB


def never_asked(n: int) -> int:
    """A choice of the next entry in a task that has only one."""
    raise AssertionError(f"asked to pick one of {n} entries")


@pytest.mark.parametrize(
    ("max_threads", "works", "chunk_mib", "n_chunks"),
    [(1, 1, 1024, 1), (2, 2, 128, 8), (4, 4, 64, 16), (8, 8, 32, 32), (16, 16, 16, 64)],
)
def test_gigantic_page_is_cut_as_v1_cuts_it(max_threads: int, works: int, chunk_mib: int, n_chunks: int) -> None:
    """A 1 GiB page with a minimum chunk of 256 base pages gives the works and chunks of the posted code."""
    found = ktask_works(PAGES_OF_1GIB, 256, 288, max_threads)
    chunk = ktask_chunk(PAGES_OF_1GIB, found, 256)
    assert (found, chunk * 4096 // 2**20, -(-PAGES_OF_1GIB // chunk)) == (works, chunk_mib, n_chunks)


@pytest.mark.parametrize(
    ("size", "min_chunk", "cpus", "max_threads", "works"),
    [
        (1000, 256, 288, 16, 4),  # ceil(1000 / 256) = 4
        (1024, 256, 288, 16, 4),  # exactly 4
        (1025, 256, 288, 16, 5),  # one unit over
        (1, 256, 288, 16, 1),
        (PAGES_OF_1GIB, 256, 12, 16, 12),  # fewer CPUs than threads allowed
        (PAGES_OF_1GIB, PAGES_OF_1GIB, 288, 16, 1),  # v2's minimum chunk of 1 GiB: one work
    ],
)
def test_number_of_works(size: int, min_chunk: int, cpus: int, max_threads: int, works: int) -> None:
    """The number of works is the least of ceil(size / min_chunk), the online CPUs and max_threads."""
    assert ktask_works(size, min_chunk, cpus, max_threads) == works


@pytest.mark.parametrize(
    ("size", "works", "min_chunk", "chunk"),
    [
        (10_000, 3, 256, 768),  # 10000 // 3 = 3333, // 4 = 833, down to a multiple of 256: 768
        (10_000, 16, 256, 256),  # 625 // 4 = 156: the minimum
        (10_000, 1, 256, 10_000),  # one work: one chunk
    ],
)
def test_chunk_size(size: int, works: int, min_chunk: int, chunk: int) -> None:
    """The chunk is a quarter of a work's share, down to a multiple of the minimum, and never less than it."""
    assert ktask_chunk(size, works, min_chunk) == chunk


def test_queue_hands_out_ascending_chunks_and_the_rest_last() -> None:
    """Chunks of an entry come in ascending order, the last one being what is left."""
    queue = ChunkQueue([NodeEntry(3, 100, 250)], 100, never_asked)
    taken = [queue.take(0) for _ in range(4)]
    assert taken == [Chunk(0, 100, 100), Chunk(0, 200, 100), Chunk(0, 300, 50), None]


def test_queue_moves_to_a_random_entry_with_work_left() -> None:
    """A work whose entry is empty goes on in the entry picked among those that have work left."""
    asked: list[int] = []

    def pick(n: int) -> int:
        asked.append(n)
        return n - 1

    queue = ChunkQueue([NodeEntry(0, 0, 10), NodeEntry(1, 0, 10), NodeEntry(2, 0, 10)], 10, pick)
    assert [queue.take(0) for _ in range(3)] == [Chunk(0, 0, 10), Chunk(2, 0, 10), Chunk(1, 0, 10)]
    assert asked == [2, 1]


def test_queue_refuses_an_empty_chunk() -> None:
    """A chunk size below 1 is an error that names the value."""
    with pytest.raises(ValueError, match="chunk_size must be 1 or more; found 0"):
        ChunkQueue([NodeEntry(0, 0, 1)], 0, never_asked)
