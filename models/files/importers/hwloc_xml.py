"""XML files of hwloc, as `lstopo file.xml` writes them, of versions 1 and 2 (and 3, which is read as 2)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from models.files.content import refusal
from models.files.foreign import what_xml_is
from models.files.importers import Source
from models.files.machine_keys import MAX_NID
from models.machine import Node
from models.machine.topology import (
    NO_MEMORY,
    FoundCpu,
    MemoryTold,
    Topology,
    distances_of,
    number_cpus,
    sockets_of,
    spans_of,
    speeds_of,
    title_of,
)
from models.text.cpu_list import MAX_CPU_ID, format_cpu_list
from models.text.problems import InputError
from models.text.units import KIB

NAME = "XML of hwloc (lstopo file.xml)"

_LATENCY_KIND = 4  # HWLOC_DISTANCES_KIND_MEANS_LATENCY (hwloc/distances.h)
_MAX_BITS = 65_536  # of a set of CPUs or nodes: more than any system has


_MAX_DEPTH = 64  # objects in each other; the deepest machines have about 12
_MAX_ELEMENTS = 500_000
_START = re.compile(r"<\?xml\b|<!DOCTYPE topology\b|<topology\b")


def recognises(source: Source) -> bool:
    """Return whether a source is XML: as hwloc writes it, maybe with text around it, or any that starts the file."""
    return "<topology" in source.text or "&lt;topology" in source.text or _is_xml(source.text)


def _is_xml(text: str) -> bool:
    """Return whether a text is XML from its start on, and no web page."""
    start = text.lstrip("\ufeff \t\r\n")[:200].lower()
    return start.startswith("<") and not re.match(r"<(?:!doctype html|html|details|pre|p|div|code|summary|br)\b", start)


def read_topology(source: Source) -> Topology:
    """Return the topology that hwloc wrote. Raises InputError."""
    return _XmlReader(source).topology()


class _Builder(ElementTree.TreeBuilder):
    """Makes elements, not too deep and not too many."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._count = 0

    def start(self, tag: Any, attrs: Any, /) -> ElementTree.Element:
        """Begin an element. Raises ValueError beyond a limit."""
        self._depth += 1
        self._count += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"is nested deeper than {_MAX_DEPTH}")
        if self._count > _MAX_ELEMENTS:
            raise ValueError(f"has more than {_MAX_ELEMENTS} elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        """End an element."""
        self._depth -= 1
        return super().end(tag)


@dataclass(frozen=True)
class _Object:
    """An object of the tree and those around it, outermost first."""

    element: ElementTree.Element
    around: tuple[ElementTree.Element, ...]

    def nearest(self, *types: str) -> ElementTree.Element | None:
        """Return the innermost object of one of these types that this one is in."""
        return next((element for element in reversed(self.around) if element.get("type") in types), None)


class _XmlReader:
    def __init__(self, source: Source) -> None:
        self._path = source.path
        self._root = self._parsed(source)
        if self._root.tag != "topology":
            found = what_xml_is(self._root.tag)
            raise self._error(f"found {found}; allowed is <topology> as lstopo file.xml writes it")
        self._objects = list(self._walk())

    def _error(self, message: str, line: int = 0, column: int = 0) -> InputError:
        return refusal(self._path, message, line, column)

    def _parsed(self, source: Source) -> ElementTree.Element:
        """Return the outermost element. Entities, which could stand for any amount of text, are refused."""
        content: str | bytes = source.content or b""
        if not _is_xml(source.text):  # with other text around it
            text = source.text if "<topology" in source.text else html.unescape(source.text)
            match = _START.search(text)
            start, end = match.start() if match else 0, text.rfind("</topology>")
            content = "\n" * text.count("\n", 0, start) + text[start : end + len("</topology>") if end > 0 else None]
            content = re.sub(r"<\?xml[^>]*\?>", "", content)
        parser = DefusedXMLParser(target=_Builder(), forbid_dtd=False, forbid_entities=True, forbid_external=True)
        try:
            parser.feed(content)
            found = parser.close()
        except ElementTree.ParseError as error:
            what = expat.ErrorString(error.code) if error.code else str(error)
            line, column = error.position
            message = f"is not XML, {what}; allowed is what lstopo file.xml writes"
            raise self._error(message, line, column + 1) from None
        except DefusedXmlException:
            raise self._error("found the declaration of an entity; hwloc writes none, leave it out") from None
        except (ValueError, LookupError) as error:
            raise self._error(f"is not XML, {error}; allowed is what lstopo file.xml writes") from None
        if not isinstance(found, ElementTree.Element):
            raise self._error("is not XML, no element found; allowed is what lstopo file.xml writes")
        return found

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
        if not re.fullmatch(r"[0-9]{1,18}", text):
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
        """Return the topology of the tree."""
        remarks: list[str] = []
        sizes, cpus_of = self._nodes(remarks)
        package_numbers = self._packages()
        nid_of: dict[int, int] = {}
        # hwloc gives a node without CPUs the set of those near it: the CPUs are of the node with the smallest set.
        for nid in sorted(cpus_of, key=lambda nid: (len(cpus_of[nid]), nid)):
            for cpu_id in cpus_of[nid]:
                nid_of.setdefault(cpu_id, nid)
        online = self._online()
        found: dict[int, FoundCpu] = {}
        packages: dict[int, set[int]] = {}
        package_of: dict[int, int] = {}
        left_out, lost = set(), set()
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
            if cpu_id not in nid_of:
                lost.add(cpu_id)
            core, cache = item.nearest("Core"), self._last_cache(item)
            package = item.nearest("Package", "Socket")
            found[cpu_id] = FoundCpu(
                nid,
                ("PU", cpu_id) if core is None else (id(core), nid),
                ("node", nid) if cache is None else id(cache),
            )
            if package is not None:
                package_of[cpu_id] = package_numbers[id(package)]
                packages.setdefault(nid, set()).add(package_of[cpu_id])
        if not found:
            raise self._error("found no object of type PU; allowed is what lstopo file.xml writes of a whole machine")
        if left_out:
            remarks.append(f"CPUs {format_cpu_list(left_out)} are offline: left out")
        if lost and self._of_type("NUMANode"):
            remarks.append(f"the node of CPUs {format_cpu_list(lost)} is not told: node {min(sizes)} taken")
        if any(isinstance(cpu.cache, tuple) for cpu in found.values()):
            remarks.append("caches are not told of all CPUs: one last-level cache taken for each node")
        if not packages:
            remarks.append("sockets are not told: one taken")
        found = self._with_speeds(found, remarks)
        nids = sorted(sizes)
        distances, more = distances_of(nids, self._distances(nids))
        remarks += more
        told = self._sockets_without_cpus(package_numbers, cpus_of, package_of)
        sockets, more = sockets_of(nids, packages, distances, told)
        remarks += more if packages else ()
        if not any(sizes.values()):
            remarks.append(NO_MEMORY)
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
            spans=spans_of(packages),
            memories=self._memories(),
            model_name=model_name,
        )

    def _packages(self) -> dict[int, int]:
        """Return the number of each package: the system's, or its rank where the system has none or repeats some."""
        found = [item.element for item in self._of_type("Package", "Socket")]
        told = [element.get("os_index", "") for element in found]
        plain = all(re.fullmatch(r"[0-9]{1,9}", number) for number in told) and len(set(told)) == len(told)
        return {id(element): int(told[i]) if plain else i for i, element in enumerate(found)}

    def _sockets_without_cpus(
        self, numbers: Mapping[int, int], cpus_of: Mapping[int, frozenset[int]], package_of: Mapping[int, int]
    ) -> dict[int, int]:
        """Return the package that each node is in, or whose CPUs alone are near it."""
        found: dict[int, int] = {}
        for item in self._of_type("NUMANode"):
            nid = self._number(item.element, "os_index")
            package = item.nearest("Package", "Socket")
            near = {package_of[cpu_id] for cpu_id in cpus_of[nid] if cpu_id in package_of}
            if package is not None:
                found[nid] = numbers[id(package)]
            elif len(near) == 1:
                found[nid] = min(near)
        return found

    def _nodes(self, remarks: list[str]) -> tuple[dict[int, int], dict[int, frozenset[int]]]:
        """Return memory and CPUs of each node, or of the whole machine as node 0 if it has no nodes."""
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
            told = item.element.get("cpuset")
            cpus_of[nid] = self._set(told) if told is not None or not is_node else self._cpus_in(item.element)
        if not sizes:
            raise self._error("found no object of type Machine; allowed is what lstopo file.xml writes")
        return sizes, cpus_of

    def _cpus_in(self, element: ElementTree.Element) -> frozenset[int]:
        inside = (item.element for item in self._of_type("PU") if any(part is element for part in item.around))
        return frozenset(self._number(each, "os_index") for each in inside)

    def _online(self) -> frozenset[int] | None:
        """Return the CPUs that are online, or None if all are. Version 1 has the others in the tree as well."""
        sets = [item.element.get("online_cpuset") for item in self._objects if not item.around]
        return self._set(sets[0]) if sets and sets[0] else None

    def _last_cache(self, item: _Object) -> ElementTree.Element | None:
        levels = [(self._cache_level(element), -i, element) for i, element in enumerate(item.around)]
        level, _, element = max(levels, key=lambda entry: entry[:2], default=(0, 0, None))
        return element if level else None

    def _cache_level(self, element: ElementTree.Element) -> int:
        """Return the level of a cache, or 0 for anything else."""
        kind = element.get("type", "")
        if match := re.fullmatch(r"L([0-9])Cache", kind):
            return int(match[1])
        return self._number(element, "depth") if kind == "Cache" else 0

    def _with_speeds(self, found: dict[int, FoundCpu], remarks: list[str]) -> dict[int, FoundCpu]:
        """Return CPUs with the speeds of their kinds (<cpukind>, of version 2.4 on): by capacity, else by clock."""
        kinds = self._root.findall("cpukind")
        if len(kinds) < 2:
            return found
        for name, what in (("LinuxCapacity", "the scheduler's capacities"), ("FrequencyMaxMHz", "the highest clock")):
            told: dict[int, float] = {}
            for kind in kinds:
                text = next((i.get("value", "") for i in kind.findall("info") if i.get("name") == name), "")
                if re.fullmatch(r"[0-9]{1,6}", text) and int(text):
                    told |= dict.fromkeys(self._set(kind.get("cpuset")), float(text))
            if not found.keys() <= told.keys():
                continue
            speeds = speeds_of({cpu_id: told[cpu_id] for cpu_id in found}, by_kind=True)
            if len(set(speeds.values())) > 1:
                remarks.append(f"speeds are ratios of {what}, not measured")
            return {cpu_id: replace(cpu, speed=round(speeds[cpu_id], 4)) for cpu_id, cpu in found.items()}
        remarks.append("how fast the kinds of cores are is not told: all taken as equal")
        return found

    def _distances(self, nids: list[int]) -> dict[tuple[int, int], int]:
        """Return the distances between nodes, or none if the file has none."""
        for part in self._root.findall("distances2"):
            kind = part.get("kind", "")
            latency = part.get("name") == "NUMALatency" or (
                re.fullmatch(r"[0-9]{1,9}", kind) and int(kind) & _LATENCY_KIND
            )
            if part.get("type") == "NUMANode" and latency:
                return self._distances_of_2(part)
        return self._distances_of_1(nids)

    def _distances_of_2(self, part: ElementTree.Element) -> dict[tuple[int, int], int]:
        numbers = [int(word) for word in self._words(part, "indexes")]
        if part.get("indexing") == "gp":
            nid_of = {item.element.get("gp_index"): item.element for item in self._of_type("NUMANode")}
            # Nodes that were left out of the file get numbers that no node has.
            numbers = [
                self._number(nid_of[str(n)], "os_index") if str(n) in nid_of else -1 - i for i, n in enumerate(numbers)
            ]
        values = [int(word) for word in self._words(part, "u64values")]
        return self._matrix(numbers, values)

    def _memories(self) -> dict[int, MemoryTold]:
        """Return the kind and the bandwidth of each node's memory, as far as they are told.

        Kinds are subtypes (version 2) or an information called Type (version 1). Bandwidths are in MB/s, as HMAT has
        them; the highest of the initiators is that of the nearest.
        """
        rates: dict[str, float] = {}
        for part in self._root.findall("memattr"):
            if part.get("name") not in ("Bandwidth", "WriteBandwidth"):
                continue
            for value in part.findall("memattr_value"):
                text, node = value.get("value", ""), value.get("target_obj_gp_index", "")
                if re.fullmatch(r"[0-9]{1,9}", text) and int(text):
                    rates[node] = max(rates.get(node, 0.0), int(text) * 1e6)
        found = {}
        for item in self._of_type("NUMANode"):
            info = {each.get("name"): each.get("value") for each in item.element.findall("info")}
            kind = item.element.get("subtype") or info.get("Type") or ("DAX" if "DAXDevice" in info else None)
            rate = rates.get(item.element.get("gp_index", ""))
            if kind or rate:
                nid = self._number(item.element, "os_index")
                found[nid] = MemoryTold(kind, rate, "what firmware tells of bandwidth (in XML of hwloc)")
        return found

    def _words(self, part: ElementTree.Element, tag: str) -> list[str]:
        words = " ".join(element.text or "" for element in part.findall(tag)).split()
        wrong = next((word for word in words if not re.fullmatch(r"[0-9]{1,18}", word)), None)
        if wrong is not None:
            raise self._error(f"found {wrong[:40]!r} in <{tag}>; allowed are whole numbers")
        return words

    def _distances_of_1(self, nids: list[int]) -> dict[tuple[int, int], int]:
        """Return those of version 1: by the count of nodes below an object, at a depth that may be any.

        Depths count levels of the tree, in which nodes without CPUs are higher up.
        """
        nodes = self._of_type("NUMANode")
        depths = {len(item.around) for item in nodes}
        order = [self._number(node.element, "os_index") for node in nodes]
        found: list[tuple[bool, ElementTree.Element]] = []
        for item in self._objects:
            for part in item.element.findall("distances"):
                told = {str(depth - len(item.around)) for depth in depths}
                if part.get("nbobjs") == str(len(nids)):
                    found.append((told != {part.get("relative_depth")}, part))
        if not found:
            return {}
        guessed, part = min(found, key=lambda entry: entry[0])
        try:
            base = float(part.get("latency_base", "10"))
            values = [round(float(latency.get("value", "")) * base) for latency in part.findall("latency")]
        except (ValueError, OverflowError):
            raise self._error("found a <latency> that is no number; allowed is what lstopo writes") from None
        matrix = self._matrix(order, values)
        # Another level with as many objects has no distances that are those of nodes.
        return {} if guessed and any(matrix[a, a] > matrix[a, b] for a in nids for b in nids) else matrix

    def _matrix(self, nids: list[int], values: list[int]) -> dict[tuple[int, int], int]:
        n = len(nids)
        if len(values) != n * n:
            raise self._error(f"found {len(values)} distances between {n} nodes; allowed are {n * n}")
        return {(a, b): values[i * n + j] for i, a in enumerate(nids) for j, b in enumerate(nids)}

    def _info(self, name: str) -> str | None:
        values = (info.get("value", "").strip() for info in self._root.iter("info") if info.get("name") == name)
        return next((value for value in values if value), None)

    def _base_page(self, remarks: list[str]) -> int:
        sizes = [
            int(size)
            for part in self._root.iter("page_type")
            if re.fullmatch(r"[0-9]{1,18}", size := part.get("size", ""))
        ]
        plausible = [size for size in sizes if size >= 512 and not size & (size - 1)]
        if plausible:
            return min(plausible)
        remarks.append("the size of a page is not told: 4 KiB taken")
        return 4 * KIB
