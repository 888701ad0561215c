"""A pool of huge pages is grown for a run and restored, whatever ends the run. The real pool where that is allowed."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.text.units import GIB, MIB
from real.huge_pages import GrownPool, PoolError, restore_leftovers
from real.limits import available_memory, free_huge_pages, huge_page_sizes, pool_folder, pool_nids, read_pool
from tests.conftest import ROOT

pytestmark = pytest.mark.xdist_group("huge_pages")

PAGE_BYTES = 2 * MIB
N_PAGES = 8
PATIENCE_S = 60.0  # a poll ends long before; only a failure takes so long

HOLD = f"""
import signal, sys, time
from pathlib import Path
from real.huge_pages import GrownPool
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite under nohup passes on that hangups are ignored
with GrownPool({PAGE_BYTES}, int(sys.argv[1]), state_dir=Path(sys.argv[2])):
    print("grown", flush=True)
    time.sleep(600)
"""


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until something holds. Fails if it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def persistent(nid: int | None = None) -> int:
    """Return the pages that are set aside in the real pool."""
    return read_pool(PAGE_BYTES, nid).n_persistent


def set_persistent(n_pages: int) -> None:
    """Set the real pool, as an administrator would."""
    (pool_folder(PAGE_BYTES) / "nr_hugepages").write_text(f"{n_pages}\n")


@pytest.fixture
def pool() -> Iterator[int]:
    """The real pool, for one test at a time on this host: the pages that it has before, and has again afterwards."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can change the pool of huge pages")
    if PAGE_BYTES not in huge_page_sizes():
        pytest.skip("this kernel has no huge pages of 2 MiB")
    try:
        os.close(os.open(pool_folder(PAGE_BYTES) / "nr_hugepages", os.O_WRONLY))
    except OSError as error:
        pytest.skip(f"the pool of huge pages can't be changed here: {error}")
    if available_memory().size_bytes < GIB:
        pytest.skip("less than 1 GiB of memory is available")
    with Path(tempfile.gettempdir(), "ktask-sim-huge-pages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        n_before = persistent()
        try:
            yield n_before
        finally:
            if persistent() != n_before:
                set_persistent(n_before)


@pytest.fixture
def holder(pool: int, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has grown the pool by some pages and holds it."""
    n_free = free_huge_pages(PAGE_BYTES) + N_PAGES
    command = [sys.executable, "-c", HOLD, str(n_free), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "grown\n"
            assert persistent() == pool + N_PAGES
            yield process
        finally:
            process.kill()


def guard_of(state_dir: Path) -> int:
    """Return the process that guards the only record of a folder."""
    (record,) = state_dir.glob("pool-*.json")
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if os.fsencode(record) in words:
            return int(file.parent.name)
    raise AssertionError("no guard runs")


def test_pages_are_added_for_the_block_and_taken_back(pool: int, tmp_path: Path) -> None:
    """Within the block the pages are free; after it the pool is as before and no record is left."""
    n_free = free_huge_pages(PAGE_BYTES) + N_PAGES
    with GrownPool(PAGE_BYTES, n_free, state_dir=tmp_path):
        assert free_huge_pages(PAGE_BYTES) == n_free
        assert persistent() == pool + N_PAGES
        assert len(list(tmp_path.glob("pool-*.json"))) == 1
    assert persistent() == pool
    assert not list(tmp_path.glob("pool-*"))


def test_a_pool_with_enough_pages_is_left_alone(pool: int, tmp_path: Path) -> None:
    """What is free already isn't added, nor taken away."""
    with GrownPool(PAGE_BYTES, free_huge_pages(PAGE_BYTES), state_dir=tmp_path):
        assert persistent() == pool
        assert not list(tmp_path.iterdir())
    assert persistent() == pool


def test_the_pool_of_a_node_is_grown_and_restored(pool: int, tmp_path: Path) -> None:
    """With a node its own pool grows and shrinks."""
    nids = pool_nids(PAGE_BYTES)
    if not nids:
        pytest.skip("this kernel knows no nodes")
    n_before, n_free = persistent(nids[0]), free_huge_pages(PAGE_BYTES, nids[0]) + N_PAGES
    with GrownPool(PAGE_BYTES, n_free, nids[0], state_dir=tmp_path):
        assert persistent(nids[0]) == n_before + N_PAGES
        assert persistent() == pool + N_PAGES
    assert (persistent(nids[0]), persistent()) == (n_before, pool)


def test_two_blocks_add_up(pool: int, tmp_path: Path) -> None:
    """A block in a block adds to it, and takes back only its own pages."""
    n_free = free_huge_pages(PAGE_BYTES)
    with GrownPool(PAGE_BYTES, n_free + N_PAGES, state_dir=tmp_path):
        with GrownPool(PAGE_BYTES, n_free + N_PAGES + 3, state_dir=tmp_path):
            assert persistent() == pool + N_PAGES + 3
        assert persistent() == pool + N_PAGES
    assert persistent() == pool


def test_an_exception_restores_the_pool(pool: int, tmp_path: Path) -> None:
    """An exception in the block goes through and leaves the pool as before."""
    n_free = free_huge_pages(PAGE_BYTES) + N_PAGES
    with pytest.raises(ZeroDivisionError), GrownPool(PAGE_BYTES, n_free, state_dir=tmp_path):
        raise ZeroDivisionError
    assert persistent() == pool


def test_another_thread_may_grow_it(pool: int, tmp_path: Path) -> None:
    """A thread that may not set signal handlers can use the pool all the same."""
    n_free, seen = free_huge_pages(PAGE_BYTES) + N_PAGES, []

    def use() -> None:
        with GrownPool(PAGE_BYTES, n_free, state_dir=tmp_path):
            seen.append(persistent())

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert (seen, persistent()) == ([pool + N_PAGES], pool)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_signal_restores_the_pool(
    pool: int, holder: subprocess.Popen[str], tmp_path: Path, number: int, status: int
) -> None:
    """A process that is told to end restores the pool before it does, with the usual exit status."""
    holder.send_signal(number)
    assert holder.wait(PATIENCE_S) == status
    assert persistent() == pool
    assert not list(tmp_path.glob("pool-*"))


def test_after_sigkill_the_guard_restores_the_pool(pool: int, holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """A process that is killed can't restore anything; its guard does, and removes the record."""
    holder.kill()
    wait_until(lambda: not list(tmp_path.glob("pool-*")))
    assert persistent() == pool


def test_after_sigkill_of_both_the_record_restores_the_pool(
    pool: int, holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    """If the guard is killed too, the pool stays until somebody asks for leftovers; a second time nothing is left."""
    assert "alone: it runs" in restore_leftovers(state_dir=tmp_path)[0]
    assert persistent() == pool + N_PAGES
    os.kill(guard_of(tmp_path), signal.SIGKILL)
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, though nobody has fetched its status
    assert persistent() == pool + N_PAGES
    (said,) = restore_leftovers(state_dir=tmp_path)
    assert said.startswith(f"took back {N_PAGES} huge pages of 2 MiB")
    assert said.endswith(f"process {holder.pid} had added: the pool has {read_pool(PAGE_BYTES, 0).n_persistent}")
    assert persistent() == pool
    assert restore_leftovers(state_dir=tmp_path) == []


def test_what_somebody_else_adds_meanwhile_is_kept(pool: int, tmp_path: Path) -> None:
    """Only our own pages are taken away, so an administrator's 4 stay."""
    n_free = free_huge_pages(PAGE_BYTES) + N_PAGES
    with GrownPool(PAGE_BYTES, n_free, state_dir=tmp_path):
        set_persistent(persistent() + 4)
    assert persistent() == pool + 4


def test_what_somebody_else_takes_away_meanwhile_is_no_error(pool: int, tmp_path: Path) -> None:
    """A pool that was shrunk by others in the block is never made smaller than nothing."""
    if pool:
        pytest.skip("somebody else's pages are in the pool")
    with GrownPool(PAGE_BYTES, free_huge_pages(PAGE_BYTES) + N_PAGES, state_dir=tmp_path):
        set_persistent(0)
    assert persistent() == 0


def test_pages_in_use_stay_with_their_user_and_go_back_later(pool: int, tmp_path: Path) -> None:
    """Memory still mapped at the end of the block keeps its contents; its pages go back when it is unmapped."""
    n_pages_before = read_pool(PAGE_BYTES).n_pages
    with GrownPool(PAGE_BYTES, free_huge_pages(PAGE_BYTES) + N_PAGES, state_dir=tmp_path):
        n_mapped = free_huge_pages(PAGE_BYTES)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000  # MAP_HUGETLB; 2 MiB is x86's default size
        try:
            memory = mmap.mmap(-1, n_mapped * PAGE_BYTES, flags=flags)
        except OSError as error:
            pytest.skip(f"huge pages of the default size can't be mapped: {error}")
        memory[:: MIB // 2] = b"x" * len(memory[:: MIB // 2])
    assert persistent() == pool
    assert memory[(n_mapped - 1) * PAGE_BYTES : (n_mapped - 1) * PAGE_BYTES + 1] == b"x"
    memory.close()
    wait_until(lambda: read_pool(PAGE_BYTES).n_pages == n_pages_before)


def test_more_than_the_memory_there_is_is_refused(pool: int, tmp_path: Path) -> None:
    """Pages for twice the memory of the host are refused before anything is changed."""
    n_pages = 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // PAGE_BYTES
    with pytest.raises(PoolError, match="the largest possible is"), GrownPool(PAGE_BYTES, n_pages, state_dir=tmp_path):
        pass
    assert persistent() == pool


def test_a_forked_child_leaves_the_pool_alone(pool: int, tmp_path: Path) -> None:
    """A child that leaves the block doesn't take away its parent's pages, and one that lives on doesn't hold them."""
    script = f"""
import os, sys, time
from pathlib import Path
from real.huge_pages import GrownPool
from real.limits import free_huge_pages
n_free = free_huge_pages({PAGE_BYTES}) + {N_PAGES}
with GrownPool({PAGE_BYTES}, n_free, state_dir=Path(sys.argv[1])):
    if not os.fork():
        sys.exit()
    os.wait()
    if free_huge_pages({PAGE_BYTES}) != n_free:
        os._exit(3)
    if not os.fork():
        os.close(1)
        time.sleep(600)
        os._exit(0)
    os.kill(os.getpid(), 9)
"""
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, start_new_session=True) as process:
        try:
            assert process.wait(PATIENCE_S) == -signal.SIGKILL
            wait_until(lambda: not list(tmp_path.glob("pool-*")))
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the child that lives on
    assert persistent() == pool


def test_an_unprivileged_user_is_told_what_to_do(tmp_path: Path) -> None:
    """Who isn't root gets a PoolError that says so, and what root could do."""
    if PAGE_BYTES not in huge_page_sizes():
        pytest.skip("this kernel has no huge pages of 2 MiB")
    script = f"""
import os, pwd, sys
from pathlib import Path
from real.huge_pages import GrownPool, PoolError
from real.limits import free_huge_pages
if os.geteuid() == 0:
    # The rights are given up here, as the interpreter itself may lie where only root can go.
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
try:
    with GrownPool({PAGE_BYTES}, free_huge_pages({PAGE_BYTES}) + 1, state_dir=Path(sys.argv[1])):
        pass
except PoolError as error:
    print(error)
"""
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("nobody")
        except KeyError:
            pytest.skip("there is no user nobody to become")
    elif os.access(pool_folder(PAGE_BYTES) / "nr_hugepages", os.W_OK):
        pytest.skip("here any user may change the pool")
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("only root can grow the pool of 2 MiB huge pages (")
    assert "or ask root for: echo " in done.stdout


# From here on, a made-up host, for what can't be had on a real one without harm; any user can run these.


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """A host with two nodes, its pools plain files; node 1 has as many free pages as it is told to have."""
    root = tmp_path / "host"
    folders = [f"sys/devices/system/node/node{nid}/hugepages/hugepages-2048kB" for nid in (0, 1)]
    for folder in ["sys/kernel/mm/hugepages/hugepages-2048kB", *folders]:
        (root / folder).mkdir(parents=True)
        for name, count in (("nr_hugepages", 3), ("free_hugepages", 3), ("surplus_hugepages", 0)):
            (root / folder / name).write_text(f"{count}\n")
    system = root / "sys/kernel/mm/hugepages/hugepages-2048kB"
    (system / "resv_hugepages").write_text("0\n")
    (root / folders[1] / "free_hugepages").unlink()
    (root / folders[1] / "free_hugepages").symlink_to("nr_hugepages")
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text("MemFree: 1048576 kB\nMemAvailable: 1048576 kB\n")
    return root


def made_up_pages(root: Path, nid: int | None) -> int:
    """Return the pages of a made-up pool."""
    return read_pool(PAGE_BYTES, nid, root=root).n_persistent


def test_growing_only_in_part_is_refused_and_undone(made_up: Path, tmp_path: Path) -> None:
    """If the kernel gives fewer pages than asked for, they are given back and the error says how many it gave."""
    with pytest.raises(PoolError) as refused, GrownPool(PAGE_BYTES, 10, 0, root=made_up, state_dir=tmp_path / "state"):
        pass
    assert "2 MiB huge pages of node 0 can't be grown to 10 free pages: 3 were possible" in str(refused.value)
    assert [made_up_pages(made_up, nid) for nid in (None, 0, 1)] == [3, 3, 3]
    assert not list((tmp_path / "state").glob("pool-*"))


def test_growth_is_bounded_by_a_share_of_the_memory(made_up: Path, tmp_path: Path) -> None:
    """Of 1 GiB available, half may be taken: 256 pages of 2 MiB, so 257 more than the 3 are refused."""
    message = "257 more 2 MiB huge pages of node 1 need 514 MiB; 50% of the 1 GiB available .* is 256 more"
    with pytest.raises(PoolError, match=message), GrownPool(PAGE_BYTES, 260, 1, root=made_up, state_dir=tmp_path):
        pass
    assert made_up_pages(made_up, 1) == 3


def test_records_tell_live_runs_from_dead_ones_and_boots_apart(made_up: Path, tmp_path: Path) -> None:
    """A live run's pages are left, an earlier boot's record is dropped, a dead run's pages are taken back."""
    (made_up / "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").write_text("1000\n")
    state, other = tmp_path / "state", tmp_path / "other"
    other.mkdir()
    with GrownPool(PAGE_BYTES, 10, 1, root=made_up, state_dir=state):
        assert made_up_pages(made_up, 1) == 10
        (file,) = state.glob("pool-*.json")
        record = json.loads(file.read_text())
        assert (record["phase"], record["pages"]) == ("grown", [[1, 7]])
        (other / "pool-1.json").write_text(json.dumps(record))
        (other / "pool-2.json").write_text(json.dumps(record | {"boot_id": "another"}))
        (other / "pool-3.json").write_text(json.dumps(record | {"start_ticks": 1, "pages": [[1, 2]]}))
        (other / "pool-4.json").write_text("[]")
        said = restore_leftovers(root=made_up, state_dir=other)
        assert [line.split(" that")[0].split(": it")[0] for line in said] == [
            f"left the 2 MiB huge pages of process {os.getpid()} alone",
            f"removed the record of process {os.getpid()}",
            "took back 2 huge pages of 2 MiB of node 1",
            f"left {other / 'pool-4.json'} alone",
        ]
        assert sorted(left.name for left in other.glob("pool-*")) == ["pool-1.json", "pool-4.json"]
        assert made_up_pages(made_up, 1) == 8
    assert made_up_pages(made_up, 1) == 1


@pytest.mark.parametrize(
    ("phase", "pages", "n_planned", "n_left"),
    [
        ("growing", [[1, 1]], 5, 1),
        ("growing", [[1, 1]], 1, 2),
        ("leaving", [[1, 2]], 5, 2),
        ("leaving", [[1, 9]], 5, 3),
    ],
)
def test_a_run_killed_half_way_is_undone(
    made_up: Path, tmp_path: Path, phase: str, pages: list[list[int]], n_planned: int, n_left: int
) -> None:
    """Killed while growing from 1 to 3, at most what was planned is ours; while leaving, nothing is done twice."""
    record = {"boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "pid": 1, "start_ticks": -1}
    record |= {"page_bytes": PAGE_BYTES, "nid": 1, "n_planned": n_planned, "phase": phase, "pages": pages}
    (tmp_path / "pool-1.json").write_text(json.dumps(record))
    restore_leftovers(root=made_up, state_dir=tmp_path)
    assert made_up_pages(made_up, 1) == n_left
    assert not list(tmp_path.glob("pool-*"))


def test_signal_handlers_are_put_back(made_up: Path, tmp_path: Path) -> None:
    """After the block every signal has its former handler; one that was ignored is ignored in the block too."""
    (made_up / "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").write_text("1000\n")
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        before = [signal.getsignal(number) for number in numbers]
        with GrownPool(PAGE_BYTES, 10, 1, root=made_up, state_dir=tmp_path):
            assert signal.getsignal(signal.SIGTERM) != before[0]
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert [signal.getsignal(number) for number in numbers] == before
    finally:
        signal.signal(signal.SIGHUP, hang_up)
