"""Growing a pool of huge pages for the time of a run, and giving everything back however the run ends.

Three things give the pages back, each if the one before can't. The first is the end of the `with` block (also by an
exception or a signal). The second is a guard process, which sees the run end even by SIGKILL. The third is
`restore_leftovers`, from the record on disk. The record is written before the pool is changed and removed after it was
restored, so it is all that the other two need.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Self

from models.text.units import format_size
from real.limits import DEFAULT_SHARE, HOST, HugePagePool, pool_folder, pool_nids, read_meminfo, read_pool

# A write first turns surplus pages into persistent ones and only then adds free ones (mm/hugetlb.c,
# set_max_huge_pages), and somebody may take pages in between: one repetition would do, two are for bad luck.
N_WRITES = 3
GUARD_START_S, GUARD_END_S = 60.0, 10.0  # it starts in 0.1 s on an idle host

# The package's own __init__ brings pandas with it, a second and 100 MiB that a guard has no use for: it is left out.
_GUARD = """
import json, sys, types
sys.path[:] = json.loads(sys.argv[1])
package = sys.modules["real"] = types.ModuleType("real")
package.__path__ = [sys.argv[2]]
from real.huge_pages import guard
guard(*sys.argv[3:])
"""


class PoolError(RuntimeError):
    """The pool can't be grown or restored. The message says why and names the next step."""


@dataclass(frozen=True)
class _Record:
    """The record on disk of a run's changes to a pool. `pages` belongs to the phase, for each place (nid or None).

    growing: the persistent pages before, of which up to `n_planned` more may be ours by now.
    grown: the pages that we added.
    leaving: the persistent pages that are left when we are gone. Doing it twice does no harm.
    """

    boot_id: str
    pid: int
    start_ticks: int
    page_bytes: int
    nid: int | None
    n_planned: int
    phase: Literal["growing", "grown", "leaving"]
    pages: tuple[tuple[int | None, int], ...]


class GrownPool:
    """For the time of a `with` block, at least `n_free` huge pages are free, of node `nid` or of the system.

    Only missing pages are added, and only the added pages are taken away again. The kernel takes back pages that are
    still in use then when they are released. In the main thread SIGTERM and SIGHUP raise SystemExit (143, 129) and
    SIGINT KeyboardInterrupt for the time of the block, unless they were ignored.

    Raises PoolError on entry if that isn't allowed, would take more than `share` of the available memory, or succeeds
    only in part, and ValueError for a page size or node that isn't there. Nothing is changed then.
    """

    def __init__(
        self,
        page_bytes: int,
        n_free: int,
        nid: int | None = None,
        *,
        share: float = DEFAULT_SHARE,
        root: Path = HOST,
        state_dir: Path | None = None,
    ) -> None:
        self.page_bytes, self.n_free, self.nid = page_bytes, n_free, nid
        self._share, self._root = share, root
        self._state_dir = default_state_dir() if state_dir is None else state_dir
        self._undo = ExitStack()
        self._pid = 0

    def __enter__(self) -> Self:
        self._pid = os.getpid()
        n_missing = self.n_free - self._read().n_free
        if n_missing <= 0:
            return self
        self._check(n_missing)
        file = self._state_dir / f"pool-{os.getpid()}-{secrets.token_hex(4)}.json"
        with ExitStack() as undo:  # undoes what was done, last first, if anything below fails
            _raise_on_signals(undo)
            _start_guard(undo, file, self._root)
            undo.callback(_restore, file, self._root)
            self._grow(file)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return  # a forked child leaves the block: the pages are its parent's
        undo, self._undo = self._undo, ExitStack()
        try:
            undo.__exit__(kind, error, trace)
        except OSError as problem:
            raise PoolError(
                f"the pool of {self._words()} could not be restored: {problem}; what was added is recorded in"
                f" {self._state_dir}: as root, ktask-sim host --clean"
            ) from problem

    def _read(self) -> HugePagePool:
        return read_pool(self.page_bytes, self.nid, root=self._root)

    def _words(self) -> str:
        return f"{format_size(self.page_bytes)} huge pages" + ("" if self.nid is None else f" of node {self.nid}")

    def _check(self, n_missing: int) -> None:
        """Raise PoolError if pages, or this many pages, may not be added."""
        needed_bytes = n_missing * self.page_bytes
        available_bytes = read_meminfo(self._root)["MemAvailable"]
        largest = int(available_bytes * self._share) // self.page_bytes
        if n_missing > largest:
            raise PoolError(
                f"{n_missing} more {self._words()} need {format_size(needed_bytes)}; {self._share:.0%} of the"
                f" {format_size(available_bytes)} available (MemAvailable of /proc/meminfo) may be used:"
                f" the largest possible is {largest} more"
            )
        file = pool_folder(self.page_bytes, self.nid, root=self._root) / "nr_hugepages"
        target = self._read().n_persistent + n_missing
        try:
            os.close(os.open(file, os.O_WRONLY))
        except OSError as error:
            raise PoolError(
                f"only root can grow the pool of {self._words()} ({file}: {error.strerror}); use the pages that there"
                f" are, another kind of memory, or ask root for: echo {target} > {file}"
            ) from error
        try:
            self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self._state_dir):
                pass
        except OSError as error:
            raise PoolError(
                f"the pool of {self._words()} is not grown, as what is added can't be recorded in {self._state_dir}:"
                f" {error.strerror}"
            ) from error

    def _grow(self, file: Path) -> None:
        """Add the missing pages and record them. Raises PoolError if not all could be had."""
        target_file = pool_folder(self.page_bytes, self.nid, root=self._root) / "nr_hugepages"
        places = (self.nid,) if self.nid is not None else pool_nids(self.page_bytes, root=self._root) or (None,)
        with _locked(self._state_dir):  # two runs that read and write in turn would take each other's pages
            before = tuple((nid, self._persistent(nid)) for nid in places)
            boot_id, start_ticks = _boot_id(), _start_ticks(os.getpid())
            record = _Record(
                boot_id, os.getpid(), start_ticks or 0, self.page_bytes, self.nid, 0, phase="growing", pages=before
            )
            refused = ""
            for _ in range(N_WRITES):
                pool = self._read()
                n_missing = self.n_free - pool.n_free
                if n_missing <= 0:
                    break
                record = replace(record, n_planned=record.n_planned + n_missing)
                _write_record(file, record)
                try:
                    target_file.write_text(f"{pool.n_persistent + n_missing}\n")
                except OSError as error:  # such as EINVAL for a size that can only be set aside at boot
                    refused = f" ({target_file}: {error.strerror})"
                if refused or self._read().n_persistent < pool.n_persistent + n_missing:
                    break  # the kernel gave what it could
            _write_record(file, replace(record, phase="grown", pages=_added(record, self._root)))
            n_free = self._read().n_free
        if n_free < self.n_free:
            raise PoolError(
                f"the pool of {self._words()} can't be grown to {self.n_free} free pages{refused}: {n_free} were"
                " possible, and it was restored. Memory is full or in too small pieces. What helps: a smaller size,"
                " smaller pages, or as root: sync; echo 3 > /proc/sys/vm/drop_caches;"
                " echo 1 > /proc/sys/vm/compact_memory, or setting pages aside at boot (hugepagesz=, hugepages=)"
            )

    def _persistent(self, nid: int | None) -> int:
        return read_pool(self.page_bytes, nid, root=self._root).n_persistent


def restore_leftovers(*, root: Path = HOST, state_dir: Path | None = None) -> list[str]:
    """Give back the huge pages that killed runs have left in pools.

    Args:
        root: The root of the file system, for a copy of /sys.
        state_dir: The folder of the records of runs. None is the usual one.

    Returns:
        The actions, a sentence each. Nothing to do gives an empty list.

    Raises:
        OSError: The pools can't be written.

    Example:
        >>> isinstance(restore_leftovers(), list)
        True
    """
    folder = default_state_dir() if state_dir is None else state_dir
    said = []
    for file in sorted(folder.glob("pool-*.json")):
        try:
            record = _read_record(file)
        except FileNotFoundError:  # its owner has just gone, and restored the pool
            continue
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            said.append(f"left {file} alone: it is no record of ours ({error})")
            continue
        if record.boot_id != _boot_id():
            file.unlink(missing_ok=True)
            said.append(f"removed the record of process {record.pid}: it is of an earlier boot, the pool is new since")
        elif record.start_ticks == _start_ticks(record.pid):
            said.append(f"left the {format_size(record.page_bytes)} huge pages of process {record.pid} alone: it runs")
        else:
            try:
                said += _restore(file, root)
            except PermissionError as error:
                said.append(f"only root can restore what process {record.pid} has left: {error}")
    return said


def default_state_dir() -> Path:
    """Return the folder of the records: /run/ktask-sim for root, else below the user's state folder."""
    if os.geteuid() == 0:
        return Path("/run/ktask-sim")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ktask-sim"


def guard(file: str, root: str, owner_pid: str) -> None:
    """Be the guard process: wait until the run says that it is done, or ends. Then restore by its record."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the run, which tells us when it is done
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    # Children of the run may hold its end of the pipe open after its death.
    with suppress(OSError):
        poll.register(os.pidfd_open(int(owner_pid)), select.POLLIN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    poll.poll()
    _restore(Path(file), Path(root))


def _start_guard(undo: ExitStack, file: Path, root: Path) -> None:
    """Start the guard, wait until it watches, and have it ended by `undo`. Raises PoolError."""
    path = json.dumps([str(Path(folder).resolve()) for folder in sys.path])
    package = Path(__file__).resolve().parent
    values = [path, str(package), str(file.resolve()), str(root.resolve()), str(os.getpid())]
    command = [sys.executable, "-I", "-c", _GUARD, *values]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    undo.callback(_end_guard, process)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], GUARD_START_S)
    if not ready or process.stdout.readline() != b"ready\n":
        process.kill()
        raise PoolError("the pool is not grown, as the process that would restore it after a kill doesn't start")


def _end_guard(process: subprocess.Popen[bytes]) -> None:
    """Tell the guard that it may end. It does the rest of the restoring, and goes."""
    try:
        process.communicate(b"done\n", timeout=GUARD_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _raise_on_signals(undo: ExitStack) -> None:
    """Have the signals that end a program raise an exception, in the main thread, until `undo`."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may; a signal that kills is the guard's business

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    new: dict[signal.Signals, Any] = {
        signal.SIGTERM: leave,
        signal.SIGHUP: leave,
        signal.SIGINT: signal.default_int_handler,
    }
    for number, handler in new.items():
        former = signal.getsignal(number)
        if former not in (signal.SIG_IGN, None):  # ignored, as by nohup; or of a C library, which can't be put back
            undo.callback(signal.signal, number, former)
            signal.signal(number, handler)


def _restore(file: Path, root: Path) -> list[str]:
    """Take away the pages of a record, remove the record, and return the actions. Raises OSError."""
    if not file.exists():
        return []
    said = []
    with _locked(file.parent):
        try:
            record = _read_record(file)
        except FileNotFoundError:  # somebody else did it while we waited for the lock
            return []
        if record.phase != "leaving":
            added = _added(record, root) if record.phase == "growing" else record.pages
            pools = [(read_pool(record.page_bytes, nid, root=root), n_added) for nid, n_added in added if n_added]
            goals = tuple((pool.nid, max(0, pool.n_persistent - n_added)) for pool, n_added in pools)
            record = replace(record, phase="leaving", pages=goals)
            _write_record(file, record)
        for nid, goal in record.pages:
            n_now = read_pool(record.page_bytes, nid, root=root).n_persistent
            if n_now > goal:
                (pool_folder(record.page_bytes, nid, root=root) / "nr_hugepages").write_text(f"{goal}\n")
            pool = read_pool(record.page_bytes, nid, root=root)
            place = "" if nid is None else f" of node {nid}"
            later = f", {pool.n_surplus} more go when they are released" if pool.n_surplus else ""
            said.append(
                f"took back {n_now - pool.n_persistent} huge pages of {format_size(record.page_bytes)}{place} that"
                f" process {record.pid} had added: the pool has {pool.n_persistent}{later}"
            )
        file.unlink()
    return said or [f"removed the record of process {record.pid}: it had added no pages"]


def _added(record: _Record, root: Path) -> tuple[tuple[int | None, int], ...]:
    """Return how many pages each place has more than before we grew the pool, in all at most as many as we wanted."""
    added, n_left = [], record.n_planned
    for nid, n_before in record.pages:
        n_added = min(n_left, max(0, read_pool(record.page_bytes, nid, root=root).n_persistent - n_before))
        n_left -= n_added
        added.append((nid, n_added))
    return tuple(added)


def _write_record(file: Path, record: _Record) -> None:
    """Write or replace a record in one step."""
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(record)))
    draft.replace(file)


def _read_record(file: Path) -> _Record:
    """Return a record. Raises FileNotFoundError, or ValueError, TypeError, KeyError or AttributeError for a bad one."""
    fields = json.loads(file.read_text())
    pages = tuple((None if nid is None else int(nid), int(n)) for nid, n in fields.pop("pages"))
    record = _Record(**fields, pages=pages)
    if record.phase not in ("growing", "grown", "leaving"):
        raise ValueError(f"phase: found {record.phase!r}; allowed: growing, grown, leaving")
    return record


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of records. The end of the process releases it too."""
    number = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None if it has ended (even if not waited for)."""
    try:
        # The name, second of the fields, is in parentheses and may itself have some (proc_pid_stat(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
