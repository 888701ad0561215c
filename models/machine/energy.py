"""Energy of a run: the machine at rest, plus busy cores, sockets that are awake and traffic.

    energy = rest x time + core_busy x busy time of cores + thread_busy x busy time of their further threads
             + socket_awake x time in which a socket has a busy core + memory_energy x bytes over the memory buses

The form is that of Hofmann, Hager and Fey (ISC 2018, arXiv 1803.01618), in which a chip takes a base power and a power
for each busy core, with the machine at rest below it. The figures are those of the machine's file (`power`).

Left out: frequency and voltage (a core takes the same power for any work and any number of busy cores), the time and
energy of going to sleep and waking up, fans, temperature, and kinds of cores. A core is busy while a thread of the job
is on it, also while that thread waits for a lock or for its turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from models.machine import Power


@dataclass(frozen=True)
class Energy:
    """The energy of a run by where it goes, in joules."""

    rest_j: float
    cores_j: float
    threads_j: float
    sockets_j: float
    memory_j: float

    @property
    def added_j(self) -> float:
        """Return the energy that the run adds to the machine at rest."""
        return self.cores_j + self.threads_j + self.sockets_j + self.memory_j

    @property
    def total_j(self) -> float:
        """Return the energy of the whole machine during the run."""
        return self.rest_j + self.added_j


def energy_of(
    power: Power,
    time_s: float,
    *,
    cpus_s: Mapping[int, float],
    cores_s: Mapping[int, float],
    sockets_s: Mapping[int, float],
    moved_bytes: Mapping[str, float],
) -> Energy:
    """Return the energy of a run of `time_s` seconds.

    `cpus_s`, `cores_s` and `sockets_s` are the seconds in which a CPU, a core or a socket was busy, by their ids.
    `moved_bytes` is the traffic of each memory node.
    """
    core_s = math.fsum(cores_s.values())
    return Energy(
        rest_j=power.rest_w * time_s,
        cores_j=power.core_busy_w * core_s,
        threads_j=power.thread_busy_w * (math.fsum(cpus_s.values()) - core_s),
        sockets_j=power.socket_awake_w * math.fsum(sockets_s.values()),
        memory_j=power.memory_j_per_byte * math.fsum(moved_bytes.values()),
    )
