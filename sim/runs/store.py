"""The runs of a sweep or a search as they come, and the trials of a search, in one SQLite file of its folder.

Runs are committed at once, those that come quickly several at a time, so that a sweep that is killed loses only the
runs of the last fifth of a second. It has a write-ahead log while a sweep is at it (`runs.sqlite-wal`), which the next
one takes over. A lock on `runs.lock` keeps a second one out. Each run has a checksum, so that one that was changed
later is found.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from models.results import FolderTakenError
from models.results.run import RunResult, WorkerTotals
from sim.runs.replications import Key

FILE = "runs.sqlite"
LOCK = "runs.lock"
_APPLICATION_ID = 0x6B746B73  # "ktks", in the file's header
_VERSION = 2
_TABLES = (
    "CREATE TABLE identity (content TEXT NOT NULL)",  # JSON
    # session: number of the call of the sweep that made the run; result: `_encoded`; checksum: of all before it
    "CREATE TABLE runs (case_number INTEGER, replication INTEGER, session INTEGER NOT NULL, time_s REAL NOT NULL, "
    "result BLOB NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (case_number, replication)) WITHOUT ROWID",
)
# The cases that a search has tried, in order. Made when the first is added: files of other programs' versions lack it.
_TRIALS = (
    "CREATE TABLE IF NOT EXISTS trials (trial INTEGER PRIMARY KEY, case_number INTEGER NOT NULL, "
    "checksum BLOB NOT NULL)"
)
_COMMIT_S = 0.2  # the longest that a run waits for its commit while others come
_OF_SCENARIO = ("digest", "cases", "seeds")
_WAY_OUT = "give another folder (-o), or remove this one to start again"


class RunStore:
    """The runs of `identity` (plain data) that are stored in a folder, made if the folder is new or empty.

    Raises FolderTakenError if the folder has something else, runs of another identity, or another sweep at work. Raises
        OSError if it can't be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.path = folder / FILE
        if folder.exists() and not folder.is_dir():
            raise FolderTakenError(f"{folder} is a file; give another folder (-o)")
        folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists() and any(path.name != LOCK for path in folder.iterdir()):
            raise FolderTakenError(f"{folder} holds something else; give another folder (-o) or remove it")
        self._lock = _lock(folder)
        try:
            with self._checked():
                self._db = sqlite3.connect(self.path, isolation_level=None)
        except BaseException:
            self._lock.close()
            raise
        try:
            with self._checked():
                self._open(json.loads(json.dumps(dict(identity))))
        except BaseException:
            self.close()
            raise

    def _open(self, identity: dict[str, Any]) -> None:
        known = (self._value("PRAGMA application_id"), self._value("PRAGMA user_version"))
        new = known == (0, 0) and not self._value("SELECT count(*) FROM sqlite_master")
        if not new:
            if known[0] != _APPLICATION_ID:
                raise FolderTakenError(f"{self.path} is no file of runs of this program; {_WAY_OUT}")
            if known[1] != _VERSION:
                raise FolderTakenError(
                    f"{self.path} has version {known[1]} of its tables; this program writes {_VERSION}; {_WAY_OUT}"
                )
            self._check(identity)
        # In this mode what is committed survives a kill, and the file is whole even after a loss of power.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if new:
            self._db.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                self._db.execute(table)
            self._db.execute("INSERT INTO identity VALUES (?)", (json.dumps(identity),))
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._db.execute("COMMIT")
        self._session = self._value("SELECT coalesce(max(session), 0) + 1 FROM runs")
        self._committed_at = time.monotonic()

    def _check(self, identity: dict[str, Any]) -> None:
        damage = self._value("PRAGMA quick_check(1)")
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        found = json.loads(self._value("SELECT content FROM identity"))
        if not isinstance(found, dict):
            raise ValueError("its identity is no mapping")
        keys = [key for key in {**found, **identity} if found.get(key) != identity.get(key)]
        changed = ["the scenario, its machine or its table"] if any(key in _OF_SCENARIO for key in keys) else []
        changed += [f"{key} ({found.get(key)}, now {identity.get(key)})" for key in keys if key not in _OF_SCENARIO]
        if changed and not self._value("SELECT count(*) FROM runs"):  # nothing would be mixed
            self._db.execute("UPDATE identity SET content = ?", (json.dumps(identity),))
        elif changed:
            raise FolderTakenError(
                f"{self.path} has runs of something else: changed is {', '.join(changed)}; {_WAY_OUT}"
            )

    def times(self) -> Iterator[tuple[Key, float]]:
        """Yield the time in seconds of each stored run, by case and replication.

        Raises FolderTakenError for a run that is not as it was stored.
        """
        with self._checked():
            for row in self._db.execute(f"SELECT {_COLUMNS} FROM runs"):
                number, replication, _, time_s, _ = _verified(row)
                yield (number, replication), time_s

    def add(self, key: Key, result: RunResult) -> None:
        """Store a run for good. Raises ValueError if it is there already, OSError if it can't be written."""
        row = (*key, self._session, float(result.time_s), _encoded(result))
        try:
            with self._checked():
                if not self._db.in_transaction:
                    self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", (*row, _checksum(row)))
        except sqlite3.IntegrityError:
            raise ValueError(f"replication {key[1]} of case {key[0]} is stored already") from None
        if time.monotonic() - self._committed_at > _COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Make sure that all runs added so far stay, even after a crash. Raises OSError if they can't be written."""
        if self._db.in_transaction:
            with self._checked():
                self._db.execute("COMMIT")
        self._committed_at = time.monotonic()

    def results(self, keys: Iterable[Key]) -> Iterator[tuple[int, int, RunResult]]:
        """Yield the stored runs of some cases and replications. Raises KeyError for one that is not stored."""
        query = f"SELECT {_COLUMNS} FROM runs WHERE case_number = ? AND replication = ?"
        for key in keys:
            with self._checked():
                row = self._db.execute(query, key).fetchone()
                if row is None:
                    raise KeyError(key)
                *_, time_s, content = _verified(row)
                result = _decoded(time_s, content)
            yield (*key, result)

    def add_trials(self, case_numbers: Sequence[int]) -> None:
        """Store the cases that a search has tried since the last call. Raises OSError if they can't be written."""
        self.commit()
        with self._checked():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_TRIALS)
            first = self._value("SELECT count(*) FROM trials")
            rows = [(trial, number) for trial, number in enumerate(case_numbers, start=first)]
            self._db.executemany("INSERT INTO trials VALUES (?, ?, ?)", [(*row, _digest("<2q", *row)) for row in rows])
        self.commit()

    def trials(self) -> list[int]:
        """Return the numbers of the cases that a search has tried, in order.

        Raises FolderTakenError if one is not as it was stored.
        """
        with self._checked():
            if not self._value("SELECT count(*) FROM sqlite_master WHERE name = 'trials'"):
                return []
            rows = self._db.execute("SELECT trial, case_number, checksum FROM trials ORDER BY trial").fetchall()
            for place, (trial, number, checksum) in enumerate(rows):
                if trial != place or not isinstance(number, int) or _digest("<2q", trial, number) != checksum:
                    raise ValueError(f"trial {trial!r} is not as it was stored")
        return [number for _, number, _ in rows]

    def close(self) -> None:
        """Leave the file to others."""
        try:
            self.commit()
        finally:
            self._db.close()
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, OSError):  # as of a full disk, where a commit would only fail once more
            with suppress(OSError):
                self.close()
        else:
            self.close()

    def _value(self, query: str) -> Any:
        row = self._db.execute(query).fetchone()
        if row is None:
            raise ValueError("a table is empty")
        return row[0]

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Turn the errors of a database into those of a file."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: {error}") from None
        except (sqlite3.DatabaseError, ValueError, TypeError, struct.error) as error:
            raise FolderTakenError(f"{self.path} is damaged, or no file of runs ({error}); {_WAY_OUT}") from None


def _lock(folder: Path) -> sqlite3.Connection:
    """Keep other sweeps out of the folder until the connection is closed or the process ends, on any system."""
    lock = sqlite3.connect(folder / LOCK, timeout=0, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if "locked" in str(error):
            raise FolderTakenError(
                f"another sweep or search is at work in {folder}; let it end, or give another folder (-o)"
            ) from None
        raise OSError(f"{folder / LOCK}: {error}") from None
    except sqlite3.DatabaseError:
        lock.close()
        raise FolderTakenError(f"{folder / LOCK} is not this program's; {_WAY_OUT}") from None
    return lock


_COLUMNS = "case_number, replication, session, time_s, result, checksum"
_HEAD = struct.Struct("<2d5q")  # CPU-seconds and imbalance; tasks, chunks, workers, resources, bytes of their names
_WORKER = struct.Struct("<3q6d")  # a WorkerTotals


def _checksum(row: tuple[int, int, int, float, bytes]) -> bytes:
    """Return the mark of a row: 8 bytes of BLAKE2 over all its columns."""
    *numbers, content = row
    return _digest("<3qd", *numbers, content=content)


def _digest(form: str, *numbers: float, content: bytes = b"") -> bytes:
    return hashlib.blake2b(struct.pack(form, *numbers) + content, digest_size=8).digest()


def _verified(row: tuple[Any, ...]) -> tuple[int, int, int, float, bytes]:
    """Return a row without its checksum. Raises ValueError if it does not fit."""
    number, replication, session, time_s, content, checksum = row
    kept = (number, replication, session, time_s, content)
    try:
        fits = _checksum(kept) == checksum
    except (TypeError, struct.error):
        fits = False
    if not fits:
        raise ValueError(f"replication {replication!r} of case {number!r} is not as it was stored")
    return kept


def _encoded(result: RunResult) -> bytes:
    """Return a run without its slices and its time, to the last bit of each float."""
    names = "\n".join(result.utilisation).encode()
    extra = json.dumps(dict(result.extra)).encode() if result.extra else b""
    n_workers, n_resources = len(result.workers), len(result.utilisation)
    counts = (result.n_tasks, result.n_chunks, n_workers, n_resources, len(names))
    parts = [_HEAD.pack(result.cpu_s, result.imbalance, *counts)]
    for w in result.workers:
        waits = (w.working_s, w.lock_wait_s, w.client_lock_wait_s, w.start_wait_s, w.end_wait_s, w.cpu_wait_s)
        parts.append(_WORKER.pack(w.worker, w.n_chunks, w.size_bytes, *waits))
    parts += [struct.pack(f"<{n_resources}d", *result.utilisation.values()), names, extra]
    return b"".join(parts)


def _decoded(time_s: float, content: bytes) -> RunResult:
    """Return a run from its stored form. Raises ValueError or struct.error for anything else."""
    cpu_s, imbalance, n_tasks, n_chunks, n_workers, n_resources, n_names = _HEAD.unpack_from(content)
    at = _HEAD.size
    shares_at = at + n_workers * _WORKER.size
    names_at = shares_at + 8 * n_resources
    extra_at = names_at + n_names
    names = content[names_at:extra_at].decode().split("\n") if n_resources else []
    shares = struct.unpack_from(f"<{n_resources}d", content, shares_at)
    return RunResult(
        time_s=time_s,
        cpu_s=cpu_s,
        n_tasks=n_tasks,
        n_chunks=n_chunks,
        imbalance=imbalance,
        workers=[WorkerTotals(*totals) for totals in _WORKER.iter_unpack(content[at:shares_at])],
        utilisation=dict(zip(map(sys.intern, names), shares, strict=True)),
        slices=[],
        extra=json.loads(content[extra_at:]) if extra_at < len(content) else {},
    )
