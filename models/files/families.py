"""Families of processors: the figures of a kind, for machines that nobody has measured (models/priors/families.yaml).

Figures go by their paths in machine files. `sockets.memory_bandwidth` is that of all nodes of a socket together.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from models.files.machine_keys import Source
from models.machine.topology import LOCAL_DISTANCE
from models.text.checks import FileKeys, validate
from models.text.document import read
from models.text.problems import did_you_mean
from models.text.units import Size, format_rate, parse_rate

UNKNOWN = "any"  # the family of a processor of which nothing is known
OF_SOCKET = "sockets.memory_bandwidth"
_RATES, _PAGES = "rates.", "pages."


class FamilyFigure(FileKeys):
    """A figure of a family."""

    value: Annotated[Any, Field(description="as a machine file has it")]
    width: Annotated[float, Field(gt=0, le=3, description="how far off it may be, as a share of it: one deviation")]
    source: Source
    of: Annotated[list[str], Field(description="published tables that it comes from; it predicts none of them")] = []


class FamilyPart(FileKeys):
    """A family."""

    family: str
    parent: Annotated[str | None, Field(description="the family that has the figures which this one lacks")] = None
    title: str
    vendor: Annotated[str | None, Field(description="as the processor names it: GenuineIntel, AuthenticAMD, ARM")] = (
        None
    )
    processors: Annotated[list[str], Field(description="regular expressions that find its models by name")] = []
    channels: Annotated[str | None, Field(description="memory of a socket, in words")] = None
    figures: Annotated[dict[str, FamilyFigure], Field(description="by their paths in machine files")] = {}


class MemoryPart(FileKeys):
    """A kind of memory that nodes without CPUs may have."""

    memory: str
    title: str
    told: Annotated[list[str], Field(description="regular expressions that find it by the name a source gives it")]
    processors: Annotated[list[str], Field(description="those that find the processors beside which it is")]
    distance: Annotated[int | None, Field(description="to the nearest CPUs, where no processor is named")] = None
    first_nid: Annotated[int, Field(description="lowest number of such a node, where no processor is named")] = 0
    at_most: Annotated[Size | None, Field(description="the most memory that such a node has")] = None
    larger: Annotated[bool, Field(description="whether there is more of it than of that beside the CPUs")] = False
    of_socket: Annotated[bool, Field(description="whether all such nodes of a socket share the bandwidth")] = False
    bandwidth: FamilyFigure


class FamiliesFile(FileKeys):
    """The file of families, and of memory beside processors."""

    families: list[FamilyPart]
    memories: list[MemoryPart]


@dataclass(frozen=True)
class Family:
    """A family with all figures of it and its parents. `parents` start with the next one."""

    name: str
    title: str
    parents: tuple[str, ...]
    figures: Mapping[str, FamilyFigure]

    def prior(self, figure: str, without: Collection[str] = ()) -> FamilyFigure | None:
        """Return a figure that comes from none of these tables: its own or the nearest parent's, or None."""
        found = (own_prior(name, figure, without) for name in (self.name, *self.parents))
        return next((prior for prior in found if prior is not None), None)


def own_prior(family: str, figure: str, without: Collection[str] = ()) -> FamilyFigure | None:
    """Return a family's own value of a figure, not its parents', if it comes from none of these tables."""
    prior = _parts()[family].figures.get(figure)
    return None if prior is None or set(prior.of) & set(without) else prior


@cache
def _file() -> FamiliesFile:
    path = Path(str(resources.files("models") / "priors" / "families.yaml"))
    return validate(FamiliesFile, read(path), str(path))


@cache
def _parts() -> Mapping[str, FamilyPart]:
    return {part.family: part for part in _file().families}


def memory_kinds() -> tuple[MemoryPart, ...]:
    """Return the kinds of memory that nodes without CPUs may have; the first that fits is taken."""
    return tuple(_file().memories)


@cache
def families() -> Mapping[str, Family]:
    """Return all families by name."""
    found = {}
    for name, part in _parts().items():
        parents: list[str] = []
        while part.parent is not None:
            parents.append(part.parent)
            part = _parts()[part.parent]
        figures: dict[str, FamilyFigure] = {}
        for each in (*reversed(parents), name):
            figures |= _parts()[each].figures
        found[name] = Family(name, _parts()[name].title, tuple(parents), figures)
    return found


def family_named(name: str) -> Family:
    """Return a family by its name. Raises ValueError with the known names."""
    known = families()
    if name not in known:
        raise ValueError(f"found {name!r}; allowed are {', '.join(known)}{did_you_mean(name, tuple(known))}")
    return known[name]


def family_of(model_name: str | None, vendor: str | None = None) -> Family:
    """Return the family of a processor: by its name, else its vendor's, else the unknown one.

    >>> family_of("Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz").name
    'skylake-sp'
    """
    for name, part in _parts().items():
        if model_name and any(re.search(pattern, model_name, re.IGNORECASE) for pattern in part.processors):
            return families()[name]
    for name, part in _parts().items():
        if vendor and part.vendor == vendor:
            return families()[name]
    return families()[UNKNOWN]


def rates_of(
    family: Family, distances: Collection[int], nodes_per_socket: int = 1, without: Collection[str] = ()
) -> dict[str, Any]:
    """Return the `rates` of a machine file by the family's figures alone, each with its width and source.

    `distances` are those between its nodes. Figures that come from the tables in `without` aren't taken.
    """
    found: dict[str, Any] = {}
    for figure in family.figures:
        prior = family.prior(figure, without)
        if prior is None:
            continue
        if figure == OF_SOCKET:
            value = per_node(prior.value, nodes_per_socket)
            found["memory_bandwidth"] = {"value": value, "source": words_of(prior, family)}
        elif figure == "rates.remote_factors":
            far = sorted(set(distances) - {LOCAL_DISTANCE})
            if far:
                factors = {str(distance): remote_factor(prior.value, distance) for distance in far}
                found["remote_factors"] = {"value": factors, "source": words_of(prior, family)}
        elif figure.startswith(_RATES):
            found[figure.removeprefix(_RATES)] = {"value": prior.value, "source": words_of(prior, family)}
    return found


def pages_of(family: Family) -> dict[str, Any]:
    """Return the `pages` of a machine file that the family has other figures for than the model's defaults."""
    return {
        figure.removeprefix(_PAGES): {"value": prior.value, "source": words_of(prior, family)}
        for figure, prior in family.figures.items()
        if figure.startswith(_PAGES)
    }


def words_of(prior: FamilyFigure, family: Family) -> str:
    """Return the source of a figure that a machine file takes from a family."""
    return f"not measured, of the family {family.name}, within {prior.width:.0%}: {prior.source}"


def per_node(socket_rate: str, nodes_per_socket: int) -> str:
    """Return the share that one node of a socket has."""
    return socket_rate if nodes_per_socket == 1 else format_rate(parse_rate(socket_rate) / nodes_per_socket)


def remote_factor(factors: Mapping[str, float] | Mapping[int, float], distance: int) -> float:
    """Return the factor of a distance: on straight lines between 1 for local memory and those known, then level."""
    points = sorted({LOCAL_DISTANCE: 1.0, **{int(known): factor for known, factor in factors.items()}}.items())
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if distance <= x1:
            return round(y0 + (y1 - y0) * (distance - x0) / (x1 - x0), 4)
    return points[-1][1]


def machine_of(
    family: Family,
    name: str,
    *,
    sockets: int,
    cores: int,
    threads_per_core: int = 2,
    memory: str,
    nodes_per_socket: int = 1,
    caches_per_socket: int = 1,
    base_page: str = "4KiB",
    host_page: str | None = None,
    source: str,
) -> dict[str, Any]:
    """Return a machine file of this many equal, connected sockets of a family, by the family's figures alone.

    `cores` and `memory` are those of one node. `source` says where these numbers are from. `host_page` is what the host
    of a guest makes present at once, None on bare metal.

    >>> machine_of(family_of("EPYC 7763"), "two", sockets=2, cores=64, memory="1TiB", source="a guess")["family"]
    'zen3'
    """
    count = sockets * nodes_per_socket
    kind = {"count": cores, "threads_per_core": threads_per_core}
    caches = caches_per_socket // nodes_per_socket
    group = {
        "count": count,
        "nodes_per_socket": nodes_per_socket,
        "memory": memory,
        "cores": [kind | ({"cache_domains": caches} if caches > 1 else {})],
        "source": source,
    }
    near, far = (12, 32) if "amd" in (family.name, *family.parents) else (12, 21)
    socket = [i // nodes_per_socket for i in range(count)]
    rows = [[10 if i == j else near if socket[i] == socket[j] else far for j in range(count)] for i in range(count)]
    document: dict[str, Any] = {
        "machine": name,
        "title": f"{sockets} x {cores * nodes_per_socket} cores, {family.title}",
        "family": family.name,
        "base_page": base_page,
        "nodes": [group],
    }
    link = family.prior("links.bandwidth")
    if sockets > 1 and nodes_per_socket == 1 and link is not None:
        share = 1 if sockets == 2 else 3  # the links of a socket go to one other, or to three
        pairs = [list(pair) for pair in itertools.combinations(range(sockets), 2)]
        document["links"] = [
            {"between": pairs, "bandwidth": per_node(link.value, share), "source": words_of(link, family)}
        ]
    if count > 1:
        document["distance_matrix"] = {"value": rows, "source": "an assumption: distances as such servers have them"}
    document["rates"] = rates_of(family, {distance for row in rows for distance in row}, nodes_per_socket)
    document["pages"] = pages_of(family)
    if host_page is not None:
        document["guest"] = {"host_page": {"value": host_page, "source": source}}
    return document
