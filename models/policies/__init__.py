"""Policies: five small decisions, each replaceable alone, the same objects for the simulation and for a real host.

How many works (`works`, `keep_idle`), how large the next chunk is (`chunks`), where helpers run (`helper_node`,
`node_share`, `next_entry`), at which priority (`priority`), how the end is handled (`end`). A preset names one of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.policies.chunks import CHUNKS, ChunkRule, Hugetlb, SplitEnd, TaskShape
from models.policies.options import PolicyOptions
from models.policies.places import Places, next_entry_rule
from models.policies.priorities import Priorities
from models.policies.queue import Chunk, ChunkQueue, NodeEntry
from models.policies.works import WORKS, WorksRule
from models.text.units import format_size

if TYPE_CHECKING:
    from models.machine import Machine

__all__ = ["Chunk", "ChunkQueue", "ChunkRule", "NodeEntry", "Policy", "PolicyOptions", "TaskShape", "WorksRule"]


class Policy:
    """The decisions of one run.

    `pick(n)` returns a random number in [0, n). `rules` are a user's own rules, by name. `caller_cpus` are the ids of
    the CPUs that the caller may use, None for all. `caller_quota` is how many CPUs the caller's cgroup may use. It
    limits the works of a task whose helpers are charged to that cgroup (padata RFC of 2022), and the CPUs that Java
    counts.
    """

    def __init__(
        self,
        options: PolicyOptions,
        machine: Machine,
        pick: Callable[[int], int],
        rules: Mapping[str, type[Any]] | None = None,
        unit_bytes: int | None = None,
        caller_cpus: tuple[int, ...] | None = None,
        caller_quota: float | None = None,
    ) -> None:
        self._options = options
        self.unit_bytes = unit_bytes or machine.base_page_bytes  # what tasks are counted in
        self.min_chunk = max(1, options.min_chunk // self.unit_bytes)
        self._align = max(1, (options.align or 0) // self.unit_bytes)
        own = rules or {}
        works_rule: type[WorksRule] = own.get("works", WORKS[options.rule("works")])
        self._works = works_rule(machine, options.max_threads, options.growth_threshold)
        self._works.keep_idle = options.keep_idle
        n_cpus = len(machine.cpus if caller_cpus is None else caller_cpus)
        self._works.container_cpus = n_cpus if caller_quota is None else min(n_cpus, math.ceil(caller_quota))
        self._chunk_rule: type[ChunkRule] = own.get("chunks", CHUNKS[options.rule("chunks")])
        self._places = Places(
            machine,
            options.rule("helper_node"),
            options.share("node_share"),
            options.share("system_share"),
            callers_count=options.counts_callers(),
            pool=options.helper_pool,
        )
        stay = options.rule("helper_node") == "caller-cpus"
        self.helper_cpus = caller_cpus if stay else None  # the ids of those that helpers may use, None if all
        self._next_entry = next_entry_rule(options.rule("next_entry"), machine, pick)
        self._splits = options.rule("end") == "split"
        self.cancels = options.rule("end") == "cancel"  # helpers that have not started are not waited for
        self.priorities = Priorities(options.rule("priority"), options.helper_nice)
        self.helper_group = options.rule("helper_group")
        self._most_works: float = math.inf
        if self.helper_group == "charged" and caller_quota is not None:
            self._most_works = max(1, math.floor(caller_quota))

    def count_idle(self, idle_cpus: Callable[[], int]) -> None:
        """Let the number of works follow the number of idle CPUs, of those that helpers may use."""
        self._works.idle_cpus = idle_cpus

    def n_works(self, size: int, nid: int | None) -> int:
        """Return the number of works for a task of `size` client units whose data are on a node."""
        least = max(self.min_chunk, self._align) if self._works.counts_align else self.min_chunk
        works = int(min(self._works.n_works(size, least, nid), self._most_works))
        return works if self.helper_cpus is None else min(works, len(self.helper_cpus))

    def limit(self, size: int, nid: int | None) -> str:
        """Return, in words, the reason (other than max_threads) why a task has no more than `n_works` works."""
        n, rule = self.n_works(size, nid), self._works
        least = max(self.min_chunk, self._align) if rule.counts_align else self.min_chunk
        if rule.feeds(size, least) <= n:
            task, chunk = format_size(size * self.unit_bytes), format_size(least * self.unit_bytes)
            return f"a task of {task} is enough for {n}, one for each {chunk} (min_chunk)"
        if rule.wanted(size, least, nid) <= n:
            return f"the rule {self._options.rule('works')} takes {n}"
        if self.helper_cpus is not None and len(self.helper_cpus) <= n:
            return f"the caller may use {n} CPUs, and its helpers keep to them"
        if self._most_works <= n:
            return f"the caller's cgroup, or the machine, has {n} CPUs"
        return f"keep_idle leaves {n}"

    def queue(self, entries: Sequence[NodeEntry], works: int) -> ChunkQueue:
        """Return the chunks of a task with this number of works. Entries are in client units."""
        size = sum(entry.size for entry in entries)
        return ChunkQueue(entries, self.chunk_rule(size, works, entries[0].nid), self._next_entry)

    def chunk_rule(self, size: int, works: int, nid: int | None = None) -> ChunkRule:
        """Return the rule for the chunks of a task whose data are on a node."""
        options, unit = self._options, self.unit_bytes
        task = TaskShape(
            size=size,
            works=works,
            min_chunk=self.min_chunk,
            align=self._align,
            chunks_per_work=options.chunks_per_work,
            chunk_size=None if options.chunk_size is None else max(1, options.chunk_size // unit),
            asked=self.n_works(size, nid) if self._chunk_rule is Hugetlb else None,
        )
        rule = self._chunk_rule(task)
        return SplitEnd(task, rule) if self._splits else rule

    def place_helpers(self, entries: Sequence[NodeEntry], works: int, caller_nid: int) -> list[int | None]:
        """Return the node of each helper of a task, the first helper's first. None means anywhere.

        There are fewer than wanted where other tasks have taken the places that all tasks share.
        """
        return self._places.place_helpers(entries, works, caller_nid)

    def move_helper(self, old: int | None, wanted: int | None, *, asks_old: bool) -> int | None:
        """Return the node on which a helper is queued again (`Places.move`). None means anywhere."""
        return self._places.move(old, wanted, asks_old=asks_old)

    def task_done(self, works: int, size_bytes: int, seconds: float, helper_nids: Sequence[int | None]) -> None:
        """Learn how long a task took. Its helpers are gone."""
        self._works.task_done(works, size_bytes, seconds)
        self._places.give_back(helper_nids)

    def chunk_sizes(self, size: int, works: int) -> list[int]:
        """Return the chunks of a task in client units, as equal works take them in turn."""
        queue = self.queue([NodeEntry(None, 0, size)], works)
        found: list[int] = []
        while (chunk := queue.take(0, work := len(found) % works)) is not None:
            found.append(chunk.size)
            queue.done(work, chunk.size, float(chunk.size))
        return found
