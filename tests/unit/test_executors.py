"""Processes that make runs: what a program hears that none of them can import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.runs.executors import LostWorkersError, processes

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
