"""The content of a user's file: read up to a limit, unpacked up to a limit, and as text."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from models.text.document import read_bytes
from models.text.problems import InputError, Problem
from models.text.units import MIB, format_size

MAX_FILE_BYTES = 64 * MIB  # the topology of the largest machines, packed, is a few MiB
MAX_TEXT_BYTES = 64 * MIB
MAX_ARCHIVE_BYTES = 512 * MIB  # a whole /sys tree of a server is some 100 MiB
MAX_MEMBERS = 200_000  # cpu and node of /sys/devices/system have some 200 files a CPU
_BLOCK = 1 << 20
_Opener = Callable[[BinaryIO], BinaryIO]
_PACKED: tuple[tuple[bytes, str, _Opener], ...] = (
    (b"\x1f\x8b", "gzip", lambda file: cast(BinaryIO, gzip.GzipFile(fileobj=file))),
    (b"BZh", "bzip2", lambda file: cast(BinaryIO, bz2.BZ2File(file))),
    (b"\xfd7zXZ\x00", "xz", lambda file: cast(BinaryIO, lzma.LZMAFile(file))),  # noqa: SIM115
)
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZIP = b"PK\x03\x04"
_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)


def refusal(path: Path | str, message: str, line: int = 0, column: int = 0) -> InputError:
    """Return the error that a file as a whole, or a place in it, can't be used."""
    name = str(path)
    return InputError([Problem(name if name.isprintable() else ascii(name), line, column, "", message)])


def read_content(path: Path, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a regular file of at most this many bytes. Raises InputError."""
    return read_bytes(path, limit_bytes)


class Unpacked:
    """A packed content as a file to read from, up to a limit. Raises InputError beyond it and for damage."""

    def __init__(self, content: bytes, path: Path, limit_bytes: int) -> None:
        opener = next((opener for magic, _, opener in _PACKED if content.startswith(magic)), None)
        if content.startswith(_ZSTD):
            opener = _zstd_opener(path)
        self._file = BytesIO(content) if opener is None else opener(BytesIO(content))
        self._path = path
        self._limit_bytes = self._left_bytes = limit_bytes

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer than asked for only at the end."""
        parts = []
        wanted = self._left_bytes + 1 if size < 0 else size
        while wanted:
            try:
                part = self._file.read(min(wanted, _BLOCK))
            except _UNREADABLE as error:
                why = " ".join(str(error).split()) or type(error).__name__
                raise refusal(self._path, f"is packed and can't be read to its end ({why}); pack it again") from None
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
            self._left_bytes -= len(part)
            if self._left_bytes < 0:
                limit = format_size(self._limit_bytes)
                raise refusal(self._path, f"unpacks to more than {limit}; allowed is at most that")
        return b"".join(parts)


def _zstd_opener(path: Path) -> _Opener:
    """Return what opens zstd: Python's own (from 3.14 on), or a package. Raises InputError where there is none."""
    for name in ("compression.zstd", "zstandard", "pyzstd"):
        try:
            return cast(_Opener, import_module(name).open)
        except ImportError:
            continue
    raise refusal(path, "is packed by zstd, which this Python can't open; unpack it first (zstd -d FILE), or "
                  "pip install zstandard")  # fmt: skip


def is_packed(content: bytes) -> bool:
    """Return whether a content is packed by gzip, bzip2, xz or zstd."""
    return content.startswith(_ZSTD) or any(content.startswith(magic) for magic, _, _ in _PACKED)


def is_zip(content: bytes) -> bool:
    """Return whether a content is a zip archive."""
    return content.startswith(_ZIP)


def zip_members(content: bytes, path: Path, limit_bytes: int) -> list[tuple[str, bytes]]:
    """Return names and contents of the files in a zip archive, up to a limit in all. Raises InputError."""
    found: list[tuple[str, bytes]] = []
    left_bytes = limit_bytes
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            for member in archive.infolist():
                if member.is_dir() or "__MACOSX" in member.filename or member.filename.endswith(".DS_Store"):
                    continue
                with archive.open(member) as file:
                    part = file.read(left_bytes + 1)
                left_bytes -= len(part)
                if left_bytes < 0 or len(found) >= MAX_MEMBERS:
                    limit = format_size(limit_bytes)
                    raise refusal(path, f"unpacks to more than {limit} or {MAX_MEMBERS} files; allowed is at most that")
                found.append((member.filename, part))
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, *_UNREADABLE) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise refusal(path, f"is a zip archive that can't be read to its end ({why}); pack it again") from None
    return found


def is_archive(content: bytes, path: Path) -> bool:
    """Return whether a content is a tar archive, packed or not."""
    head = Unpacked(content, path, MAX_ARCHIVE_BYTES).read(512)
    return head[257:262] == b"ustar" or (len(head) == 512 and _is_old_tar(head))


def _is_old_tar(head: bytes) -> bool:
    """Return whether a block is the head of a member of a tar archive as Unix 7 wrote it, by its checksum."""
    field = head[148:156].strip(b" \0")
    if not field or not all(byte in b"01234567" for byte in field):
        return False
    return int(field, 8) == 256 + sum(head[:148]) + sum(head[156:])


def text_of(content: bytes) -> str:
    """Return a content as text: UTF-8, UTF-16 as Windows writes it, or one byte a character."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if b"\0" in content[:200]:
        for encoding, zeros in (("utf-16-le", content[1:200:2]), ("utf-16-be", content[0:200:2])):
            if zeros.count(0) > 0.8 * len(zeros):
                return content.decode(encoding, "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
