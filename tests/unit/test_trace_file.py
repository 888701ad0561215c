"""Traces as a file for the viewer of Perfetto.

The viewer's own parser is a binary that its Python package fetches from the network when it is used, so it can't be
part of these tests. They check each event against the documented format (Trace Event Format, JSON object form) instead.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import sim
from models.scenario import Scenario
from sim.cli import cli
from sim.show.trace_file import write_trace

_FIELDS = {  # of each phase: the fields that it must have, and their types; `cname` may be left out
    "X": {"name": str, "cat": str, "ts": float, "dur": float, "pid": int, "tid": int, "args": dict, "cname": str},
    "C": {"name": str, "ts": float, "pid": int, "tid": int, "args": dict},
    "M": {"name": str, "pid": int, "tid": int, "args": dict},
}
_METADATA = {"process_name": "name", "process_sort_index": "sort_index", "thread_name": "name",
             "thread_sort_index": "sort_index"}  # fmt: skip


def check_format(content: dict[str, Any]) -> None:
    """Assert that a document is what the format says: each event, and that slices of a thread nest."""
    assert content["displayTimeUnit"] in ("ms", "ns")
    threads: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in content["traceEvents"]:
        fields = _FIELDS[event["ph"]]
        assert set(event) == {"ph", *fields}, event
        for name, kind in fields.items():
            assert isinstance(event[name], (int, float) if kind is float else kind), event
        if event["ph"] == "M":
            assert list(event["args"]) == [_METADATA[event["name"]]]
        else:
            assert event["ts"] >= 0.0 and math.isfinite(event["ts"])
        if event["ph"] == "C":
            assert event["args"] and all(isinstance(value, (int, float)) for value in event["args"].values())
        if event["ph"] == "X":
            assert event["dur"] >= 0.0
            threads.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for slices in threads.values():
        slices.sort()
        assert all(end <= begin + 1e-6 for (_, end), (begin, _) in pairwise(slices))


@pytest.fixture(scope="module")
def traced() -> sim.Results:
    """Two traced cases, one of them with memory of other nodes."""
    scenario = sim.load(Path(__file__).parents[2] / "scenarios" / "clear_gigantic_page.yaml").with_values(
        {"task.size": "16GiB", "task.pool": "32GiB", "kernel.max_threads": [1, 4], "replications": 1}
    )
    return sim.run(scenario, traces=True)


def test_every_event_is_as_documented(traced: sim.Results, tmp_path: Path) -> None:
    """The file is valid, its slices are those of the trace, and local memory is told from remote."""
    assert write_trace(tmp_path / "t.json", [("simulated", traced)]) == 2
    content = json.loads((tmp_path / "t.json").read_text())
    check_format(content)
    events = content["traceEvents"]
    chunks = [e for e in events if e["ph"] == "X" and e["pid"] % 2 == 1 and e["name"].endswith("chunk")]
    assert {e["name"] for e in chunks} == {"local chunk", "remote chunk"}
    assert traced.traces is not None
    own = traced.traces[traced.traces["kind"] == "chunk"]
    assert sum(e["dur"] for e in chunks) == pytest.approx(1e6 * (own["end_s"] - own["begin_s"]).sum())
    names = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {"caller", "helper 3"} <= names and any(name.startswith("CPU ") for name in names)
    counters = {e["name"] for e in events if e["ph"] == "C"}
    assert "workers" in counters and any(name.startswith("memory of node") for name in counters)
    assert max(e["args"]["at a chunk"] for e in events if e["name"] == "workers") == 4


def test_callers_at_once_have_threads_of_their_own(small_scenario: Scenario, tmp_path: Path) -> None:
    """Where several tasks run at once, the slices of a worker number overlap: none do in the file."""
    scenario = small_scenario.with_values(
        {"task": {"client": "deferred_struct_page_init"}, "replications": 1, "kernel": {"version": "ktask-v4"}}
    )
    write_trace(tmp_path / "t.json", [("boot", sim.run(scenario, traces=True))])
    content = json.loads((tmp_path / "t.json").read_text())
    check_format(content)
    assert any(e["name"] == "thread_name" and e["args"]["name"] == "caller, 2" for e in content["traceEvents"])


def test_command_puts_folders_side_by_side(traced: sim.Results, tmp_path: Path) -> None:
    """`perfetto` writes several folders to one file; a folder without traces is refused with the way to get them."""
    traced.save(tmp_path / "one")
    traced.save(tmp_path / "two")
    out = tmp_path / "both.json"
    done = CliRunner().invoke(cli, ["perfetto", str(tmp_path / "one"), str(tmp_path / "two"), "-o", str(out)])
    assert done.exit_code == 0, done.output
    content = json.loads(out.read_text())
    check_format(content)
    titles = [e["args"]["name"] for e in content["traceEvents"] if e["name"] == "process_name"]
    assert len(titles) == 8 and titles[0].startswith("one, case 0 (1 threads") and titles[-1].startswith("two, case 1")
    plain = tmp_path / "plain.yaml"
    plain.write_text(
        "title: P\nmachine: laptop-ryzen-4800u\ntask: {client: clear_gigantic_page, size: 1GiB}\nkernel: qemu\n"
    )
    run = ["run", str(plain), "--replications", "1", "--jobs", "1", "-o"]
    assert CliRunner().invoke(cli, [*run, str(tmp_path / "p")]).exit_code == 0
    refused = CliRunner().invoke(cli, ["perfetto", str(tmp_path / "p")])
    assert refused.exit_code == 2 and "--trace` keeps them" in refused.output
    assert CliRunner().invoke(cli, [*run, str(tmp_path / "q"), "--trace"]).exit_code == 0
    check_format(json.loads((tmp_path / "q" / "trace.json").read_text()))
