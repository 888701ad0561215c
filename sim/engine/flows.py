"""The contention engine: flows through shared resources, weighted max-min fair, driven by SimPy.

A *flow* is an amount of work that passes through every resource on its *route* at one rate. A *resource* has a capacity
(see `models.machine.capacity`). A route uses `usage` units of it for each unit of work. Rates are weighted max-min fair
under a cap for each flow (progressive filling, Bertsekas and Gallager, Data Networks, 6.5.2).

Why it is fast. Flows with the same binding resources, cap and weight have the same rate at all times. They form a
class, with one virtual clock (work done by each flow of the class so far), one heap of finish marks and one deadline. A
flow that ends and is followed at once by another on the same route leaves every rate as it is, so nothing is solved
again. A resource that could not bind even if all its flows ran at their caps is left out of the classes: a core used by
one thread needs no class of its own. A `private` resource, such as a core, whose flows are all alike gives each the
same share. The share is a ceiling on their rates, as a cap is. So all cores with two busy threads are one class. The
engine keeps one SimPy event armed, at the earliest deadline.

The engine knows nothing of kernels, threads or pages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

from simpy import Environment, Event
from simpy.core import StopSimulation

from models.machine.capacity import CapacityCurve, Curve
from sim.engine.clock import Alarm, let_pass
from sim.engine.filling import component, fill_rates
from sim.engine.routes import MEMORY, Flow, FlowClass, Resource, Route, total

_INF = math.inf
_TIE = 1e-12  # relative: finish marks this close are the same instant


class FlowNetwork:
    """All resources and flows of one simulation."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.resources: list[Resource] = []
        self.routes: list[Route] = []
        self._classes: dict[tuple[tuple[tuple[int, float], ...], float, float, float], FlowClass] = {}
        self._dirty: list[FlowClass] = []
        self._deadlines: list[tuple[float, int, FlowClass]] = []
        self._solved: dict[tuple[tuple[int, int], ...], list[float]] = {}  # populations seen before, and their rates
        self._shape = 0  # changes when a class gets its first flow or loses its last
        self._stamp = 0  # of the last search for classes that depend on each other
        self._order = 0
        self._alarm: Alarm | None = None
        self._alarm_at = _INF
        self._completing = False
        self._ending: FlowClass | None = None  # that of the one flow that ends now, while the one process goes on
        self._is_away = False  # time was skipped since that flow ended, at the rates without it
        self._vacated: Route | None = None  # the route of the flow that is just ending, until its place is taken

    def resource(
        self,
        name: str,
        capacity: float,
        curve: Curve | None = None,
        *,
        often_full: bool = False,
        private: bool = False,
    ) -> Resource:
        """Add a resource of `capacity` units per second (> 0, finite).

        Two hints make the solution cheaper. `often_full` is for a resource that is full about as often as not.
        `private` is for one with few flows, nearly always of one kind, as a core is to its threads. No rate depends on
        either. Raises ValueError for a capacity that is not positive and finite.
        """
        if not 0 < capacity < math.inf:
            raise ValueError(f"resource {name!r}: capacity must be positive and finite; found {capacity!r}")
        resource = Resource(name, float(capacity), curve or CapacityCurve(), len(self.resources))
        if often_full:
            resource._pinned = resource._tight = True
        resource._foldable = resource._folded = private and not resource._pinned
        self.resources.append(resource)
        return resource

    def share(self, resource: Resource, *, often_full: bool) -> None:
        """Note that a resource is private no longer, and whether it is often full, and as often not."""
        self._unfold(resource)
        resource._foldable = False
        if often_full:
            resource._pinned = True
            if not resource._tight:
                self._set_tight(resource, True)
        if self._dirty and not self._completing:
            self._settle()

    def route(self, uses: Iterable[tuple[Resource, float]], cap: float = math.inf, weight: float = 1.0) -> Route:
        """Make a route: (resource, units of it per unit of work) pairs, the most work per second, the weight.

        Make one for each different thing and keep it: flows that share a Route object are handled fastest.
        Raises ValueError for a cap, weight or usage that is not positive, for a resource named twice, and for a route
        without any limit.
        """
        pairs = tuple((resource, float(usage)) for resource, usage in uses)
        if not cap > 0 or not 0 < weight < math.inf or any(not 0 < usage < math.inf for _, usage in pairs):
            raise ValueError(f"cap, weight and usages must be positive; found {cap!r}, {weight!r}, {pairs!r}")
        if len({id(resource) for resource, _ in pairs}) < len(pairs):
            raise ValueError(f"a resource is named twice: {pairs!r}")
        if math.isinf(cap) and not pairs:
            raise ValueError("a route with neither a cap nor a resource has no finite rate")
        route = Route(pairs, float(cap), float(weight))
        for resource, _ in pairs:
            if math.isinf(cap) and not resource._pinned:
                self._unfold(resource)
                resource._foldable = False
                resource._pinned = True
                if not resource._tight:
                    self._set_tight(resource, True)
        self.routes.append(route)
        self._split(route)
        self._classify(route)
        for resource, _ in pairs:
            resource._routes.append(route)
        if self._dirty and not self._completing:
            self._settle()  # a resource with flows became tight
        return route

    def served(self) -> dict[Resource, float]:
        """Return the units of each resource that were used so far: `Resource.served` of all of them at once."""
        found = dict.fromkeys(self.resources, 0.0)
        for route in self.routes:
            done = route.served
            for resource, usage in route.uses:
                found[resource] += done * usage
        return found

    def start(self, route: Route, work: float) -> Flow:
        """Start `work` units (> 0) on `route`. Yield the returned event to wait for their end.

        Raises ValueError for work that is not positive and finite.
        """
        if not 0 < work < _INF:
            raise ValueError(f"work must be positive and finite; found {work!r}")
        flow = Flow(self.env)
        route._started += work
        self._order = order = self._order + 1
        if self._vacated is route:  # the next chunk of the same worker: nobody's rate changes
            self._vacated = None
            cls = route._class
            flow.mark = mark = cls.clock + work
            heappush(cls.heap, (mark, order, flow, route))
            route._flows[flow] = order
            if self._is_away:
                self._is_away = False
                if cls.alone:
                    self._pace(cls, self.env.now)
            return flow
        if self._is_away:
            self._leave_for_good()
        if route._slack:
            self._demand(route)
        if route._folds:
            self._join(route)
        cls = route._class
        now = self.env.now
        if cls.count:
            if cls.since != now:
                cls.clock += cls.rate * (now - cls.since)
                cls.since = now
            cls.count += 1
            flow.mark = mark = cls.clock + work
            heappush(cls.heap, (mark, order, flow, route))
            route._flows[flow] = order
            if cls.alone:
                self._pace(cls, now)
            elif not cls.dirty:
                cls.dirty = True
                self._dirty.append(cls)
        else:
            self._wake(cls, 1)
            flow.mark = mark = cls.clock + work
            heappush(cls.heap, (mark, order, flow, route))
            route._flows[flow] = order
        if not self._completing:
            self._settle()
        return flow

    def work_left(self, route: Route, flow: Flow) -> float:
        """Return how much work of a flow on a route is still to be done. Raises ValueError for one that has ended."""
        if flow not in route._flows:
            raise ValueError("the flow has ended")
        cls = route._class
        return max(0.0, flow.mark - cls.clock - cls.rate * (self.env.now - cls.since))

    def stop(self, route: Route, flow: Flow) -> None:
        """End a flow on a route before its work is done. `flow.left` is the rest. Processes that wait for it go on now.

        Raises ValueError for a flow that has ended.
        """
        if self._is_away:
            self._leave_for_good()
        left = self.work_left(route, flow)
        self._ending = None  # others go on as well
        del route._flows[flow]
        flow.mark = -_INF  # so that its entry is of no flow any more
        self._leave_entries(route._class, 1)
        route._started -= left
        flow.left = left
        self._leave(route)
        if not self._completing:
            self._settle()
        flow.happen()

    def skip(self, seconds: float) -> bool:
        """Let time pass for the process that was waiting for a flow which has just ended. Return whether that is done.

        It is not done where anything else happens by then, or might: another flow ends, or an event is due. Then the
        process is to wait for a timeout, as if it had not asked. So a worker that is at a lock for a moment costs no
        event, and all others go on meanwhile at the rates that they have without it.
        """
        now = self.env.now
        at = now + seconds
        cls = self._ending
        if cls is None or self.env.peek() <= at:
            return False
        if cls.stale:
            self._trim(cls)
        route = self._vacated
        if route is not None and route._class is cls and (self._is_away or not self._dirty) and not _is_bound(route):
            if not (self._stay_alone if cls.alone and cls.count > 2 else self._stay)(cls, now, at):
                return False
            self._is_away = True
            return let_pass(self.env, at)
        if route is not None:
            self._leave_for_good()
        if self._dirty:
            self._settle()
        if self._next_deadline() <= at:
            self._ending = None
            return False
        return let_pass(self.env, at)

    def _stay_alone(self, cls: FlowClass, now: float, at: float) -> bool:
        """Let the flows of a class that is alone go on for a while without one. Return whether none ends meanwhile."""
        rate = cls.fair / (cls.count - 1)
        if rate > cls.top:
            rate = cls.top
        cls.deadline = deadline = now + (cls.heap[0][0] - cls.clock) / rate
        if deadline < cls.entry_at:
            self._enter(cls)
        if deadline <= at or self._next_deadline() <= at:
            return False
        cls.rate = rate
        cls.clock += rate * (at - now)
        cls.since = at
        return True

    def _stay(self, cls: FlowClass, now: float, at: float) -> bool:
        """Do the same for any class: all whose rates depend on each other go on at those without the one flow."""
        found = self._component(cls)
        cls.count -= 1
        present = [other for other in found if other.count]
        rates = self._rates(present)
        cls.count += 1
        cls.deadline = _INF
        changed = []
        for other, rate in zip(present, rates, strict=True):
            if rate != other.rate or other is cls:
                clock = other.clock + other.rate * (now - other.since)
                end = now + (other.heap[0][0] - clock) / rate
                if end <= at:
                    return False
                if other is cls:
                    self._end_at(cls, end)
                changed.append((other, rate, clock, end))
        if self._next_deadline() <= at:
            return False
        cls.rate, cls.since = 0.0, at  # unless others are left in it
        for other, rate, clock, end in changed:
            other.clock = clock + rate * (at - now)
            other.since = at
            other.rate = rate
            self._end_at(other, end)
        if not cls.dirty:
            cls.dirty = True
            self._dirty.append(cls)
        return True

    def _leave_for_good(self) -> None:
        """Take the flow that has just ended out of its class: the next one of its process is not on the same route."""
        route, self._vacated, self._is_away = self._vacated, None, False
        if route is not None:
            self._leave(route)

    # -- population of the classes

    def _demand(self, route: Route) -> None:
        """Count a new flow on the resources of its route that are not tight. Some may become tight."""
        for resource, demand in route._slack:
            resource._demand += demand
            if resource._demand > resource._limit:
                self._set_tight(resource, True)

    def _leave(self, route: Route) -> None:
        """Take a flow that has ended, and is in no heap any more, off its route and class."""
        for resource, demand in route._slack:
            resource._demand -= demand
        cls = route._class
        self._shrink(cls, 1)
        if route._folds:
            self._part(route)
        if cls.count <= 1:
            # A tight resource stays tight until nearly empty: always right, and cheaper than going back and forth.
            for resource, _ in cls.uses:
                if not resource._pinned and sum(other.count for other in resource._active) <= 1:
                    self._loosen(resource)

    def _loosen(self, resource: Resource) -> None:
        if total(r.flows * r.cap * r._usage(resource) for r in resource._routes) <= resource._limit:
            self._set_tight(resource, False)

    # -- folded resources

    def _join(self, route: Route) -> None:
        """Count a new flow on the folded resources of its route. Ceilings may fall."""
        changed = False
        for resource, demand in route._folds:
            on = resource._on
            on[route] = on.get(route, 0) + 1
            resource._n_flows += 1
            resource._demand = total = resource._demand + demand
            changed = changed or total > resource._limit
        if changed or route._ceiling < _INF:
            self._refold(route)

    def _part(self, route: Route) -> None:
        """Take a flow that has ended off the folded resources of its route. Ceilings may rise."""
        changed = False
        for resource, demand in route._folds:
            changed = changed or resource._binds
            on = resource._on
            left = on[route] - 1
            if left:
                on[route] = left
            else:
                del on[route]
            resource._n_flows -= 1
            resource._demand = resource._demand - demand if resource._n_flows else 0.0
        if changed:
            self._refold(route)

    def _refold(self, route: Route) -> None:
        """Give the flows on the folded resources of a route their ceilings, or unfold those whose flows are not alike.

        Where all flows on a resource are alike, in their cap, weight and all else that may hold them up, they get the
        same rate. So the resource acts on each as a cap: an equal share.
        """
        touched = [route]  # some may be there twice, which changes nothing
        for resource, _ in route._folds:
            on = resource._on
            resource._binds = resource._demand > resource._limit
            resource._share = _INF
            if resource._binds:
                resource._share = resource.capacity / (resource._n_flows * next(iter(on))._usage(resource))
            touched += [other for other in on if other is not route]
        for other in touched:  # their flows may be alike no longer
            for resource, _ in other._folds:
                if resource._binds:
                    self._check(resource)
        for other in touched:
            self._set_ceiling(other)

    def _check(self, resource: Resource) -> None:
        """Unfold a resource that holds up flows which are not alike."""
        if resource._binds and len(resource._on) > 1 and not self._are_alike(resource):
            self._unfold(resource)

    @staticmethod
    def _are_alike(resource: Resource) -> bool:
        first: tuple[Any, float] | None = None
        for route in resource._on:
            share = _INF
            for q, _ in route._folds:
                if q is not resource and q._share < share:
                    share = q._share
            if first is None:
                first = (route._kind, share)
            elif first != (route._kind, share):
                return False
        return True

    def _unfold(self, resource: Resource) -> None:
        """Make a resource one like others, which is part of the classes of its flows where it is tight."""
        if not resource._folded:
            return
        resource._folded = resource._binds = False
        resource._share = _INF
        resource._on = {}
        resource._n_flows = 0
        resource._tight = resource._demand > resource._limit
        for route in resource._routes:
            self._split(route)
            self._set_ceiling(route, always=True)
        for other in dict.fromkeys(q for route in resource._routes for q, _ in route._folds):
            self._check(other)

    def _set_ceiling(self, route: Route, *, always: bool = False) -> None:
        ceiling = _INF
        for resource, _ in route._folds:
            if resource._share < ceiling:
                ceiling = resource._share
        if ceiling >= route.cap:
            ceiling = _INF
        if always or ceiling != route._ceiling:
            route._ceiling = ceiling
            if always:
                self._move(route)
            else:
                self._move(route, route._by_ceiling.get(ceiling) or self._class_of(route))

    @staticmethod
    def _split(route: Route) -> None:
        """Note which resources of a route are folded, and the other limits of its flows."""
        route._folds = tuple((q, route.cap * usage) for q, usage in route.uses if q._folded)
        others = tuple((q._index, usage) for q, usage in route.uses if not q._folded)
        route._kind = (route.cap, route.weight, others, tuple(demand for _, demand in route._folds))

    # -- classes

    def _wake(self, cls: FlowClass, flows: int) -> None:
        """Give flows to a class that has none."""
        cls.clock = 0.0
        cls.since = self.env.now
        cls.count = flows
        if cls.heap:
            cls.heap.clear()
            cls.stale = 0
        self._shape += 1
        cls.alone = not cls.uses
        for resource, _ in cls.uses:
            resource._active.append(cls)
            self._pair(resource)
        if not cls.dirty:
            cls.dirty = True
            self._dirty.append(cls)

    def _shrink(self, cls: FlowClass, flows: int) -> None:
        now = self.env.now
        cls.clock += cls.rate * (now - cls.since)
        cls.since = now
        cls.count -= flows
        if not cls.count:
            cls.rate = 0.0
            cls.deadline = _INF
            self._shape += 1
            for resource, _ in cls.uses:
                resource._active.remove(cls)
                self._pair(resource)
        if not cls.dirty:
            cls.dirty = True
            self._dirty.append(cls)

    @staticmethod
    def _pair(resource: Resource) -> None:
        """Note whether a class is alone on a resource, after one came or went."""
        active = resource._active
        if len(active) == 1:
            active[0].alone = len(active[0].uses) == 1 and not resource._pinned
        elif len(active) == 2:
            active[0].alone = active[1].alone = False

    def _classify(self, route: Route) -> None:
        """Find the class of a route: the flows with the same tight resources, cap and weight."""
        route._by_ceiling.clear()
        route._class = self._class_of(route)
        route._slack = tuple((q, route.cap * usage) for q, usage in route.uses if not (q._tight or q._folded))

    def _class_of(self, route: Route) -> FlowClass:
        uses = tuple((resource, usage) for resource, usage in route.uses if resource._tight)
        key = (tuple((q._index, usage) for q, usage in uses), route.cap, route.weight, route._ceiling)
        found = self._classes.get(key)
        if found is None:
            top = min(route.cap, route._ceiling)
            found = self._classes[key] = FlowClass(len(self._classes), uses, route.cap, route.weight, top)
        route._by_ceiling[route._ceiling] = found
        return found

    def _set_tight(self, resource: Resource, tight: bool) -> None:
        """Let a resource enter or leave the classes of its flows."""
        resource._tight = tight
        resource._demand = 0.0
        resource._folded = resource._foldable and not tight
        for route in resource._routes:
            if resource._foldable:
                self._split(route)
            n_flows = self._move(route)
            if n_flows and not tight:
                resource._demand += n_flows * route.cap * route._usage(resource)
                if resource._folded:
                    resource._on[route] = n_flows
                    resource._n_flows += n_flows

    def _move(self, route: Route, new: FlowClass | None = None) -> int:
        """Take the flows of a route to the class that it has now, if that is not known, and return how many it has."""
        old = route._class
        if new is None:
            self._classify(route)
            new = route._class
        else:
            route._class = new
        n_flows = len(route._flows) + (self._vacated is route)
        if not n_flows or new is old:
            return n_flows
        now = self.env.now
        if new.count:
            self._shrink(new, -n_flows)
        else:
            self._wake(new, n_flows)
        if route._flows:
            clock = old.clock + old.rate * (now - old.since)
            for flow, order in route._flows.items():
                flow.mark = mark = new.clock + max(0.0, flow.mark - clock)
                heappush(new.heap, (mark, order, flow, route))
            self._leave_entries(old, len(route._flows))
        self._shrink(old, n_flows)
        return n_flows

    def _leave_entries(self, cls: FlowClass, n_entries: int) -> None:
        """Count entries of a class's heap whose flows have left it. They are taken out when they come to the top."""
        cls.stale += n_entries
        if cls.stale > 64 and 2 * cls.stale > len(cls.heap):
            left = {entry[2]: entry for entry in cls.heap if _is_valid(cls, entry)}
            cls.heap[:] = left.values()
            heapify(cls.heap)
            cls.stale = 0
        else:
            self._trim(cls)

    @staticmethod
    def _trim(cls: FlowClass) -> None:
        """Take entries of flows that have left a class off the top of its heap."""
        heap = cls.heap
        while cls.stale and heap and not _is_valid(cls, heap[0]):
            heappop(heap)
            cls.stale -= 1

    # -- rates

    def _settle(self) -> None:
        """Give every class that may have changed its rate and its deadline, and arm the alarm."""
        now = self.env.now
        for dirty in self._dirty:
            if not dirty.dirty:
                continue  # was part of a component already solved
            if dirty.alone and dirty.count:
                dirty.dirty = False
                self._pace(dirty, now)
                continue
            found = self._component(dirty)
            for cls, rate in zip(found, self._rates(found), strict=True):
                if rate == cls.rate and not cls.dirty:
                    continue  # nothing changes for its flows
                cls.dirty = False
                cls.clock += cls.rate * (now - cls.since)
                cls.since = now
                cls.rate = rate
                self._set_deadline(cls, now)
            dirty.dirty = False  # it is none of those if it is empty
        self._dirty.clear()
        if not self._completing and self._next_deadline() < self._alarm_at:
            self._arm()

    def _component(self, cls: FlowClass) -> list[FlowClass]:
        """Return the classes whose rates depend on each other."""
        if cls.shape != self._shape:
            self._stamp = stamp = self._stamp + 1
            cls.component = component(cls, stamp)
            cls.shape = self._shape
        return cls.component

    def _rates(self, classes: Sequence[FlowClass]) -> list[float]:
        """Return the rates of classes that depend on each other, those that were found before if there are any."""
        key = tuple([(cls.number, cls.count) for cls in classes])
        rates = self._solved.get(key)
        if rates is None:
            if len(self._solved) >= MEMORY:
                self._solved.clear()
            rates = self._solved[key] = fill_rates(classes)
        return rates

    def _pace(self, cls: FlowClass, now: float) -> None:
        """Give a class that is alone its rate and its deadline: by far the most frequent case."""
        rate = cls.fair / cls.count
        if rate > cls.top:
            rate = cls.top
        cls.rate = rate
        heap = cls.heap
        if heap:
            cls.deadline = deadline = now + (heap[0][0] - cls.clock) / rate
            if deadline < cls.entry_at:
                self._enter(cls)

    def _set_deadline(self, cls: FlowClass, now: float) -> None:
        self._end_at(cls, now + (cls.heap[0][0] - cls.clock) / cls.rate if cls.heap else _INF)

    def _end_at(self, cls: FlowClass, deadline: float) -> None:
        cls.deadline = deadline
        if deadline < cls.entry_at:
            self._enter(cls)

    def _enter(self, cls: FlowClass) -> None:
        self._order = cls.entry_id = order = self._order + 1
        cls.entry_at = cls.deadline
        heappush(self._deadlines, (cls.deadline, order, cls))

    def _next_deadline(self) -> float:
        """Return the earliest deadline (inf if none), and bring its class to the top of the heap.

        Entries are lower bounds: one that turns out too early is put right only when it comes to the top.
        """
        deadlines = self._deadlines
        while deadlines:
            at, order, cls = deadlines[0]
            if cls.entry_id != order:
                heappop(deadlines)
            elif cls.deadline == at:
                return at
            elif cls.deadline < _INF:
                heapreplace(deadlines, (cls.deadline, order, cls))
                cls.entry_at = cls.deadline
            else:
                heappop(deadlines)
                cls.entry_at = _INF
        return _INF

    def _arm(self) -> None:
        self._alarm = alarm = Alarm(self.env, self._ring)
        self._alarm_at = at = self._deadlines[0][0]
        alarm.set(at - self.env.now)

    # -- ends

    def _ring(self, alarm: Event) -> None:
        """End all flows that are due, resume the processes that wait for them, and set the alarm for the next.

        One long function with local names: it runs once for each chunk of every simulation.
        """
        if alarm is not self._alarm:
            return  # an earlier one was armed since
        env = self.env
        now = env.now
        until = max(now, self._alarm_at)  # rounding may put `now` a hair before the deadline
        deadlines = self._deadlines
        dirty = self._dirty
        stopped: StopSimulation | None = None
        self._completing = True
        at = self._next_deadline()  # later than the alarm if rates fell since it was set
        while at <= until:
            cls = deadlines[0][2]
            heap = cls.heap
            mark = heap[0][0]
            cls.clock = clock = mark
            cls.since = now
            mark += mark * _TIE
            while heap and heap[0][0] <= mark:
                entry = heappop(heap)
                _, _, flow, route = entry
                if cls.stale and not _is_valid(cls, entry):
                    cls.stale -= 1
                    continue
                self._vacated = route
                del route._flows[flow]
                callbacks = flow.take_callbacks()
                self._ending = cls if len(callbacks) == 1 and not (heap and heap[0][0] <= mark) else None
                for callback in callbacks:
                    try:
                        callback(flow)
                    except StopSimulation as stop:  # from env.run(until=flow): obeyed below, when all is consistent
                        stopped = stop
                if self._is_away:
                    self._leave_for_good()
                elif self._vacated is route:
                    self._vacated = None
                    if cls.count <= 2 or route._slack or route._folds or route._class is not cls:
                        self._leave(route)
                    else:
                        cls.count -= 1
                        if not cls.alone and not cls.dirty:
                            cls.dirty = True
                            dirty.append(cls)
                if cls.clock != clock:
                    break  # time has passed, or it was emptied and begun anew: `mark` says nothing about its flows
            if cls.stale:
                self._trim(cls)
            if env.now != now:  # all deadlines are later, and those that have changed since are set
                now = until = env.now
            elif cls.count and not cls.dirty:
                if cls.alone:
                    self._pace(cls, now)
                else:
                    self._set_deadline(cls, now)
            if dirty:
                self._settle()
            at = self._next_deadline()
        self._completing, self._ending = False, None
        if stopped is not None:
            self._alarm_at = _INF
            if at < _INF:
                self._arm()  # another: SimPy schedules the event that it was stopped in once more
            raise stopped
        self._alarm_at = at
        if at < _INF:
            self._alarm.set(at - now)


def _is_bound(route: Route) -> bool:
    """Return whether a folded resource holds up the flows of a route."""
    for resource, _ in route._folds:  # noqa: SIM110 - a generator takes twice as long
        if resource._binds:
            return True
    return False


def _is_valid(cls: FlowClass, entry: tuple[float, int, Flow, Route]) -> bool:
    """Return whether an entry of a class's heap belongs to a flow of that class that has not ended."""
    mark, _, flow, route = entry
    return route._class is cls and flow.mark == mark and flow in route._flows
