"""Cases: one combination of a scenario's values each, to be simulated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.clients import ClearGigantic, Client
from models.kernels import Kernel
from models.loads import Load
from models.loads.groups import Group
from models.machine import Cpu, Machine
from models.policies import Policy
from models.policies.queue import NodeEntry
from models.text.document import EMPTY, Located


def _first(_count: int) -> int:
    return 0


@dataclass(frozen=True)
class Case:
    """One combination of a scenario's values, to be run `replications` times."""

    machine: Machine
    task: Client
    kernel: Kernel
    replications: int
    seed: int
    background: Mapping[str, Load] = field(default_factory=dict)  # by name, those with at least one thread
    groups: Mapping[str, Group] = field(default_factory=dict)
    rules: Mapping[str, type[Any]] = field(default_factory=dict)  # a user's own, in place of kernel.works or .chunks
    document: Located = EMPTY  # the values it was made of, with their places
    choices: Mapping[str, Any] = field(default_factory=dict)  # path -> value, of what differs between cases

    def without_noise(self) -> Case:
        """Return the case with chunks and runs that always take their mean time."""
        return replace(self, machine=self.machine.without_noise())

    def policy(self, pick: Callable[[int], int]) -> Policy:
        """Return the policy of a run. `pick(n)` returns a random number in [0, n)."""
        quota = None if self.task.group is None else self.groups[self.task.group].quota
        unit_bytes = self.task.unit_bytes(self.machine)
        return Policy(self.kernel, self.machine, pick, self.rules, unit_bytes, self.caller_cpu_ids, quota)

    @property
    def caller_cpu_ids(self) -> tuple[int, ...] | None:
        """Return the ids of the CPUs that the calling thread may use, those of its cgroup. None is all."""
        own = self.task.cpus
        return own if self.task.group is None else self.groups[self.task.group].limit(own)

    @property
    def clearing(self) -> ClearGigantic:
        """Return the task as one that clears pages, which a host can measure. Raises TypeError for others."""
        if not isinstance(self.task, ClearGigantic):
            raise TypeError(f"client {self.task.client} clears no pages")
        return self.task

    @property
    def size_bytes(self) -> int:
        """Return the size of the whole job."""
        return self.task.size_bytes(self.machine)

    @property
    def caller_cpus(self) -> tuple[Cpu, ...]:
        """Return the CPUs that the calling thread may use."""
        return self.task.caller_cpus(self.machine)

    @property
    def caller_nids(self) -> tuple[int, ...]:
        """Return the nodes that the calling thread may start on, ascending."""
        return self.task.caller_nids(self.machine)

    @property
    def _task_size(self) -> int:
        return self.task.task_bytes(self.machine) // self.task.unit_bytes(self.machine)

    @property
    def n_works(self) -> int:
        """Return the number of works of the first task, with data near the caller.

        The caller is on its first possible node, if its node is random.
        """
        nid = self.task.data_nid(self.machine)
        return self.policy(_first).n_works(self._task_size, nid)

    @property
    def threads_allowed(self) -> int:
        """Return how many threads a task may have: max_threads, or the policy's number if the scenario gives none."""
        return self.kernel.max_threads or self.n_works

    @property
    def limit(self) -> str:
        """Return in words why the first task has fewer works than are allowed, or '' if it has as many."""
        if self.n_works >= self.threads_allowed:
            return ""
        return self.policy(_first).limit(self._task_size, self.task.data_nid(self.machine))

    @property
    def least_chunks(self) -> int:
        """Return how many chunks a run has at least, if all are as large as the first, as most rules have them."""
        if not self._task_size:
            return 0
        policy = self.policy(_first)
        chunk = policy.queue([NodeEntry(None, 0, self._task_size)], self.n_works).take(0, 0)
        n_tasks = max(1, round(self.size_bytes / max(1, self.task.task_bytes(self.machine))))
        return 0 if chunk is None else n_tasks * math.ceil(self._task_size / chunk.size)

    @property
    def n_steps_before(self) -> float:
        """Return how many steps other work takes until the job starts, about (bursts of threads, requests)."""
        return math.fsum(load.steps_per_s * max(0.0, self.task.start - load.start) for load in self.background.values())

    def chunk_bytes(self) -> list[int]:
        """Return the chunks of the first task, as works that are all alike would take them in turn."""
        unit = self.task.unit_bytes(self.machine)
        return [size * unit for size in self.policy(_first).chunk_sizes(self._task_size, self.n_works)]
