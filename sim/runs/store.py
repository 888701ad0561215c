"""The runs of a sweep as they come, in one SQLite file of its folder.

Each run is committed alone, so that whatever kills the sweep, the file has all that were done. It has a write-ahead log
while a sweep is at it (`runs.sqlite-wal`), which the next one takes over. A lock on `runs.lock` keeps a second one out.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from models.results import FolderTakenError
from models.results.run import RunResult, WorkerTotals
from sim.runs.replications import Key

FILE = "runs.sqlite"
LOCK = "runs.lock"
_APPLICATION_ID = 0x6B746B73  # "ktks", in the file's header
_VERSION = 1
_TABLES = (
    "CREATE TABLE identity (content TEXT NOT NULL)",  # JSON
    # session: number of the call of the sweep that made the run; result: JSON
    "CREATE TABLE runs (case_number INTEGER, replication INTEGER, session INTEGER NOT NULL, time_s REAL NOT NULL, "
    "result TEXT NOT NULL, PRIMARY KEY (case_number, replication)) WITHOUT ROWID",
)
_OF_SCENARIO = ("digest", "cases", "seeds")
_WAY_OUT = "give another folder (-o), or remove this one to start again"


class RunStore:
    """The runs stored in a folder, of what `identity` (plain data) says; made if the folder is new or empty.

    Raises FolderTakenError if the folder has something else, runs of another identity, or another sweep at work;
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

    def _check(self, identity: dict[str, Any]) -> None:
        damage = self._value("PRAGMA quick_check(1)")
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        found = json.loads(self._value("SELECT content FROM identity"))
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
        """Yield the time in seconds of each stored run, by case and replication."""
        with self._checked():
            for number, replication, time_s in self._db.execute("SELECT case_number, replication, time_s FROM runs"):
                yield (number, replication), time_s

    def add(self, key: Key, result: RunResult) -> None:
        """Store a run for good. Raises ValueError if it is there already, OSError if it can't be written."""
        try:
            with self._checked():
                row = (*key, self._session, result.time_s, _encoded(result))
                self._db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise ValueError(f"replication {key[1]} of case {key[0]} is stored already") from None

    def results(self, keys: Iterable[Key]) -> Iterator[tuple[int, int, RunResult]]:
        """Yield the stored runs of some cases and replications. Raises KeyError for one that is not stored."""
        query = "SELECT result FROM runs WHERE case_number = ? AND replication = ?"
        for key in keys:
            with self._checked():
                row = self._db.execute(query, key).fetchone()
                if row is None:
                    raise KeyError(key)
                result = _decoded(row[0])
            yield (*key, result)

    def close(self) -> None:
        """Leave the file to others."""
        self._db.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _value(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Turn the errors of a database into those of a file."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: {error}") from None
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
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


def _encoded(result: RunResult) -> str:
    """Return a run without its slices as JSON, to the last bit of each float."""
    return json.dumps(
        {
            "time_s": result.time_s,
            "cpu_s": result.cpu_s,
            "n_tasks": result.n_tasks,
            "n_chunks": result.n_chunks,
            "imbalance": result.imbalance,
            "workers": [dataclasses.astuple(worker) for worker in result.workers],
            "utilisation": dict(result.utilisation),
            "extra": dict(result.extra),
        }
    )


def _decoded(text: str) -> RunResult:
    data = json.loads(text)
    workers = [WorkerTotals(*values) for values in data.pop("workers")]
    return RunResult(workers=workers, slices=(), **data)
