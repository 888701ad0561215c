"""A request: a job of a client, on a machine of which some CPUs are left to others."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.clients import CLIENTS
from models.kernels import VERSIONS
from models.machine import Machine
from models.scenario import DEFAULT_VERSION, build_scenario
from models.scenario.case import Case
from models.text.cpu_list import parse_cpu_list
from models.text.document import locate
from models.text.problems import InputError, Problem, did_you_mean
from models.text.units import describe, format_size, parse_size
from sim.search.advice.runs import REPLICATIONS

SOURCE = "advice"  # stands for the file in messages
BOOT, PROGRAM = "hugetlb_boot_alloc", "populate"  # a job whose kernel has an option for it; any program's own
CONTAINER = "container"  # the cgroup of the job, unless a group of the other work is called so


def container_beside(groups: Collection[str]) -> str:
    """Return the name of the job's cgroup beside the groups of other work, of which one may be called so too."""
    name = CONTAINER
    while name in groups:
        name += "-of-the-job"
    return name


@dataclass(frozen=True)
class Request:
    """A job, as it was asked for. Sizes are texts as in a file."""

    client: str
    size: str
    machine: Machine
    page_size: str | None
    thp: bool
    smp: int | None
    keep_free: int  # CPUs
    background: Mapping[str, Any]  # as in a scenario's file
    groups: Mapping[str, Any]
    seed: int
    task: Mapping[str, Any] = field(default_factory=dict)  # more of its memory: keys of a scenario's task
    cpus: float | None = None  # a quota, as of docker run --cpus
    cpuset: str | None = None  # as of docker run --cpuset-cpus
    nice: int = 0
    kernel: str | None = None  # the version; None: the program's own, or the one with the job's option

    @property
    def most_threads(self) -> int:
        """Return the CPUs that are left to the job, in its container."""
        n_cpus = len(self.machine.cpus)
        allowed = n_cpus if self.cpuset is None else len(parse_cpu_list(self.cpuset))
        quota = n_cpus if self.cpus is None else math.ceil(self.cpus)
        return max(1, min(n_cpus - self.keep_free, allowed, quota))

    @property
    def has_default(self) -> bool:
        """Return whether the program or the kernel takes a number of threads by itself."""
        return self.client != PROGRAM

    @property
    def is_serial(self) -> bool:
        """Return whether released kernels do the job with one thread, the default without another kernel."""
        return self.kernel is None and self.client != BOOT and not hasattr(CLIENTS[self.client], "framework")

    def check(self) -> None:
        """Find the problems of the request before anything runs. Raises InputError."""
        sized = [name for name, kind in CLIENTS.items() if "size" in kind.model_fields]
        n_cpus = len(self.machine.cpus)
        problems = []
        if self.client not in sized:
            found = f"found {self.client!r}" + (", which has no size" if self.client in CLIENTS else "")
            near = [name for name in sized if self.client and name.startswith(self.client.lower())]
            hint = f"; did you mean {near[0]}?" if near else did_you_mean(self.client, sized)
            problems.append(("task.client", f"{found}; allowed is {', '.join(sized)}{hint}"))
        else:
            for name, value in (("page_size", self.page_size), ("thp", self.thp or None)):
                if value is not None and name not in CLIENTS[self.client].model_fields:
                    able = [other for other in sized if name in CLIENTS[other].model_fields]
                    message = f"found {describe(value)}; {self.client} has no such choice, but {', '.join(able)} have"
                    problems.append((f"task.{name}", message))
            problems += self._page_problems()
            if self.kernel is not None and (self.kernel not in VERSIONS or hasattr(CLIENTS[self.client], "framework")):
                kinds = sorted(name for name in VERSIONS if name.startswith(("ktask", "padata")))
                message = f"found {self.kernel!r}; allowed is {', '.join(kinds)}{did_you_mean(self.kernel, kinds)}"
                if self.kernel in VERSIONS:
                    message = f"found {self.kernel!r}; {self.client} has threads of its own, whatever the kernel"
                problems.append(("kernel.version", message))
            elif self.smp is not None and "smp" not in VERSIONS[self._framework].model_fields:
                message = f"found {self.smp}; {self.client} has no guest, whose CPUs its threads follow from"
                problems.append(("kernel.smp", message))
        if not 0 <= self.keep_free < n_cpus:
            of_whom = f"machine {self.machine.name} has {n_cpus} CPU{'s' * (n_cpus > 1)}"
            problems.append(("keep_free", f"found {self.keep_free}; allowed is 0 to {n_cpus - 1}: {of_whom}"))
        if problems:
            raise InputError(Problem(SOURCE, 0, 0, *problem) for problem in problems)

    def _page_problems(self) -> Iterator[tuple[str, str]]:
        """Yield a problem for a page size that is not a power of two. Other texts are checked where a case is made."""
        with suppress(ValueError):
            size_bytes = parse_size(self.page_size)
            if size_bytes & (size_bytes - 1):
                yield "task.page_size", f"found {describe(self.page_size)}; allowed is a power of two, such as 2MiB"

    @property
    def _framework(self) -> str:
        given = self.kernel or ("padata-6.18" if self.client == BOOT else DEFAULT_VERSION)
        name: str = getattr(CLIENTS[self.client], "framework", given)
        return name

    def case(self, threads: int | None = None, chunk_bytes: int | None = None) -> Case:
        """Return the job with this number of threads and these chunks. None is the default. Raises InputError."""
        is_contained = self.cpus is not None or self.cpuset is not None
        container = container_beside(self.groups)
        task = {
            "client": self.client,
            "size": self.size,
            "page_size": self.page_size,
            "thp": self.thp or None,
            "nice": self.nice or None,
            "group": container if is_contained else None,
        }
        task |= self.task
        groups = dict(self.groups)
        if is_contained:
            limits = {"quota": self.cpus, "cpus": self.cpuset}
            groups[container] = {name: value for name, value in limits.items() if value is not None}
        if threads is None and self.is_serial:
            threads = 1
        kernel: dict[str, Any] = {
            "version": self._framework,
            "max_threads": threads,
            "smp": self.smp,
            "chunk_size": None if chunk_bytes is None else f"{chunk_bytes}B",
        }
        document = {
            "title": SOURCE,
            "question": "how many threads?",
            "machine": self.machine.name,
            "task": {name: value for name, value in task.items() if value is not None},
            "kernel": {name: value for name, value in kernel.items() if value is not None},
            "background": dict(self.background),
            "groups": groups,
            "replications": REPLICATIONS,
            "seed": self.seed,
        }
        try:
            case, *others = build_scenario(locate(document), Path(SOURCE), machine=self.machine).cases
        except InputError as error:
            raise InputError(map(self._in_its_terms, error.problems)) from None
        if others:
            message = "found a list, which stands for several situations; allowed is one value: advice is about one"
            raise InputError(Problem(SOURCE, 0, 0, path, message) for path in case.choices)
        return case

    def _in_its_terms(self, problem: Problem) -> Problem:
        """Return a problem of the default chunk, which a request doesn't name, as one of the size."""
        if problem.path != "kernel.min_chunk":
            return problem
        least = format_size(VERSIONS[self._framework].model_fields["min_chunk"].default)
        found = f"found {describe(self.size)}, in tasks of less than the smallest chunk, {least}"
        return replace(problem, path="task.size", message=f"{found}; allowed is more memory, or larger pages")
