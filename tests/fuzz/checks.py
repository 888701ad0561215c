"""What must hold of any input: it is used or refused in the product's own words, soon, and results are finite."""

from __future__ import annotations

import atexit
import contextlib
import io
import math
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import click

from models.files.importers import import_topology, with_memory
from models.files.machine import build_machine, load_machine
from models.files.machine_writer import machine_document, machine_yaml
from models.files.table import NUMBER_COLUMNS, read_cells
from models.loads import Spin
from models.machine import Machine
from models.machine.topology import layout
from models.measured.measurements import read_measurements
from models.results.run import RunResult
from models.scenario import Scenario, build_scenario
from models.scenario.case import Case
from models.text import units
from models.text.cpu_list import format_cpu_list, parse_cpu_list
from models.text.document import locate, parse
from models.text.problems import InputError
from models.text.units import GIB
from sim.cli import given, main
from sim.engine.run import run_case
from sim.runs.executors import _run_batch, processes
from tests.fuzz import generators
from tests.fuzz.speeds import faster_case

HANG_S = 10.0  # of CPU time
_MOST_CHUNKS = 5_000  # of a run that is made, so that an input takes some milliseconds
_MOST_STEPS_BEFORE = 5_000  # of other work, likewise
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
    case = _case(r)
    if isinstance(case, str):
        return case
    check_run(case)
    return "used"


def _case(r: Random) -> Case | str:
    """Return the first case of a drawn scenario, or what became of it. What is refused of a sound one is left out."""
    wild = r.choice((0.0, 0.0, 0.0, 0.05, 0.3))
    try:
        where = build_machine(locate(generators.machine(r)), "drawn")
    except InputError:
        return "refused"
    document = generators.scenario(r, where, wild) | {"machine": where.name}
    for _ in range(1 if wild else 4):
        try:
            case = build_scenario(locate(document), _HERE, machine=where).cases[0]
            break
        except InputError as error:
            for problem in error.problems:
                _leave_out(document, problem.path.split("."))
    else:
        return "refused"
    long = case.least_chunks > _MOST_CHUNKS or case.n_steps_before > _MOST_STEPS_BEFORE
    if long or case.size_bytes > 8 * GIB:  # the prompt says so before it starts (`note_long_runs`)
        return "read"
    return case


def _leave_out(document: Any, path: list[str]) -> None:
    *way, last = path
    for key in way:
        document = document.get(key) if isinstance(document, dict) else None
    if isinstance(document, dict):
        document.pop(last, None)


def check_run(case: Case) -> None:
    """Run a case, and again in other ways.

    The same digits twice; all finite; all bytes done once; nothing above its capacity; work that never comes changes
    no digit; everything twice as fast takes half as long alone, and no longer beside others.
    """
    first = run_case(case, 0, with_slices=True)
    assert repr(first) == repr(run_case(case, 0, with_slices=True)), "the same seed gave something else"
    for name in ("time_s", "cpu_s", "imbalance"):
        assert math.isfinite(getattr(first, name)), name
        assert getattr(first, name) >= 0, name
    for name, used in first.utilisation.items():
        assert -1e-9 <= used <= 1 + 1e-6, (name, used)
    _check_chunks(first)
    never = Spin.model_validate({"load": "spin", "start": "1000h", "threads": 3, "cpu_time": "1us"})
    beside = run_case(replace(case, background={**case.background, "never": never}), 0, with_slices=True)
    for name in ("time_s", "cpu_s", "imbalance", "workers", "utilisation", "slices"):
        assert getattr(first, name) == getattr(beside, name), f"work that never comes changes {name}"
    fast_s = run_case(faster_case(case), 0).time_s
    if case.background or case.groups or any(worker.cpu_wait_s for worker in first.workers):
        # Ticks, base slices and balancing have times of their own: a run beside others may fall otherwise.
        assert fast_s <= first.time_s * (1 + 1e-9), "twice as fast is slower"
    else:
        assert math.isclose(fast_s, first.time_s / 2, rel_tol=1e-6), "twice as fast does not take half as long"


def _check_chunks(result: RunResult) -> None:
    chunks: dict[int, list[tuple[int, int]]] = {}
    for piece in result.slices:
        if piece.kind == "chunk" and piece.start_bytes is not None and piece.size_bytes is not None:
            chunks.setdefault(piece.task, []).append((piece.start_bytes, piece.size_bytes))
            assert piece.end_s >= piece.begin_s >= 0
    for task, found in chunks.items():
        end = min(found)[0]  # a task of struct pages begins where their memory does
        for start, size in sorted(found):
            assert start >= end, f"task {task}: bytes from {start} were done twice"
            assert start == end or "n_failed" in result.extra, f"task {task}: bytes from {end} were left out"
            end = start + size


def _in_other_processes(r: Random) -> str:
    """A scenario has the same digits in this process and in another, whose hashes are others."""
    case = _case(r)
    if isinstance(case, str):
        return case
    (there,), _ = _other().submit(_run_batch, [case], [(0, 0, True)]).result()
    assert repr(there) == repr(run_case(case, 0, with_slices=True)), "another process, other digits"
    return "used"


@cache
def _other() -> ProcessPoolExecutor:
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(processes(1))


def value(r: Random) -> str:
    """A quantity of any unit, a CPU list or a scalar is read as a finite number, or refused."""
    said, read = generators.words(r), "refused"
    for name in ("size", "time", "rate", "power", "traffic_energy"):
        with contextlib.suppress(ValueError):
            number = getattr(units, f"parse_{name}")(said)
            assert math.isfinite(number) and number >= 0
            read = "used"
    with contextlib.suppress(ValueError):
        found = parse_cpu_list(said)
        assert parse_cpu_list(format_cpu_list(found)) == found
        read = "used"
    return read


def text(r: Random) -> str:
    """A text is YAML with every place, or refused; what it says is a scenario or machine, or refused."""
    try:
        found = parse(generators.text(r), "drawn")
        if found.has(("nodes",)):
            build_machine(found, "drawn")
        else:
            build_scenario(found, _HERE, machine=_laptop())
    except InputError as error:
        _check_message(error)
        return "refused"
    return "used"


def prompt(r: Random) -> str:
    """Values at the prompt stand in place of a scenario's, or are refused."""
    try:
        values = dict(given._of_prompt(generators.assignment(r)) for _ in range(r.randint(1, 3)))
        _plain_scenario().with_values({at: found.plain() for at, found in values.items()})
    except InputError as error:
        _check_message(error)
        return "refused"
    except click.ClickException:
        return "refused"
    return "used"


def _check_message(error: InputError) -> None:
    for problem in error.problems:
        said = str(problem)
        assert said.isprintable() and len(said) < 21_000, said[:200]
        said.encode()  # no lone surrogates


@cache
def _laptop() -> Machine:
    return load_machine("laptop-ryzen-4800u")


@cache
def _plain_scenario() -> Scenario:
    task = {"client": "clear_gigantic_page", "size": "4GiB"}
    return build_scenario(
        locate(
            {
                "title": "t",
                "machine": "laptop-ryzen-4800u",
                "task": task,
                "kernel": "ktask-v4",
                "replications": 1,
                "seed": 1,
            }
        ),
        _HERE,
    )


def arguments(r: Random) -> str:
    """Arguments of any command are understood, or refused by its options."""
    name, found = generators.arguments(r)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            generators.commands()[name].make_context(name, found)
        except click.ClickException as error:
            error.format_message().encode("utf-8", "surrogateescape")
            return "refused"
        except click.exceptions.Exit:
            return "used"
    return "used"


def command(r: Random) -> str:
    """A whole command on any file ends with status 0, 1 or 2, and with words where that is not 0."""
    said, content = generators.command(r)
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").write_bytes(content)
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main(said)
        except SystemExit as end:
            assert end.code in (0, None, 1, 2, 3), (said, end.code)
            assert not end.code or err.getvalue() or out.getvalue(), said
            return "used" if not end.code else "refused"
        finally:
            os.chdir(before)
    return "used"


def table(r: Random) -> str:
    """A table is read, with finite numbers, or refused."""
    path = _folder() / "t.csv"
    path.write_text(generators.table(r), encoding="utf-8", newline="")
    try:
        cells = read_cells(path)
        for column in NUMBER_COLUMNS.keys() & set(cells.columns):
            assert all(math.isfinite(float(number)) for number in cells[column].dropna())
        read_measurements(path, _laptop(), r.choice(("populate", "vfio_pin", "inode_eviction")))
    except (InputError, ValueError) as error:
        assert str(error).isprintable() or "\n" in str(error)
        return "refused"
    return "used"


@cache
def _folder() -> Path:
    kept = tempfile.TemporaryDirectory()
    atexit.register(kept.cleanup)
    return Path(kept.name)


def topology(r: Random) -> str:
    """A topology becomes a machine file that describes it, or is refused."""
    name, content = generators.topology(r)
    path = _folder() / name
    path.write_bytes(content)
    try:
        found = import_topology(path)
    except InputError:
        return "refused"
    finally:
        path.unlink()
    if r.random() < 0.8:  # to write a machine file takes ten times as long as to read a topology
        return "read"
    found = found if any(node.memory_bytes for node in found.nodes) else with_memory(found, [GIB] * len(found.nodes))
    try:
        text = machine_yaml(machine_document(found, "drawn"))
        built = build_machine(parse(text, "drawn"), "drawn")
    except InputError:  # more nodes or CPUs than a machine file may have
        return "refused"
    # What memory of a node takes is added by the writer, from its kind.
    assert tuple(replace(node, memory_bytes_per_s=None) for node in built.nodes) == found.nodes
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
    "value": value, "text": text, "prompt": prompt, "arguments": arguments, "machine": machine, "table": table,
    "topology": topology, "scenario": scenario, "process": _in_other_processes, "command": command, "advice": advice,
}  # fmt: skip
