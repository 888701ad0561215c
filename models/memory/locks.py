"""Locks: how much of their time threads spend waiting for them.

Threads that work, take a lock, and work again form a closed queue. The chain of Boyd-Wickizer, Kaashoek, Morris and
Zeldovich ("Non-scalable locks are dangerous", Linux Symposium 2012) gives the wait of n threads at one lock. With k of
them at the lock, it is passed on after the holder's section and the hand-over. Several locks of one client are solved
together: each sees the waits for the others as time away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

_ROUNDS = 200  # of the fixed point; it settles in some ten
_EPSILON = 1e-10


@dataclass(frozen=True)
class Handover:
    """How a lock that readers hold for `section_s` comes to a writer, and back to them.

    A waiter spins for at most `spins` (25 us, rwsem_rspin_threshold of Linux 5.4), then sleeps until it is woken. The
    wake-up takes `wake_s`, and `deep_s` more where its CPU has idled so long that it left its deepest state. The share
    of such CPUs follows from the time that all threads read in a round. It begins at `deep_after_s` and is full at 2.6
    times that. This is a rule of thumb, and MODEL.md has the evidence. A waiter that spins fetches the lock's line, as
    do all others: twice each.
    """

    section_s: float
    sections: float  # of one thread, from one of its writes to the next
    wake_s: float
    deep_s: float = 0.0
    deep_after_s: float = 1.0
    line_s: float = 0.0
    spins: bool = False

    def one_s(self, threads: int) -> float:
        """Return the time of one hand-over among this many threads."""
        if self.spins and self.section_s <= SPINS_S:
            return 2.0 * threads * self.line_s
        deep = (threads * self.section_s / self.deep_after_s - 1.0) / 1.6
        return self.wake_s + self.deep_s * min(max(deep, 0.0), 1.0)

    def stall_s(self, threads: int) -> float:
        """Return for how long each write of another thread keeps a thread from its work, among this many threads.

        The writer waits for the readers under way, and they wait for it in turn. Half a section is lost, and two
        hand-overs, to the writer and to the readers. Where all write after each section, they drain together, and go
        one by one.
        """
        together = 1.0 + (threads - 1) / self.sections  # writers that have come by the time that readers have left
        drained_s = (1.0 - 1.0 / self.sections) * self.section_s / 2.0
        return drained_s + (1.0 + 1.0 / together) * self.one_s(threads)


SPINS_S = 25e-6  # for which a writer spins at a lock that readers hold (Linux 5.4, rwsem_rspin_threshold)


@dataclass(frozen=True)
class Lock:
    """One lock as a client takes it, once for each `per_bytes` of its work. Times are for one such section.

    * ``hold_s``: the section, with the lock's cache line at hand. It is part of the time that the work takes alone.
    * ``transfer_s``: more if another CPU has held it before: the line, and the data that it protects, have to be
      fetched.
    * ``handover_s``: more if somebody waits: to a spinning waiter a second transfer, to a sleeping one its wake-up.
    * ``stall_s``: the time for which each section keeps all others out who use the same thing otherwise (a writer among
      the readers of a reader-writer lock: their leaving, its section, their coming back).
    * ``handover``: the time for which each section keeps others out, where that depends on their number.
    * ``scope``: one lock for the whole job (a process's mmap_sem), or one for each memory node (a zone's lock).
    """

    name: str
    per_bytes: float
    hold_s: float = 0.0
    transfer_s: float = 0.0
    handover_s: float = 0.0
    stall_s: float = 0.0
    scope: str = "job"
    handover: Handover | None = None

    def relative(self, rate_bytes_per_s: float) -> _Share:
        """Return the lock's times as shares of the time that a section and the work up to the next one take alone."""
        cycle_s = self.per_bytes / rate_bytes_per_s
        return _Share(
            self.hold_s / cycle_s,
            self.transfer_s / cycle_s,
            self.handover_s / cycle_s,
            self.stall_s / cycle_s,
            self.handover,
            cycle_s,
        )


@dataclass(frozen=True)
class _Share:
    """The times of a lock relative to a cycle: the work of one thread from one section to the next, alone."""

    hold: float
    transfer: float
    handover: float
    stall: float
    writers: Handover | None = None
    cycle_s: float = 1.0

    def stalled(self, threads: int) -> float:
        """Return for how long the sections of the others keep a thread out, in one of its cycles."""
        writers = 0.0 if self.writers is None else self.writers.stall_s(threads) / self.cycle_s
        return (threads - 1) * (self.stall + writers)


@dataclass(frozen=True)
class LockCurve:
    """The capacity of locks as a resource of the contention engine: the time for which they are held, at most.

    A stream offers the time for which it would hold them alone. The curve returns the part of that sum that is left
    when all wait for each other. `shares` are relative to the cycle of one thread. `held` is their sum of holds.
    """

    shares: tuple[_Share, ...]
    held: float  # of a cycle, by one thread alone: what it offers for each second

    is_flat = False

    def effective(self, capacity: float, offered: float, flows: int = 1) -> float:  # noqa: ARG002 - of any size
        """Return the effective capacity for this number of flows and their offered load together."""
        if flows <= 1 or not offered > 0.0:
            return offered
        away = flows * self.held / offered  # a thread's cycle without any wait: 1, or more where its memory is far
        return offered * away / (away + waits(self.shares, flows, round(max(away, 1.0), 9)))


def lock_curve(locks: tuple[Lock, ...], rate_bytes_per_s: float) -> LockCurve:
    """Return the curve of locks that a client takes while it works at a rate, alone.

    Raises ValueError if the sections take longer than the work that they are part of.
    """
    shares = tuple(lock.relative(rate_bytes_per_s) for lock in locks)
    held = math.fsum(share.hold for share in shares)
    if held >= 1.0:
        raise ValueError(f"the sections of {', '.join(lock.name for lock in locks)} take longer than the whole work")
    return LockCurve(shares, max(held, _EPSILON))


@lru_cache(maxsize=4096)
def waits(shares: tuple[_Share, ...], threads: int, cycle: float) -> float:
    """Return the cycle with this many threads over the cycle alone, both relative to a cycle with near memory.

    `cycle` is the time of a cycle without waits: 1, or more where memory is far.
    """
    stalled = math.fsum(share.stalled(threads) for share in shares)
    extra = [0.0] * len(shares)
    for _ in range(_ROUNDS):
        before = list(extra)
        for i, share in enumerate(shares):
            others = math.fsum(extra) - extra[i]
            extra[i] = _residence(share, threads, cycle - share.hold + stalled + others) - share.hold
        if max((abs(a - b) for a, b in zip(extra, before, strict=True)), default=0.0) < _EPSILON * cycle:
            break
    return stalled + math.fsum(extra)


def _residence(share: _Share, threads: int, away: float) -> float:
    """Return the mean time from asking for a lock to giving it back, for threads that are `away` in between.

    The chain of the number k at the lock: threads come at (threads - k) / away, and leave after `section` each.
    """
    alone = share.hold + share.transfer * (threads - 1) / threads  # who comes to a free lock may have had it last
    waited = share.hold + share.transfer + share.handover
    if not waited > 0.0:
        return share.hold
    weight, total, throughput = 1.0, 1.0, 0.0
    for k in range(1, threads + 1):
        section = waited if k > 1 else alone
        if section <= 0.0:  # free unless somebody waits: nobody ever does
            return share.hold
        weight *= (threads - k + 1) / away * section
        total += weight
        throughput += weight / section
        if total > 1e200:
            weight, total, throughput = weight / total, 1.0, throughput / total
    return threads * total / throughput - away
