"""Each traced boot is reproduced, decision by decision; a planted difference is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from models.files.kernel_trace import KernelTrace, read_kernel_trace
from models.files.machine import build_machine
from models.files.machine_writer import machine_document
from models.machine import Machine
from models.text.document import locate
from sim.cli import main
from sim.compare.kernel import KernelComparison, compare_trace, describe_comparison

TRACES = sorted((Path(__file__).parent / "traces").glob("*.txt"))
PLAIN = Path(__file__).parent / "traces" / "linux-6.18-2-nodes-alloc-threads.txt"


def machine_of(trace: KernelTrace) -> Machine:
    """The machine of a trace, with rates that mean nothing here."""
    assert trace.topology is not None
    return build_machine(locate(machine_document(trace.topology, "traced")), "traced")


def compared(path: Path) -> KernelComparison:
    """A trace beside its simulation."""
    trace = read_kernel_trace(path)
    return compare_trace(trace, machine_of(trace))


def changed(tmp_path: Path, change: Callable[[str], str]) -> Path:
    """A trace with something changed in it."""
    text = PLAIN.read_text()
    path = tmp_path / "changed.txt"
    path.write_text(change(text))
    assert path.read_text() != text
    return path


def test_a_machine_may_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace without its machine asks for it; with numactl -H beside it, all is the same but where nodes begin."""
    bare = tmp_path / "bare.txt"
    kept = [line for line in PLAIN.read_text().splitlines() if not re.search(r"/node\d|node +\d: \[mem", line)]
    bare.write_text("\n".join(kept))
    with pytest.raises(SystemExit) as ended:
        main(["trace", str(bare)])
    assert ended.value.code == 2
    assert "does not tell the machine; give --machine" in capsys.readouterr().err
    nodes = tmp_path / "numactl.txt"
    nodes.write_text(
        "available: 2 nodes (0-1)\nnode 0 cpus: 0 1 2 3\nnode 0 size: 2970 MB\nnode 1 cpus: 4 5 6 7\n"
        "node 1 size: 2000 MB\nnode distances:\nnode 0 1\n0: 10 20\n1: 20 10\n"
    )
    figure = tmp_path / "timeline.png"
    with pytest.raises(SystemExit) as ended:
        main(["trace", str(bare), "--machine", str(nodes), "-o", str(figure)])
    said = capsys.readouterr().out
    assert (ended.value.code, "20 decisions, all the same" in said) == (0, True), said
    assert figure.stat().st_size > 10_000


def test_there_are_traces_of_many_kernels_and_machines() -> None:
    """At least 30 traces of 4 kernels; the number is the one in VALIDATION.md."""
    kernels = {path.name.split("-")[1] for path in TRACES}
    assert len(TRACES) >= 30 and len(kernels) >= 4


@pytest.mark.parametrize("path", TRACES, ids=[path.stem for path in TRACES])
def test_every_decision_is_the_kernels(path: Path) -> None:
    """Tasks, threads, chunks, where they begin and how large they are: all as the kernel decided."""
    comparison = compared(path)
    assert len(comparison.rows) >= 3
    assert comparison.differences.to_string() == comparison.differences.iloc[:0].to_string()


@pytest.mark.parametrize(
    ("pattern", "new", "what"),
    [
        (r"end_pfn=0x110000(.*\n)", r"end_pfn=0x118000\1", "sizes"),  # a chunk of another size
        (r".*hugetlb_pages_alloc_boot_node\(start=0x3fc.*\n", "", "chunks"),  # the remainder is missing
        (r".*kworker.*padata_mt_helper.*\n.*start=0x154,.*\n", "", "threads"),  # a helper is missing
        (r"hugepages=1024", "hugepages=2048", "sizes"),
        (r"hugepage_alloc_threads=6", "hugepage_alloc_threads=5", "threads"),
        (r"start_pfn=0x108000,", "start_pfn=0x108800,", "first page"),
    ],
)
def test_a_planted_difference_is_told(tmp_path: Path, pattern: str, new: str, what: str) -> None:
    """What was changed in a trace is in the table of differences, and the last line counts it."""
    comparison = compared(changed(tmp_path, lambda text: re.sub(pattern, new, text, count=1)))
    assert what in set(comparison.differences["what"])
    said = describe_comparison(comparison)
    assert f"{len(comparison.differences)} of them differ" in said and "differs" in said
