"""An emulated machine with several NUMA nodes, on which a Python script is run as root.

It boots a Linux kernel with a file system in memory that holds this Python and this repository. Nothing of it touches
the host but a temporary folder. Times on it mean nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

QEMU = "qemu-system-x86_64"
KERNEL_VARIABLE = "KTASK_SIM_EMULATED_KERNEL"
TIME_LIMIT_S = 180.0
# Without AVX, which is slow to emulate; NumPy needs what comes before it (x86-64-v2), Python random numbers at once.
_PROCESSOR = "Westmere,+rdrand"
_DISTRIBUTIONS = ("numpy", "pandas", "pydantic", "PyYAML")  # what models and real import
_OF_KNOWN_VERSION = ("ktask-sim", "simpy", "pyarrow")  # what results give the version of, besides
_PACKAGES = ("models", "real", "tests/emulated")
_LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo", "site-packages"}
_STANDARD, _SITE, _REPOSITORY, _SCRIPT = (
    Path(sysconfig.get_path("stdlib")),
    Path("/site"),
    Path("/ktask-sim"),
    "/run.py",
)

# The first process: mounts what Linux programs expect, runs the script, sends what it printed over the second serial
# port and switches the machine off.
_INIT = """#!{python} -I
import ctypes, os, subprocess, termios, tty
libc = ctypes.CDLL(None, use_errno=True)
for kind, place in ((b"proc", b"/proc"), (b"sysfs", b"/sys"), (b"devtmpfs", b"/dev"), (b"tmpfs", b"/tmp")):
    os.makedirs(place, exist_ok=True)
    if libc.mount(kind, place, kind, 0, None):
        print("can't mount", place, os.strerror(ctypes.get_errno()), flush=True)
environment = {{"PYTHONPATH": "{repository}:{site}", "PATH": "/bin", "HOME": "/tmp", "OMP_NUM_THREADS": "1"}}
done = subprocess.run(["{python}", "-B", "-P", "{script}"], stdout=subprocess.PIPE, env=environment, cwd="/tmp")
print("the script ended with status", done.returncode, flush=True)
port = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
tty.setraw(port)
left = memoryview(done.stdout)
while left:
    left = left[os.write(port, left):]
termios.tcdrain(port)
libc.sync()
libc.reboot(0x4321FEDC)  # LINUX_REBOOT_CMD_POWER_OFF
"""


class MachineError(RuntimeError):
    """The emulated machine did not do what it was to do; the message has the end of its console."""


@dataclass(frozen=True)
class EmulatedNode:
    """A NUMA node: its memory, and how many CPUs it has. CPUs are numbered from node 0 on."""

    memory_mib: int
    n_cpus: int


def why_none() -> str | None:
    """Return why no machine can be emulated here and how to change that, or None if one can."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not on the path (Debian: package qemu-system-x86)"
    if os.uname().machine != "x86_64":
        return f"found a Python for {os.uname().machine}; the emulated machine runs one for x86_64"
    kernel = os.environ.get(KERNEL_VARIABLE)
    if not kernel:
        return f"{KERNEL_VARIABLE} is not set: the path of a vmlinuz (Debian: package linux-image-cloud-amd64)"
    if not Path(kernel).is_file():
        return f"{KERNEL_VARIABLE}: found {kernel}, which is no file; allowed is the path of a vmlinuz"
    return None


def run_script(
    script: Path, nodes: Sequence[EmulatedNode], distances: Sequence[Sequence[int]], folder: Path
) -> dict[str, Any]:
    """Boot a machine, run a script on it and return the JSON that it prints; `folder` takes the machine's files.

    Raises MachineError.
    """
    initial, console, answer = folder / "initramfs", folder / "console", folder / "answer"
    with initial.open("wb") as file:
        for part in _archive(script):
            file.write(part)
    arguments = [QEMU, "-M", "q35", "-accel", "tcg", "-cpu", _PROCESSOR, "-display", "none", "-nodefaults"]
    arguments += ["-no-reboot", "-kernel", os.environ[KERNEL_VARIABLE], "-initrd", str(initial)]
    # A panic ends the machine.
    arguments += ["-append", "console=ttyS0 panic=-1 loglevel=4 random.trust_cpu=on rdinit=/init"]
    arguments += ["-serial", f"file:{console}", "-serial", f"file:{answer}", *_numa(nodes, distances)]
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT_S)
        ended = f"{QEMU} ended with status {done.returncode} {done.stderr.decode(errors='replace')}"
    except subprocess.TimeoutExpired:
        ended = f"it was not done after {TIME_LIMIT_S:.0f} s"
    finally:
        initial.unlink()
    try:
        found = json.loads(answer.read_text())
    except (OSError, ValueError):
        said = console.read_text(errors="replace")[-4000:] if console.exists() else ""
        raise MachineError(f"the script printed no JSON; {ended}; the console ends with:\n{said}") from None
    assert isinstance(found, dict)
    return found


def _numa(nodes: Sequence[EmulatedNode], distances: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield the options for CPUs, memory and distances."""
    n_cpus, first = sum(node.n_cpus for node in nodes), 0
    sockets = sum(node.n_cpus > 0 for node in nodes)
    yield from ("-smp", f"{n_cpus},sockets={sockets},cores={n_cpus // sockets}")
    yield from ("-m", f"{sum(node.memory_mib for node in nodes)}M")
    for nid, node in enumerate(nodes):
        yield from ("-object", f"memory-backend-ram,id=memory{nid},size={node.memory_mib}M")
        cpus = f",cpus={first}-{first + node.n_cpus - 1}" if node.n_cpus else ""
        yield from ("-numa", f"node,nodeid={nid},memdev=memory{nid}{cpus}")
        first += node.n_cpus
    for source, row in enumerate(distances):
        for target, distance in enumerate(row):
            if source != target:
                yield from ("-numa", f"dist,src={source},dst={target},val={distance}")


def _archive(script: Path) -> Iterator[bytes]:
    """Yield the parts of the file system, in the form that the kernel unpacks (cpio, "newc")."""
    python = Path(sys.executable).resolve()
    init = _INIT.format(python=python, repository=_REPOSITORY, site=_SITE, script=_SCRIPT).encode()
    files: dict[Path, Path | bytes] = {Path("/init"): init, Path(_SCRIPT): script, python: python}
    files |= {_STANDARD / path.relative_to(_STANDARD): path for path in _files_below(_STANDARD)}
    for folder in _PACKAGES:
        files |= {_REPOSITORY / path.relative_to(ROOT): path for path in _files_below(ROOT / folder)}
    for name in sorted(_needed(_DISTRIBUTIONS)):
        for file in distribution(name).files or ():
            if not _LEFT_OUT & set(file.parts) and ".." not in file.parts:
                files[_SITE / file] = Path(str(file.locate()))
    for name in _OF_KNOWN_VERSION:
        for file in distribution(name).files or ():
            if file.parts[0].endswith(".dist-info"):
                files[_SITE / file] = Path(str(file.locate()))
    files = {place: found for place, found in files.items() if isinstance(found, bytes) or found.is_file()}
    binaries = [found for place, found in files.items() if isinstance(found, Path) and (".so" in place.name)]
    for library in _libraries([python, *binaries]):
        if library not in files and not any(parent.name == "site-packages" for parent in library.parents):
            files[library] = library
    folders = {parent for place in files for parent in place.parents if parent != Path("/")}
    yield from (cpio_entry(folder, 0o040755) for folder in sorted(folders | {Path("/dev")}))
    yield cpio_entry(Path("/dev/console"), 0o020600, device=(5, 1))
    for place, found in sorted(files.items()):
        if isinstance(found, bytes):
            yield cpio_entry(place, 0o100755, found)
        else:  # with its time, by which Python knows that what it has compiled is up to date
            yield cpio_entry(place, 0o100755, found.read_bytes(), time_s=int(found.stat().st_mtime))
    yield cpio_entry(Path("/TRAILER!!!"), 0)


def cpio_entry(
    place: Path, mode: int, content: bytes = b"", *, time_s: int = 0, device: tuple[int, int] = (0, 0)
) -> bytes:
    """Return a file of a cpio archive: a number of fields in hexadecimal digits, the name and the content."""
    name = str(place).lstrip("/").encode() + b"\0"
    fields = [0, mode, 0, 0, 1, time_s, len(content), 0, 0, *device, len(name), 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder of Python code, with what this Python has compiled of it."""
    tag = f".{sys.implementation.cache_tag}.pyc"
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")]
        inside = Path(place)
        yield from (inside / name for name in names if inside.name != "__pycache__" or name.endswith(tag))


def _needed(names: Iterable[str]) -> set[str]:
    """Return distributions and what they require, extras left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name.lower() in found:
            continue
        found.add(name.lower())
        required = [requirement for requirement in distribution(name).requires or () if ";" not in requirement]
        waiting += [re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in required]
    return found


def _libraries(binaries: Sequence[Path]) -> list[Path]:
    """Return the shared libraries that programs and modules are linked to, the loader among them."""
    said = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True).stdout
    return sorted({Path(os.path.normpath(name)) for name in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)})
