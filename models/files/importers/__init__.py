"""Other programs' descriptions of a machine, one file a format: adding a format is adding a file here.

Each has NAME (the format in words), `recognises(path, content)` and `read_topology(path)`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from models.machine.topology import Topology
from models.text.document import is_folder
from models.text.problems import InputError, Problem


class Importer(Protocol):
    """What a file of this package has in it."""

    NAME: str

    def recognises(self, path: Path, content: bytes | None) -> bool:
        """Return whether a file with this content, or a folder (None), is of this format."""

    def read_topology(self, path: Path) -> Topology:
        """Return the topology that a file or folder describes. Raises InputError."""


def importers() -> tuple[Importer, ...]:
    """Return all formats, by name of their file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(cast(Importer, import_module(f"{__name__}.{name}")) for name in names)


def import_topology(path: Path) -> Topology:
    """Return the topology that a file or folder describes, of any known format.

    Raises InputError if it is of none, or of one and can't be used.
    """
    content = None if is_folder(path) else read_content(path)
    known = importers()
    if content is not None and not content.strip():
        raise InputError([Problem(str(path), 0, 0, "", f"is empty; allowed is {_names(known)}")])
    for importer in known:
        if importer.recognises(path, content):
            return importer.read_topology(path)
    raise InputError([Problem(str(path), 0, 0, "", f"found nothing that is known; allowed is {_names(known)}")])


def read_content(path: Path) -> bytes:
    """Return what is in a file. Raises InputError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        message = "there is no such file or folder"
    except OSError as error:
        message = f"can't be read: {error.strerror}"
    except ValueError as error:
        message = f"can't be read: {error}"
    raise InputError([Problem(ascii(str(path)) if "\0" in str(path) else str(path), 0, 0, "", message)])


def _names(known: tuple[Importer, ...]) -> str:
    *first, last = [importer.NAME for importer in known]
    return f"{', '.join(first)} or {last}"
