"""Memory registered for InfiniBand and released, against times worked by hand."""

from __future__ import annotations

import pytest

from models.clients.ib_umem import IbUmem
from models.machine import Machine
from models.results.run import RunResult
from models.scenario.case import Case
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL

FREE = {"line_hold": "0s", "line_transfer": "0s", "line_handover": "0s", "dma_hold": "0s"}


def run(machine: Machine, threads: int, *, undo: bool = False, costs: dict[str, str] | None = None,
        **task: object) -> RunResult:  # fmt: skip
    """Register 8 GiB on node 0 at 4 GiB/s, or release them at 16, with a lock that costs nothing by itself."""
    own = {"register_rate": "4GiB/s", "release_rate": "16GiB/s", **FREE, **(costs or {})}
    values = {"client": "ib_umem", "size": "8GiB", "caller_node": 0, "costs": own, **task}
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads, "undo": undo})
    return run_case(Case(machine, IbUmem.model_validate(values), kernel, 1, 1), 0)


@pytest.mark.parametrize(
    ("operation", "threads", "time_s"), [("register", 1, 2.0), ("register", 4, 0.5), ("release", 1, 0.5)]
)
def test_operations_have_their_rates(quiet_machine: Machine, operation: str, threads: int, time_s: float) -> None:
    """T = 8 GiB / (4 or 16 GiB/s x threads)."""
    assert run(quiet_machine, threads, operation=operation).time_s == pytest.approx(time_s, rel=1e-9)


def test_the_lock_is_taken_once_for_512_pages(quiet_machine: Machine) -> None:
    """Two threads; the lock's line takes 100 us to fetch, and 512 pages (pointers of one page) 488.28 us.

    Half of the times oneself was the last to hold it: at least 50 us for each 2 MiB, and never more than two transfers.
    """
    result = run(quiet_machine, 2, costs={"line_transfer": "100us"})
    cycle_s = 2 * 2**20 / (4 * 2**30)
    assert 1 + 50e-6 / cycle_s < result.time_s < 1 + 2 * 100e-6 / cycle_s


@pytest.mark.parametrize("operation", ["register", "release"])
def test_only_registering_takes_the_lock(quiet_machine: Machine, operation: str) -> None:
    """Releasing is as fast however long the lock's line takes."""
    slow, quick = (run(quiet_machine, 4, operation=operation, costs={"line_transfer": t}) for t in ("100us", "0s"))
    assert (slow.time_s > quick.time_s) == (operation == "register")


def test_what_was_registered_before_an_error_is_released(quiet_machine: Machine) -> None:
    """Two threads, chunks of 1 GiB in 250 ms: the fourth fails half way; 3 GiB are done at 500 ms, 187.5 ms to undo."""
    result = run(quiet_machine, 2, undo=True, fail_at="3584MiB")
    assert result.time_s == pytest.approx(0.5 + 3 / 16, rel=1e-9)
    assert result.extra == {"n_failed": 1, "undo_s": 3 / 16}
