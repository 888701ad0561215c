"""Other programs' descriptions of a machine, one file a format: adding a format is adding a file here.

Each has NAME (the format in words), `recognises(source)` and `read_topology(source)`.
"""

from __future__ import annotations

import pkgutil
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Protocol, cast

from models.files.content import (
    MAX_ARCHIVE_BYTES,
    MAX_TEXT_BYTES,
    Unpacked,
    is_archive,
    is_packed,
    is_zip,
    read_content,
    refusal,
    text_of,
    zip_members,
)
from models.files.foreign import what_it_is
from models.files.pasted import Line, pasted_lines
from models.machine.topology import Topology
from models.text.document import is_folder
from models.text.problems import InputError
from models.text.units import format_size


@dataclass(frozen=True)
class Source:
    """The source to read: a folder (content None), an archive, or a file, whose `content` is then unpacked."""

    path: Path
    content: bytes | None
    archive: bool = False

    @cached_property
    def text(self) -> str:
        """Return the content as text, or '' for a folder or an archive."""
        return "" if self.content is None or self.archive else text_of(self.content)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Return the lines of the text, without the marks that mail, web pages and terminals put around them."""
        try:
            return pasted_lines(self.text)
        except ValueError as error:
            raise refusal(self.path, str(error)) from None


class Importer(Protocol):
    """The parts of a file of this package."""

    NAME: str

    def recognises(self, source: Source) -> bool:
        """Return whether a source is of this format."""

    def read_topology(self, source: Source) -> Topology:
        """Return the topology that a source describes. Raises InputError."""


def importers() -> tuple[Importer, ...]:
    """Return all formats, by name of their file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(cast(Importer, import_module(f"{__name__}.{name}")) for name in names)


def import_topology(path: Path, *more: Path) -> Topology:
    """Return the topology that a file or folder describes, of any known format.

    Several files are texts about one machine, such as those of `lscpu` and `numactl -H`. Raises InputError if it has
    none of the formats, or if it can't be used.
    """
    source = _source(path)
    if more:
        texts = [source, *(_source(other) for other in more)]
        for part in texts:
            if part.content is None or part.archive or part.text.lstrip().startswith("<"):
                raise refusal(part.path, "is not a text; several files are texts about one machine: lscpu, numactl -H")
        source = Source(path, "\n".join(part.text for part in texts).encode())
    known = importers()
    if source.content is not None and not source.archive and not source.text.strip(" \t\r\n\0\ufeff"):
        raise refusal(path, f"is empty; allowed is {_names(known)}")
    for importer in known:
        if importer.recognises(source):
            return _with_place(importer, source)
    found = what_it_is(source.content or b"", source.text)
    raise refusal(path, f"{found or 'found nothing that is known'}; allowed is {_names(known)}")


def _with_place(importer: Importer, source: Source) -> Topology:
    try:
        return importer.read_topology(source)
    except RecursionError:
        raise refusal(source.path, "is nested too deeply") from None


def _source(path: Path) -> Source:
    if is_folder(path):
        return Source(path, None)
    content = read_content(path)
    if is_zip(content):
        return _of_zip(content, path)
    if is_archive(content, path):
        return Source(path, content, archive=True)
    if is_packed(content):
        content = Unpacked(content, path, MAX_TEXT_BYTES).read()
    return Source(path, content)


def _of_zip(content: bytes, path: Path) -> Source:
    """Return what a zip archive holds: a tree of /sys as an archive of tar, one file, or texts about one machine."""
    members = zip_members(content, path, MAX_ARCHIVE_BYTES)
    if any(re.search(r"(^|/)cpu/cpu[0-9]+/", name) for name, _ in members):
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, part in members:
                entry = tarfile.TarInfo(name)
                entry.size = len(part)
                archive.addfile(entry, BytesIO(part))
        return Source(path, packed.getvalue(), archive=True)
    if not members:
        raise refusal(path, "is a zip archive without a file in it")
    if len(members) == 1:
        (content,) = (part for _, part in members)
        if is_archive(content, path):
            return Source(path, content, archive=True)
        return Source(path, Unpacked(content, path, MAX_TEXT_BYTES).read() if is_packed(content) else content)
    texts = [text_of(part) for _, part in members]
    trees = [text for text in texts if "<topology" in text]
    return Source(path, "\n".join(trees[:1] or texts).encode())


def with_memory(topology: Topology, sizes_bytes: Sequence[int]) -> Topology:
    """Return a topology with the user's memory: of the whole machine, or one size for each node.

    The memory of a whole machine is shared evenly by the nodes that have CPUs. Raises ValueError.
    """
    nodes = topology.nodes
    if len(sizes_bytes) not in (1, len(nodes)):
        raise ValueError(
            f"found {len(sizes_bytes)} sizes; allowed are 1, of the whole machine, or {len(nodes)}, one for each node"
        )
    if len(sizes_bytes) == 1:
        with_cpus = {cpu.nid for cpu in topology.cpus}
        share = sizes_bytes[0] // len(with_cpus)
        sizes_bytes = [share if node.nid in with_cpus else 0 for node in nodes]
        said = f"memory was given as {format_size(share * len(with_cpus))}, shared evenly by the nodes with CPUs"
    else:
        said = f"memory was given as {', '.join(format_size(size) for size in sizes_bytes)}"
    return topology.with_memory(sizes_bytes, said)


def _names(known: Sequence[Importer]) -> str:
    *first, last = [importer.NAME for importer in known]
    return f"{', '.join(first)} or {last}"


__all__ = ["Importer", "InputError", "Line", "Source", "import_topology", "importers", "with_memory"]
