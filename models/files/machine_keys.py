"""The keys of a machine file, with their types and meanings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, StringConstraints, create_model

from models.clients import CLIENTS, Costs
from models.memory.figures import PAGE_FIGURES, PageFigures
from models.text.checks import FileKeys
from models.text.cpu_list import CoreCpus
from models.text.units import KIB, Rate, Size, Time, TrafficEnergy, Watts

T = TypeVar("T")

MAX_NODES = 64
MAX_CPUS = 16_384
MAX_NID = 1023  # Linux numbers at most 1024 nodes (CONFIG_NODES_SHIFT is at most 10)

Source = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    Field(min_length=3, description="publication, measurement or reasoning behind the number"),
]


class _Part(FileKeys):
    renamed: ClassVar[Mapping[str, str]] = {}


class Sourced(_Part, Generic[T]):
    """A number and where it comes from."""

    value: T
    source: Source


Speed = Annotated[float, Field(ge=0.01, le=100, description="clearing rate relative to rates.clear_rate")]


class CoreGroup(_Part):
    """Cores of one kind in a node."""

    count: Annotated[int, Field(ge=1, le=4096, description="cores of this kind in one node")]
    threads_per_core: Annotated[int, Field(ge=1, le=8, description="hardware threads of a core")] = 1
    cache_domains: Annotated[int, Field(ge=1, description="last-level caches that these cores share out evenly")] = 1
    speed: Speed = 1.0


class CpuGroup(_Part):
    """Cores of a node by the numbers of their CPUs, behind one last-level cache."""

    cores: Annotated[
        list[CoreCpus], Field(min_length=1, description='the hardware threads of each core: ["0,144", "1,145"]')
    ]
    speed: Speed = 1.0
    cache: Annotated[
        int | None,
        Field(description="any number; groups with the same one share a last-level cache. Default: each has its own"),
    ] = None


class NodeGroup(_Part):
    """NUMA nodes that are alike."""

    count: Annotated[int, Field(ge=1, le=MAX_NODES, description="number of nodes like this one")] = 1
    nodes_per_socket: Annotated[int, Field(ge=1, description="nodes in one socket")] = 1
    nid: Annotated[
        int | None,
        Field(ge=0, le=MAX_NID, description="number of the node, where count is 1; default: the next"),
    ] = None
    socket: Annotated[
        int | None, Field(ge=0, description="number of the socket, where count is 1; default: the next")
    ] = None
    memory: Annotated[Size, Field(description="memory of one node")]
    memory_bandwidth: Annotated[
        Sourced[Rate] | None,
        Field(
            description="traffic that the memory of each of these nodes carries, such as of HBM, CXL or a GPU; default "
            "rates.memory_bandwidth"
        ),
    ] = None
    cores: Annotated[
        list[CoreGroup] | None, Field(description="kinds of cores; an empty list is a node without CPUs")
    ] = None
    cpus: Annotated[
        list[CpuGroup] | None,
        Field(description="in place of cores, where count is 1: cores by the numbers of their CPUs"),
    ] = None
    source: Source


class LinkGroup(_Part):
    """Links that are alike."""

    between: Annotated[
        list[Annotated[list[int], Field(min_length=2, max_length=2)]], Field(min_length=1, description="pairs of nodes")
    ]
    bandwidth: Annotated[Rate, Field(description="payload in each direction")]
    source: Source


@dataclass(frozen=True)
class FigureKey:
    """The key of a figure: all that its reading, its schema, its writing and its fit to times need.

    * ``attribute``: its place in the part of a `Machine`, such as memory_curve.knee of `Rates`.
    * ``kind``: its type in a file.
    * ``low``, ``high``: the least and the greatest plain number.
    * ``needed``: every file has it. ``default``: its value where a file lacks it.
    """

    attribute: str
    kind: Any
    description: str | None = None
    low: float = 0.0
    high: float = math.inf
    needed: bool = False
    default: float | None = None

    def of(self, part: object) -> Any:
        """Return the figure's value in a part of a machine."""
        return attrgetter(self.attribute)(part)


RATES: Mapping[str, FigureKey] = {
    "clear_rate": FigureKey(
        "clear_bytes_per_s", Rate, "a work of a task with helpers, clearing memory of its own node", needed=True
    ),
    "serial_clear_rate": FigureKey(
        "serial_clear_bytes_per_s", Rate, "the loop that runs when a task has no helper; default clear_rate"
    ),
    "clear_traffic": FigureKey(
        "clear_traffic",
        float,
        "bytes over the memory bus for a byte cleared: 2 with read-before-write, else 1",
        low=0.1,
        high=10.0,
        needed=True,
    ),
    "memory_bandwidth": FigureKey(
        "memory_bytes_per_s", Rate, "traffic that the memory of one node carries", needed=True
    ),
    "memory_knee": FigureKey(
        "memory_curve.knee", float, "exponent of the soft knee; leave out for a sharp one", low=1.0, high=64.0
    ),
    "memory_decline": FigureKey(
        "memory_curve.decline",
        float,
        "share of the bandwidth lost for each further multiple of it offered",
        high=0.9,
        default=0.0,
    ),
    "core_throughput": FigureKey(
        "core_throughput",
        float,
        "all hardware threads of a core together, relative to one",
        low=0.5,
        high=8.0,
        needed=True,
    ),
    "cache_bandwidth": FigureKey(
        "cache_bytes_per_s", Rate, "clearing through one last-level cache domain; leave out for no limit"
    ),
    "remote_factors": FigureKey(
        "remote_factors",
        dict[str, float],
        "distance -> rate of a store stream over that distance, relative to local",
        low=0.01,
        high=1.0,
    ),
    "share_exponent": FigureKey(
        "share_exponent",
        float,
        "1 (default): a bottleneck is shared in proportion to what streams ask for; 0: in equal shares",
        high=1.0,
        default=1.0,
    ),
    "chunk_noise": FigureKey(
        "chunk_noise", float, "coefficient of variation of the time of a chunk", high=0.5, needed=True
    ),
    "run_noise": FigureKey(
        "run_noise",
        float,
        "that of a whole run, beside its chunks': the host's own ups and downs",
        high=0.5,
        default=0.0,
    ),
}

WORKERS: Mapping[str, FigureKey] = {
    **{name: FigureKey(name, Time, needed=True) for name in ("setup_time", "start_latency")},
    "start_latency_cv": FigureKey("start_latency_cv", float, high=5.0, needed=True),
    **{name: FigureKey(name, Time, needed=True) for name in ("wake_latency", "lock_hold_time", "chunk_time")},
}

POWER: Mapping[str, FigureKey] = {
    "rest": FigureKey("rest_w", Watts, "the whole machine with nothing to do", needed=True),
    "core_busy": FigureKey("core_busy_w", Watts, "more for each core with a busy hardware thread", needed=True),
    "thread_busy": FigureKey(
        "thread_busy_w", Watts, "more for each further busy thread of a core; default none", default=0.0
    ),
    "socket_awake": FigureKey(
        "socket_awake_w", Watts, "more for each socket with a busy core; default none", default=0.0
    ),
    "memory_energy": FigureKey(
        "memory_j_per_byte",
        TrafficEnergy,
        "for each byte over a memory bus; default none, as where core_busy has it in it",
        default=0.0,
    ),
}


def _figures_part(name: str, meaning: str, keys: Mapping[str, FigureKey]) -> type[BaseModel]:
    """Return a part of a machine file: figures, each with its source."""
    fields: dict[str, Any] = {}
    for key, figure in keys.items():
        kind: Any = figure.kind
        described = Field(description=figure.description)
        fields[key] = (
            Annotated[Sourced[kind], described] if figure.needed else (Annotated[Sourced[kind] | None, described], None)
        )
    return create_model(name, __base__=_Part, __doc__=meaning, **fields)


RatesPart = _figures_part("RatesPart", "The calibrated figures.", RATES)
WorkersPart = _figures_part(
    "WorkersPart",
    "The costs of the machinery when the real backend runs tasks on this machine: threads of Python, not kworkers.",
    WORKERS,
)
PowerPart = _figures_part("PowerPart", "The power of the machine at rest, and the power that work adds.", POWER)


def _costs_part(client: str, costs: type[Costs]) -> type[BaseModel]:
    """Return the part of a machine file for a client: any of its costs, each with its source."""
    fields: dict[str, Any] = {}
    for name, field in costs.model_fields.items():
        kind: Any = field.annotation
        for bound in field.metadata:
            kind = Annotated[kind, bound]
        fields[name] = (Annotated[Sourced[kind] | None, Field(description=field.description)], None)
    part = create_model(f"{client}_costs", __base__=_Part, __doc__=f"Costs of {client} here.", **fields)
    part.renamed = {
        name: f"{words}; all clients share it: write it under `pages`" for name, words in costs.renamed.items()
    }
    return part


_COSTS: dict[str, Any] = {
    name: (Annotated[_costs_part(name, type(field.default)) | None, Field(description=f"costs of {name} here")], None)
    for name, client in CLIENTS.items()
    if (field := client.model_fields.get("costs")) is not None
}
PagesPart = _costs_part("pages", PageFigures)
ClientsPart = create_model("ClientsPart", __base__=_Part, __doc__="What clients cost on this machine.", **_COSTS)


COST_NAMES = (
    *(f"pages.{name}" for name in PAGE_FIGURES),
    *(
        f"clients.{client}.{name}"
        for client in _COSTS
        for name in type(CLIENTS[client].model_fields["costs"].default).model_fields
    ),
)


class FitPart(_Part):
    """Which published cells the rates were fitted to."""

    table: Annotated[str, Field(description="name of the published table")]
    parameters: Annotated[list[str], Field(min_length=1, description="rates that were fitted")]
    cells: Annotated[list[dict[str, float | str]], Field(min_length=1, description="the cells used: column -> value")]
    otherwise: Annotated[
        dict[str, Sourced[Any]],
        Field(description="value of a parameter where this table is not to be used; default: its family's figure"),
    ] = {}


class GuestPart(_Part):
    """What the host of a guest does as the guest uses memory for the first time."""

    host_page: Annotated[
        Sourced[Size],
        Field(
            description="the memory that the host allocates, clears and maps at once: its base page, or 2MiB with "
            "transparent huge pages"
        ),
    ]


# Keys that machine files had before, and what they are called now.
RENAMED = {"team": "workers", "page_faults": "pages"}


class MachineFile(_Part):
    """A machine file."""

    machine: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            description="a name of letters, digits, '.', '_' and '-', a letter or digit first",
        ),
    ]
    title: Annotated[str, StringConstraints(strip_whitespace=True), Field(min_length=3, description="name for people")]
    also_known_as: Annotated[list[str], Field(description="how published tables name this machine")] = []
    family: Annotated[
        str | None,
        Field(description="kind of its processors (models/priors/families.yaml): whose figures may stand in"),
    ] = None
    base_page: Annotated[Size, Field(gt=0, description="the processor's smallest page")] = 4 * KIB
    cpu_numbering: Annotated[
        Literal["siblings_last", "siblings_adjacent"],
        Field(
            description="siblings_last: 0..n-1 are first threads of all cores (Linux on servers); siblings_adjacent: "
            "0 and 1 are one core",
        ),
    ] = "siblings_last"
    nodes: Annotated[list[NodeGroup], Field(min_length=1, description="NUMA nodes, numbered in the order given")]
    links: Annotated[
        list[LinkGroup],
        Field(description="links between nodes; without any, distance_matrix connects all nodes directly"),
    ] = []
    routes: Annotated[
        list[Annotated[list[int], Field(min_length=2)]],
        Field(description="routes that are not the shortest: the nodes from end to end, for both directions"),
    ] = []
    distances: Annotated[
        Sourced[list[int]] | None, Field(description="NUMA distance (SLIT) by number of links: [10, 21, 31]")
    ] = None
    distance_matrix: Annotated[
        Sourced[list[list[int]]] | None,
        Field(
            description="NUMA distances (SLIT) as numactl -H prints them, a row for each node as the file has them. "
            "Without any links, all nodes are then connected directly and without a limit"
        ),
    ] = None
    rates: Annotated[
        RatesPart,  # type: ignore[valid-type]
        Field(description="the calibrated figures"),
    ]
    workers: Annotated[
        WorkersPart | None,  # type: ignore[valid-type]
        Field(description="costs of the real backend's threads here, to predict its runs; `calibrate` measures them"),
    ] = None
    clients: Annotated[
        ClientsPart | None,
        Field(description="costs of clients here; a client that is left out has its own figures"),
    ] = None
    pages: Annotated[
        PagesPart | None,  # type: ignore[valid-type]
        Field(description="costs of the stages of a page's life here, for all clients; `calibrate` measures some"),
    ] = None
    guest: Annotated[
        GuestPart | None,
        Field(
            description="for a virtual machine whose memory the host has not prepared: its first use makes the host "
            "allocate and clear it too. Leave it out on bare metal, and with preallocated memory"
        ),
    ] = None
    power: Annotated[
        PowerPart | None,  # type: ignore[valid-type]
        Field(description="power, for the energy of runs; without it no energy is told"),
    ] = None
    fits: list[FitPart] = []
