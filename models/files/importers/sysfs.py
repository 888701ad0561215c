"""A /sys tree of Linux: live, copied to a folder, or in a tar archive.

Nothing is unpacked, and no link out of the tree is followed.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Protocol, cast

from models.files.content import MAX_ARCHIVE_BYTES, MAX_MEMBERS, Unpacked, refusal
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
from models.text.cpu_list import MAX_CPU_ID, format_cpu_list, parse_cpu_list
from models.text.document import is_file, is_folder
from models.text.problems import InputError, Problem
from models.text.units import KIB

NAME = "a /sys folder (or a tar archive of it)"

_SYSTEM = "devices/system"
MEMORY_REMARK = "a node's memory is what the kernel manages, a little below what is built in"
PAGE_REMARK = "the size of a page is not told: 4 KiB taken"
_MAX_BITS = 65_536  # of a mask: more than any system has
_MAX_FILE_BYTES = 1_048_576  # cpuinfo of the largest machines is about this long; all others are a page
_MAX_LINKS = 8  # from one link to the next


def recognises(source: Source) -> bool:
    """Return whether this is a folder, or an archive."""
    return source.content is None or source.archive


def read_topology(source: Source) -> Topology:
    """Return the topology of a machine from its /sys tree. Raises InputError."""
    if source.content is None:
        return read_folder(source.path)
    return _SysReader(_Archive(source), source.path, None).topology()


def read_folder(path: Path) -> Topology:
    """Return the topology of a machine from a folder, such as /sys. Raises InputError."""
    # The model is in /proc, beside /sys.
    whole = path.name == "sys" and is_folder(path / _SYSTEM)
    tree = _Folder(path.parent if whole else path)
    return _SysReader(tree, path, "sys/devices/system" if whole else None).topology()


class _Tree(Protocol):
    """Files by their path from the top of the tree."""

    def text(self, path: str) -> str | None:
        """Return the content of a file, stripped, or None if there is no file."""

    def names(self, path: str) -> list[str]:
        """Return the content of a folder, or nothing if there is no folder."""

    def systems(self) -> list[str]:
        """Return where devices/system may be."""


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._inside = root.resolve()

    def _place(self, path: str) -> Path | None:
        """Return a path if it is in the tree, also after links."""
        place = self._root / path
        try:
            return place if place.resolve().is_relative_to(self._inside) else None
        except (OSError, RuntimeError):  # a loop of links
            return None

    def text(self, path: str) -> str | None:
        place = self._place(path)
        if place is None or not is_file(place):
            return None
        try:
            with place.open("rb") as file:
                return _clean(file.read(_MAX_FILE_BYTES))
        except OSError:  # such files of devices that are offline can't be read
            return None

    def names(self, path: str) -> list[str]:
        place = self._place(path)
        try:
            return [] if place is None else sorted(item.name for item in place.iterdir())
        except OSError:
            return []

    def systems(self) -> list[str]:
        return [_SYSTEM, f"sys/{_SYSTEM}", "system", ""]


class _Archive:
    def __init__(self, source: Source) -> None:
        self._files: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}
        self._path = source.path
        unpacked = cast(IO[bytes], Unpacked(source.content or b"", source.path, MAX_ARCHIVE_BYTES))
        count = 0
        try:
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                for member in archive:
                    count += 1
                    if count > MAX_MEMBERS:
                        raise refusal(self._path, f"has more than {MAX_MEMBERS} files; pack sys/devices/system alone")
                    self._take(archive, member)
                    archive.members.clear()  # type: ignore[attr-defined] # which it would keep for seeking back
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
            message = f"is an archive that can't be read to its end ({error}); allowed is a tar file, maybe packed"
            raise refusal(self._path, message) from None

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if ".." in member.name.split("/"):
            found = member.name[:80]
            raise refusal(
                self._path, f"found {found!r} in the archive, which leads out of it; allowed are paths without '..'"
            )
        name = posixpath.normpath(member.name).lstrip("/")
        if member.issym():
            self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        elif member.isfile() and member.size <= _MAX_FILE_BYTES and len(name) < 500 and _WANTED.search(name):
            content = archive.extractfile(member)
            self._files[name] = _clean(content.read() if content else b"")
        elif not (member.isdir() and _FOLDER.search(name)):
            return
        while name:
            parent, _, last = name.rpartition("/")
            seen = self._names.setdefault(parent, set())
            if last in seen:
                return
            seen.add(last)
            name = parent

    def _follow(self, path: str) -> str:
        """Return where a path leads: through links of the archive, as far as they stay in it."""
        for _ in range(_MAX_LINKS):
            parts = path.split("/")
            heads = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
            head = next((head for head in heads if head in self._links), None)
            if head is None:
                break
            path = posixpath.normpath(posixpath.join(self._links[head], path[len(head) :].lstrip("/")))
        return path

    def text(self, path: str) -> str | None:
        return self._files.get(self._follow(path))

    def names(self, path: str) -> list[str]:
        return sorted(self._names.get(self._follow(path), ()))

    def systems(self) -> list[str]:
        found = {
            name[: match.start()] for name in self._files if (match := re.search(r"/?cpu/(online$|cpu\d+/)", name))
        }
        return sorted(found, key=lambda name: (name.count("/"), name))


def _shared(caches: Mapping[int, _Cache | None]) -> dict[int, _Cache | None]:
    """Return caches with those of CPUs that tell none, but are among the CPUs behind one that others tell."""
    told = {cache for cache in caches.values() if cache is not None}
    found: dict[int, _Cache] = {}
    for cache in sorted(told, key=lambda cache: (cache[0], sorted(cache[1]))):
        found |= dict.fromkeys(cache[1], cache)
    return {cpu_id: found.get(cpu_id) if cache is None else cache for cpu_id, cache in caches.items()}


_Cache = tuple[int, frozenset[int]]  # its level, and the CPUs behind it
_FOLDER = re.compile(r"(^|/)(cpu/cpu[0-9]{1,9}|node/node[0-9]{1,9})$")
_WANTED = re.compile(
    r"(^|/)(cpu/(online|cpu\d+/(online|cpu_capacity|topology/\w+|cache/index\d+/\w+|cpufreq/cpuinfo_max_freq))"
    r"|cpufreq/policy\d+/cpuinfo_max_freq|node/(online|has_memory"
    r"|node\d+/(cpulist|cpumap|distance|meminfo|access0/initiators/(read|write)_bandwidth))"
    r"|devices/cpu_(core|atom)/cpus|proc/(cpuinfo|meminfo))$"
)


def _clean(content: bytes) -> str:
    """Return text without the zeros that archivers put where a file of /sys is shorter than its stated size."""
    return content.decode("utf-8", "replace").replace("\0", "").strip()


class _SysReader:
    def __init__(self, tree: _Tree, path: Path, system: str | None) -> None:
        self._tree = tree
        self._path = path
        self._remarks: list[str] = []
        places = tree.systems() if system is None else [system]
        self._system = next((place for place in places if self._cpu_ids(place)), "")
        if not self._cpu_ids(self._system):
            message = (
                f"found no {_SYSTEM}/cpu/cpu0 and the like; allowed is /sys of a Linux machine, a copy of it, "
                "or a tar archive of either"
            )
            raise refusal(path, message)
        # What holds `devices`, and what holds `sys` and `proc`.
        self._sys = self._system.removesuffix(_SYSTEM).rstrip("/") if self._system.endswith(_SYSTEM) else None
        top = (
            self._sys.removesuffix("sys").rstrip("/") if self._sys and self._sys.split("/")[-1] == "sys" else self._sys
        )
        self._proc = None if top is None else posixpath.join(top, "proc")

    def _text(self, name: str) -> str | None:
        return self._tree.text(posixpath.join(self._system, name))

    def _list(self, name: str) -> tuple[int, ...] | None:
        """Return the numbers in a file, a list of CPUs or nodes, or None if there is no file. Raises InputError."""
        text = self._text(name)
        return None if text is None else self._parse(name, text)

    def _parse(self, name: str, text: str) -> tuple[int, ...]:
        try:
            return parse_cpu_list(text)
        except ValueError as error:
            raise self._error(name, str(error)) from None

    def _error(self, name: str, message: str) -> InputError:
        return InputError([Problem(str(self._path / self._system / name), 1, 1, "", message)])

    def _number(self, name: str) -> int | None:
        text = self._text(name)
        return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else None

    def _ids(self, folder: str, kind: str) -> list[int]:
        names = self._tree.names(folder)
        return sorted(int(match[1]) for name in names if (match := re.fullmatch(rf"{kind}([0-9]{{1,9}})", name)))

    def _cpu_ids(self, system: str) -> list[int]:
        return self._ids(posixpath.join(system, "cpu"), "cpu")

    def topology(self) -> Topology:
        """Return the topology of the tree."""
        online = self._online()
        nids = self._nids()
        nid_of = self._nid_of(nids, online)
        present = frozenset(online)
        caches = _shared({cpu_id: self._cache(cpu_id, present) for cpu_id in online})
        if None in caches.values():
            self._remarks.append("caches are not told of all CPUs: one last-level cache taken for each node")
        speeds = self._speeds(online)
        found = {}
        for cpu_id in online:
            nid, cache = nid_of[cpu_id], caches[cpu_id]
            core = (nid, self._core(cpu_id, present))
            found[cpu_id] = FoundCpu(nid, core, ("node", nid) if cache is None else cache, speeds[cpu_id])
        packages: dict[int, set[int]] = {}
        for cpu_id in online:
            package = self._number(f"cpu/cpu{cpu_id}/topology/physical_package_id")
            if package is not None:  # it is -1 where the kernel does not know it
                packages.setdefault(nid_of[cpu_id], set()).add(package)
        distances, remarks = distances_of(nids, self._distances(nids))
        self._remarks += remarks
        sockets, remarks = sockets_of(nids, packages, distances)
        self._remarks += remarks if packages else ["sockets are not told: one taken"]
        nodes = tuple(Node(nid, sockets[nid], self._memory(nid, len(nids))) for nid in nids)
        self._remarks += [MEMORY_REMARK, PAGE_REMARK]
        if not any(node.memory_bytes for node in nodes):
            self._remarks.append(NO_MEMORY)
        vendor, model_name = self._processor()
        return Topology(
            title=title_of(model_name, nodes, len(found)),
            nodes=nodes,
            cpus=number_cpus(found),
            distances=distances,
            base_page_bytes=4 * KIB,
            source=f"/sys of Linux ({self._path.name})" if self._path.name not in ("", "sys") else "/sys of Linux",
            remarks=tuple(self._remarks),
            vendor=vendor,
            spans=spans_of(packages),
            memories=self._memories(nids),
            model_name=model_name,
        )

    def _online(self) -> tuple[int, ...]:
        known = self._cpu_ids(self._system)
        if known[-1] > MAX_CPU_ID:
            raise self._error(f"cpu/cpu{known[-1]}", f"found CPU {known[-1]}; allowed are numbers up to {MAX_CPU_ID}")
        told = self._list("cpu/online")
        if told is None:
            self._remarks.append("cpu/online is missing: all CPUs taken as online that do not say otherwise")
            told = tuple(cpu_id for cpu_id in known if self._text(f"cpu/cpu{cpu_id}/online") != "0")
        online = tuple(cpu_id for cpu_id in told if cpu_id in known)
        if not online:
            raise self._error("cpu/online", "found no CPU that is online and has a folder; at least one must")
        offline, bare = set(known) - set(told), set(told) - set(known)
        if offline:
            self._remarks.append(f"CPUs {format_cpu_list(offline)} are offline: left out")
        if bare:
            self._remarks.append(f"CPUs {format_cpu_list(bare)} are online but not in the tree: left out")
        return online

    def _nids(self) -> list[int]:
        nids = list(self._list("node/online") or self._ids(posixpath.join(self._system, "node"), "node"))
        if not nids:
            self._remarks.append("NUMA nodes are not told: one taken")
        elif nids[-1] > MAX_NID:
            raise self._error("node/online", f"found node {nids[-1]}; allowed are numbers up to {MAX_NID}")
        return nids or [0]

    def _nid_of(self, nids: list[int], online: Iterable[int]) -> dict[int, int]:
        nid_of: dict[int, int] = {}
        several = set()
        for nid in nids:
            for cpu_id in self._set(f"node/node{nid}/cpulist", f"node/node{nid}/cpumap") or ():
                if nid_of.setdefault(cpu_id, nid) != nid:
                    several.add(cpu_id)
        if several:  # emulated nodes (numa=fake) share CPUs
            self._remarks.append(f"CPUs {format_cpu_list(several)} are in several nodes: the first taken")
        lost = [cpu_id for cpu_id in online if cpu_id not in nid_of]
        if lost and len(nids) > 1:
            self._remarks.append(f"the node of CPUs {format_cpu_list(lost)} is not told: node {nids[0]} taken")
        return dict.fromkeys(lost, nids[0]) | nid_of

    def _set(self, *names: str) -> tuple[int, ...] | None:
        """Return the numbers in the first of some files that is there, a list or (a name without "list") a mask."""
        for name in names:
            text = self._text(name)
            if text:
                return self._parse(name, text) if name.endswith("list") else self._mask(name, text)
        return None

    def _mask(self, name: str, text: str) -> tuple[int, ...]:
        """Return the numbers in a mask as Linux writes it, "00000000,0000000f": 32 bits a word, the highest first."""
        words = text.split(",")
        if len(words) * 32 > _MAX_BITS or not all(re.fullmatch(r"(?:0x)?[0-9a-fA-F]{1,16}", word) for word in words):
            raise self._error(name, f"found {text[:40]!r}; allowed is a mask of CPUs as Linux writes it")
        bits = int("".join(word.removeprefix("0x").rjust(8, "0") for word in words), 16)
        return tuple(i for i in range(bits.bit_length()) if bits >> i & 1)

    def _mates(self, cpu_id: int, names: Iterable[str], online: frozenset[int]) -> frozenset[int] | None:
        """Return the online CPUs in the first of some files that has this CPU among them, or None."""
        for name in names:
            numbers = self._set(name)
            if numbers and cpu_id in numbers:
                return online.intersection(numbers)
            if numbers:
                self._remark("some sets of CPUs in the tree lack the CPU whose they are: passed over")
        return None

    def _remark(self, text: str) -> None:
        if text not in self._remarks:
            self._remarks.append(text)

    def _core(self, cpu_id: int, online: frozenset[int]) -> object:
        folder = f"cpu/cpu{cpu_id}/topology"
        names = ("core_cpus_list", "core_cpus", "thread_siblings_list", "thread_siblings")
        mates = self._mates(cpu_id, (f"{folder}/{name}" for name in names), online)
        if mates:
            return mates
        place = (self._number(f"{folder}/physical_package_id"), self._number(f"{folder}/core_id"))
        if None not in place:
            return place
        self._remark("hardware threads are not told of all CPUs: each such CPU taken as a core of its own")
        return cpu_id

    def _cache(self, cpu_id: int, online: frozenset[int]) -> _Cache | None:
        """Return the level of the last data or unified cache and the CPUs behind it, or None if unknown."""
        folder = f"cpu/cpu{cpu_id}/cache"
        found: list[tuple[int, frozenset[int]]] = []
        for index in self._ids(posixpath.join(self._system, folder), "index"):
            level = self._number(f"{folder}/index{index}/level")
            names = (f"{folder}/index{index}/shared_cpu_{form}" for form in ("list", "map"))
            mates = self._mates(cpu_id, names, online)
            if level and mates and self._text(f"{folder}/index{index}/type") != "Instruction":
                found.append((level, mates))
        return max(found, key=lambda entry: entry[0], default=None)

    def _speeds(self, online: tuple[int, ...]) -> dict[int, float]:
        kinds = {kind: self._kind(kind) for kind in ("core", "atom")}
        by_kind = all(kinds.values())
        for name, what in (
            ("cpu_capacity", "the scheduler's capacities"),
            ("cpufreq/cpuinfo_max_freq", "highest clocks"),
        ):
            told = {cpu_id: self._number(f"cpu/cpu{cpu_id}/{name}") for cpu_id in online}
            ratings = {cpu_id: float(rating) for cpu_id, rating in told.items() if rating}
            if len(ratings) < len(online) or (by_kind and len(set(ratings.values())) == 1):
                continue
            if by_kind and name != "cpu_capacity":  # favoured cores differ within a kind
                for cpus in kinds.values():
                    best = max((ratings[cpu_id] for cpu_id in cpus if cpu_id in ratings), default=0.0)
                    ratings |= {cpu_id: best for cpu_id in cpus if cpu_id in ratings}
            speeds = speeds_of(ratings, by_kind=by_kind or name == "cpu_capacity")
            if len(set(speeds.values())) > 1:
                self._remarks.append(f"speeds are ratios of {what}, not measured")
            return speeds
        if by_kind:
            self._remarks.append("how fast the two kinds of cores are is not told: taken as equal")
        return dict.fromkeys(online, 1.0)

    def _kind(self, kind: str) -> tuple[int, ...]:
        """Return the CPUs of a kind of cores, performance (core) or efficient (atom): Linux tells Intel's apart."""
        if self._sys is None:
            return ()
        name = posixpath.join(self._sys, f"devices/cpu_{kind}/cpus")
        return self._parse(f"../cpu_{kind}/cpus", self._tree.text(name) or "")

    def _distances(self, nids: list[int]) -> dict[tuple[int, int], int]:
        distances: dict[tuple[int, int], int] = {}
        for nid in nids:
            words = (self._text(f"node/node{nid}/distance") or "").split()
            if not all(re.fullmatch(r"[0-9]{1,3}", word) for word in words):
                message = f"found {' '.join(words)[:60]!r}; allowed are {len(nids)} distances, one for each online node"
                raise self._error(f"node/node{nid}/distance", message)
            if words and len(words) != len(nids):  # as in a part of a tree
                self._remark(f"distances are told for {len(words)} nodes, and there are {len(nids)}: left out")
                continue
            distances |= {(nid, other): int(word) for other, word in zip(nids, words, strict=False)}
        return distances

    def _memory(self, nid: int, n_nodes: int) -> int:
        match = re.search(r"MemTotal:\s+([0-9]{1,15}) kB", self._text(f"node/node{nid}/meminfo") or "")
        if match is None and n_nodes == 1 and self._proc is not None:
            match = re.search(r"MemTotal:\s+([0-9]{1,15}) kB", self._tree.text(f"{self._proc}/meminfo") or "")
        if match is None:
            self._remarks.append(f"the memory of node {nid} is not told: none taken")
        return int(match[1]) * KIB if match else 0

    def _memories(self, nids: Iterable[int]) -> dict[int, MemoryTold]:
        """Return the bandwidth of each node's memory that firmware tells (HMAT), in MB/s from its nearest initiator."""
        found = {}
        for nid in nids:
            folder = f"node/node{nid}/access0/initiators"
            told = [self._number(f"{folder}/{way}_bandwidth") for way in ("read", "write")]
            rates = [rate for rate in told if rate]
            if rates:
                found[nid] = MemoryTold(None, min(rates) * 1e6, "what firmware tells of bandwidth (HMAT)")
        return found

    def _processor(self) -> tuple[str | None, str | None]:
        """Return vendor and model, as far as they are known."""
        text = None if self._proc is None else self._tree.text(posixpath.join(self._proc, "cpuinfo"))
        if text == "":
            self._remarks.append(
                "proc/cpuinfo is empty (tar stores it so): copy it with cp first; vendor and model are not told"
            )
            return None, None
        if text is None:
            self._remarks.append(
                "vendor and model of the processor are not told (they are in proc/cpuinfo, beside sys)"
            )
            return None, None
        told: dict[str, str] = {}
        for line in text.splitlines():
            key, _, value = line.partition(":")
            told.setdefault(key.strip(), value.strip())
        return told.get("vendor_id") or None, told.get("model name") or told.get("cpu") or None
