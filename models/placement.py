"""Which CPU a thread is put on: the choice that the simulation and the host make alike."""

from __future__ import annotations

from collections.abc import Sequence

from models.machine import Cpu, Machine


class Placement:
    """The threads on each CPU of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._cpus_near: dict[int | None, Sequence[Cpu]] = {
            nid: machine.cpus_near(nid) for nid in (None, *machine.nids)
        }
        self._on_core = {cpu.core_id: 0 for cpu in machine.cpus}
        self._on_cache = {cpu.cache_id: 0 for cpu in machine.cpus}
        self._own_on = {cpu.cpu_id: 0 for cpu in machine.cpus}  # of threads_on, those of the job
        self.threads_on = {cpu.cpu_id: 0 for cpu in machine.cpus}

    def occupy(self, nid: int | None, previous: Cpu | None = None) -> Cpu:
        """Put a thread on a CPU of a node (None: of any).

        Its previous one if idle, else the least busy core, then hardware thread. Cores behind the least busy cache come
        first, as the kernel spreads threads, then CPUs with fewer of the job's own threads. A node without CPUs lends
        those of the nearest node that has some.
        """
        if previous is not None and previous.nid == nid and not self._on_core[previous.core_id]:
            cpu = previous
        else:
            cpu = min(self._cpus_near[nid], key=self._business)
        self.put(cpu)
        return cpu

    def put(self, cpu: Cpu) -> None:
        """Put a thread on a certain CPU."""
        self.add(cpu)
        self._own_on[cpu.cpu_id] += 1

    def add(self, cpu: Cpu) -> None:
        """Count a thread of somebody else that runs on a CPU."""
        self.threads_on[cpu.cpu_id] += 1
        self._on_core[cpu.core_id] += 1
        self._on_cache[cpu.cache_id] += 1

    def release(self, cpu: Cpu) -> None:
        """Take a thread off its CPU: it sleeps, moves or ends."""
        self._own_on[cpu.cpu_id] -= 1
        self.threads_on[cpu.cpu_id] -= 1
        self._on_core[cpu.core_id] -= 1
        self._on_cache[cpu.cache_id] -= 1

    def _business(self, cpu: Cpu) -> tuple[int, int, int, int, float, int]:
        return (
            self._on_core[cpu.core_id],
            self.threads_on[cpu.cpu_id],
            self._on_cache[cpu.cache_id],
            self._own_on[cpu.cpu_id],
            -cpu.speed,
            cpu.cpu_id,
        )
