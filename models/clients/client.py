"""Clients as data: kernel code that has a job done. Each has one file, and the simulation knows none of them.

A client says which threads call the framework (`callers`), the steps of each in turn (`Step`s: tasks to be shared out,
and stretches of its own), and the use of the machine by a byte of the work (`Stream`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import Field

from models.machine import Cpu, Machine
from models.memory.figures import Costs, page_figures_of
from models.memory.locks import Lock
from models.memory.placement import Memory, OfEntry
from models.memory.stages import Stage
from models.policies import NodeEntry
from models.text.checks import FileKeys
from models.text.cpu_list import CpuList, format_cpu_list
from models.text.problems import Finding
from models.text.units import Time

if TYPE_CHECKING:
    from models.kernels import Kernel


@dataclass(frozen=True)
class Stream:
    """The use of the machine and its locks by a byte of a client's work.

    The rate is that of one thread alone, on a core of speed 1 with local memory, locks included. Of its time, the share
    `memory_share` is spent on memory. That part takes longer where memory is remote. `traffic` is the number of bytes
    that cross the memory bus.
    """

    name: str
    rate_bytes_per_s: float
    traffic: float  # bytes over the memory bus for a byte of the job
    locks: tuple[Lock, ...] = ()
    memory_share: float = 1.0


def stream(name: str, stage: Stage) -> Stream:
    """Return the use of the machine by a byte of a phase: the sum of its stages, by one thread."""
    return Stream(name, 1.0 / stage.seconds, stage.traffic, stage.locks, stage.memory_s / stage.seconds)


@dataclass(frozen=True)
class Pause:
    """A stretch in which the caller does something that nobody helps with. `what` names it in a trace."""

    seconds: float
    what: str = "alone"


@dataclass(frozen=True)
class Task:
    """One call of the framework. The entries are in client units.

    `serial` is the work without helpers, if that is other code. `iterate_s` is the time under the task's lock to step
    over one unit (a list that is walked). The client's function fails when it comes to unit `fails_at`. The finished
    part is then undone at `undo_bytes_per_s`, where the kernel version does that. A chunk may be one system call that
    `keeps_mmap_lock` for reading, so that nobody maps memory meanwhile. Helpers that are `bound` run on the node of the
    first entry, whatever the kernel's rule is.
    """

    entries: Sequence[NodeEntry]
    stream: Stream
    serial: Stream | None = None
    memory: Memory = field(default_factory=OfEntry)
    iterate_s: float = 0.0
    helps: bool = True  # False: the kernel has no framework call here, the caller does all
    fails_at: int | None = None
    undo_bytes_per_s: float = 0.0
    keeps_mmap_lock: bool = False
    bound: bool = False


Step = Task | Pause


class CallingThread(Protocol):
    """A thread that calls the framework. Its node changes as it is moved."""

    @property
    def nid(self) -> int: ...


@dataclass(frozen=True)
class Caller:
    """A thread that calls the framework: its start node, and its steps as a function of itself.

    A kernel thread (`is_kthread`) that is bound to a node is not moved by its wake-up.
    """

    nid: int
    steps: Callable[[CallingThread], Iterator[Step]]
    is_kthread: bool = False


class Client(FileKeys):
    """The job of a scenario."""

    baseline: ClassVar[Mapping[str, Any]] = {"kernel.max_threads": 1}  # a scenario's values for a kernel without help
    clears: ClassVar[bool] = False  # True: its work is clearing, at the machine's rates, in part or as a whole
    on_every_node: ClassVar[bool] = False  # True: a kernel thread of each node calls the framework, all at once

    client: Annotated[str, Field(description="the kernel code or program that has the job done")]
    caller_node: Annotated[
        int | None, Field(ge=0, description="node on which the calling thread starts; default: a random one each time")
    ] = None
    cpus: Annotated[
        CpuList | None, Field(description='CPUs that the calling thread may use, as taskset -c: "0-17"; default: all')
    ] = None

    nice: Annotated[int, Field(ge=-20, le=19, description="nice level of the calling thread")] = 0
    group: Annotated[
        str | None, Field(description="the cgroup that the calling thread is in, one of `groups`; default the root")
    ] = None
    start: Annotated[
        Time, Field(ge=0, description="when the calling thread starts, after the background; no part of the job's time")
    ] = 0.0

    def size_bytes(self, machine: Machine) -> int:
        """Return the size of the whole job."""
        raise NotImplementedError

    def unit_bytes(self, machine: Machine) -> int:
        """Return the size of a client unit."""
        return machine.base_page_bytes

    def task_bytes(self, machine: Machine) -> int:
        """Return the size of the first call of the framework."""
        return self.size_bytes(machine)

    def n_tasks(self, machine: Machine) -> int:
        """Return how often the framework is called."""
        return max(1, self.size_bytes(machine) // self.task_bytes(machine))

    def rules_on(self, machine: Machine) -> str:  # noqa: ARG002
        """Return the name under which a kernel version has its rules for this client (`Kernel.client_rules`)."""
        return self.client

    def data_nid(self, machine: Machine) -> int:
        """Return the node of the first task's data, or the one near which its caller runs: the first, if random."""
        return self.caller_nids(machine)[0]

    def caller_cpus(self, machine: Machine) -> tuple[Cpu, ...]:
        """Return the CPUs that the calling thread may use."""
        return tuple(cpu for cpu in machine.cpus if self.cpus is None or cpu.cpu_id in self.cpus)

    def caller_nids(self, machine: Machine) -> tuple[int, ...]:
        """Return the nodes that the calling thread may start on, ascending."""
        if self.caller_node is not None:
            return (self.caller_node,)
        return tuple(sorted({cpu.nid for cpu in self.caller_cpus(machine)}))

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:
        """Return the threads that run at once. The job is done when the last has ended."""
        raise NotImplementedError

    def check(self, machine: Machine) -> Iterator[Finding]:  # noqa: ARG002
        """Find values that are impossible on a machine: fine alone and wrong together."""
        yield from ()

    def words(self, machine: Machine) -> str:
        """Return the job in a sentence or two."""
        raise NotImplementedError

    def start_nid(self, machine: Machine, random: Random) -> int:
        """Return the node on which the calling thread starts."""
        return random.choice(self.caller_nids(machine)) if self.caller_node is None else self.caller_node

    def costs_on(self, machine: Machine) -> Any:
        """Return the costs: the scenario's, else the machine's (of the client, of a page), else the priors."""
        own: Costs = self.costs  # type: ignore[attr-defined]  # each client has its own kind
        known = page_figures_of(type(own))
        pages = {name: value for name, value in machine.pages.items() if name in known}
        given = {**pages, **machine.clients.get(self.client, {})}
        return own.model_copy(update={name: value for name, value in given.items() if name not in own.model_fields_set})


def check_cpus(cpus: Sequence[int] | None, machine: Machine) -> Iterator[Finding]:
    """Find CPUs that don't exist, and an empty list of CPUs. None means that no list is given."""
    if cpus is None:
        return
    known = {cpu.cpu_id for cpu in machine.cpus}
    strange = [cpu_id for cpu_id in cpus if cpu_id not in known]
    if strange or not cpus:
        found = f"CPU {strange[0]}" if strange else "no CPU"
        yield ("cpus",), (f"found {found}; machine {machine.name} has CPUs {format_cpu_list(known)}")


def check_caller(client: Client, machine: Machine) -> Iterator[Finding]:
    """Find CPUs that don't exist, and a calling thread that starts on a node without CPUs of its own."""
    nids, of_whom = set(machine.cpu_nids), f"with CPUs of machine {machine.name}"
    strange = list(check_cpus(client.cpus, machine))
    yield from strange
    if client.cpus is not None and not strange and client.caller_node in nids:
        nids = {cpu.nid for cpu in machine.cpus if cpu.cpu_id in client.cpus}
        of_whom = f"of task.cpus, {format_cpu_list(client.cpus)}"
    if client.caller_node is not None and client.caller_node not in nids:
        allowed = ", ".join(str(nid) for nid in sorted(nids))
        message = f"found node {client.caller_node}; allowed are the nodes {of_whom}: {allowed}"
        yield (("caller_node",), message)
