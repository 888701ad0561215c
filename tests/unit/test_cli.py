"""The command line as a user meets it."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import yaml

import sim
from sim.cli import main
from sim.show.describe import describe_scenario

COLUMNS = {
    *("machine", "client", "kernel", "nthreads", "size_gib", "replications", "time_s", "time_stdev_s", "time_min_s"),
    *("speedup", "published_time_s", "error_pct", "n_workers", "note"),
}


def process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, as a process of its own."""
    command = [sys.executable, "-m", "sim.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def ktask_sim(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, in this process, which takes a second less than in one of its own."""
    output, errors = io.StringIO(), io.StringIO()
    written = contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors)
    with contextlib.chdir(cwd), written[0], written[1], pytest.raises(SystemExit) as end:
        main(arguments)
    assert isinstance(end.value.code, int)
    return subprocess.CompletedProcess(arguments, end.value.code, output.getvalue(), errors.getvalue())


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """A scenario file that runs in a blink."""
    path = tmp_path / "small.yaml"
    path.write_text(
        "title: Small\nquestion: How long?\nmachine: xeon-e7-8895v3-8s\n"
        "task: {client: clear_gigantic_page, size: 100GiB, pool: 800GiB}\n"
        "kernel: {version: ktask-v1, max_threads: [1, 2, 3], min_chunk: [1MiB, 2MiB]}\n"
        "replications: 2\nseed: 7\ncompare_with: clear_gigantic_page_xeon_e7-8895v3\n"
    )
    return path


def test_csv_can_be_piped(scenario: Path, tmp_path: Path) -> None:
    """With --format csv stdout is a table with the promised columns; messages go to stderr."""
    done = process("run", str(scenario), "--format", "csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(io.StringIO(done.stdout))
    assert set(table.columns) >= COLUMNS
    assert list(table["nthreads"]) == [1, 1, 2, 2, 3, 3]
    assert list(table["min_chunk"]) == ["1MiB", "2MiB"] * 3
    assert list(table["published_time_s"].notna()) == [True, True, True, True, False, False]
    assert "results: results/small" in done.stderr
    assert (tmp_path / "results" / "small" / "speedup.png").read_bytes().startswith(b"\x89PNG")
    assert table.equals(pd.read_csv(tmp_path / "results" / "small" / "summary.csv"))


def test_json_and_table(scenario: Path, tmp_path: Path) -> None:
    """--format json gives a list of records, and the table marks fitted cells and states the errors of the others."""
    done = ktask_sim("run", str(scenario), "--format", "json", "-o", "out", "--replications", "1", cwd=tmp_path)
    records = json.loads(done.stdout)
    assert len(records) == 6 and records[0]["replications"] == 1
    table = ktask_sim("show", "out", cwd=tmp_path).stdout
    assert "*" in table and "cells predicted: mean error" in table


def test_second_result_gets_its_own_folder(scenario: Path, tmp_path: Path) -> None:
    """Without -o another result goes to the next free folder; with -o it is refused before anything is run."""
    for seed, folder in (("1", "small"), ("2", "small-2"), ("1", "small")):
        done = ktask_sim("run", str(scenario), "--seed", seed, "--format", "csv", cwd=tmp_path)
        assert f"results: results/{folder}\n" in done.stderr
    done = ktask_sim("run", str(scenario), "--seed", "3", "-o", "results/small", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds something else: seed 1, not 3; give another folder" in done.stderr


def test_options_reach_the_result(scenario: Path, tmp_path: Path) -> None:
    """--seed and --replications stand in the scenario as run, which gives the same result when run again."""
    ktask_sim("run", str(scenario), "--seed", "5", "--replications", "3", "-o", "a", cwd=tmp_path)
    as_run = yaml.safe_load((tmp_path / "a" / "scenario.yaml").read_text())
    assert (as_run["seed"], as_run["replications"]) == (5, 3)
    (tmp_path / "again.yaml").write_text((tmp_path / "a" / "scenario.yaml").read_text())
    ktask_sim("run", "again.yaml", "-o", "b", cwd=tmp_path)
    assert (tmp_path / "a" / "summary.csv").read_bytes() == (tmp_path / "b" / "summary.csv").read_bytes()


def test_trace_is_kept_on_request(scenario: Path, tmp_path: Path) -> None:
    """--trace adds who did what when, and utilisation over time; without it there are no such files."""
    ktask_sim("run", str(scenario), "-o", "plain", cwd=tmp_path)
    ktask_sim("run", str(scenario), "-o", "traced", "--trace", cwd=tmp_path)
    assert not (tmp_path / "plain" / "traces.parquet").exists()
    traces = pd.read_parquet(tmp_path / "traced" / "traces.parquet")
    assert set(traces["kind"]) == {"chunk", "lock", "queued", "asleep"}
    assert set(pd.read_parquet(tmp_path / "traced" / "loads.parquet")["case"]) == set(range(6))


def test_bad_input_is_status_2_without_traceback(tmp_path: Path) -> None:
    """A wrong file gives its problems on stderr, nothing on stdout, status 2, and no folder."""
    (tmp_path / "bad.yaml").write_text("title: x\nmachin: y\n")
    done = process("run", "bad.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "bad.yaml:2:1: machin: unknown key" in done.stderr and "did you mean machine?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "no.yaml"],
        ["run", "."],
        ["describe", "no.yaml"],
        ["machines", "xeon"],
        ["machines", "no.yaml"],
        ["show", "."],
        ["show", "no"],
        ["schema", "kernel"],
        ["run"],
        ["fly"],
        ["run", "no.yaml", "--jobs", "0"],
    ],
)
def test_wrong_use_is_status_2(arguments: list[str], tmp_path: Path) -> None:
    """Wrong words and missing files give one message and status 2, never a traceback."""
    done = ktask_sim(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr and "Traceback" not in done.stderr


def test_describe_says_what_is_simulated(root: Path) -> None:
    """describe names machine, topology, task, chunks, policy and what is random."""
    text = ktask_sim("describe", "scenarios/clear_gigantic_page.yaml", cwd=root).stdout
    for words in (
        "20 cases, 200 runs",
        "8 sockets, 8 NUMA nodes, 144 cores, 288 CPUs, 8 last-level caches, 12 links",
        "1 link away (distance 21): 3 of the other nodes",
        "2 links away (distance 31): 4 of the other nodes",
        "The pool has 800 pages, 100 on each node.",
        "Fitted to 6 cells",
        "Random, from one seed",
    ):
        assert words in text
    assert "16MiB 64 51200" in " ".join(text.replace("16 MiB", "16MiB").split())


def test_describe_says_what_cpus_the_caller_may_use(root: Path) -> None:
    """The caller's CPUs are named, and whether helpers keep to them; on one node its first node is not random."""
    scenario = sim.load(root / "scenarios" / "clear_gigantic_page.yaml")
    bound = scenario.with_values({"task.cpus": "18-20,162", "kernel.max_threads": 8})
    text = describe_scenario(bound)
    assert "starts on node 1, may use just CPUs 18-20,162, to which its helpers do not keep. It clears" in text
    assert "the caller's first node" not in text
    text = describe_scenario(bound.with_values({"task.cpus": "0,18", "kernel.helper_node": "caller-cpus"}))
    assert "another in each replication, may use just CPUs 0,18, to which its helpers keep. It clears" in text
    assert "the caller's first node" in text


def test_machines_lists_and_describes(root: Path) -> None:
    """machines lists what is shipped, and with a name gives each figure's source."""
    listed = ktask_sim("machines", cwd=root).stdout
    assert "xeon-e7-8895v3-8s" in listed and "288" in listed
    told = ktask_sim("machines", "xeon-e7-8895v3-8s", cwd=root).stdout
    assert "rates.memory_bandwidth: fitted on the published cell of 16 threads and 100 GiB" in told


def test_schemas_accept_what_is_shipped(root: Path) -> None:
    """The printed schemas are valid, accept the shipped files and refuse a wrong one."""
    for what, folder in (("scenario", "scenarios"), ("machine", "models/machines")):
        schema = json.loads(ktask_sim("schema", what, cwd=root).stdout)
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        for path in sorted((root / folder).glob("*.yaml")):
            content = yaml.safe_load(path.read_text())
            assert [error.message for error in validator.iter_errors(content)] == [], path
            assert list(validator.iter_errors({**content, "colour": "red"}))


def test_unmatched_table_is_said(scenario: Path, tmp_path: Path) -> None:
    """A table none of whose rows match is said to be so on stderr."""
    text = scenario.read_text().replace("clear_gigantic_page_xeon_e7-8895v3", "vfio_pin_xeon_8160")
    scenario.write_text(text)
    done = ktask_sim("run", str(scenario), cwd=tmp_path)
    assert done.returncode == 0
    assert "note: no case matches a row of vfio_pin_xeon_8160" in done.stderr


NUMACTL = """available: 2 nodes (0-1)
node 0 cpus: 0 1 2 3
node 0 size: 8192 MB
node 0 free: 8000 MB
node 1 cpus: 4 5 6 7
node 1 size: 8192 MB
node 1 free: 8000 MB
node distances:
node   0   1
  0:  10  21
  1:  21  10
"""


@pytest.fixture
def numactl(tmp_path: Path) -> Path:
    """What numactl -H prints on a machine of two nodes of 4 CPUs."""
    path = tmp_path / "two_nodes.txt"
    path.write_text(NUMACTL)
    return path


def test_import_prints_a_machine_file(numactl: Path, tmp_path: Path) -> None:
    """import makes a machine file of numactl's text on stdout, named as its file; notes go to stderr."""
    done = ktask_sim("import", numactl.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = yaml.safe_load(done.stdout)
    assert document["machine"] == "two_nodes"
    assert document["distance_matrix"]["value"] == [[10, 21], [21, 10]]
    assert "note: the rates are not measured" in done.stderr
    (tmp_path / "copy.yaml").write_text(done.stdout)
    told = ktask_sim("machines", "copy.yaml", cwd=tmp_path)
    assert "2 NUMA nodes" in told.stdout and "8 CPUs" in told.stdout, told.stderr


def test_import_writes_a_file_once(numactl: Path, tmp_path: Path) -> None:
    """-o writes the same file, with --name as its name; what is there is only overwritten with --force."""
    printed = ktask_sim("import", numactl.name, "--name", "big-one", cwd=tmp_path)
    done = ktask_sim("import", numactl.name, "--name", "big-one", "-o", "big.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "machine file: big.yaml" in done.stderr
    assert (tmp_path / "big.yaml").read_text() == printed.stdout
    assert yaml.safe_load(printed.stdout)["machine"] == "big-one"
    again = ktask_sim("import", numactl.name, "-o", "big.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "big.yaml exists; give another file (-o), or --force to overwrite it" in again.stderr
    assert (tmp_path / "big.yaml").read_text() == printed.stdout
    forced = ktask_sim("import", numactl.name, "-o", "big.yaml", "--force", cwd=tmp_path)
    assert forced.returncode == 0
    assert yaml.safe_load((tmp_path / "big.yaml").read_text())["machine"] == "two_nodes"


def test_import_takes_rates_of_a_machine(numactl: Path, tmp_path: Path) -> None:
    """--rates-of says whose rates stand in, and the file says so too; an unknown machine is refused."""
    done = ktask_sim("import", numactl.name, "--rates-of", "laptop-ryzen-4800u", cwd=tmp_path)
    rate = yaml.safe_load(done.stdout)["rates"]["clear_rate"]
    assert rate["value"] == "11.33GB/s"
    assert rate["source"].startswith("not measured: taken from laptop-ryzen-4800u")
    refused = ktask_sim("import", numactl.name, "--rates-of", "laptop", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "found 'laptop'; allowed is a shipped machine" in refused.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("nothing of a machine\n", [], ""),
        ("", [], ""),
        (NUMACTL.replace("node 0 cpus: 0 1 2 3", "node 0 cpus: x"), [], ""),
        (NUMACTL, ["--name", "a name with spaces"], "allowed is a name of letters, digits"),
        (None, [], "does not exist"),
    ],
)
def test_import_refuses(content: str | None, arguments: list[str], words: str, tmp_path: Path) -> None:
    """What is no machine gives a message, status 2, no traceback and no file."""
    if content is not None:
        (tmp_path / "input.txt").write_text(content)
    done = ktask_sim("import", "input.txt", "-o", "out.yaml", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out.yaml").exists()


@pytest.mark.parametrize(
    "options", [["--method", "memset"], ["--memory-share", "0.5"], ["--allow-hugepage-pool"]], ids=lambda o: o[0]
)
def test_options_of_the_host_are_refused_in_a_simulation(options: list[str], scenario: Path, tmp_path: Path) -> None:
    """An option that means nothing in a simulation is refused before anything is run, even with its default."""
    done = ktask_sim("run", str(scenario), *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{options[0]} is of the real backend; add --backend real" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the real backend needs Linux")
def test_validate_refuses_a_machine_without_team(tmp_path: Path) -> None:
    """A machine that was not calibrated says nothing of what threads of Python cost, so it can't be validated."""
    for machine in ("laptop-ryzen-4800u", "no-such-machine"):
        done = ktask_sim("validate", "--backend", "real", "--machine", machine, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
    done = ktask_sim("validate", "--backend", "real", "--machine", "laptop-ryzen-4800u", cwd=tmp_path)
    assert (
        "laptop-ryzen-4800u is not of a calibration (it has no `workers`); `ktask-sim calibrate` makes one"
        in done.stderr
    )
    assert not list(tmp_path.iterdir())
