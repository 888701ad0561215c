"""A sweep long enough to be killed in the middle, and what waits for it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models.scenario import Scenario, load_scenario
from sim.runs.store import FILE


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    """A file of 90 runs, some seconds in all."""
    path = tmp_path / "long.yaml"
    path.write_text(
        "title: Long\nquestion: Is it stopped?\nmachine: xeon-e7-8895v3-8s\n"
        "task: {client: clear_gigantic_page, size: 50GiB, pool: 800GiB}\n"
        "kernel: {version: ktask-v1, max_threads: [4, 8, 16]}\nreplications: 30\nseed: 3\n"
    )
    return path


@pytest.fixture
def long_scenario(long_file: Path) -> Scenario:
    """The scenario of that file."""
    return load_scenario(long_file)


def n_stored(folder: Path) -> int:
    """Return how many runs are stored in a folder, whoever writes to it; 0 if there is no file yet."""
    path = folder / FILE
    if not path.exists():
        return 0
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.OperationalError:  # no tables yet
        return 0
    finally:
        db.close()


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something is so; fails after five minutes."""
    end = time.monotonic() + 300.0
    while not true():
        assert time.monotonic() < end, "waited for five minutes"
        time.sleep(0.02)
