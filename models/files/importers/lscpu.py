"""The output of lscpu: its summary in any language, -J, -p and -e, also with the text of numactl -H."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.files.content import refusal
from models.files.importers import Source, numactl
from models.files.machine_keys import MAX_NID
from models.files.pasted import Line
from models.machine import Node
from models.machine.topology import (
    NO_MEMORY,
    FoundCpu,
    Topology,
    distances_of,
    number_cpus,
    sockets_of,
    spans_of,
    speeds_of,
    title_of,
)
from models.text.cpu_list import MAX_CPU_ID, format_cpu_list, parse_cpu_list
from models.text.units import KIB

NAME = "the text of lscpu (plain, -J, -p or -e; with that of numactl -H beside it)"

# Words of the languages that util-linux speaks (po/*.po): English, German, French, Spanish, Portuguese, Italian,
# Polish, Czech, Russian, Ukrainian, Chinese, Japanese.
_THREAD = ("thread", "hilo", "processus", "wątk", "vlák", "поток", "потік", "线程", "執行緒", "スレッド")
_CORE = ("core", "kern", "cœur", "coeur", "núcleo", "nucleo", "rdzeń", "jádro", "ядр", "核", "コア")
_SOCKET = ("socket", "sockel", "soquete", "gniazd", "patic", "сокет", "座", "插槽", "ソケット")
_ONLINE = (
    "on-line",
    "online",
    "en ligne",
    "en línea",
    "in linea",
    "aktywn",
    "в сети",
    "онлайн",
    "在线",
    "線上",
    "オンライン",
)
_OFFLINE = (
    "off-line",
    "offline",
    "hors ligne",
    "hors-ligne",
    "fuera de línea",
    "离线",
    "離線",
    "オフライン",
    "не в сети",
)
_MODEL = (
    *("model name", "modellname", "modelname", "nom de modèle", "nombre del modelo", "nome del modello"),
    *(
        "nome do modelo",
        "nazwa modelu",
        "název modelu",
        "имя модели",
        "назва моделі",
        "型号名称",
        "型號名稱",
        "モデル名",
    ),
)
_BOOK, _DRAWER, _CLUSTER = ("book",), ("drawer",), ("cluster",)
_VENDORS = re.compile(
    r"(?:Genuine|Authentic|Hygon|Centaur|Cyrix|Transmeta)\w+|ARM|Ampere|Cavium|HiSilicon|Phytium|Fujitsu|APM|Qualcomm|Apple|"
    r"NVIDIA|IBM(?:/S390)?|IBM POWER|0x[0-9a-f]{2}|\s*Shanghai\s*|Loongson"
)
_MODELS = re.compile(
    r"\b(?:Xeon|Core\(TM\)|EPYC|Ryzen|Opteron|POWER ?[0-9]+|Neoverse|Cortex|Kunpeng|Graviton|ThunderX)", re.I
)
_ARCHITECTURES = re.compile(r" ?(?:x86_64|i[3-6]86|aarch64|arm\w+|ppc\w*|s390x?|riscv\w*|loongarch\w*|ia64)")
_LEVEL = re.compile(r"\bL([1-4])([di])?\b", re.IGNORECASE)
_COLUMNS = {"CPU", "NODE", "SOCKET", "CORE", "BOOK", "DRAWER", "CLUSTER", "ONLINE", "MAXMHZ", "MINMHZ", "MHZ",
            "POLARIZATION", "ADDRESS", "CONFIGURED", "MODELNAME", "SCALMHZ%"}  # fmt: skip
_DEFAULT_COLUMNS = ["CPU", "CORE", "SOCKET", "NODE", "", "L1D", "L1I", "L2", "L3"]
_NO = ("no", "n", "false", "nein", "non", "nie", "ne", "нет", "否", "いいえ")
_MAX_WORD = 40
_WIDE_COLON = "\uff1a"  # of Chinese and Japanese


def recognises(source: Source) -> bool:
    """Return whether a source has lscpu's output in it, in any of its forms."""
    if source.content is None or source.archive:
        return False
    if _tables(source) or _json(source):
        return True
    if not _looks_like_a_summary(source.lines):
        return False
    # A log of the kernel around the text of numactl may look like one, without its list of CPUs.
    return not numactl.recognises(source) or _summary(source).first(_ONLINE, without=_OFFLINE) is not None


def read_topology(source: Source) -> Topology:
    """Return the topology from lscpu, together with numactl's text. Raises InputError."""
    tables, summary = _tables(source), _summary(source)
    if len(tables) > 1:
        raise refusal(source.path, "found a second table of CPUs from here; allowed is one machine in a file",
                      tables[1].line, 1)  # fmt: skip
    found = _CpuFacts.of_table(tables[0], source.path) if tables else _CpuFacts.of_summary(summary, source.path)
    report = numactl.read_report(source.lines, source.path) if numactl.recognises(source) else None
    return found.topology(summary, report, source)


@dataclass
class _Table:
    """A table of CPUs: where it begins, and the cells of each row by column."""

    line: int
    rows: list[dict[str, str]] = field(default_factory=list)


@dataclass
class _Summary:
    """The lines `key: value` of a summary, with where they stand."""

    fields: list[tuple[int, str, str]] = field(default_factory=list)

    def first(self, *wanted: Sequence[str], without: Sequence[str] = (), value: str = r".+") -> str | None:
        """Return the first value of this form whose key has a word of each kind, and none of `without`."""
        for _, key, text in self.fields:
            if all(any(word in key for word in words) for words in wanted) and not any(word in key for word in without):
                match = re.fullmatch(value, text)
                if match:
                    return text
        return None

    def number(self, *wanted: Sequence[str], without: Sequence[str] = ()) -> int | None:
        """Return the first whole number, as `first` does."""
        text = self.first(*wanted, without=without, value=r"[0-9]{1,5}")
        return None if text is None else int(text)


def _tables(source: Source) -> list[_Table]:
    """Return the tables that lscpu -e and -p print, and those of -e -J."""
    tables: list[_Table] = []
    columns: list[str] | None = None
    comma = False
    for line in source.lines:
        bare = line.raw.lstrip("#> \t").strip()
        if re.match(r"CPU(?:,[A-Za-z0-9]*)+$", bare, re.IGNORECASE):
            columns, comma = bare.upper().split(","), True
            tables.append(_Table(line.number))
            continue
        words = line.text.split(" ")
        if (
            words[0] == "CPU"
            and len(words) > 1
            and all(w in _COLUMNS or _LEVEL.match(w) for w in map(str.upper, words))
        ):
            columns, comma = [word.upper() for word in words], False
            tables.append(_Table(line.number))
            continue
        if columns is None and re.fullmatch(r"[0-9]{1,5},[0-9]{1,5},[0-9]*,[0-9]*,(?:,[0-9]*)+", bare):
            columns, comma = _DEFAULT_COLUMNS, True  # of -p, whose head was left out
            tables.append(_Table(line.number))
        if columns is None:
            continue
        cells = bare.split(",") if comma else words
        if re.fullmatch(r"[0-9]{1,5}", cells[0]) and 1 < len(cells) <= len(columns):
            tables[-1].rows.append({name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name})
        elif line.text and not comma:
            columns = None
    tables = [table for table in tables if table.rows]
    for entry in (_json(source) or {}).get("cpus", []):
        if isinstance(entry, dict):
            if not tables:
                tables.append(_Table(1))
            tables[0].rows.append({str(key).upper(): _word(value) for key, value in entry.items()})
    return tables


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)[:_MAX_WORD]


def _json(source: Source) -> dict[str, Any] | None:
    """Return the output of lscpu -J, or None if the text is not of that form."""
    if not re.search(r'"(?:lscpu|cpus)"\s*:', source.text[:5_000]):
        return None
    text = "\n".join(line.text for line in source.lines)
    try:
        found, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    except (ValueError, RecursionError):
        raise refusal(source.path, "is JSON of lscpu that is cut short; allowed is all that lscpu -J writes") from None
    return (
        found
        if isinstance(found, dict) and all(isinstance(found.get(k, []), list) for k in ("lscpu", "cpus"))
        else None
    )


def _looks_like_a_summary(lines: Iterable[Line]) -> bool:
    signs = set()
    for line in lines:
        key, colon, value = line.text.replace(_WIDE_COLON, ":").partition(":")
        if not colon:
            continue
        word = re.search(r"BogoMIPS|NUMA|CPU\(s\)|L[123][di]?\b|CPU MHz|CPU max MHz", key, re.IGNORECASE)
        signs |= {word[0].lower()} if word else set()
        signs |= (
            {"arch"}
            if re.fullmatch(r" ?(?:x86_64|i[3-6]86|aarch64|arm\w+|ppc\w*|s390x?|riscv\w*|loongarch\w*|ia64)", value)
            else set()
        )
        signs |= {"threads"} if any(word in key.lower() for word in _THREAD) and value.strip().isdigit() else set()
    return (
        len(signs) >= 3
        and bool(signs & {"arch", "threads", "l1d", "bogomips"})
        and bool(signs & {"cpu(s)", "numa", "threads"})
    )


def _summary(source: Source) -> _Summary:
    """Return the lines of a summary, plain or of -J."""
    summary = _Summary()
    told = _json(source)
    if told is not None:
        waiting = list(reversed(told.get("lscpu", [])))
        while waiting:
            entry = waiting.pop()
            if not isinstance(entry, dict):
                continue
            summary.fields.append(
                (1, _key(str(entry.get("field", ""))), " ".join(str(entry.get("data") or "").split()))
            )
            inner = entry.get("children", [])
            waiting += list(reversed(inner)) if isinstance(inner, list) else []
        return summary
    online = 0
    for line in source.lines:
        key, colon, value = line.text.replace(_WIDE_COLON, ":").partition(":")
        if not colon or not key or line.text.startswith(("node ", "available")):
            continue
        key = _key(key)
        if any(word in key for word in _ONLINE) and "cpu" in key.replace("processeur", "cpu"):
            online += 1
            if online > 1:
                message = "found a second report of lscpu from here; allowed is one machine in a file"
                raise refusal(source.path, message, line.number, 1)
        summary.fields.append((line.number, key, value.strip()))
    return summary


def _key(text: str) -> str:
    return " ".join(text.replace(_WIDE_COLON, ":").strip().rstrip(":").lower().split())


@dataclass
class _CpuFacts:
    """The CPUs of lscpu: node, socket (None: unknown), core, cache and clock of each."""

    nid_of: dict[int, int] = field(default_factory=dict)
    sockets_of: dict[int, set[int]] = field(default_factory=dict)  # by CPU: that it may be in
    core_of: dict[int, object] = field(default_factory=dict)
    cache_of: dict[int, object] = field(default_factory=dict)
    mhz: dict[int, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    bare_nids: tuple[int, ...] = ()  # nodes without CPUs
    n_threads: int | None = None  # of a core, where siblings are still to be guessed
    n_caches: int | None = None  # of all, where it is still to be guessed who is behind which
    n_sockets: int | None = None
    adjacent: bool = False  # whether siblings have neighbouring numbers
    n_several: int | None = None  # cores that have several threads, the first ones, where others have one

    @classmethod
    def of_table(cls, table: _Table, path: Path) -> _CpuFacts:
        """Return the topology from a table of CPUs. Raises InputError."""
        found = cls()
        offline = set()
        for row in table.rows:
            cpu_id = _cpu_id(row["CPU"], path, table.line) if "CPU" in row else None
            if cpu_id is None:
                raise refusal(path, f"found a row without a number of a CPU; {_AGAIN}", table.line, 1)
            if cpu_id in found.nid_of or cpu_id in offline:
                raise refusal(path, f"found CPU {cpu_id} a second time; allowed is each once", table.line, 1)
            if row.get("ONLINE", "yes").lower() in _NO:
                offline.add(cpu_id)
                continue
            nid, socket, core = (_whole(row.get(name)) for name in ("NODE", "SOCKET", "CORE"))
            if nid is not None and nid > MAX_NID:
                raise refusal(path, f"found node {nid}; allowed are numbers up to {MAX_NID}", table.line, 1)
            found.nid_of[cpu_id] = 0 if nid is None else nid
            if socket is not None:
                found.sockets_of[cpu_id] = {socket}
            if core is not None:
                found.core_of[cpu_id] = (socket, core)
            cache = _last_cache(row)
            if cache is not None:
                found.cache_of[cpu_id] = cache
            clock = re.fullmatch(r"([0-9]{1,6})(?:[.,][0-9]+)?", row.get("MAXMHZ", ""))
            if clock and int(clock[1]):
                found.mhz[cpu_id] = float(clock[1])
        if not found.nid_of:
            raise refusal(path, f"found no CPU that is online; {_AGAIN}", table.line, 1)
        if offline:
            found.remarks.append(f"CPUs {format_cpu_list(offline)} are offline: left out")
        if not any(_whole(row.get("NODE")) is not None for row in table.rows):
            found.remarks.append("NUMA nodes are not told: one taken")
        return found

    @classmethod
    def of_summary(cls, summary: _Summary, path: Path) -> _CpuFacts:
        """Return the topology from a summary. Raises InputError."""
        found = cls()
        online = _cpus(summary.first(_ONLINE, without=_OFFLINE, value=r"[0-9]+(?:[-,][0-9]+)*"), path)
        nodes: dict[int, tuple[int, ...]] = {}
        for line, key, value in summary.fields:
            number = re.search(r"[0-9]{1,4}", key) if "numa" in key else None
            if number and re.fullmatch(r"(?:[0-9]+(?:[-,][0-9]+)*)?", value):
                if int(number[0]) > MAX_NID:
                    raise refusal(path, f"found node {number[0]}; allowed are numbers up to {MAX_NID}", line, 1)
                nodes[int(number[0])] = _cpus(value, path, line)
        told = summary.number(("cpu(s)", "cpu", "processeur", "процессор"), without=(*_ONLINE, "numa", "family", "mhz"))
        if told is not None and told > MAX_CPU_ID + 1:
            raise refusal(path, f"found {told} CPUs; allowed are at most {MAX_CPU_ID + 1}")
        cpus = online or tuple(sorted({cpu for part in nodes.values() for cpu in part})) or tuple(range(told or 0))
        if not cpus:
            raise refusal(path, f"found no list of CPUs in what lscpu prints; {_AGAIN}")
        if not nodes:
            found.remarks.append("NUMA nodes are not told: one taken")
        owner: dict[int, int] = {}
        for nid, part in sorted(nodes.items()):
            for cpu_id in part:
                owner.setdefault(cpu_id, nid)
        found.bare_nids = tuple(nid for nid, part in nodes.items() if not part)
        lost = [cpu_id for cpu_id in cpus if cpu_id not in owner]
        if nodes and lost:
            found.remarks.append(f"the node of CPUs {format_cpu_list(lost)} is not told: node {min(nodes)} taken")
        found.nid_of = {cpu_id: owner.get(cpu_id, min(nodes, default=0)) for cpu_id in cpus}
        found.n_threads = summary.number(_THREAD, _CORE) or 1
        found.n_sockets = _n_sockets(summary)
        found.n_caches = _n_caches(summary)
        n_cores = summary.number(_CORE, (*_SOCKET, *_CLUSTER), without=_THREAD)
        if n_cores is not None and found.n_threads == 2 and summary.first(_OFFLINE) is None:
            n_cores *= found.n_sockets
            if n_cores < len(cpus) < 2 * n_cores:  # performance cores have two threads, efficient ones have one
                found.n_several = len(cpus) - n_cores
        words = " ".join(f"{key} {value}" for _, key, value in summary.fields)
        found.adjacent = bool(re.search(r"\bppc|\bs390|hypervisor|\bpower[0-9]", words, re.IGNORECASE))
        if len([1 for _, key, _ in summary.fields if any(word in key for word in _MODEL)]) > 1:
            found.remarks.append("kinds of cores are told, but not which CPUs they have: all taken as equal")
            if len({value for _, key, value in summary.fields if any(word in key for word in _THREAD)}) > 1:
                found.n_threads = 1
        return found

    def topology(self, summary: _Summary, report: numactl.Found | None, source: Source) -> Topology:
        """Return all facts as a topology."""
        sizes: dict[int, int] = {}
        distances: dict[tuple[int, int], int] = {}
        if report is not None:
            self._take_nodes(report, source.path)
            sizes, distances = report.sizes, report.distances
        self._guess_cores()
        self._guess_caches()
        nids = sorted({*self.nid_of.values(), *sizes, *(self.bare_nids if report is None else ())})
        matrix, more = distances_of(nids, distances)
        remarks = [*self.remarks, *more]
        packages = self._packages(nids)
        sockets, more = sockets_of(nids, packages, matrix)
        remarks += more if packages else ["sockets are not told: one taken"]
        if not sizes:
            sizes = _memory(source, nids)
        if not any(sizes.values()):
            remarks.append(NO_MEMORY)
        remarks.append(numactl.REMARKS["page"])
        speeds = speeds_of(self.mhz, by_kind=False) if self.mhz.keys() >= self.nid_of.keys() else {}
        if len(set(speeds.values())) > 1:
            remarks.append("speeds are ratios of highest clocks, not measured")
        found = {
            cpu_id: FoundCpu(nid, self.core_of[cpu_id], self.cache_of[cpu_id], round(speeds.get(cpu_id, 1.0), 4))
            for cpu_id, nid in self.nid_of.items()
        }
        nodes = tuple(Node(nid, sockets[nid], sizes.get(nid, 0)) for nid in nids)
        model_name = summary.first(_MODEL) or next((v for _, _, v in summary.fields if _MODELS.search(v)), None)
        return Topology(
            title=title_of(model_name, nodes, len(found)),
            nodes=nodes,
            cpus=number_cpus(found),
            distances=matrix,
            base_page_bytes=4 * KIB,
            source=f"lscpu{' and numactl -H' if report else ''} ({source.path.name})",
            remarks=tuple(remarks),
            vendor=next((value for _, _, value in summary.fields if _VENDORS.fullmatch(value)), None),
            spans=spans_of(packages),
            model_name=None if model_name in (None, "-", "unknown") else model_name,
        )

    def _take_nodes(self, report: numactl.Found, path: Path) -> None:
        """Take the nodes of CPUs from numactl. Raises InputError if it describes another machine."""
        nid_of = {cpu_id: nid for nid, cpus in report.cpus.items() for cpu_id in cpus}
        one, other = set(self.nid_of) - set(nid_of), set(nid_of) - set(self.nid_of)
        if (one and other) or not set(self.nid_of) & set(nid_of):
            message = f"lscpu tells CPUs {format_cpu_list(self.nid_of)}, numactl {format_cpu_list(nid_of)}"
            raise refusal(path, f"{message}; allowed are texts of one machine")
        if one or other:
            self.remarks.append(
                f"CPUs {format_cpu_list(one | other)} are told by one of lscpu and numactl alone: left out"
            )
        self.nid_of = {cpu_id: nid_of[cpu_id] for cpu_id in self.nid_of if cpu_id in nid_of}
        said = "NUMA nodes are not told: one taken"
        self.remarks = [*(remark for remark in self.remarks if remark != said), *report.remarks]

    def _guess_cores(self) -> None:
        """Give CPUs without a known core to cores, as Linux numbers them."""
        if self.n_threads is None:
            if not self.core_of.keys() >= self.nid_of.keys():
                self.remarks.append(
                    "hardware threads are not told of all CPUs: each such CPU taken as a core of its own"
                )
            self.core_of = {cpu_id: self.core_of.get(cpu_id, cpu_id) for cpu_id in self.nid_of}
            return
        if self.n_several is not None:
            several = 2 * self.n_several
            for i, cpu_id in enumerate(sorted(self.nid_of)):
                self.core_of[cpu_id] = (self.nid_of[cpu_id], i // 2 if i < several else i)
            self.remarks.append(
                f"cores of two kinds: the first {self.n_several} taken as those with two threads, all as equally fast "
                "(lscpu -e tells it)"
            )
            return
        by_node: dict[int, list[int]] = {}
        for cpu_id, nid in sorted(self.nid_of.items()):
            by_node.setdefault(nid, []).append(cpu_id)
        uneven = any(len(cpus) % self.n_threads for cpus in by_node.values())
        if uneven:
            self.remarks.append(
                "hardware threads are uneven (some may be offline): each CPU taken as a core of its own"
            )
        n_threads = 1 if uneven else self.n_threads
        for nid, cpus in by_node.items():
            n_cores = len(cpus) // n_threads
            whole = cpus[-1] - cpus[0] == len(cpus) - 1
            adjacent = self.adjacent or (whole and len(by_node) > 1)
            for i, cpu_id in enumerate(cpus):
                self.core_of[cpu_id] = (nid, i // n_threads if adjacent else i % n_cores)
        if n_threads > 1:
            self.remarks.append("which CPUs share a core is not told: taken as Linux numbers them (lscpu -e tells it)")

    def _guess_caches(self) -> None:
        """Give CPUs without a known cache to caches: the cores in order, evenly."""
        if self.n_caches is None:
            if not self.cache_of.keys() >= self.nid_of.keys():
                self.remarks.append("caches are not told of all CPUs: one last-level cache taken for each node")
            self.cache_of = {cpu_id: self.cache_of.get(cpu_id, ("node", nid)) for cpu_id, nid in self.nid_of.items()}
            return
        order = sorted(self.nid_of, key=lambda cpu_id: (self.nid_of[cpu_id], cpu_id))
        cores = {core: i for i, core in enumerate(dict.fromkeys(self.core_of[cpu_id] for cpu_id in order))}
        n_caches = min(max(1, self.n_caches), len(cores))
        self.cache_of = {cpu_id: cores[self.core_of[cpu_id]] * n_caches // len(cores) for cpu_id in order}
        if n_caches > 1:
            self.remarks.append(
                f"which CPUs share one of {n_caches} last-level caches is not told: cores in order taken"
            )

    def _packages(self, nids: Sequence[int]) -> dict[int, set[int]]:
        """Return the sockets of the CPUs of each node."""
        packages: dict[int, set[int]] = {}
        if self.n_sockets is None:
            for cpu_id, told in self.sockets_of.items():
                if cpu_id in self.nid_of:
                    packages.setdefault(self.nid_of[cpu_id], set()).update(told)
            return packages
        with_cpus = [nid for nid in nids if nid in set(self.nid_of.values())]
        n, n_sockets = len(with_cpus), self.n_sockets
        for i, nid in enumerate(with_cpus):
            first, last = i * n_sockets // n, max(i * n_sockets // n, (i + 1) * n_sockets // n - 1)
            packages[nid] = set(range(first, last + 1))
        if n > n_sockets > 1:
            self.remarks.append(f"which nodes are in which of {n_sockets} sockets is not told: taken in order")
        return packages


_AGAIN = "allowed is all that lscpu > FILE writes (or lscpu -e > FILE)"


def _cpu_id(text: str, path: Path, line: int) -> int | None:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        return None
    if int(text) > MAX_CPU_ID:
        raise refusal(path, f"found CPU {text}; allowed are numbers up to {MAX_CPU_ID}", line, 1)
    return int(text)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,6}", text) else None


def _last_cache(row: Mapping[str, str]) -> object:
    """Return level and number of the last data or unified cache of a CPU, or None if there is none."""
    found: list[tuple[str, str]] = []
    for name, cell in row.items():
        if not _LEVEL.match(name):
            continue
        names, cells = name.split(":"), cell.split(":")
        found += [
            (n, c) for n, c in zip(names, cells, strict=False) if n[-1:] != "I" and re.fullmatch(r"[0-9]{1,6}", c)
        ]
    return max(found, key=lambda entry: entry[0][:2], default=None)


def _cpus(text: str | None, path: Path, line: int = 0) -> tuple[int, ...]:
    try:
        return parse_cpu_list(text or "")
    except ValueError as error:
        raise refusal(path, str(error), line, 1 if line else 0) from None


def _n_caches(summary: _Summary) -> int | None:
    """Return how many last-level caches the text has ("66 MiB (2 instances)"), or None."""
    counts: dict[int, int | None] = {}
    for _, key, value in summary.fields:
        level = _LEVEL.search(key)
        if level and (level[2] or "").lower() != "i":
            count = re.search(r"\(([0-9]{1,5})\D", value)
            counts[int(level[1])] = int(count[1]) if count else None
    return counts[max(counts)] if counts else None


def _n_sockets(summary: _Summary) -> int:
    """Return how many sockets there are: on s390 those of a book, by books and drawers.

    On Arm there may be only clusters.
    """
    per_book = summary.number(_SOCKET, _BOOK)
    if per_book is not None:
        books = summary.number(_BOOK, without=_SOCKET) or 1
        return max(1, per_book * books * (summary.number(_DRAWER, without=_BOOK) or 1))
    return summary.number(_SOCKET, without=(*_CORE, *_THREAD, "numa", *_BOOK)) or 1


def _memory(source: Source, nids: Sequence[int]) -> dict[int, int]:
    """Return the memory in a text beside lscpu's, as the memory of the only node."""
    if len(nids) != 1:
        return {}
    found = next(
        (match for line in source.lines if (match := re.search(r"\bMemTotal: ([0-9]{1,15}) kB", line.text))), None
    )
    return {nids[0]: int(found[1]) * KIB} if found else {}
