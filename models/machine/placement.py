"""Which CPU a thread is put on: the choice that the simulation and the host make alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from models.machine import Cpu, Machine
from models.machine.weights import NORMAL

_Place = tuple[int, int, int, Cpu]  # a CPU with its core, its number and its last-level cache
_ANY = (sys.maxsize, 0, 0, 0)  # busier than any CPU: threads on the core, the CPU, behind the cache, and of the job
_IDLE = (0, 0, 0, 0)


class Placement:
    """The threads on each CPU of a machine, by weight (`models.machine.weights`)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._cpus_near: dict[tuple[int | None, tuple[int, ...] | None], Sequence[_Place]] = {}
        self._on_core = {cpu.core_id: 0 for cpu in machine.cpus}  # CPUs that have threads
        self._on_cache = {cpu.cache_id: 0 for cpu in machine.cpus}  # threads
        self._on_cpu = {cpu.cpu_id: 0 for cpu in machine.cpus}  # threads
        self._own_on = {cpu.cpu_id: 0 for cpu in machine.cpus}  # threads of the job
        self.weight_on = {cpu.cpu_id: 0 for cpu in machine.cpus}

    def choose(self, nid: int | None, previous: Cpu | None = None, allowed: tuple[int, ...] | None = None) -> Cpu:
        """Return the CPU of a node (None: of any) for a thread, one of those `allowed` by their ids (None: all).

        Its previous one if idle, else the least busy core, then hardware thread. Cores behind the least busy cache come
        first, as the kernel spreads threads, then CPUs with fewer of the job's own threads. A node without CPUs, or
        without one that is allowed, lends those of the nearest node that has some.
        """
        if previous is not None and previous.nid == nid and not self._on_core[previous.core_id]:
            return previous
        on_core, weight_on, on_cache, own_on = self._on_core, self.weight_on, self._on_cache, self._own_on
        best, least = None, _ANY
        for core_id, cpu_id, cache_id, cpu in self._allowed_near(nid, allowed):
            if on_core[core_id] > least[0]:
                continue
            business = (on_core[core_id], weight_on[cpu_id], on_cache[cache_id], own_on[cpu_id])
            if business < least:
                best, least = cpu, business
                if business == _IDLE:
                    break
        assert best is not None
        return best

    def occupy(self, nid: int | None, previous: Cpu | None = None, allowed: tuple[int, ...] | None = None) -> Cpu:
        """Choose a CPU for a thread of the job, and put it there."""
        cpu = self.choose(nid, previous, allowed)
        self.put(cpu)
        return cpu

    def put(self, cpu: Cpu, weight: int = NORMAL, *, of_job: bool = True) -> None:
        """Put a thread on a certain CPU."""
        self._own_on[cpu.cpu_id] += of_job
        self._on_core[cpu.core_id] += not self._on_cpu[cpu.cpu_id]
        self._on_cpu[cpu.cpu_id] += 1
        self._on_cache[cpu.cache_id] += 1
        self.weight_on[cpu.cpu_id] += weight

    def release(self, cpu: Cpu, weight: int = NORMAL, *, of_job: bool = True) -> None:
        """Take a thread off its CPU: it sleeps, moves or ends."""
        self._own_on[cpu.cpu_id] -= of_job
        self._on_cpu[cpu.cpu_id] -= 1
        self._on_core[cpu.core_id] -= not self._on_cpu[cpu.cpu_id]
        self._on_cache[cpu.cache_id] -= 1
        self.weight_on[cpu.cpu_id] -= weight

    def idle_cpus(self, allowed: tuple[int, ...] | None = None) -> int:
        """Return how many CPUs have no thread, of those allowed by their ids (None: all)."""
        return sum(not self.weight_on[cpu_id] for cpu_id in (self.weight_on if allowed is None else allowed))

    def _allowed_near(self, nid: int | None, allowed: tuple[int, ...] | None) -> Sequence[_Place]:
        found = self._cpus_near.get((nid, allowed))
        if found is None:
            machine = self._machine
            if allowed is not None:
                ids = frozenset(allowed)
                machine = replace(machine, cpus=tuple(cpu for cpu in machine.cpus if cpu.cpu_id in ids))
            cpus = sorted(machine.cpus_near(nid), key=lambda cpu: (-cpu.speed, cpu.cpu_id))  # of equals, the first
            near = [(cpu.core_id, cpu.cpu_id, cpu.cache_id, cpu) for cpu in cpus]
            found = self._cpus_near[nid, allowed] = near
        return found
