"""The chunks and works of each rule against the published definition, written a second time, and worked examples.

The examples with 1000 iterations and 4 processors are the ones of the literature on self-scheduled loops.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest

from models.machine import Machine
from models.policies import ChunkRule, NodeEntry, Policy, PolicyOptions, TaskShape
from models.policies.chunks import CHUNKS, SplitEnd
from models.policies.works import WORKS


def sizes_of(rule: ChunkRule) -> list[int]:
    """The chunks of a task of one entry from 0, taken by the works in turn; the last is cut off."""
    found: list[int] = []
    left = rule.task.size
    while left:
        size = min(rule.next_size(left, len(found) % rule.task.works, rule.task.size - left), left)
        found.append(size)
        left -= size
    return found


def up(size: float, multiple: int) -> int:
    """A size up to a multiple, at least one."""
    return max(1, math.ceil(size / multiple)) * multiple


def cut(sizes: Iterator[int], total: int) -> list[int]:
    """Sizes until the total is reached, the last cut off."""
    found: list[int] = []
    left = total
    for size in sizes:
        found.append(min(size, left))
        left -= found[-1]
        if not left:
            return found
    raise AssertionError(f"{found} are less than {total}")


def plain_guided(n: int, p: int, least: int) -> list[int]:
    """Polychronopoulos and Kuck: each is ceil(R / P) of the R left."""
    found: list[int] = []
    while sum(found) < n:
        found.append(min(up(math.ceil((n - sum(found)) / p), least), n - sum(found)))
    return found


def plain_factoring(n: int, p: int, least: int) -> list[int]:
    """Hummel, Schonberg and Flynn: batches of P, each of chunks of ceil(R / 2P) of the R left at its begin."""
    found: list[int] = []
    while sum(found) < n:
        chunk = up(math.ceil((n - sum(found)) / (2 * p)), least)
        for _ in range(p):
            if sum(found) < n:
                found.append(min(chunk, n - sum(found)))
    return found


def plain_trapezoid(n: int, p: int, least: int) -> list[int]:
    """Tzen and Ni: the i-th is f - i * floor((f - l) / (C - 1)), f = N / 2P, l the least, C = ceil(2N / (f + l))."""
    first = max(n // (2 * p), least)
    chunks = math.ceil(2 * n / (first + least))
    step = (first - least) // (chunks - 1) if chunks > 1 else 0
    return cut((up(max(first - i * step, least), least) for i in range(n + 1)), n)


def plain_ktask(n: int, p: int, least: int) -> list[int]:
    """ktask_chunk_size: size / nthreads >> 2, rounddown to min_chunk, max with it; ktask_run: one thread takes all."""
    return [n] if p == 1 else cut(iter([max((n // p >> 2) // least * least, least)] * (n + 1)), n)


def plain_one_per_work(n: int, p: int, least: int) -> list[int]:
    """Static chunking: ceil(N / P) each."""
    return cut(iter([up(n / p, least)] * p), n)


def plain_even(n: int, p: int, least: int) -> list[int]:  # noqa: ARG001
    """touch_all_pages of QEMU: numpages / num_threads each, and one of the leftover for the first."""
    return [n // p + (i < n % p) for i in range(min(n, p))]


def plain_fixed(n: int, p: int, least: int) -> list[int]:  # noqa: ARG001
    """Self-scheduling: always the same."""
    return cut(iter([least] * n), n)


def plain_padata(n: int, p: int, least: int) -> list[int]:
    """padata_do_multithreaded with an align of 1, from position 0."""
    return [size for _, size in padata_mt(0, n, p, least, 1)]


def plain_hugetlb(n: int, p: int, least: int) -> list[int]:
    """hugetlb_pages_alloc_boot: min_chunk = max_huge_pages / hugepage_allocation_threads."""
    return [size for _, size in padata_mt(0, n, p, max(n // p, least), 1)]


def padata_mt(start: int, size: int, nworks: int, min_chunk: int, align: int) -> list[tuple[int, int]]:
    """kernel/padata.c line by line: (start, size) of each call of thread_fn."""
    if nworks == 1:
        return [(start, size)]
    chunk_size = size // (nworks * 4)  # load_balance_factor
    chunk_size = max(chunk_size, min_chunk)
    chunk_size = math.ceil(chunk_size / align) * align
    calls = []
    while size > 0:
        this = math.ceil((start + 1) / chunk_size) * chunk_size - start  # roundup(start + 1, chunk_size) - start
        this = min(this, size)
        calls.append((start, this))
        start += this
        size -= this
    return calls


PLAIN: dict[str, Callable[[int, int, int], list[int]]] = {
    "ktask": plain_ktask,
    "padata": plain_padata,
    "hugetlb": plain_hugetlb,
    "one-per-work": plain_one_per_work,
    "even": plain_even,
    "fixed": plain_fixed,
    "guided": plain_guided,
    "factoring": plain_factoring,
    "trapezoid": plain_trapezoid,
}


def test_each_rule_is_written_twice() -> None:
    """Every rule but AWF-C, which has a test with speeds of its own, has a second implementation here."""
    assert {*PLAIN, "weighted"} == set(CHUNKS)


@pytest.mark.parametrize("name", PLAIN)
def test_chunks_are_those_of_the_formula(name: str) -> None:
    """The chunks of a rule are those of the plain formula for any size, number of works and minimum."""
    for size, works, least in itertools.product((1, 7, 1000, 1001, 16_384), (1, 2, 3, 4, 7, 16), (1, 5, 256)):
        assert sizes_of(CHUNKS[name](TaskShape(size, works, least))) == PLAIN[name](size, works, least)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # GSS; Polychronopoulos and Kuck's rule, as tabulated for N = 1000, P = 4.
        ("guided", [250, 188, 141, 106, 79, 59, 45, 33, 25, 19, 14, 11, 8, 6, 4, 3, 3, 2, 1, 1, 1, 1]),
        # f = 125, l = 1, C = ceil(2000 / 126) = 16, step floor(124 / 15) = 8; after twelve 28 are left.
        ("trapezoid", [125, 117, 109, 101, 93, 85, 77, 69, 61, 53, 45, 37, 28]),
        # Left at the batches: 1000, 500, 248, 124, 60, 28, 12, 4; over 8, rounded up.
        ("factoring", [125] * 4 + [63] * 4 + [31] * 4 + [16] * 4 + [8] * 4 + [4] * 4 + [2] * 4 + [1] * 4),
        ("one-per-work", [250] * 4),
        ("fixed", [1] * 1000),
        ("ktask", [62] * 16 + [8]),  # 1000 // 4 // 4 = 62
        ("padata", [62] * 16 + [8]),
    ],
)
def test_worked_example_of_1000_on_4(name: str, published: list[int]) -> None:
    """The chunks of 1000 iterations on 4 processors are the published ones."""
    assert sum(published) == 1000
    assert sizes_of(CHUNKS[name](TaskShape(1000, 4, 1))) == published


@pytest.mark.parametrize(
    ("start", "size", "works", "min_chunk", "align", "calls"),
    [
        # chunk 1000 // 16 = 62, up to 64: the first ends at 128, the last is what is left.
        (100, 1000, 4, 1, 64, [(100, 28), *((at, 64) for at in range(128, 1088, 64)), (1088, 12)]),
        (100, 1000, 1, 1, 64, [(100, 1000)]),
        (5, 30, 2, 8, 1, [(5, 3), (8, 8), (16, 8), (24, 8), (32, 3)]),  # 30 // 8 = 3, at least 8
    ],
)
def test_padata_cuts_at_absolute_multiples(
    quiet_machine: Machine,
    start: int,
    size: int,
    works: int,
    min_chunk: int,
    align: int,
    calls: list[tuple[int, int]],
) -> None:
    """Chunks end at multiples of the chunk size counted from 0, wherever the task begins, as in padata_mt_helper."""
    assert padata_mt(start, size, works, min_chunk, align) == calls
    options = PolicyOptions(policy="padata").model_copy(update={"min_chunk": min_chunk * 4096, "align": align * 4096})
    queue = Policy(options, quiet_machine, lambda _: 0).queue([NodeEntry(0, start, size)], works)
    found = []
    while (chunk := queue.take(0)) is not None:
        found.append((chunk.start, chunk.size))
    assert found == calls


def test_too_few_helpers_get_more_than_a_chunk() -> None:
    """1000 pages for 40 threads, of which a pool of 4 gives 5 works: chunks of 1000 // 20 = 50, not 1000 // 40 = 25."""
    assert sizes_of(CHUNKS["hugetlb"](TaskShape(1000, 5, 1, asked=40))) == [50] * 20
    assert sizes_of(CHUNKS["hugetlb"](TaskShape(1024, 6, 1, asked=6))) == [170] * 6 + [4]


def run_on(rule: ChunkRule, speeds: list[float]) -> list[tuple[int, int]]:
    """The (work, size) of each chunk, taken by works of the given speeds, the first of two at once first."""
    left, free_at, taken = rule.task.size, [0.0] * len(speeds), []
    under_way: dict[int, tuple[int, float]] = {}
    while left:
        work = min(range(len(speeds)), key=lambda i: (free_at[i], i))
        if work in under_way:
            rule.done(work, *under_way.pop(work))
        size = min(rule.next_size(left, work, rule.task.size - left), left)
        left -= size
        under_way[work] = (size, size / speeds[work])
        free_at[work] += size / speeds[work]
        taken.append((work, size))
    return taken


def test_weighted_with_one_work_twice_as_fast() -> None:
    """AWF-C, 1000 units, work 0 does 2 a second and work 1 one a second; the first chunks are ceil(1000 / 4) = 250.

    At 125 s, 500 left, ceil(500 / 4) = 125, and no other has a speed yet: weight 1. At 187.5 s: ceil(375 / 4) = 94. At
    234.5 s: ceil(281 / 4) = 71. At 250 s work 1 asks, mean speed 1.5, weight 2/3: ceil(53 x 2/3) = 36 of 210. At 270 s
    work 0, weight 4/3: ceil(44 x 4/3) = 59 of 174. At 286 s work 1: ceil(29 x 2/3) = 20 of 115. At 299.5 s work 0:
    ceil(24 x 4/3) = 32 of 95; at 306 s work 1: ceil(16 x 2/3) = 11 of 63.
    """
    found = run_on(CHUNKS["weighted"](TaskShape(1000, 2, 1)), [2.0, 1.0])
    assert found[:9] == [(0, 250), (1, 250), (0, 125), (0, 94), (0, 71), (1, 36), (0, 59), (1, 20), (0, 32)]
    assert found[9] == (1, 11)
    assert sum(size for _, size in found) == 1000


def test_weighted_counts_late_chunks_more() -> None:
    """The k-th chunk counts k times: 10 at 1/s, then 10 at 4/s make (10 + 2 x 10) / (10 + 2 x 2.5) = 2 units a second.

    With the other work at 4/3 a second the mean is 5/3 and the weight 6/5: of 1000 left ceil(250 x 1.2) = 300.
    """
    rule = CHUNKS["weighted"](TaskShape(2000, 2, 1))
    rule.done(0, 10, 10.0)
    rule.done(0, 10, 2.5)
    rule.done(1, 40, 30.0)
    assert rule.next_size(1000, 0, 0) == pytest.approx(300, abs=1)  # the mean is no binary fraction
    assert rule.next_size(1000, 1, 0) == pytest.approx(200, abs=1)


def test_the_split_end() -> None:
    """Chunks of 64 on 4 works, split: of 200 left ceil(200 / 4) = 50, then 38, 28, 21; before that as they were."""
    rule = CHUNKS["fixed"](TaskShape(264, 4, 1, chunk_size=64))
    assert sizes_of(SplitEnd(rule.task, rule))[:6] == [64, 50, 38, 28, 21, 16]


def test_throughput_stops_growing(quiet_machine: Machine) -> None:
    """Adaptive works: 2 give 10 MB/s, 3 give 14, 4 give 14.5, less than 5 % more: back to 3, for good."""
    rule = WORKS["adaptive"](quiet_machine)
    asked = []
    for throughput in (10.0, 14.0, 14.5, 1.0, 99.0):
        works = rule.n_works(262_144, 256, 0)
        asked.append(works)
        rule.task_done(works, 10**6, 1.0 / throughput)
    assert asked == [2, 3, 4, 3, 3]


@pytest.mark.parametrize(
    ("max_threads", "size", "expected"),
    [
        (3, 262_144, [2, 3, 3, 3]),  # the cap
        (None, 768, [2, 3, 3, 3]),  # three chunks of 256
        (1, 262_144, [1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("growth", [1.0, 2.0])
def test_throughput_grows_to_a_limit(
    quiet_machine: Machine, max_threads: int | None, size: int, expected: list[int], growth: float
) -> None:
    """Adaptive works stay at a limit, whether the throughput there goes on growing or not."""
    rule = WORKS["adaptive"](quiet_machine, max_threads)
    throughputs = [10.0, 20.0, 20.0 * growth, 20.0 * growth]
    asked = []
    for throughput in throughputs:
        works = rule.n_works(size, 256, 0)
        asked.append(works)
        rule.task_done(works, 10**6, 1.0 / throughput)
    assert asked == expected


def test_the_threshold_of_growth(quiet_machine: Machine) -> None:
    """Growth from 10 to 12 is enough for a threshold of 0.1 and not for 0.3; a task of no time teaches nothing."""
    for threshold, expected in ((0.1, 4), (0.3, 2)):
        rule = WORKS["adaptive"](quiet_machine, None, threshold)
        rule.task_done(2, 1, 0.0)
        assert rule.n_works(262_144, 256, 0) == 2
        rule.task_done(2, 10, 1.0)
        rule.task_done(3, 12, 1.0)
        assert rule.n_works(262_144, 256, 0) == expected


def test_a_limit_is_not_for_good(quiet_machine: Machine) -> None:
    """A first task that can feed one work only leaves the next ones free to have two, then three."""
    rule = WORKS["adaptive"](quiet_machine)
    assert rule.n_works(256, 256, 0) == 1
    rule.task_done(1, 10, 1.0)
    assert rule.n_works(262_144, 256, 0) == 2
    rule.task_done(2, 20, 1.0)
    assert rule.n_works(262_144, 256, 0) == 3
