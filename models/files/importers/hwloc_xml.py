"""XML files of hwloc, as `lstopo file.xml` writes them, of versions 1 and 2 (and 3, which is read as 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from models.files.importers import read_content
from models.files.machine_keys import MAX_NID
from models.machine import Node
from models.machine.topology import FoundCpu, Topology, distances_of, number_cpus, sockets_of, speeds_of, title_of
from models.text.cpu_list import MAX_CPU_ID, format_cpu_list
from models.text.problems import InputError, Problem
from models.text.units import KIB

NAME = "XML of hwloc (lstopo file.xml)"

_LATENCY_KIND = 4  # HWLOC_DISTANCES_KIND_MEANS_LATENCY (hwloc/distances.h)
_MAX_BITS = 65_536  # of a set of CPUs or nodes: more than any system has


def recognises(path: Path, content: bytes | None) -> bool:  # noqa: ARG001 - the same for all formats
    """Return whether a content is XML of any kind."""
    return content is not None and content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def read_topology(path: Path) -> Topology:
    """Return the topology that hwloc wrote. Raises InputError."""
    return _Reader(path).topology()


@dataclass(frozen=True)
class _Object:
    """An object of the tree and those around it, outermost first."""

    element: ElementTree.Element
    around: tuple[ElementTree.Element, ...]

    def nearest(self, *types: str) -> ElementTree.Element | None:
        """Return the innermost object of one of these types that this one is in."""
        return next((element for element in reversed(self.around) if element.get("type") in types), None)


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        content = read_content(path)
        self._refuse_entities(content)
        self._root = ElementTree.fromstring(content)
        if self._root.tag != "topology":
            raise self._error(
                f"found XML of <{self._root.tag[:40]}>; allowed is <topology> as lstopo file.xml writes it"
            )
        self._objects = list(self._walk())

    def _error(self, message: str, line: int = 0, column: int = 0) -> InputError:
        return InputError([Problem(str(self._path), line, column, "", message)])

    def _refuse_entities(self, content: bytes) -> None:
        """Refuse what is no XML, and entities, which could stand for any amount of text."""
        parser = expat.ParserCreate()
        declared: list[int] = []
        parser.EntityDeclHandler = lambda *_: declared.append(parser.CurrentLineNumber)
        try:
            parser.Parse(content, True)
        except expat.ExpatError as error:
            if not declared:
                message = f"is not XML, {expat.ErrorString(error.code)}; allowed is what lstopo file.xml writes"
                raise self._error(message, error.lineno, error.offset + 1) from None
        except ValueError as error:
            raise self._error(f"is not XML, {error}; allowed is what lstopo file.xml writes") from None
        if declared:
            raise self._error("found the declaration of an entity; hwloc writes none, leave it out", declared[0], 1)

    def _walk(self) -> Iterator[_Object]:
        waiting = [_Object(element, ()) for element in reversed(self._root.findall("object"))]
        while waiting:
            here = waiting.pop()
            yield here
            around = (*here.around, here.element)
            waiting += [_Object(element, around) for element in reversed(here.element.findall("object"))]

    def _of_type(self, *types: str) -> list[_Object]:
        return [item for item in self._objects if item.element.get("type") in types]

    def _number(self, element: ElementTree.Element, name: str) -> int:
        text = element.get(name, "")
        if not re.fullmatch(r"\d{1,18}", text):
            found = f"{name}={text[:40]!r}" if text else f"no {name}"
            raise self._error(f"found an object {element.get('type')} with {found}; allowed is a whole number")
        return int(text)

    def _set(self, text: str | None) -> frozenset[int]:
        """Return the numbers in a set of bits, "0x00000001,0x0000ffff": 32 bits a word, the highest first."""
        words = (text or "").split(",")
        if not re.fullmatch(r"(0x)?[0-9a-fA-F]*(,(0x)?[0-9a-fA-F]{0,8})*", text or "") or len(words) * 32 > _MAX_BITS:
            raise self._error(f"found the set {(text or '')[:40]!r}; allowed is one as lstopo writes it, 0x0000ffff")
        bits = int("".join(word.removeprefix("0x").rjust(8, "0") for word in words), 16)
        return frozenset(i for i in range(bits.bit_length()) if bits >> i & 1)

    def topology(self) -> Topology:
        """Return what the tree says."""
        remarks: list[str] = []
        sizes, cpus_of = self._nodes(remarks)
        nid_of: dict[int, int] = {}
        # hwloc gives a node without CPUs the set of those near it: the CPUs are of the node with the smallest set.
        for nid in sorted(cpus_of, key=lambda nid: (len(cpus_of[nid]), nid)):
            for cpu_id in cpus_of[nid]:
                nid_of.setdefault(cpu_id, nid)
        online = self._online()
        found: dict[int, FoundCpu] = {}
        packages: dict[int, set[int]] = {}
        left_out = set()
        for item in self._of_type("PU"):
            cpu_id = self._number(item.element, "os_index")
            if cpu_id > MAX_CPU_ID:
                raise self._error(f"found PU {cpu_id}; allowed are numbers up to {MAX_CPU_ID}")
            if cpu_id in found:
                raise self._error(f"found PU {cpu_id} a second time; allowed is each once")
            if online is not None and cpu_id not in online:
                left_out.add(cpu_id)
                continue
            nid = nid_of.get(cpu_id, min(sizes))
            core, cache = item.nearest("Core"), self._last_cache(item)
            package = item.nearest("Package", "Socket")
            found[cpu_id] = FoundCpu(
                nid,
                ("PU", cpu_id) if core is None else (id(core), nid),
                ("node", nid) if cache is None else id(cache),
            )
            if package is not None:
                packages.setdefault(nid, set()).add(int(package.get("os_index", "0")) if self._indexed(package) else 0)
        if not found:
            raise self._error("found no object of type PU; allowed is what lstopo file.xml writes of a whole machine")
        if left_out:
            remarks.append(f"CPUs {format_cpu_list(left_out)} are offline: left out")
        if any(isinstance(cpu.cache, tuple) for cpu in found.values()):
            remarks.append("caches are not told of all CPUs: one last-level cache taken for each node")
        if not packages:
            remarks.append("sockets are not told: one taken")
        found = self._with_speeds(found, remarks)
        nids = sorted(sizes)
        distances, more = distances_of(nids, self._distances(nids))
        remarks += more
        sockets, more = sockets_of(nids, packages, distances)
        remarks += more if packages else ()
        nodes = tuple(Node(nid, sockets[nid], sizes[nid]) for nid in nids)
        model_name = self._info("CPUModel")
        return Topology(
            title=title_of(model_name, nodes, len(found)),
            nodes=nodes,
            cpus=number_cpus(found),
            distances=distances,
            base_page_bytes=self._base_page(remarks),
            source=f"XML of hwloc ({self._path.name})",
            remarks=tuple(remarks),
            vendor=self._info("CPUVendor"),
            model_name=model_name,
        )

    def _indexed(self, element: ElementTree.Element) -> bool:
        return re.fullmatch(r"\d{1,9}", element.get("os_index", "")) is not None

    def _nodes(self, remarks: list[str]) -> tuple[dict[int, int], dict[int, frozenset[int]]]:
        """Return memory and CPUs of each node; of the whole machine as node 0 if it has no nodes."""
        items = self._of_type("NUMANode")
        if not items:
            remarks.append("NUMA nodes are not told: one taken")
            items = self._of_type("Machine")
        sizes: dict[int, int] = {}
        cpus_of: dict[int, frozenset[int]] = {}
        for item in items:
            is_node = item.element.get("type") == "NUMANode"
            nid = self._number(item.element, "os_index") if is_node else 0
            if nid > MAX_NID:
                raise self._error(f"found NUMANode {nid}; allowed are numbers up to {MAX_NID}")
            if nid in sizes:
                raise self._error(f"found NUMANode {nid} a second time; allowed is each once")
            memory = item.element.find("memory")  # of version 0.9 to 1.1, which wrote it as an element
            place = item.element if memory is None or "local_memory" in item.element.attrib else memory
            sizes[nid] = self._number(place, "local_memory") if "local_memory" in place.attrib else 0
            cpus_of[nid] = self._set(item.element.get("cpuset"))
        if not sizes:
            raise self._error("found no object of type Machine; allowed is what lstopo file.xml writes")
        return sizes, cpus_of

    def _online(self) -> frozenset[int] | None:
        """Return the CPUs that are online; None if all are. Version 1 has the others in the tree as well."""
        sets = [item.element.get("online_cpuset") for item in self._objects if not item.around]
        return self._set(sets[0]) if sets and sets[0] else None

    def _last_cache(self, item: _Object) -> ElementTree.Element | None:
        levels = [(self._cache_level(element), -i, element) for i, element in enumerate(item.around)]
        level, _, element = max(levels, key=lambda entry: entry[:2], default=(0, 0, None))
        return element if level else None

    def _cache_level(self, element: ElementTree.Element) -> int:
        """Return the level of a cache; 0 for anything else."""
        kind = element.get("type", "")
        if match := re.fullmatch(r"L(\d)Cache", kind):
            return int(match[1])
        return self._number(element, "depth") if kind == "Cache" else 0

    def _with_speeds(self, found: dict[int, FoundCpu], remarks: list[str]) -> dict[int, FoundCpu]:
        """Return CPUs with the speeds of their kinds (<cpukind>, of version 2.4 on)."""
        mhz: dict[int, float] = {}
        kinds = self._root.findall("cpukind")
        for kind in kinds:
            text = next((i.get("value", "") for i in kind.findall("info") if i.get("name") == "FrequencyMaxMHz"), "")
            if re.fullmatch(r"\d{1,6}", text):
                mhz |= dict.fromkeys(self._set(kind.get("cpuset")), float(text))
        if len(kinds) > 1 and not found.keys() <= mhz.keys():
            remarks.append("how fast the kinds of cores are is not told: all taken as equal")
            return found
        if len(kinds) < 2:
            return found
        speeds = speeds_of({cpu_id: mhz[cpu_id] for cpu_id in found}, by_kind=True)
        if len(set(speeds.values())) > 1:
            remarks.append("speeds are ratios of the highest clock, not measured")
        return {
            cpu_id: FoundCpu(cpu.nid, cpu.core, cpu.cache, round(speeds[cpu_id], 4)) for cpu_id, cpu in found.items()
        }

    def _distances(self, nids: list[int]) -> dict[tuple[int, int], int]:
        """Return the distances between nodes; none if the file has none."""
        for part in self._root.findall("distances2"):
            kind = part.get("kind", "")
            latency = part.get("name") == "NUMALatency" or (kind.isdigit() and int(kind) & _LATENCY_KIND)
            if part.get("type") == "NUMANode" and latency:
                return self._distances_of_2(part)
        nodes = self._of_type("NUMANode")
        depths = {len(item.around) for item in nodes}
        for item in self._objects:
            for part in item.element.findall("distances"):
                told = {str(depth - len(item.around)) for depth in depths}
                if part.get("nbobjs") == str(len(nids)) and told == {part.get("relative_depth")}:
                    return self._distances_of_1(part, [self._number(node.element, "os_index") for node in nodes])
        return {}

    def _distances_of_2(self, part: ElementTree.Element) -> dict[tuple[int, int], int]:
        numbers = [int(word) for word in self._words(part, "indexes")]
        if part.get("indexing") == "gp":
            nid_of = {item.element.get("gp_index"): item.element for item in self._of_type("NUMANode")}
            numbers = [self._number(nid_of[str(n)], "os_index") for n in numbers if str(n) in nid_of]
        values = [int(word) for word in self._words(part, "u64values")]
        return self._matrix(numbers, values)

    def _words(self, part: ElementTree.Element, tag: str) -> list[str]:
        words = " ".join(element.text or "" for element in part.findall(tag)).split()
        wrong = next((word for word in words if not re.fullmatch(r"\d{1,18}", word)), None)
        if wrong is not None:
            raise self._error(f"found {wrong[:40]!r} in <{tag}>; allowed are whole numbers")
        return words

    def _distances_of_1(self, part: ElementTree.Element, nids: list[int]) -> dict[tuple[int, int], int]:
        try:
            base = float(part.get("latency_base", "10"))
            values = [round(float(latency.get("value", "")) * base) for latency in part.findall("latency")]
        except (ValueError, OverflowError):
            raise self._error("found a <latency> that is no number; allowed is what lstopo writes") from None
        return self._matrix(nids, values)

    def _matrix(self, nids: list[int], values: list[int]) -> dict[tuple[int, int], int]:
        n = len(nids)
        if len(values) != n * n:
            raise self._error(f"found {len(values)} distances between {n} nodes; allowed are {n * n}")
        return {(a, b): values[i * n + j] for i, a in enumerate(nids) for j, b in enumerate(nids)}

    def _info(self, name: str) -> str | None:
        values = (info.get("value", "").strip() for info in self._root.iter("info") if info.get("name") == name)
        return next((value for value in values if value), None)

    def _base_page(self, remarks: list[str]) -> int:
        sizes = [int(size) for part in self._root.iter("page_type") if (size := part.get("size", "")).isdigit()]
        plausible = [size for size in sizes if size >= 512 and not size & (size - 1)]
        if plausible:
            return min(plausible)
        remarks.append("the size of a page is not told: 4 KiB taken")
        return 4 * KIB
