"""The text that `numactl -H` prints."""

from __future__ import annotations

import re
from pathlib import Path

from models.files.importers import read_content
from models.files.machine_keys import MAX_NID
from models.machine import Node
from models.machine.topology import FoundCpu, Topology, distances_of, number_cpus, title_of
from models.text.cpu_list import MAX_CPU_ID
from models.text.problems import InputError, Problem
from models.text.units import KIB, MIB

NAME = "the text of numactl -H"

_AVAILABLE = re.compile(r"available: (\d{1,4}) nodes? \(.*\)")
_CPUS = re.compile(r"node (\d{1,4}) cpus:((?: +\d{1,5})*)")
_SIZE = re.compile(r"node (\d{1,4}) size: (\d{1,12}|<not available>)(?: MB)?")
_HEAD = re.compile(r"node((?: +\d{1,4})+)")
_ROW = re.compile(r"(\d{1,4}):((?: +\d{1,3})+)")
_AGAIN = "allowed is all that `numactl -H > FILE` writes"


def recognises(path: Path, content: bytes | None) -> bool:  # noqa: ARG001 - the same for all formats
    """Return whether a content has the first line of numactl's, maybe after others."""
    return content is not None and re.search(rb"^\s*available: \d+ nodes?\b", content, re.MULTILINE) is not None


def read_topology(path: Path) -> Topology:
    """Return the topology that `numactl -H` told. Raises InputError with every problem and its line."""
    text = read_content(path).decode("utf-8", "replace")
    report = _Report(str(path))
    for number, line in enumerate(text.splitlines(), 1):
        report.read(number, " ".join(line.split()))
    report.check()
    nids = sorted(report.cpus)
    distances, remarks = distances_of(nids, report.distances)
    # The text has no sockets: each node is one.
    nodes = tuple(Node(nid, i, report.sizes[nid]) for i, nid in enumerate(nids))
    found = {cpu_id: FoundCpu(nid, cpu_id, nid) for nid in nids for cpu_id in report.cpus[nid]}
    return Topology(
        title=title_of(None, nodes, len(found)),
        nodes=nodes,
        cpus=number_cpus(found),
        distances=distances,
        base_page_bytes=4 * KIB,
        source=f"numactl -H ({path.name})",
        remarks=(
            "hardware threads are not told: each CPU taken as a core of its own",
            "caches are not told: one last-level cache taken for each node",
            "sockets are not told: each node taken as one",
            "the size of a page is not told: 4 KiB taken",
            "a node's size is what the kernel manages, a little below what is built in",
            *remarks,
        ),
    )


class _Report:
    """What has been read so far."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: list[Problem] = []
        self._available: tuple[int, int] | None = None  # nodes, and the line that says so
        self._columns: list[int] | None = None
        self._announced = False  # whether distances are said to follow
        self._last_line = 1
        self._open: int | None = None  # the node whose CPUs may go on in the next line, as mail programs break it
        self._line_of_cpu: dict[int, int] = {}
        self.cpus: dict[int, list[int]] = {}
        self.sizes: dict[int, int] = {}
        self.distances: dict[tuple[int, int], int] = {}

    def _problem(self, line: int, message: str) -> None:
        self._problems.append(Problem(self._file, line, 1, "", message))

    def read(self, number: int, line: str) -> None:
        """Take in a line; what is none of numactl's is passed over."""
        if line:
            self._last_line = number
        goes_on, self._open = self._open, None
        if match := _AVAILABLE.fullmatch(line):
            if self._available:
                self._problem(number, "found a second report from here; allowed is one machine in a file")
            self._available = (int(match[1]), number)
        elif self._available is None:
            return
        elif match := _CPUS.fullmatch(line):
            if int(match[1]) in self.cpus:
                self._problem(number, f"found the CPUs of node {match[1]} a second time; allowed is once")
            if int(match[1]) > MAX_NID:
                self._problem(number, f"found node {match[1]}; allowed are numbers up to {MAX_NID}")
            self.cpus.setdefault(int(match[1]), [])
            self._take_cpus(number, int(match[1]), match[2].split())
        elif goes_on is not None and re.fullmatch(r"\d{1,5}(?: \d{1,5})*", line):
            self._take_cpus(number, goes_on, line.split())
        elif match := _SIZE.fullmatch(line):
            self.sizes[int(match[1])] = int(match[2]) * MIB if match[2].isdigit() else 0
        elif match := _HEAD.fullmatch(line):
            self._columns = [int(word) for word in match[1].split()]
        elif match := _ROW.fullmatch(line):
            self._take_row(number, int(match[1]), [int(word) for word in match[2].split()])
        elif line == "node distances:":
            self._announced = True
        elif line.startswith(("node ", "available")) and not re.match(r"node \d+ free:", line):
            self._problem(number, f"found {line[:60]!r}, which numactl does not print; {_AGAIN}")

    def _take_cpus(self, number: int, nid: int, words: list[str]) -> None:
        self._open = nid
        for cpu_id in (int(word) for word in words):
            if cpu_id > MAX_CPU_ID:
                self._problem(number, f"found CPU {cpu_id}; allowed are numbers up to {MAX_CPU_ID}")
            elif cpu_id in self._line_of_cpu:
                before = self._line_of_cpu[cpu_id]
                self._problem(number, f"found CPU {cpu_id} a second time, after line {before}; allowed is each once")
            else:
                self._line_of_cpu[cpu_id] = number
                self.cpus[nid].append(cpu_id)

    def _take_row(self, number: int, nid: int, row: list[int]) -> None:
        if self._columns is None:
            self._problem(number, f"found distances without the line `node 0 1 ...` above them; {_AGAIN}")
        elif len(row) != len(self._columns):
            message = f"found a row of {len(row)} distances; allowed are {len(self._columns)}, one for each node"
            self._problem(number, message)
        else:
            self.distances |= {(nid, other): distance for other, distance in zip(self._columns, row, strict=True)}

    def check(self) -> None:
        """Raise InputError with what is wrong, or missing from a text cut short."""
        if self._available is None:
            self._problem(1, f"found no line `available: ... nodes`; {_AGAIN}")
        else:
            told, line = self._available
            if told != len(self.cpus):
                self._problem(line, f"found {told} nodes here and the CPUs of {len(self.cpus)} below; {_AGAIN}")
        for nid in self.cpus:
            if nid not in self.sizes:
                self._problem(self._last_line, f"found no line `node {nid} size:`; {_AGAIN}")
            rows = {a for a, _ in self.distances}
            if self._columns is not None and nid not in rows:
                self._problem(self._last_line, f"found no row of distances for node {nid}; {_AGAIN}")
        if self._announced and self._columns is None:
            self._problem(self._last_line, f"found no distances after `node distances:`; {_AGAIN}")
        if not any(self.cpus.values()):
            self._problem(self._last_line, f"found no CPU on any node; {_AGAIN}")
        if self._problems:
            raise InputError(self._problems)
