"""The command with the real backend: what it writes and refuses, also for those who may do little."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

import real
import sim
from models.files.machine import load_machine
from models.results import load_results
from models.scenario import load_scenario
from models.text.units import GIB, KIB, MIB
from real.limits import available_memory
from real.zeroing import Method, methods, why_not
from tests.conftest import ROOT
from tests.host.conftest import CPU_IDS, PATIENCE_S, Command, ktask_sim, run_here

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux"),
    pytest.mark.xdist_group("huge_pages"),
]


def test_the_command_runs_on_this_host(write: Callable[..., Path], method: Method, tmp_path: Path) -> None:
    """With --backend real there is a table, a result folder and a figure, and it is said how memory was cleared."""
    done = ktask_sim(
        *("run", str(write()), "--backend", "real", "--method", method.name, "--format", "csv", "--trace"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(io.StringIO(done.stdout))
    assert set(table["machine"]) == {real.host_name()}
    assert f"method {method.name}: " in done.stderr
    assert "runs, " in done.stderr and "of them unstable" in done.stderr
    folder = tmp_path / "results" / "small"
    assert load_results(folder).provenance["backend"] == "real"
    assert (folder / "speedup.png").exists() and (folder / "traces.parquet").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "small.yaml"]


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (("max_threads: [", "max_threads: [200, "), ("--method", "memset"), "small.yaml:10:17: kernel.max_threads: fo"),
        (("16MiB", "16MiB"), ("--method", "bzero"), "found method 'bzero'; this host has "),
        (("16MiB", "10GiB"), ("--method", "memset", "--memory-share", "0.01"), "the job with its background load ne"),
    ],
)
def test_the_command_refuses_with_status_2(
    write: Callable[..., Path],
    command: Command,
    tmp_path: Path,
    change: tuple[str, str],
    options: tuple[str, ...],
    said: str,
) -> None:
    """What this host can't do is an error of a few lines, before any run."""
    if len(CPU_IDS) >= 200 or real.host_machine().memory_bytes > 1000 * GIB:
        pytest.skip("this host is too large to be asked for more")
    if real.host_machine().memory_bytes < 10 * GIB:
        said = said.replace("the job with its background load ne", "task.size: found 10 GiB; this host has room")
    status, out, err = command("run", str(write(change)), "--backend", "real", *options)
    assert (status, out) == (2, "")
    assert said in err
    assert not list(tmp_path.glob("results/*"))


def test_options_of_the_real_backend_are_refused_in_a_simulation(write: Callable[..., Path], command: Command) -> None:
    """An option that would mean nothing is an error, not ignored."""
    status, out, err = command("run", str(write()), "--method", "memset")
    assert (status, out) == (2, "")
    assert "--method is of the real backend; add --backend real" in err


def test_the_host_is_described_and_can_be_simulated(
    write: Callable[..., Path], method: Method, command: Command, tmp_path: Path
) -> None:
    """`host` writes a machine file of this host that a scenario may name, and says what may be done here."""
    status, _, err = command("host", "-o", "here.yaml")
    assert status == 0, err
    assert load_machine(tmp_path / "here.yaml").cpus == real.host_machine().cpus
    assert all(f"  {method.name}: {method.measures}" in err for method in methods())
    assert yaml.safe_load(command("host", "--name", "other")[1])["machine"] == "other"
    status, _, err = command("host", "-o", "here.yaml")
    assert (status, "--force" in err) == (2, True)
    scenario = write(("machine: xeon-e7-8895v3-8s", "machine: here.yaml"))
    _, results = run_here(scenario, method)
    assert list(results.summary["nthreads"]) == list(sim.run(load_scenario(scenario)).summary["nthreads"])


# Those who may do little.

NOBODY = """
import contextlib, os, pwd, sys
from sim.cli import main
import real.load
# Once before, so that all is imported: the interpreter itself may lie where only root can go.
with contextlib.suppress(SystemExit):
    main(["run", sys.argv[1], "--backend", "real", "--method", "memset", "-o", sys.argv[2]])
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
main(["run", sys.argv[1], "--backend", "real", "--method", sys.argv[3], "--format", "csv"])
"""


@pytest.mark.parametrize("name", ["populate-thp", "memset"])
def test_an_unprivileged_user_can_run_it(write: Callable[..., Path], tmp_path: Path, name: str) -> None:
    """Without any privilege there is a method that works, and a result."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the other tests of this file are run without privilege")
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("there is no user nobody to become")
    if not all(folder.stat().st_mode & 0o005 == 0o005 for folder in (ROOT, *ROOT.parents)):
        pytest.skip("the project lies in a folder that is closed to others")
    known = {method.name: method for method in methods()}
    reason = why_not(known[name], 16 * MIB, []) if name in known else "this kernel doesn't give transparent huge pages"
    if reason is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="ktask-sim-"))  # that of pytest is closed to others
    try:
        text = write(("8MiB", "16MiB"), ("min_chunk: 1MiB", "min_chunk: 2MiB"), ("chunk: 2MiB", "chunk: 16MiB"))
        (folder / "small.yaml").write_text(text.read_text())
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        done = subprocess.run(
            [sys.executable, "-c", NOBODY, "small.yaml", str(tmp_path / "out"), name],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "MPLCONFIGDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        assert f"method {name}: " in done.stderr
        assert (folder / "results/small/summary.csv").stat().st_uid == nobody.pw_uid
    finally:
        shutil.rmtree(folder)


def test_under_ulimit_a_large_job_is_refused_and_not_killed(
    write: Callable[..., Path], method: Method, tmp_path: Path
) -> None:
    """Under ulimit -v the command names the limit, with status 2; what is small enough is run."""
    if available_memory().size_bytes < 4 * GIB:
        pytest.skip("less than 4 GiB of memory are available")
    wrap = ("sh", "-c", f'ulimit -v {3 * GIB // KIB} && exec "$@"', "sh")
    options = ("--backend", "real", "--method", method.name)
    done = ktask_sim("run", str(write(("16MiB", "2GiB"))), *options, cwd=tmp_path, wrap=wrap)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs 2 GiB of memory, but only" in done.stderr and "limited by RLIMIT_AS (ulimit -v)" in done.stderr
    assert "Traceback" not in done.stderr
    done = ktask_sim("run", str(write()), *options, cwd=tmp_path, wrap=wrap)
    assert done.returncode == 0, done.stderr


def test_in_a_small_cgroup_a_large_job_is_refused_and_not_killed(
    small_group: tuple[Path, str], write: Callable[..., Path], method: Method, tmp_path: Path
) -> None:
    """In a cgroup of 256 MiB the command names it, with status 2; what is small enough is run and not killed."""
    folder, file = small_group
    wrap = ("sh", "-c", f'echo 0 > {folder}/cgroup.procs && exec "$@"', "sh")
    options = ("--backend", "real", "--method", method.name)
    done = ktask_sim("run", str(write(("16MiB", "256MiB"))), *options, cwd=tmp_path, wrap=wrap)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "limited by memory cgroup /" in done.stderr
    assert f"{folder.name} ({file})" in done.stderr
    assert "Traceback" not in done.stderr
    done = ktask_sim("run", str(write()), *options, cwd=tmp_path, wrap=wrap)
    assert done.returncode in (0, 2), done.stderr  # never killed; refused only if the program itself takes all of it
    assert done.returncode == 0 or f"{folder.name} ({file})" in done.stderr
