"""Balancing of threads that wait among the CPUs that they may use (load_balance, kernel/sched/fair.c).

Domains and intervals are described in `sim.engine.scheduler`. While nobody waits nothing happens: a domain's timer is
set when the first thread waits in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from simpy import Environment

from models.machine import Cpu
from sim.engine.run_queue import RunQueue
from sim.engine.threads import Thread

_MS = 1e-3
_TRIES = 3  # source: cache_nice_tries + 2 (need_active_balance), cache_nice_tries being 1


class _Domain:
    """CPUs that are balanced together."""

    def __init__(self, queues: Sequence[RunQueue]) -> None:
        self.queues = queues
        self.is_armed = False
        self.busy_at_s = -1.0  # when CPUs that are not idle are balanced next
        self.slowness = 1  # how many times less often than usual


class Balancing:
    """All domains of a machine. `fill` gives an idle CPU a thread, and `move` takes one to another CPU."""

    def __init__(
        self,
        env: Environment,
        queues: Mapping[int, RunQueue],
        busy_factor: int,
        of_masks: bool,
        random: Random,
        *,
        fill: Callable[..., object],
        move: Callable[[Thread, RunQueue], object],
    ) -> None:
        self._env = env
        self._queues = queues
        self._busy_factor = busy_factor
        self._of_masks = of_masks
        self._random = random
        self._fill = fill
        self._move = move
        self._domains: dict[tuple[int, ...], _Domain] = {}
        self._by_mask: dict[tuple[int, ...] | None, dict[int, list[_Domain]]] = {}

    def wake(self, queue: RunQueue, allowed: tuple[int, ...] | None) -> None:
        """Note that a thread that may use some CPUs (None: all) waits on a CPU."""
        for domain in self._of(allowed).get(queue.cpu.cpu_id, ()):
            if not domain.is_armed:
                domain.is_armed = True
                n, now = len(domain.queues), self._env.now
                if domain.busy_at_s < now:  # it was balanced meanwhile, last at any time
                    domain.busy_at_s = now + n * _MS * self._busy_factor * self._random.random()
                self._arm(domain, n * _MS * self._random.random())

    def slow_down(self, queue: RunQueue) -> None:
        """Note that a group was throttled on a CPU: it is found balanced for a while."""
        queue.failed = 0
        for domain in self._domains.values():
            if queue in domain.queues:
                domain.slowness = 2
                domain.busy_at_s = max(domain.busy_at_s, self._env.now + self._busy_interval_s(domain))

    def _of(self, allowed: tuple[int, ...] | None) -> dict[int, list[_Domain]]:
        """Return the domains of CPUs that a thread may use, by CPU, or those of all CPUs where masks don't count."""
        if not self._of_masks:
            allowed = None
        found = self._by_mask.get(allowed)
        if found is None:
            found = self._by_mask[allowed] = {}
            cpus = [queue.cpu for queue in self._queues.values() if allowed is None or queue.cpu.cpu_id in allowed]
            for ids in _domains(cpus):
                domain = self._domains.get(ids)
                if domain is None:
                    domain = self._domains[ids] = _Domain([self._queues[cpu_id] for cpu_id in ids])
                for cpu_id in ids:
                    found.setdefault(cpu_id, []).append(domain)
        return found

    def _arm(self, domain: _Domain, wait_s: float) -> None:
        timer = self._env.timeout(wait_s)
        assert timer.callbacks is not None
        timer.callbacks.append(lambda _event: self._pass(domain))

    def _pass(self, domain: _Domain) -> None:
        """Balance a domain, and again as long as threads wait there."""
        if not any(queue.ready for queue in domain.queues):
            domain.is_armed = False
            return
        n, now = len(domain.queues), self._env.now
        for queue in domain.queues:
            if queue.current is None:
                self._fill(queue, active=queue.tried >= _TRIES)
                queue.tried = 0 if queue.current is not None else queue.tried + 1
        if now >= domain.busy_at_s:
            if self._balance(domain.queues):
                domain.slowness = 1
            domain.busy_at_s = now + self._busy_interval_s(domain)
        self._arm(domain, n * _MS * (0.5 + self._random.random()))

    def _busy_interval_s(self, domain: _Domain) -> float:
        interval_s = domain.slowness * len(domain.queues) * _MS * self._busy_factor
        return interval_s * (0.75 + self._random.random() / 2)

    def _balance(self, queues: Sequence[RunQueue]) -> bool:
        """Let one thread move from the CPU with most load to one with less than the mean. Return whether one did."""
        crowded = [queue for queue in queues if queue.ready]
        if not crowded:
            return False
        busiest = max(crowded, key=lambda queue: (queue.load, -queue.cpu.cpu_id))
        most, mean = busiest.load, sum(queue.load for queue in queues) / len(queues)
        for queue in sorted(queues, key=lambda queue: (queue.load, queue.cpu.cpu_id)):
            thread = next((thread for thread in busiest.ready if thread.may_use(queue.cpu)), None)
            if thread is None or queue is busiest:
                continue
            excess = min(most - mean, mean - queue.load)
            if excess <= 0.0:
                continue
            if thread.weight / 2**queue.failed <= excess:
                queue.failed = 0
                self._move(thread, queue)
                return True
            queue.failed += 1
        return False


def _domains(cpus: Sequence[Cpu]) -> list[tuple[int, ...]]:
    """Return the domains of some CPUs that have two or more: those of each cache, of each node, and all, by CPU ids."""
    found: dict[tuple[int, ...], None] = {}
    for key in ("cache_id", "nid", None):
        of_key: dict[Any, list[int]] = {}
        for cpu in cpus:
            of_key.setdefault(key and getattr(cpu, key), []).append(cpu.cpu_id)
        found.update(dict.fromkeys(tuple(ids) for ids in of_key.values() if len(ids) > 1))
    return list(found)
