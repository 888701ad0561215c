"""What must hold of any input: it is used or refused in the product's own words, soon, and results are finite."""

from __future__ import annotations

import contextlib
import io
import math
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from models.files.importers import import_topology, with_memory
from models.files.machine import build_machine, load_machine
from models.files.machine_writer import machine_document, machine_yaml
from models.files.table import NUMBER_COLUMNS, read_cells
from models.machine.topology import layout
from models.measured.measurements import read_measurements
from models.results.run import RunResult
from models.scenario import build_scenario
from models.scenario.case import Case
from models.text.document import locate, parse
from models.text.problems import InputError
from models.text.units import GIB
from sim.cli import main
from sim.engine.run import run_case
from tests.fuzz import generators

HANG_S = 10.0  # of CPU time
_MOST_CHUNKS = 5_000  # of a run that is made, so that an input takes some milliseconds
_HERE = Path("drawn.yaml")


class Hang(BaseException):
    """An input takes too long."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise Hang in what takes more than HANG_S of CPU time."""

    def stop(*_: Any) -> None:
        raise Hang(f"more than {HANG_S} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def machine(r: Random) -> str:
    """A machine file is built or refused."""
    try:
        build_machine(locate(generators.machine(r, r.choice((0.0, 0.05, 0.3)))), "drawn")
    except InputError:
        return "refused"
    return "used"


def scenario(r: Random) -> str:
    """A scenario is run or refused; what is run keeps the rules of `check_run`."""
    wild = r.choice((0.0, 0.0, 0.05, 0.3))
    try:
        where = build_machine(locate(generators.machine(r)), "drawn")
        built = build_scenario(locate(generators.scenario(r, where, wild)), _HERE, machine=where)
    except InputError:
        return "refused"
    case = built.cases[0]
    if case.least_chunks > _MOST_CHUNKS or case.size_bytes > 8 * GIB:
        return "read"
    check_run(case)
    return "used"


def check_run(case: Case) -> None:
    """Run a case twice: the same digits, all finite, nothing done twice, nothing above its capacity."""
    first = run_case(case, 0, with_slices=True)
    assert repr(first) == repr(run_case(case, 0, with_slices=True)), "the same seed gave something else"
    for name in ("time_s", "cpu_s", "imbalance"):
        assert math.isfinite(getattr(first, name)), name
        assert getattr(first, name) >= 0, name
    for name, used in first.utilisation.items():
        assert -1e-9 <= used <= 1 + 1e-6, (name, used)
    _check_chunks(first)


def _check_chunks(result: RunResult) -> None:
    chunks: dict[int, list[tuple[int, int]]] = {}
    for piece in result.slices:
        if piece.kind == "chunk" and piece.start_bytes is not None and piece.size_bytes is not None:
            chunks.setdefault(piece.task, []).append((piece.start_bytes, piece.size_bytes))
            assert piece.end_s >= piece.begin_s >= 0
    for task, found in chunks.items():
        end = 0
        for start, size in sorted(found):
            assert start >= end, f"task {task}: bytes from {start} were done twice"
            end = start + size


def table(r: Random) -> str:
    """A table is read, with finite numbers, or refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(generators.table(r), encoding="utf-8", newline="")
        try:
            cells = read_cells(path)
            for column in NUMBER_COLUMNS.keys() & set(cells.columns):
                assert all(math.isfinite(float(number)) for number in cells[column].dropna())
            read_measurements(
                path, load_machine("laptop-ryzen-4800u"), r.choice(("populate", "vfio_pin", "inode_eviction"))
            )
        except (InputError, ValueError) as error:
            assert str(error).isprintable() or "\n" in str(error)
            return "refused"
    return "used"


def topology(r: Random) -> str:
    """A topology becomes a machine file that describes it, or is refused."""
    name, content = generators.topology(r)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            found = import_topology(path)
        except InputError:
            return "refused"
    found = found if any(node.memory_bytes for node in found.nodes) else with_memory(found, [GIB] * len(found.nodes))
    try:
        text = machine_yaml(machine_document(found, "drawn"))
        built = build_machine(parse(text, "drawn"), "drawn")
    except InputError:  # more nodes or CPUs than a machine file may have
        return "refused"
    assert built.nodes == found.nodes
    assert layout(built.cpus) == layout(found.cpus)
    return "used"


def advice(r: Random) -> str:
    """Arguments of advise are answered, or refused with status 2."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(generators.advice(r))
        except SystemExit as end:
            assert end.code in (0, None, 2), end.code
            return "used" if not end.code else "refused"
    return "used"


KINDS: dict[str, Callable[[Random], str]] = {
    "machine": machine, "scenario": scenario, "table": table, "topology": topology, "advice": advice,
}  # fmt: skip
