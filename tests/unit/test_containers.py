"""What programs see of a container: its CPUs, or the host's."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.scenario import build_scenario
from models.scenario.case import Case
from models.text.document import parse


def case_of(client: str, kernel: str, group: str) -> Case:
    """Return a job of 31 GiB in a container on a machine with 96 CPUs."""
    text = (
        "title: t\nquestion: q\nmachine: xeon-platinum-8160-2s\n"
        f"groups: {{pod: {{{group}}}}}\ntask: {{client: {client}, size: 31GiB, group: pod}}\nkernel: {{{kernel}}}\n"
    )
    return build_scenario(parse(text, "s"), Path("s")).cases[0]


@pytest.mark.parametrize(
    ("group", "threads"),
    [("quota: 2", 2), ("quota: 2.5", 3), ("cpus: 0-15", 13), ("quota: 3, cpus: 0-1", 2), ("period: 100ms", 63)],
)
def test_java_counts_the_containers_cpus(group: str, threads: int) -> None:
    """8 and 5/8 of the others: 16 CPUs give 8 + 5 = 13 workers, 96 give 8 + 55; a quota is rounded up."""
    assert case_of("jvm_pretouch", "version: jvm", group).n_works == threads


def test_qemu_counts_the_hosts() -> None:
    """16 threads, the most it takes, with a quota of two CPUs."""
    assert case_of("qemu_prealloc", "version: qemu, smp: 64", "quota: 2").n_works == 16


@pytest.mark.parametrize(("java", "threads", "chunks"), [(8, 1, 31), (15, 31, 31), (17, 63, 31 * 256)])
def test_versions_of_java(java: int, threads: int, chunks: int) -> None:
    """Up to 8 one thread; up to 15 chunks of 1 GiB, of which 31 GiB have 31; then 4 MiB."""
    case = case_of("jvm_pretouch", f"version: jvm, java: {java}", "period: 100ms")
    assert case.n_works == threads
    assert len(case.chunk_bytes()) == chunks
