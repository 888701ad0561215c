"""A closed queue of threads at locks in which every single section is simulated, and cases of it drawn at random."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from random import Random

from models.memory.locks import Lock, lock_curve, waits


def cycle_by_sections(
    threads: int, locks: Sequence[Lock], *, fixed: bool, cycles: int = 12_000, seed: int = 7
) -> float:
    """Return the mean time from one cycle of a thread to its next, with locks relative to a cycle of 1 alone.

    A thread works for a time drawn from an exponential distribution before each lock. Sections have one length, or one
    that is drawn likewise. A sixth of the cycles are run first, to come to a steady state.
    """
    draw = Random(seed).expovariate
    work = (1.0 - sum(lock.hold_s for lock in locks)) / len(locks)
    waiting: list[deque[int]] = [deque() for _ in locks]
    busy, last = [False] * len(locks), [-1] * len(locks)
    events: list[tuple[float, int, int, str]] = []  # time, thread, lock, what
    done, first, began_s, now = 0, cycles // 6, 0.0, 0.0

    def enter(thread: int, at: int) -> None:
        section = locks[at].hold_s + (locks[at].transfer_s if last[at] != thread else 0.0)
        busy[at], last[at] = True, thread
        took = section if fixed or not section else draw(1.0 / section)
        heappush(events, (now + took, thread, at, "leaves"))

    for thread in range(threads):
        heappush(events, (draw(1.0 / work), thread, 0, "comes"))
    while done < cycles:
        now, thread, at, what = heappop(events)
        if what == "comes":
            if busy[at]:
                waiting[at].append(thread)
            else:
                enter(thread, at)
            continue
        handover = locks[at].handover_s
        if what == "leaves" and waiting[at] and handover:
            heappush(events, (now + (handover if fixed else draw(1.0 / handover)), thread, at, "has handed over"))
            continue
        if at == len(locks) - 1:
            done += 1
            began_s = now if done == first else began_s
        heappush(events, (now + draw(1.0 / work), thread, (at + 1) % len(locks), "comes"))
        if waiting[at]:
            enter(waiting[at].popleft(), at)
        else:
            busy[at] = False
    return threads * (now - began_s) / (done - first)


def drawn_case(random: Random, n_locks: int, cv: float) -> tuple[int, tuple[Lock, ...]]:
    """Return 2 to 64 threads, and locks that are held for 0.4 to 40 % of a cycle each, 90 % in all at most."""

    def cost() -> float:
        return random.choice((0, 0, 1)) * 2 ** random.uniform(-8, -2.5)

    while True:
        threads = round(2 ** random.uniform(1, 6))
        locks = tuple(Lock(str(i), 1.0, 2 ** random.uniform(-8, -1.3), cost(), cost(), cv=cv) for i in range(n_locks))
        if sum(lock.hold_s for lock in locks) < 0.9:
            return threads, locks


def error(threads: int, locks: Sequence[Lock], *, fixed: bool, cycles: int = 12_000) -> float:
    """Return by how much the model's cycle is longer than the simulated one, as a share."""
    model = 1.0 + waits(lock_curve(tuple(locks), 1.0).shares, threads, 1.0)
    return model / cycle_by_sections(threads, locks, fixed=fixed, cycles=cycles) - 1.0
