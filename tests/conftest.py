"""What several tests use: a small machine, scenarios as text, and the repository's root."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.clients import ClearGigantic, Stream
from models.files.machine import load_machine
from models.kernels import KtaskV1
from models.machine import Machine, Rates
from models.scenario import Scenario, load_scenario
from models.scenario.case import Case
from models.text.units import GIB

ROOT = Path(__file__).parent.parent

# What all tests of a folder are, so that `make quick` can leave them out.
_FOLDER_MARKS = {
    "emulated": "host",
    "fuzz": "slow",
    "host": "host",
    "install": "slow",
    "kernels": "slow",
    "notebooks": "slow",
    "property": "slow",
    "published": "slow",
    "reference": "slow",
    "sweep": "slow",
}

# Files of other folders that start processes, simulate whole tables or draw many figures.
_SLOW_FILES = {
    *("test_advice", "test_advise_command", "test_calibration", "test_cli", "test_executors", "test_page_faults"),
    *("test_pages", "test_plot_command", "test_plots", "test_published_command", "test_reference", "test_stages"),
    *("test_sweep", "test_table_fit", "test_tuning", "test_validation"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a folder by what they need."""
    for item in items:
        mark = _FOLDER_MARKS.get(item.path.parent.name, "slow" if item.path.stem in _SLOW_FILES else None)
        if mark is not None:
            item.add_marker(mark)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file that share what took long on one worker, and begin with them."""
    from xdist.scheduler import LoadScopeScheduling

    class KeepFixtures(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return path if shares(path) else nodeid

    @functools.cache
    def shares(path: str) -> bool:
        return 'fixture(scope="module")' in (ROOT / path).read_text(encoding="utf-8")

    return KeepFixtures(config, log)


@pytest.fixture(scope="session", autouse=True)
def _can_be_interrupted() -> None:
    """Commands that tests interrupt obey, even where a shell runs the tests in the background, with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def root() -> Path:
    """The repository's root."""
    return ROOT


def make_quiet_machine() -> Machine:
    """The 8-socket machine with round figures, no noise and no figures of power, for sums worked by hand."""
    machine = load_machine("xeon-e7-8895v3-8s")
    rates = replace(
        machine.rates,
        clear_bytes_per_s=2.0 * GIB,
        serial_clear_bytes_per_s=2.0 * GIB,
        clear_traffic=2.0,
        memory_bytes_per_s=40.0 * GIB,
        remote_factors={21: 0.8, 31: 0.5},
        chunk_noise=0.0,
    )
    return replace(machine, rates=rates, power=None)


@pytest.fixture
def quiet_machine() -> Machine:
    """The machine of `make_quiet_machine`."""
    return make_quiet_machine()


QUIET_KERNEL = KtaskV1(
    setup_time="0s",
    start_latency="0s",
    wake_latency="0s",
    lock_hold_time="0s",
    lock_handover_time="0s",
    stray_block=0.0,
)


@pytest.fixture
def case_of(quiet_machine: Machine) -> Callable[..., Case]:
    """Make a case on the quiet machine with a kernel whose machinery costs nothing."""

    def make(
        max_threads: int, size_gib: int = 1, caller_node: int | None = 0, pool: str | None = None, **kernel: object
    ) -> Case:
        task = ClearGigantic(client="clear_gigantic_page", size=f"{size_gib}GiB", caller_node=caller_node, pool=pool)
        return Case(quiet_machine, task, QUIET_KERNEL.model_copy(update={"max_threads": max_threads, **kernel}), 1, 1)

    return make


@pytest.fixture
def small_scenario() -> Scenario:
    """The shipped scenario, shortened so that all of it runs in about a second."""
    return load_scenario(ROOT / "scenarios" / "clear_gigantic_page.yaml").with_values(
        {"task.size": ["8GiB", "16GiB"], "task.pool": "32GiB", "kernel.max_threads": [1, 4], "replications": 3}
    )


def clearing(rates: Rates) -> tuple[Stream, Stream]:
    """Return what clearing base pages asks of a machine, as one work of several, and in the loop without helpers."""
    return (
        Stream("clear", rates.clear_bytes_per_s, rates.clear_traffic),
        Stream("clear", rates.serial_clear_bytes_per_s, rates.clear_traffic),
    )
