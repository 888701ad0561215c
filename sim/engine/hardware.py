"""A machine in simulation: its resources in the contention engine, and which CPU runs how many threads.

A clearing stream uses these resources for each byte cleared (design and figures in MODEL.md):

* the hardware thread, for the time that the byte takes alone
* the core, for the time that it takes with local memory (the threads of a core together do `core_throughput` of one)
* the last-level cache
* the memory of the node, for `clear_traffic` bytes
* each link on the way to a remote node: the line read comes one way, the line written goes the other

Other streams do likewise, with their client's figures. The locks that they take are one resource
(`models.memory.locks`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from simpy import Environment

from models.clients import Stream
from models.machine import Cpu, Machine
from models.machine.placement import Placement
from models.memory.locks import LockCurve, lock_curve
from sim.engine.flows import FlowNetwork
from sim.engine.routes import Resource, Route


class Busy:
    """How long each of some things has had at least one thread on it, in seconds by its id."""

    def __init__(self, env: Environment, ids: Iterable[int]) -> None:
        self.seconds = dict.fromkeys(ids, 0.0)
        self._env = env
        self._threads = dict.fromkeys(self.seconds, 0)
        self._since_s = dict.fromkeys(self.seconds, 0.0)

    def enter(self, thing: int) -> None:
        """Count a thread more."""
        if not self._threads[thing]:
            self._since_s[thing] = self._env.now
        self._threads[thing] += 1

    def leave(self, thing: int) -> None:
        """Count a thread less."""
        self._threads[thing] -= 1
        if not self._threads[thing]:
            self.seconds[thing] += self._env.now - self._since_s[thing]


class Hardware:
    """The CPUs, memory and links of a machine, in one simulation."""

    def __init__(self, env: Environment, machine: Machine) -> None:
        self.env = env
        self.machine = machine
        self.network = network = FlowNetwork(env)
        rates = machine.rates
        self._is_shared = False  # whether other work has begun
        self._cpu: dict[int, Resource] = {}  # of the CPUs and cores that have been used
        self._core: dict[int, Resource] = {}
        threads: dict[int, int] = {}
        for cpu in machine.cpus:
            threads[cpu.core_id] = threads.get(cpu.core_id, 0) + 1
        self._n_threads = threads  # by core
        self._cache: dict[int, Resource] = {}
        if rates.cache_bytes_per_s is not None:
            for cache in sorted({cpu.cache_id for cpu in machine.cpus}):
                self._cache[cache] = network.resource(f"cache{cache}", rates.cache_bytes_per_s)
        self._moved_through = {
            name: network.resource(name, rate, rates.memory_curve if name.startswith("memory") else None)
            for name, rate in machine.bandwidths.items()
        }
        self._locks: dict[str, Resource] = {}
        self._routes: dict[Stream, dict[tuple[int, tuple[int, ...]], Route]] = {}
        self._stream: Stream | None = None  # the last one that was asked for, and its routes
        self._routes_of_it: dict[tuple[int, tuple[int, ...]], Route] = {}
        self._locks_of: dict[Stream, dict[tuple[int, ...], list[Resource]]] = {}
        self._locks_of_it: dict[tuple[int, ...], list[Resource]] = {}
        self._spin_routes: dict[int, Route] = {}
        self.placement = Placement(machine)
        self._socket_of = {node.nid: node.socket_id for node in machine.nodes}
        # By threads of the job, without other work.
        self.busy_cpus = Busy(env, (cpu.cpu_id for cpu in machine.cpus))
        self.busy_cores = Busy(env, threads)
        self.busy_sockets = Busy(env, self._socket_of.values())

    def expect_others(self) -> None:
        """Note that other work comes and goes from now on."""
        if not self._is_shared:
            self._is_shared = True
            for cpu in self._cpu.values():
                self.network.share(cpu, often_full=False)
            for core in self._core.values():
                self.network.share(core, often_full=True)

    def begin(self, cpu: Cpu) -> None:
        """Note that a thread of the job runs on a CPU from now on."""
        for busy, thing in self._places(cpu):
            busy.enter(thing)

    def end(self, cpu: Cpu) -> None:
        """Note that a thread of the job runs no longer on a CPU."""
        for busy, thing in self._places(cpu):
            busy.leave(thing)

    def route(self, cpu: Cpu, nids: tuple[int, ...], stream: Stream) -> Route:
        """Return the route of a stream from `cpu` over memory of some nodes, evenly."""
        if stream is not self._stream:
            self._use(stream)
        route = self._routes_of_it.get((cpu.cpu_id, nids))
        if route is None:
            route = self._routes_of_it[cpu.cpu_id, nids] = self._make_route(cpu, nids, stream)
        return route

    def locks_of(self, nids: tuple[int, ...], stream: Stream) -> list[Resource]:
        """Return the locks that a stream over memory of some nodes takes, as resources."""
        if stream is not self._stream:
            self._use(stream)
        known = self._locks_of_it.get(nids)
        if known is not None:
            return known
        found = self._locks_of_it[nids] = []
        for scope in ("job", "node"):
            locks = tuple(lock for lock in stream.locks if lock.scope == scope)
            if not locks:
                continue
            name = "locks of " + stream.name + (f", node {nids[0]}" if scope == "node" else "")
            if name not in self._locks:
                self._locks[name] = self.network.resource(name, 1.0, lock_curve(locks, stream.rate_bytes_per_s))
            found.append(self._locks[name])
        return found

    def _use(self, stream: Stream) -> None:
        """Look up the routes and locks of a stream. It takes long by its value, so the last one's are at hand."""
        self._stream = stream
        self._routes_of_it = self._routes.setdefault(stream, {})
        self._locks_of_it = self._locks_of.setdefault(stream, {})

    def spin_route(self, cpu: Cpu) -> Route:
        """Return the route of a thread that computes on `cpu` and uses no memory. Its work is in seconds."""
        route = self._spin_routes.get(cpu.cpu_id)
        if route is None:
            uses = [(resource, 1.0) for resource in self._places_of(cpu)]
            weight = 1.0 / self.machine.rates.clear_bytes_per_s
            route = self._spin_routes[cpu.cpu_id] = self.network.route(uses, cap=1.0, weight=weight)
        return route

    def served(self) -> dict[str, tuple[float, float]]:
        """Return the work of each resource so far, and its capacity: CPUs, then cores, then all others, in order."""
        cpus = [self._cpu[cpu.cpu_id] for cpu in self.machine.cpus if cpu.cpu_id in self._cpu]
        cores = [core for _, core in sorted(self._core.items())]
        own = {*cpus, *cores}
        others = (resource for resource in self.network.resources if resource not in own)
        done = self.network.served()
        return {q.name: (done[q], q.capacity) for q in (*cpus, *cores, *others)}

    def _places_of(self, cpu: Cpu) -> list[Resource]:
        """Return a CPU, and its core if that has several, as resources. They are made at their first use.

        Where other work comes and goes, their flows have many kinds, and a core is full about as often as not.
        """
        network, alone = self.network, not self._is_shared
        if cpu.cpu_id not in self._cpu:
            self._cpu[cpu.cpu_id] = network.resource(f"cpu{cpu.cpu_id}", 1.0, private=alone)
        found = [self._cpu[cpu.cpu_id]]
        if self._n_threads[cpu.core_id] > 1:
            if cpu.core_id not in self._core:
                throughput = self.machine.rates.core_throughput
                self._core[cpu.core_id] = network.resource(
                    f"core{cpu.core_id}", throughput, often_full=self._is_shared, private=alone
                )
            found.append(self._core[cpu.core_id])
        return found

    def _places(self, cpu: Cpu) -> tuple[tuple[Busy, int], ...]:
        socket_id = self._socket_of[cpu.nid]
        return (self.busy_cpus, cpu.cpu_id), (self.busy_cores, cpu.core_id), (self.busy_sockets, socket_id)

    def _make_route(self, cpu: Cpu, nids: tuple[int, ...], stream: Stream) -> Route:
        machine, rates = self.machine, self.machine.rates
        local = stream.rate_bytes_per_s * cpu.speed
        far = math.fsum(1.0 / machine.remote_factor(cpu.nid, nid) - 1.0 for nid in nids) / len(nids)
        cap = local / (1.0 + stream.memory_share * far)
        uses = list(zip(self._places_of(cpu), (1.0 / cap, 1.0 / local), strict=False))
        if self._cache and stream.traffic:
            uses.append((self._cache[cpu.cache_id], stream.traffic / rates.clear_traffic))
        uses += [(self._moved_through[name], usage) for name, usage in machine.traffic(cpu.nid, nids, stream.traffic)]
        for resource in self.locks_of(nids, stream):
            curve = resource.curve
            assert isinstance(curve, LockCurve)
            uses.append((resource, curve.held / stream.rate_bytes_per_s))
        # At a bottleneck streams get shares in proportion to what they ask for: a remote stream has as many lines under
        # way as a local one, each for longer (Afzal, Hager and Wellein's sharing of bandwidth by request fraction; and
        # equal time on a shared CPU).
        weight = (cap / rates.clear_bytes_per_s) ** rates.share_exponent
        return self.network.route(uses, cap=cap, weight=weight)
