"""A search for policies that is killed in the middle, as the user meets it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import optuna

import sim
from models.policies.options import PRESETS
from tests.sweep.conftest import n_stored, wait_until
from tests.unit.test_cli import process as ktask_sim
from tests.unit.test_sweep import stored
from tests.unit.test_tuning import bytes_of

N_TRIALS = 16
N_RUNS = 2 * (N_TRIALS + 2 * len(PRESETS))  # and of each preset with two max_threads
N_BEFORE = N_RUNS - 14  # in the second batch of trials


def test_every_trial_is_made_once(tmp_path: Path) -> None:
    """After kill -9 the same command makes just the other runs, and the result is that of a search without a stop."""
    file = tmp_path / "space.yaml"
    file.write_text(
        "title: Long\nquestion: Is it stopped?\nmachine: laptop-ryzen-4800u\n"
        "task: {client: clear_gigantic_page, size: 8GiB, pool: 12GiB}\n"
        "kernel: {max_threads: [4, 8], chunks: [ktask, guided, factoring], min_chunk: [128KiB, 256KiB, 512KiB, 1MiB],\n"
        "         end: [as-is, split], chunks_per_work: 64}\nreplications: 2\nseed: 3\n"
    )
    arguments = ["tune", file.name, "-o", "out", "--trials", str(N_TRIALS), "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.cli", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / "out"
    wait_until(lambda: n_stored(folder) >= N_BEFORE or process.poll() is not None)
    process.kill()
    output, errors = process.communicate(timeout=300)  # ends when no process has the pipe any more
    assert (process.returncode, output) == (-signal.SIGKILL, ""), errors
    before = stored(folder)
    assert N_BEFORE <= len(before) < N_RUNS
    done = ktask_sim(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = stored(folder)
    assert len(after) == N_RUNS
    assert {key for key, session in after.items() if session == 1} == set(before)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.sqlite'}")
    assert [(trial.number, trial.state) for trial in study.trials] == [
        (i, optuna.trial.TrialState.COMPLETE) for i in range(N_TRIALS)
    ]
    sim.tune(sim.load(file), tmp_path / "whole", trials=N_TRIALS)
    assert bytes_of(folder) == bytes_of(tmp_path / "whole")
