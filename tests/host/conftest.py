"""What several tests on this host use: a small scenario, how to run it, its processes, the pool and a cgroup."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import real
from models.results import Results
from models.scenario import Scenario, load_scenario
from models.text.units import MIB, format_size
from real.background import REGION_BYTES
from real.limits import available_memory
from real.zeroing import Method, methods, why_not
from sim.cli import main
from tests.host.test_huge_pages import pool
from tests.host.test_limits import small_group

__all__ = ["pool", "small_group"]

CPU_IDS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
Command = Callable[..., tuple[int, str, str]]
PATIENCE_S = 60.0  # polls and commands end long before; only a failure takes so long
TEXT = """\
title: Small
question: How long?
machine: xeon-e7-8895v3-8s
task:
  client: clear_gigantic_page
  size: 16MiB
  page_size: 8MiB
kernel:
  version: ktask-v1
  max_threads: [THREADS]
  min_chunk: 1MiB
background: {}
replications: 2
seed: 3
"""
SMALL = TEXT.replace("THREADS", "1, 2" if len(CPU_IDS) > 1 else "1")
BUSY = f"background: {{other: {{load: LOAD, cpus: '{CPU_IDS[-1] if CPU_IDS else 0}'}}}}"


@pytest.fixture(scope="module")
def method() -> Method:
    """The first method that takes ordinary pages of 4 KiB, or memory that is there."""
    found = [method for method in methods() if method.name in ("populate-base", "memset")]
    return next(method for method in found if why_not(method, MIB, []) is None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the small scenario with some words of it replaced."""

    def make(*changes: tuple[str, str]) -> Path:
        text = SMALL
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "small.yaml").write_text(text)
        return tmp_path / "small.yaml"

    return make


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command within this process, which is faster: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def with_load(load: str) -> tuple[str, str]:
    """Return the change that gives the small scenario load on the last CPU. Skips where memory is too little."""
    if load == "clear" and available_memory().size_bytes < 4 * REGION_BYTES:
        pytest.skip(f"less than {format_size(4 * REGION_BYTES)} of memory are available")
    return "background: {}", BUSY.replace("LOAD", load)


def run_here(scenario: Path, method: Method, **options: object) -> tuple[Scenario, Results]:
    """Run a scenario on this host; return it as it was run, and what it gave."""
    plan = real.plan(load_scenario(scenario), method=method.name)
    assert plan.choice.method.name == method.name
    return plan.scenario, real.run(plan, **options)  # type: ignore[arg-type]


def ktask_sim(*arguments: str, cwd: Path, wrap: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder of its own."""
    command = [*wrap, sys.executable, "-m", "sim.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S)


def children_of(pid: int) -> dict[int, str]:
    """Return the processes that a process has started, and their commands."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found


def loads_of(pid: int) -> list[int]:
    """Return the processes of background load that a process has started."""
    return [child for child, command in children_of(pid).items() if "real.load" in command]


def state_of(pid: int) -> str:
    """Return a process's state: R, S, T (stopped) ...; X if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
