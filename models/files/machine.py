"""Machine files: YAML that describes a machine, each number with its source."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from models.files.families import families
from models.files.machine_keys import (
    COST_NAMES,
    MAX_CPUS,
    MAX_NODES,
    POWER,
    RATES,
    RENAMED,
    WORKERS,
    FigureKey,
    MachineFile,
    NodeGroup,
    Sourced,
)
from models.files.table import shipped_tables
from models.machine import Cpu, Fit, Link, Machine, Node, Power, Rates
from models.machine.capacity import CapacityCurve
from models.machine.topology import MAX_DISTANCE
from models.text.checks import Checker, validate
from models.text.document import KeyPath, Located, is_file, is_folder, read
from models.text.problems import InputError, Problem, did_you_mean
from models.text.units import describe, format_size

_SHIPPED = Path(str(resources.files("models") / "machines"))


def shipped_machines() -> tuple[str, ...]:
    """Return the names of the machines that come with the program."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def find_machine_file(name: str, base: Path) -> Path:
    """Return the file of a machine named in a scenario: a shipped name, or a path relative to `base`.

    Raises ValueError with the allowed values.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = base / name
        if not is_file(path):
            files = [file for file in base.glob("*.y*ml") if is_file(file)] if is_folder(base) else []
            near = [file.name for file in files if did_you_mean(path.stem, [file.stem])]
            what = "is a folder" if is_folder(path) else "does not exist"
            raise ValueError(
                f"found {describe(name)}, but {describe(str(path))} {what}; allowed is the path of a machine file"
                f"{did_you_mean(name, [*near, *shipped_machines()])}"
            )
        return path
    if name not in shipped_machines():
        names = shipped_machines()
        if is_file(base / name) or is_folder(base / name):
            raise ValueError(
                f"found {describe(name)}, which is no machine file (.yaml); `ktask-sim import {name} -o machine.yaml` "
                "makes one of what numactl -H, lscpu, lstopo or /sys tell"
            )
        raise ValueError(
            f"found {describe(name)}; allowed is a shipped machine ({', '.join(names)}) or the path of "
            f"a machine file (.yaml){did_you_mean(name, names)}"
        )
    return _SHIPPED / f"{name}.yaml"


def load_machine(name: str | Path) -> Machine:
    """Return a machine by its shipped name or the path of its file.

    Args:
        name: A shipped name (`ktask-sim machines` lists them), or a path.

    Returns:
        The machine: nodes, CPUs, links, rates, and the source of each figure.

    Raises:
        InputError: The file has problems. The error has all of them, each with its place.
        ValueError: There is no such machine. The message has the known names.

    Example:
        >>> len(load_machine("xeon-e7-8895v3-8s").cpus)
        288
    """
    path = name if isinstance(name, Path) else find_machine_file(name, Path.cwd())
    return _shipped(path) if path.parent == _SHIPPED else _load(path)


@functools.cache  # the program's own files don't change while it runs
def _shipped(path: Path) -> Machine:
    return _load(path)


def _load(path: Path) -> Machine:
    document = read(path)
    if isinstance(document.value, dict) and "base_page_bytes" in document.value:  # models.results.machine_as_data
        what = "found a machine as a result folder records it; allowed is a machine file, such as that it was read from"
        raise InputError([Problem(str(path), 0, 0, "", what)])
    return build_machine(document, str(path))


def build_machine(document: Located, name: str) -> Machine:
    """Return the machine that a document describes. `name` stands for the file in messages. Raises InputError."""
    check = Checker(document, name)
    for old, new in RENAMED.items():
        if document.has((old,)):
            check.problem(
                (old,), f"this key is now called `{new}`; rename it, its values stay as they are", of_key=True
            )
    check.stop()
    return _build(validate(MachineFile, document, name), check)


def _build(file: MachineFile, check: Checker) -> Machine:
    nodes, cpus = _nodes_and_cpus(file, check)
    nids = [node.nid for node in nodes]
    links = _links(file, nids, check)
    routes = _routes(file, nids, links, check) if not check.problems else {}
    distances = _distances(file, nids, routes, check)
    rates = _rates(file, set(distances.values()), check)
    _check_fits(file, check)
    if file.family is not None and file.family not in families():
        known = tuple(families())
        said = f"found {file.family!r}; allowed are {', '.join(known)}{did_you_mean(file.family, known)}"
        check.problem(("family",), said)
    if file.guest is not None:
        _check_host_page(file.guest.host_page.value, file, check)
    workers = None if file.workers is None else _figures("workers", file.workers, WORKERS, check)
    power = None if file.power is None else Power(**_figures("power", file.power, POWER, check))
    check.stop()
    sources = {"distances": (file.distances or file.distance_matrix or Sourced(value=0, source="one node")).source}
    sources |= {f"nodes[{i}]": group.source for i, group in enumerate(file.nodes)}
    sources |= {
        f"nodes[{i}].memory_bandwidth": group.memory_bandwidth.source
        for i, group in enumerate(file.nodes)
        if group.memory_bandwidth is not None
    }
    sources |= {f"links[{i}]": link_group.source for i, link_group in enumerate(file.links)}
    clients = {client: _values(costs) for client, costs in file.clients or ()}
    parts = {"rates": file.rates, "pages": file.pages, **{f"clients.{name}": part for name, part in file.clients or ()}}
    for part_name, part in {**parts, "workers": file.workers, "power": file.power, "guest": file.guest}.items():
        sources |= {f"{part_name}.{name}": sourced.source for name, sourced in _sourced(part)}
    return Machine(
        name=file.machine,
        title=file.title,
        also_known_as=tuple(file.also_known_as),
        sources=sources,
        base_page_bytes=file.base_page,
        nodes=tuple(sorted(nodes, key=lambda node: node.nid)),
        cpus=tuple(cpus),
        links=tuple(links),
        routes=routes,
        distances=distances,
        rates=rates,
        worker_costs=workers,
        clients={client: costs for client, costs in clients.items() if costs},
        pages=_values(file.pages),
        host_page_bytes=None if file.guest is None else file.guest.host_page.value,
        power=power,
        family=file.family,
        fits=tuple(Fit(fit.table, tuple(fit.parameters), tuple(fit.cells)) for fit in file.fits),
    )


def _sourced(part: BaseModel | None) -> Iterator[tuple[str, Sourced[float]]]:
    """Yield the figures that a part of a file has."""
    return ((name, sourced) for name, sourced in part or () if sourced is not None)


def _values(part: BaseModel | None) -> dict[str, float]:
    return {name: sourced.value for name, sourced in _sourced(part)}


def _check_host_page(page_bytes: int, file: MachineFile, check: Checker) -> None:
    if page_bytes < file.base_page or page_bytes & (page_bytes - 1):
        path = ("guest", "host_page", "value")
        allowed = f"a power of 2, from the base page, {format_size(file.base_page)}, on"
        check.problem(path, f"found {check.found(path)}; allowed is {allowed}")


def _check_fits(file: MachineFile, check: Checker) -> None:
    known = (*RATES, "links.bandwidth", "kernel.stray_block", *COST_NAMES)
    tables = shipped_tables()
    for i, fit in enumerate(file.fits):
        for j, parameter in enumerate(fit.parameters):
            if parameter not in known:
                check.problem(
                    ("fits", i, "parameters", j),
                    f"found {parameter!r}; allowed are {', '.join(known)}{did_you_mean(parameter, known)}",
                )
        for figure in fit.otherwise:
            if figure not in fit.parameters:
                named = ", ".join(fit.parameters)
                message = f"found {figure!r}; allowed are the parameters of this fit: {named}"
                check.problem(
                    ("fits", i, "otherwise", figure), message + did_you_mean(figure, fit.parameters), of_key=True
                )
        if fit.table not in tables and not fit.table.endswith(".csv"):
            check.problem(
                ("fits", i, "table"),
                f"found {fit.table!r}; allowed are {', '.join(tables)}, or the name of a CSV file"
                f"{did_you_mean(fit.table, tables)}",
            )


def _nids(file: MachineFile, check: Checker) -> list[list[int]]:
    """Return the numbers of the nodes of each group."""
    nids: list[list[int]] = []
    group_of: dict[int, int] = {}
    follows = 0
    for i, group in enumerate(file.nodes):
        for key in ("nid", "socket"):
            if getattr(group, key) is not None and group.count > 1:
                message = f"found {getattr(group, key)} for {group.count} nodes; allowed only where count is 1"
                check.problem(("nodes", i, key), message)
        first = group.nid if group.nid is not None and group.count == 1 else follows
        nids.append(list(range(first, first + group.count)))
        twice = next((nid for nid in nids[-1] if nid in group_of), None)
        if twice is not None:
            message = f"found node {twice} a second time, after nodes[{group_of[twice]}]; allowed is each number once"
            check.problem(("nodes", i, "nid"), message)
        group_of |= dict.fromkeys(nids[-1], i)
        follows = first + group.count
    return nids


def _check_nodes(file: MachineFile, check: Checker) -> None:
    """Find impossible values in the groups of nodes."""
    for i, group in enumerate(file.nodes):
        if group.count % group.nodes_per_socket:
            check.problem(
                ("nodes", i, "nodes_per_socket"),
                f"found {group.nodes_per_socket}; allowed is a number that divides the count of nodes, {group.count}",
            )
        for j, kind in enumerate(group.cores or []):
            if kind.cache_domains > kind.count:
                check.problem(
                    ("nodes", i, "cores", j, "cache_domains"),
                    f"found {kind.cache_domains}; allowed is at most the count of cores, {kind.count}",
                )
    _check_cpus(file, check)
    n_cpus = sum(_n_cpus(group) for group in file.nodes)
    if n_cpus > MAX_CPUS:
        check.problem(("nodes",), f"found {n_cpus} CPUs in all; allowed are at most {MAX_CPUS}")
    if not n_cpus:
        check.problem(("nodes",), "found no CPU at all; at least one node must have cores")
    if not any(group.memory for group in file.nodes):
        check.problem(("nodes",), "found no memory at all; at least one node must have some")
    base = file.base_page
    if base & (base - 1) or not 512 <= base <= 2**30:
        check.problem(("base_page",), f"found {check.found(('base_page',))}; allowed is a power of 2, such as 4KiB")


def _check_cpus(file: MachineFile, check: Checker) -> None:
    """Find impossible values in CPUs by number, and between them and cores by count."""
    by_number = any(group.cpus for group in file.nodes)
    place_of: dict[int, str] = {}
    for i, group in enumerate(file.nodes):
        if group.cores is None and group.cpus is None:
            message = "the key `cores` or `cpus` is missing; a node without CPUs has an empty list, cores: []"
            check.problem(("nodes", i), message)
        if group.cores is not None and group.cpus is not None:
            check.problem(("nodes", i, "cpus"), "found beside `cores`; allowed is one of the two", of_key=True)
        elif by_number and group.cores:
            message = "found `cores` beside `cpus` of another node; allowed is `cpus` in all nodes that have CPUs"
            check.problem(("nodes", i, "cores"), message, of_key=True)
        if group.cpus and group.count > 1:
            message = f"found CPU numbers for {group.count} nodes; allowed only where count is 1"
            check.problem(("nodes", i, "cpus"), message, of_key=True)
        for j, part in enumerate(group.cpus or []):
            for k, core in enumerate(part.cores):
                place = f"nodes[{i}].cpus[{j}].cores[{k}]"
                twice = next((cpu_id for cpu_id in core if cpu_id in place_of), None)
                if twice is not None:
                    message = f"found CPU {twice} a second time, after {place_of[twice]}; allowed is each CPU once"
                    check.problem(("nodes", i, "cpus", j, "cores", k), message)
                place_of |= dict.fromkeys(core, place)
    if by_number and "cpu_numbering" in file.model_fields_set:
        message = "found beside `cpus`, which number the CPUs themselves; allowed is one of the two"
        check.problem(("cpu_numbering",), message, of_key=True)


def _n_cpus(group: NodeGroup) -> int:
    by_count = sum(kind.count * kind.threads_per_core for kind in group.cores or [])
    return group.count * by_count + sum(len(core) for part in group.cpus or [] for core in part.cores)


def _nodes_and_cpus(file: MachineFile, check: Checker) -> tuple[list[Node], list[Cpu]]:
    """Return the nodes in the order of the file, and the CPUs by number."""
    n_nodes = sum(group.count for group in file.nodes)
    if n_nodes > MAX_NODES:
        check.problem(("nodes",), f"found {n_nodes} nodes in all; allowed are at most {MAX_NODES}")
        check.stop()
    nids = _nids(file, check)
    _check_nodes(file, check)
    if check.problems:
        # For the checks of links and distances.
        return [Node(nid, 0, 0) for nid in dict.fromkeys(itertools.chain.from_iterable(nids))], []
    nodes: list[Node] = []
    n_sockets = 0
    for group, numbers in zip(file.nodes, nids, strict=True):
        first = n_sockets if group.socket is None else group.socket
        own = None if group.memory_bandwidth is None else group.memory_bandwidth.value
        nodes += [Node(nid, first + i // group.nodes_per_socket, group.memory, own) for i, nid in enumerate(numbers)]
        n_sockets = max(n_sockets, nodes[-1].socket_id + 1)
    if any(group.cpus for group in file.nodes):
        return nodes, _cpus_by_number(file, nids)
    return nodes, _cpus_by_count(file, nids)


def _cpus_by_count(file: MachineFile, nids: list[list[int]]) -> list[Cpu]:
    cores: list[tuple[int, int, int, float, int]] = []  # (core, cache, nid, speed, threads)
    n_caches = 0
    for group, numbers in zip(file.nodes, nids, strict=True):
        for nid in numbers:
            for kind in group.cores or []:
                for j in range(kind.count):
                    cache = n_caches + j * kind.cache_domains // kind.count
                    cores.append((len(cores), cache, nid, kind.speed, kind.threads_per_core))
                n_caches += kind.cache_domains
    threads = [(core, thread) for core in cores for thread in range(core[4])]
    if file.cpu_numbering == "siblings_last":
        threads.sort(key=lambda entry: (entry[1], entry[0][0]))
    return [Cpu(cpu_id, core, cache, nid, speed) for cpu_id, ((core, cache, nid, speed, _), _) in enumerate(threads)]


def _cpus_by_number(file: MachineFile, nids: list[list[int]]) -> list[Cpu]:
    cpus: list[Cpu] = []
    caches: dict[object, int] = {}
    n_cores = 0
    for i, group in enumerate(file.nodes):
        for j, part in enumerate(group.cpus or []):
            cache = caches.setdefault((i, j) if part.cache is None else part.cache, len(caches))
            for core in part.cores:
                cpus += [Cpu(cpu_id, n_cores, cache, nids[i][0], part.speed) for cpu_id in core]
                n_cores += 1
    return sorted(cpus, key=lambda cpu: cpu.cpu_id)


def _links(file: MachineFile, nids: list[int], check: Checker) -> list[Link]:
    links: list[Link] = []
    seen: set[tuple[int, int]] = set()
    for i, group in enumerate(file.links):
        for j, (a, b) in enumerate(group.between):
            path: KeyPath = ("links", i, "between", j)
            pair = (min(a, b), max(a, b))
            for k, nid in enumerate((a, b)):
                if nid not in nids:
                    what = f"the machine has node{'s' * (len(nids) > 1)} {_span(nids)}{' only' * (len(nids) == 1)}"
                    check.problem((*path, k), f"found node {nid}; {what}")
            if a == b:
                check.problem(path, f"found a link of node {a} with itself; allowed are two different nodes")
            elif pair in seen:
                check.problem(
                    path, f"found a second link between nodes {a} and {b}; give one with the bandwidth of both"
                )
            seen.add(pair)
            links.append(Link(pair, group.bandwidth))
    return links


def _routes(
    file: MachineFile, nids: list[int], links: list[Link], check: Checker
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return the shortest routes by number of links, lower node ids first among equals, or as the file says.

    There is none for nodes that are cut off.

    Distances without any links connect all nodes directly.
    """
    near: dict[int, list[int]] = {nid: [] for nid in nids}
    for link in links:
        a, b = link.nids
        near[a].append(b)
        near[b].append(a)
    routes: dict[tuple[int, int], tuple[int, ...]] = {}
    for start in nids:
        routes[start, start] = (start,)
        queue = deque([start])
        while queue:
            here = queue.popleft()
            for other in sorted(near[here]):
                if (start, other) not in routes:
                    routes[start, other] = (*routes[start, here], other)
                    queue.append(other)
    if file.distance_matrix and not links:
        routes |= {(a, b): (a, b) for a, b in itertools.permutations(nids, 2)}
        if file.routes:
            message = "found without `links`; allowed are routes over links, without them nodes are connected directly"
            check.problem(("routes",), message, of_key=True)
        return routes
    lost = [nid for nid in nids if (nids[0], nid) not in routes]
    if lost:
        check.problem(
            ("links",) if file.links else ("nodes",),
            f"no links lead from node {nids[0]} to node{'s' if len(lost) > 1 else ''} {_span(lost)}; "
            "every node must be reachable, so add the missing links",
        )
        return {}
    given: set[tuple[int, int]] = set()
    for i, nodes in enumerate(file.routes):
        found = check.found(("routes", i))
        ends = (min(nodes[0], nodes[-1]), max(nodes[0], nodes[-1]))
        missing = next(((a, b) for a, b in itertools.pairwise(nodes) if b not in near.get(a, ())), None)
        if len(set(nodes)) < len(nodes):
            check.problem(("routes", i), f"found {found}; allowed is each node once on a route")
        elif missing is not None:
            message = f"found {found}; there is no link between nodes {missing[0]} and {missing[1]}"
            check.problem(("routes", i), f"{message}, allowed is a route over links")
        elif ends in given:
            message = f"found a second route between nodes {ends[0]} and {ends[1]}; allowed is one, for both directions"
            check.problem(("routes", i), message)
        else:
            given.add(ends)
            routes[nodes[0], nodes[-1]] = tuple(nodes)
            routes[nodes[-1], nodes[0]] = tuple(reversed(nodes))
    return routes


def _distances(
    file: MachineFile, nids: list[int], routes: dict[tuple[int, int], tuple[int, ...]], check: Checker
) -> dict[tuple[int, int], int]:
    """Return the distances between nodes, or none if they are unknown, as without routes."""
    known = len(check.problems)
    if file.distances and file.distance_matrix:
        check.problem(("distance_matrix",), "found beside `distances`; allowed is one of the two", of_key=True)
    if file.distance_matrix:
        rows = file.distance_matrix.value
        _check_matrix(rows, len(nids), check)
        if len(check.problems) > known:
            return {}
        return {(a, b): rows[i][j] for i, a in enumerate(nids) for j, b in enumerate(nids)}
    by_hops = file.distances.value if file.distances else [10]
    path: KeyPath = ("distances", "value")
    if by_hops[:1] != [10] or any(b <= a for a, b in itertools.pairwise(by_hops)) or by_hops[-1] > MAX_DISTANCE:
        check.problem(
            path, f"found {check.found(path)}; allowed is 10 first, then growing numbers up to {MAX_DISTANCE}"
        )
    needed = max((len(route) for route in routes.values()), default=len(by_hops))
    if len(by_hops) != needed and not file.distances:
        message = (
            f"the key `distances` or `distance_matrix` is missing; nodes are up to {_some(needed - 1, 'link')} apart; "
            "allowed is, for example, distances: {value: [10, 21, 31], source: numactl -H}"
        )
        check.problem((), message)
    elif len(by_hops) != needed:
        check.problem(
            path,
            f"found {_some(len(by_hops), 'distance')}; allowed are {needed}, since nodes are up to "
            f"{_some(needed - 1, 'link')} apart: 10 for the node itself, then one for each number of links",
        )
    if len(check.problems) > known:
        return {}
    return {pair: by_hops[len(route) - 1] for pair, route in routes.items()}


def _check_matrix(rows: list[list[int]], n_nodes: int, check: Checker) -> None:
    path: KeyPath = ("distance_matrix", "value")
    if len(rows) != n_nodes:
        check.problem(path, f"found {_some(len(rows), 'row')}; allowed are {n_nodes}, one for each node")
    for i, row in enumerate(rows):
        if len(row) != n_nodes:
            check.problem((*path, i), f"found a row of {len(row)}; allowed are {n_nodes}, one for each node")
        for j, distance in enumerate(row):
            if (distance != 10) if i == j else not 10 < distance <= MAX_DISTANCE:
                allowed = f"10 for a node itself, 11 to {MAX_DISTANCE} for others"
                check.problem((*path, i, j), f"found {distance}; allowed is {allowed}")


def _figures(section: str, part: BaseModel, keys: Mapping[str, FigureKey], check: Checker) -> dict[str, Any]:
    """Return the figures of a section by their attributes, with the defaults of those that the file lacks."""
    values: dict[str, Any] = {}
    for name, key in keys.items():
        sourced: Sourced[Any] | None = getattr(part, name)
        values[key.attribute] = key.default if sourced is None else sourced.value
        if sourced is not None and key.kind is float and not key.low <= sourced.value <= key.high:
            at: KeyPath = (section, name, "value")
            check.problem(at, f"found {check.found(at)}; allowed is {key.low:g} to {key.high:g}")
            values[key.attribute] = key.default
    return values


def _rates(file: MachineFile, distances: set[int], check: Checker) -> Rates:
    values = _figures("rates", file.rates, RATES, check)
    factors: dict[int, float] = {}
    remote = {str(distance): distance for distance in sorted(distances - {10})}
    key = RATES["remote_factors"]
    for text, factor in (values[key.attribute] or {}).items():
        path: KeyPath = ("rates", "remote_factors", "value", text)
        if not key.low <= factor <= key.high:
            message = f"found {check.found(path)}; allowed is {key.low:g} to {key.high:g}, where 1 is the local rate"
            check.problem(path, message)
        if text in remote:
            factors[remote[text]] = factor
        elif distances:  # else they are wrong themselves
            message = f"found distance {text}; between nodes of this machine there are {', '.join(remote) or 'none'}"
            check.problem(path, message, of_key=True)
    values[key.attribute] = factors
    if values["serial_clear_bytes_per_s"] is None:
        values["serial_clear_bytes_per_s"] = values["clear_bytes_per_s"]
    curve = {name: values.pop(f"memory_curve.{name}") for name in ("knee", "decline")}
    return Rates(**values, memory_curve=CapacityCurve(**curve))


def _some(count: int, thing: str) -> str:
    """Return '1 row', '2 rows'."""
    return f"{count} {thing}{'s' * (count != 1)}"


def _span(numbers: list[int]) -> str:
    """Return '0-7' for a run of numbers, else the list."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(str(number) for number in numbers)


def machine_schema() -> dict[str, Any]:
    """Return the JSON Schema of a machine file."""
    return MachineFile.model_json_schema()


def iter_shipped() -> Iterator[Machine]:
    """Yield every shipped machine, by name."""
    for name in shipped_machines():
        yield load_machine(name)
