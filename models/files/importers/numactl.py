"""The text that `numactl -H` prints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.files.content import refusal
from models.files.importers import Source
from models.files.machine_keys import MAX_NID
from models.files.pasted import Line
from models.machine import Node
from models.machine.topology import FoundCpu, Topology, distances_of, number_cpus, sockets_by_distance, title_of
from models.text.cpu_list import MAX_CPU_ID, format_cpu_list, parse_cpu_list
from models.text.problems import InputError, Problem
from models.text.units import KIB, MIB

NAME = "the text of numactl -H"

_AVAILABLE = re.compile(r"available: ([0-9]{1,4}) nodes? ?\(.*\)")
_CPUS = re.compile(r"node ([0-9]{1,4}) cpus:((?: [0-9]{1,5})*)")
_COMPRESSED = re.compile(
    r"node ([0-9]{1,4}) cpus: ([0-9]{1,5}(?:-[0-9]{1,5})?(?:, ?[0-9]{1,5}(?:-[0-9]{1,5})?)*)(?: \([0-9]+\))?"
)
_SIZE = re.compile(r"node ([0-9]{1,4}) size: ([0-9]{1,12}|<not available>)(?: ?MB)?")
_HEAD = re.compile(r"node((?: [0-9]{1,4})+)")
_ROW = re.compile(r"([0-9]{1,4}):((?: [0-9]{1,3})+)")
_NUMBERS = re.compile(r"[0-9]{1,5}(?: [0-9]{1,5})*")
_SEVERAL = re.compile(r"(?<=\S) (?=node [0-9]{1,4} (?:cpus|size|free):)")
_AGAIN = "allowed is all that `numactl -H > FILE` writes"
_TOO_OLD = "this numactl is too old to tell the CPUs; give /sys or lstopo file.xml"
REMARKS = {
    "threads": "hardware threads are not told: each CPU taken as a core of its own",
    "caches": "caches are not told: one last-level cache taken for each node",
    "sockets": "sockets are not told: {taken}; the nodes of a socket share its memory bandwidth",
    "page": "the size of a page is not told: 4 KiB taken",
    "memory": "a node's size is what the kernel manages, a little below what is built in",
}


@dataclass
class Found:
    """The facts of numactl -H: CPUs and size of each node, distances, and remarks."""

    cpus: dict[int, list[int]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    distances: dict[tuple[int, int], int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def recognises(source: Source) -> bool:
    """Return whether a source has the first line of numactl's, maybe after others."""
    if source.content is None or source.archive or "available:" not in source.text:
        return False
    return any(re.match(r"available: [0-9]+ nodes?\b", line.text) for line in source.lines)


def read_topology(source: Source) -> Topology:
    """Return the topology from `numactl -H`. Raises InputError with every problem and its line."""
    report = read_report(source.lines, source.path)
    nids = sorted(report.cpus)
    distances, remarks = distances_of(nids, report.distances)
    with_cpus = [nid for nid in nids if report.cpus[nid]]
    sockets, taken = sockets_by_distance(nids, with_cpus, distances)
    nodes = tuple(Node(nid, sockets[nid], report.sizes[nid]) for nid in nids)
    found = {cpu_id: FoundCpu(nid, cpu_id, nid) for nid in nids for cpu_id in report.cpus[nid]}
    return Topology(
        title=title_of(None, nodes, len(found)),
        nodes=nodes,
        cpus=number_cpus(found),
        distances=distances,
        base_page_bytes=4 * KIB,
        source=f"numactl -H ({source.path.name})",
        remarks=(*(remark.format(taken=taken) for remark in REMARKS.values()), *report.remarks, *remarks),
    )


def read_report(lines: Sequence[Line], path: Path) -> Found:
    """Return the facts of a report among these lines. Raises InputError."""
    start = next(i for i, line in enumerate(lines) if re.match(r"available: [0-9]+ nodes?\b", line.text))
    report = _Report(str(path))
    for line in lines[start:]:
        for text in _SEVERAL.split(line.text):
            if report.read(line.number, text):
                raise refusal(path, "found a second report from here; allowed is one machine in a file", line.number, 1)
    return report.checked()


class _Report:
    """The facts that have been read so far."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: list[Problem] = []
        self._available: tuple[int, int] | None = None  # nodes, and the line that says so
        self._columns: list[int] | None = None
        self._rows: list[tuple[int, int, list[int]]] = []  # line, node, distances
        self._announced = False  # whether distances are said to follow
        self._last_line = 1
        self._open: list[int] | None = None  # numbers that may go on in the next line, as mail programs break it
        self._lists: dict[int, tuple[int, list[int]]] = {}  # node -> line, CPUs
        self._sizes: dict[int, int] = {}

    def _problem(self, line: int, message: str) -> None:
        self._problems.append(Problem(self._file, line, 1, "", message))

    def read(self, number: int, line: str) -> bool:
        """Take in a line, or skip it if it isn't numactl's. Return whether a second report begins there."""
        if line:
            self._last_line = number
        goes_on, self._open = self._open, None
        if match := _AVAILABLE.fullmatch(line):
            if self._available:
                return True
            self._available = (int(match[1]), number)
        elif self._available is None:
            return False
        elif match := _CPUS.fullmatch(line):
            self._take_cpus(number, int(match[1]), [int(word) for word in match[2].split()])
        elif match := _COMPRESSED.fullmatch(line):
            self._take_list(number, int(match[1]), match[2])
        elif goes_on is not None and _NUMBERS.fullmatch(line):
            goes_on += [int(word) for word in line.split()]
            self._open = goes_on
        elif match := _SIZE.fullmatch(line):
            self._sizes[int(match[1])] = int(match[2]) * MIB if match[2].isdigit() else 0
        elif match := _HEAD.fullmatch(line):
            self._columns = self._open = [int(word) for word in match[1].split()]
        elif match := _ROW.fullmatch(line):
            self._open = [int(word) for word in match[2].split()]
            self._rows.append((number, int(match[1]), self._open))
        elif line == "node distances:":
            self._announced = True
        elif line.startswith(("node ", "available")) and not re.match(r"node [0-9]+ free:", line):
            self._problem(number, f"found {line[:60]!r}, which numactl does not print; {_AGAIN}")
        return False

    def _take_cpus(self, number: int, nid: int, cpus: list[int]) -> None:
        if nid in self._lists:
            self._problem(number, f"found the CPUs of node {nid} a second time; allowed is once")
        if nid > MAX_NID:
            self._problem(number, f"found node {nid}; allowed are numbers up to {MAX_NID}")
        self._open = cpus
        self._lists.setdefault(nid, (number, cpus))

    def _take_list(self, number: int, nid: int, text: str) -> None:
        """Take in CPUs as --cpu-compress writes them, "0-1, 3"."""
        try:
            self._take_cpus(number, nid, list(parse_cpu_list(text)))
        except ValueError as error:
            self._problem(number, str(error))
        self._open = None

    def checked(self) -> Found:
        """Return the facts that were found.

        Raises InputError with all problems, or with the parts missing from a text cut short.
        """
        found = Found(sizes=self._sizes)
        self._check_nodes()
        self._check_cpus(found)
        self._check_rows(found)
        if self._problems:
            raise InputError(self._problems)
        return found

    def _check_nodes(self) -> None:
        if self._available is None:
            self._problem(1, f"found no line `available: ... nodes`; {_AGAIN}")
            return
        told, line = self._available
        if told != len(self._lists):
            old = not self._lists and self._sizes
            message = f"found {told} nodes here and the CPUs of {len(self._lists)} below; {_AGAIN}"
            self._problem(line, f"found sizes and no CPUs of nodes; {_TOO_OLD}" if old else message)
            if old:
                return
        for nid in self._lists:
            if nid not in self._sizes:
                self._problem(self._last_line, f"found no line `node {nid} size:`; {_AGAIN}")
        if self._lists and not any(cpus for _, cpus in self._lists.values()):
            self._problem(self._last_line, f"found no CPU on any node; {_AGAIN}")

    def _check_cpus(self, found: Found) -> None:
        """Give each CPU to one node. Emulated nodes (numa=fake) have all those of the node that they are cut from."""
        nid_of: dict[int, int] = {}
        several: set[int] = set()
        for nid, (line, cpus) in self._lists.items():
            beyond = next((cpu_id for cpu_id in cpus if cpu_id > MAX_CPU_ID), None)
            if beyond is not None:
                self._problem(line, f"found CPU {beyond}; allowed are numbers up to {MAX_CPU_ID}")
            twice = sorted(cpu_id for cpu_id, count in Counter(cpus).items() if count > 1)
            if twice:
                self._problem(line, f"found CPU {twice[0]} a second time; allowed is each once")
            shared = {cpu_id for cpu_id in cpus if cpu_id in nid_of}
            if shared and (shared != set(cpus) or len({nid_of[cpu_id] for cpu_id in shared}) > 1):
                before = self._lists[nid_of[min(shared)]][0]
                message = f"found CPU {min(shared)} a second time, after line {before}; allowed is each once"
                self._problem(line, message)
            several |= shared
            found.cpus[nid] = [cpu_id for cpu_id in cpus if cpu_id not in shared]
            nid_of |= dict.fromkeys(found.cpus[nid], nid)
        if several:
            found.remarks.append(f"CPUs {format_cpu_list(several)} are in several nodes: the first taken")

    def _check_rows(self, found: Found) -> None:
        if self._announced and self._columns is None:
            self._problem(self._last_line, f"found no distances after `node distances:`; {_AGAIN}")
        for line, nid, row in self._rows:
            if self._columns is None:
                self._problem(line, f"found distances without the line `node 0 1 ...` above them; {_AGAIN}")
                return
            if len(row) != len(self._columns):
                message = f"found a row of {len(row)} distances; allowed are {len(self._columns)}, one for each node"
                self._problem(line, message)
            else:
                found.distances |= {(nid, other): distance for other, distance in zip(self._columns, row, strict=True)}
        if self._columns is not None and not self._rows:
            self._problem(self._last_line, f"found no row of distances; {_AGAIN}")
