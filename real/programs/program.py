"""Programs that prepare their memory: how each is found, started, timed and ended.

It is started with the options that `ktask-sim advise` prints for its client. Unless it is to have transparent huge
pages it is forbidden them (prctl PR_SET_THP_DISABLE), against the host's setting and the program's own wish.
"""

from __future__ import annotations

import os
import resource
import selectors
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, ClassVar, Self

from models.clients import Advised
from models.scenario.case import Case
from models.text.units import MIB
from real import system_calls

_PATIENCE_S = 120.0  # memory that the hypervisor does not back comes at 0.4 GiB/s; the largest run has 4 GiB
_CPU_CLOCK = 2  # of a process, by its id: CPUCLOCK_SCHED (include/linux/posix-timers.h)


class NoProgramError(ValueError):
    """A program is not installed, or not known."""


class ProgramError(RuntimeError):
    """A program failed, or did not answer."""


@dataclass(frozen=True)
class Timing:
    """One run: the time in which memory was prepared (with the start of the program if `Program.has_startup`).

    `cpu_s` is the CPU time of the process in it, None if not known. `n_faults` are its page faults as a whole.
    """

    time_s: float
    cpu_s: float | None
    n_faults: int


@dataclass(frozen=True)
class Program(ABC):
    """A program that is installed here."""

    path: Path

    client: ClassVar[str]
    executable: ClassVar[str]
    install: ClassVar[str]  # what to do where it is missing
    has_startup: ClassVar[bool]  # its times include its start, which a run with hardly any memory tells
    startup_bytes: ClassVar[int] = 2 * MIB  # memory of such a run

    @classmethod
    def find(cls) -> Self:
        """Return the program as it is installed. Raises NoProgramError with the package to install."""
        found = shutil.which(cls.executable)
        if found is None:
            raise NoProgramError(f"{cls.client} needs {cls.executable}, which is not installed: {cls.install}")
        return cls(Path(found))

    def version(self) -> str:
        """Return the first line in which it says its version. Raises ProgramError."""
        try:
            done = subprocess.run(
                [self.path, "--version"], capture_output=True, text=True, timeout=_PATIENCE_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ProgramError(f"{self.path} --version: {error}") from None
        return done.stdout.partition("\n")[0]

    @abstractmethod
    def command(self, case: Case) -> list[str]:
        """Return the command for a case, which prepares its memory and waits or ends."""

    @abstractmethod
    def timing(self, process: Running) -> tuple[float, float | None]:
        """Return the time of a run that has just been started, and the CPU time in it, as far as known."""

    def memory_bytes(self, case: Case) -> int:
        """Return the memory that a run needs, with the program's own memory but without that in `pool_bytes`."""
        return _beside_bytes(case) + (0 if from_pool(case) else case.size_bytes)

    def pool_bytes(self, case: Case) -> int:
        """Return the bytes that a run needs of the pool of huge pages. Java's tables and code are in such pages too."""
        return case.size_bytes + _beside_bytes(case) if from_pool(case) else 0

    def run(self, case: Case) -> Timing:
        """Run a case once. Nothing of it is left when this returns. Raises ProgramError."""
        with self._started(case) as process:
            time_s, cpu_s = self.timing(process)
        return Timing(time_s, cpu_s, process.n_faults)

    def startup(self, case: Case) -> Timing:
        """Run a case with hardly any memory, to time a start. Raises ProgramError."""
        return self.run(_with_size(case, self.startup_bytes))

    @contextmanager
    def _started(self, case: Case) -> Iterator[Running]:
        parent, thp = os.getpid(), getattr(case.task, "thp", False)

        def prepare() -> None:
            system_calls.end_with_parent(parent)
            if not thp:
                system_calls.forbid_huge_pages()

        begin_s = time.perf_counter()
        try:
            process = subprocess.Popen(
                self.command(case),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=prepare,  # no other thread of this process runs meanwhile
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            raise ProgramError(f"{self.path}: {error.strerror}") from None
        running = Running(process, begin_s)
        try:
            yield running
        finally:
            running.end()


class Running:
    """A program that runs, its output line by line. It is killed if it takes too long."""

    def __init__(self, process: subprocess.Popen[bytes], begin_s: float) -> None:
        self.begin_s = begin_s
        self.n_faults = 0
        self._process = process
        self._name = Path(str(process.args[0] if isinstance(process.args, Sequence) else process.args)).name
        self._faults_before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt

    def line(self) -> str:
        """Return the next line of its output, '' at the end. Raises ProgramError if none comes in time."""
        assert self._process.stdout is not None
        self._wait_for(self._process.stdout)
        return self._process.stdout.readline().decode(errors="replace")

    def cpu_s(self) -> float:
        """Return the CPU time that it has had so far, in seconds."""
        return time.clock_gettime((~self._process.pid << 3) | _CPU_CLOCK)

    def failure(self) -> ProgramError:
        """Return the error for a program that failed, with its last lines."""
        self._process.kill()
        _, said = self._process.communicate()
        words = said.decode(errors="replace").strip().splitlines()
        status = self._process.returncode
        how = f"ended with status {status}" if status != -signal.SIGKILL else "gave no answer that is understood"
        return ProgramError(f"{self._name} {how}: {words[-1] if words else 'it said nothing'}")

    def end(self) -> None:
        """Kill it, wait for it, and count its page faults."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self.n_faults = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - self._faults_before

    def _wait_for(self, stream: IO[bytes]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(max(0.0, self.begin_s + _PATIENCE_S - time.perf_counter())):
                raise ProgramError(f"{self._name} gave no answer for {_PATIENCE_S:.0f} s, and was killed")


def options(case: Case) -> list[str]:
    """Return the options that advise prints for a case. Raises TypeError for a client that has none."""
    if not isinstance(case.task, Advised):
        raise TypeError(f"client {case.task.client} is no program that advice is given for")
    chunk_bytes = case.kernel.chunk_size if case.kernel.rule("chunks") == "fixed" else None
    return case.task.advice_options(case.n_works, chunk_bytes, case.machine, case.kernel).split()


def from_pool(case: Case) -> bool:
    """Return whether the pages of a case are huge ones of hugetlbfs."""
    return case.task.unit_bytes(case.machine) > case.machine.base_page_bytes


def _beside_bytes(case: Case) -> int:
    """Return an estimate of a program's memory beside the memory that it prepares. G1's tables are a 27th of that."""
    return case.size_bytes // 16 + 256 * MIB


def _with_size(case: Case, size_bytes: int) -> Case:
    return replace(case, task=case.task.model_copy(update={"size": size_bytes}))
