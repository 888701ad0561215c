"""Files that are not a topology of ours: their names, and the files to give instead."""

from __future__ import annotations

import re

_LOOKED_AT = 20_000  # characters
_RUN = "run numactl -H > FILE on the machine and give that"
_BYTES: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (b"\x04\x22\x4d\x18", "is packed by lz4; unpack it first (lz4 -d FILE)"),
    (b"\x89PNG", f"is a picture (lstopo draws them); run lstopo file.xml and give that, or {_RUN}"),
    (b"\xff\xd8\xff", f"is a picture; a text is needed: {_RUN}"),
    (b"%PDF", f"is a PDF (lstopo draws them); run lstopo file.xml and give that, or {_RUN}"),
    (b"%!PS", f"is PostScript (lstopo draws it); run lstopo file.xml and give that, or {_RUN}"),
    (b"\x7fELF", f"is a program or a library; {_RUN}"),
    (b"#FIG", f"is a drawing (lstopo draws them); run lstopo file.xml and give that, or {_RUN}"),
    (b"SQLite format 3", f"is a database; {_RUN}"),
)
_TEXTS: tuple[tuple[str, str], ...] = (
    (r"\bNo NUMA (?:support )?available on this system", "numactl found no NUMA there; give /sys or lstopo file.xml"),
    (r"^physcpubind:|^nodebind:|^membind:", f"is what numactl --show prints; {_RUN}"),
    (r"^Machine \(?.*\n(?:.*\n)*?.*\bPU L#\d+", f"is lstopo's text; run lstopo file.xml and give that, or {_RUN}"),
    (r"^(?:machine|nodes|rates)\s*:.*\n(?:.*\n)*?(?:nodes|rates)\s*:", "is a machine file; give it as --machine FILE"),
    (r"^(?:task|kernel)\s*:", "is a scenario; give it to ktask-sim run"),
    (r"^processor\s*:\s*\d+", f"is /proc/cpuinfo, which tells no nodes and no memory; {_RUN}"),
    (r"^MemTotal:\s+\d+ kB", f"is /proc/meminfo, which tells no CPUs; {_RUN}"),
    (r"^\s*total\s+used\s+free", f"is what free prints, which tells no CPUs; {_RUN}"),
    (r"^# dmidecode|^SMBIOS \d", f"is what dmidecode prints; {_RUN}"),
    (r"^NAME +ONE-SIZE +ALL-SIZE", "is what lscpu -C prints, caches alone; run lscpu -e > FILE or numactl -H > FILE"),
    (r"^numa_hit\s|^Per-node (?:process|system) ", f"is what numastat prints; {_RUN}"),
    (r"\bGPU0\b.*\bCPU Affinity\b", f"is what nvidia-smi topo -m prints; {_RUN}"),
    (r"^CPU type:\s|^Hardware Thread Topology", f"is what likwid-topology prints; {_RUN}"),
    (r"^hw\.(?:ncpu|memsize|model)\b", f"is what sysctl prints on macOS or BSD, which is not read; {_RUN}"),
    (r"^(?:Host Name|OS Name):\s", f"is what systeminfo prints on Windows; {_RUN}, or lstopo file.xml on Windows"),
    (r"^Logical (?:to Physical )?Processor", "is what Coreinfo prints on Windows; run lstopo file.xml and give that"),
    (r"^\s*description: |^\s*\*-", f"is what lshw prints; {_RUN}"),
    (r"^CPU model:\s.*\n(?:.*\n)*?CPU socket\(s\):", f"is what virsh nodeinfo prints; {_RUN}"),
    (r"\[ *\d+\.\d+\] .*(?:NUMA|SRAT|Linux version)", f"is a log of the kernel; {_RUN}"),
    (r"^\S+: command not found|numactl: (?:command )?not found", "the program was not found there; give lscpu > FILE"),
    (r"\A\s*[{\[]", f"is JSON that is not of lscpu -J; {_RUN}"),
    (r"\A\s*<(?:!doctype html|html)", f"is a web page without a report of numactl or lscpu in it; {_RUN}"),
)
_ROOTS = {
    "capabilities": "the output of virsh capabilities",
    "domain": "a virtual machine of libvirt",
    "list": "the output of lshw -xml",
    "node": "the output of lshw -xml",
    "svg": "a picture (lstopo draws them)",
    "html": "a web page",
    "topologydiff": "a difference of hwloc",
}


def what_it_is(content: bytes, text: str) -> str | None:
    """Return the name of a file that no importer reads, with the next step, or None if it is unknown."""
    for start, said in _BYTES:
        if content.startswith(start):
            return said
    for pattern, said in _TEXTS:
        if re.search(pattern, text[:_LOOKED_AT], re.MULTILINE | re.IGNORECASE):
            return said
    return None


def what_xml_is(tag: str) -> str:
    """Return the name of XML with this outermost element."""
    known = _ROOTS.get(tag.rpartition("}")[2].lower())
    return f"{known} (<{tag[:40]}>)" if known else f"XML of <{tag[:40]}>"
