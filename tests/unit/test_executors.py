"""Processes that make runs: what a program hears that none of them can import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from models.scenario import build_scenario
from models.scenario.case import Case
from models.text.document import parse
from sim.engine.run import run_case
from sim.runs import executors
from sim.runs.executors import LostWorkersError, make_runs, processes

SCENARIO = """
title: Two runs
question: In two processes?
machine: laptop-ryzen-4800u
task: {client: clear_gigantic_page, size: 1GiB, page_size: 1GiB}
kernel: {version: ktask-v1}
replications: 2
"""
RUN = "print(len(sim.run(sim.load('two.yaml'), jobs=2).runs))"
UNGUARDED = f"import sim\n{RUN}\n"
GUARDED = f"import sim\nif __name__ == '__main__':\n    {RUN}\n"


def python(folder: Path, argument: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder with a scenario: `program.py`, or from standard input (-)."""
    (folder / "two.yaml").write_text(SCENARIO)
    (folder / "program.py").write_text(program)
    return subprocess.run([sys.executable, argument], cwd=folder, input=program, capture_output=True, text=True)


@pytest.mark.parametrize("argument", ["-", "program.py"])
def test_a_program_that_can_not_be_imported(argument: str, tmp_path: Path) -> None:
    """From standard input, or without a main guard, the one error that comes says what to do."""
    done = python(tmp_path, argument, UNGUARDED)
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert "LostWorkersError: no other process could start, " in last
    assert "give jobs=1, or " in last and 'under `if __name__ == "__main__":`' in last
    assert done.stderr.count("Traceback") == 1


def test_a_process_that_is_killed() -> None:
    """Who loses a process that had started is not told of main guards."""
    with pytest.raises(LostWorkersError, match="was killed"), processes(1) as pool:
        pool.submit(os._exit, 1).result()


def test_a_program_that_can_be_imported(tmp_path: Path) -> None:
    """With a main guard two processes make both runs."""
    done = python(tmp_path, "program.py", GUARDED)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


class _AtOnce(executors._Batches):
    """Makes each batch at once, in this process, and notes what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[list[Case], list[tuple[int, int, bool]]]] = []

    def limit(self) -> int:
        return 2 * self._size

    def _send(self, cases: list[Case], runs: list[tuple[int, int, bool]]) -> Any:
        self.sent.append((cases, runs))
        future: Future[Any] = Future()
        future.set_result(executors._run_batch(cases, runs))
        return future


def test_short_runs_go_in_batches() -> None:
    """Every run is made once, by its number; a case goes once with all its runs of a batch; batches grow."""
    text = SCENARIO.replace("{version: ktask-v1}", "{version: ktask-v1, max_threads: [1, 2]}")
    cases = build_scenario(parse(text, "two"), Path("two")).cases
    wanted = deque((number, i) for number in (0, 1) for i in range(60))
    found = {}
    executor = _AtOnce()
    make_runs(executor, cases, lambda: wanted.popleft() if wanted else None, lambda key, run: found.update({key: run}))
    assert len(found) == 120
    assert all(found[number, i] == run_case(cases[number], i) for number in (0, 1) for i in (0, 30, 59))
    assert len(executor.sent) < 60 and max(len(runs) for _, runs in executor.sent) > 4
    assert all(len(sent) == len({number for number, *_ in runs}) for sent, runs in executor.sent)
