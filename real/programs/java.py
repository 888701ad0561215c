"""Java, started to say its version: its log tells when the heap is touched, and when that is over.

The G1 collector logs "Running G1 PreTouch with 2 workers for 512 work units pre-touching 2147483648B." as it begins
(gc+heap=debug): first for the heap, then for its own tables, bitmaps and card tables, a 27th of the heap together. The
time is from the line of the heap to the next one, and has no start-up in it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from models.scenario.case import Case
from real.programs.program import Program, Running, options

_STAMPED = re.compile(r"\[(\d+)ns\] (.*)")
_PRETOUCH = re.compile(r"Running G1 PreTouch with \d+ workers for \d+ work units pre-touching (\d+)B\.")


@dataclass(frozen=True)
class JavaProgram(Program):
    """java, of a JDK or JRE from 17 on."""

    client: ClassVar[str] = "jvm_pretouch"
    executable: ClassVar[str] = "java"
    install: ClassVar[str] = (
        "apt install openjdk-17-jre-headless (Debian), dnf install java-17-openjdk-headless (Fedora)"
    )
    has_startup: ClassVar[bool] = False

    def command(self, case: Case) -> list[str]:
        log = ["-XX:+UseG1GC", "-Xlog:gc+heap=debug:stdout:uptimenanos"]
        return [str(self.path), *options(case), *log, "-version"]

    def timing(self, process: Running) -> tuple[float, float | None]:
        lines = list(iter(process.line, ""))
        time_s = pretouch_s(lines)
        if time_s is None:
            raise process.failure()
        return time_s, None


def pretouch_s(lines: Sequence[str]) -> float | None:
    """Return the time in which the heap was touched, by the lines of a log, or None if they don't have it."""
    stamped = [match for line in lines if (match := _STAMPED.match(line))]
    for first, following in itertools.pairwise(stamped):
        if _PRETOUCH.match(first[2]):
            return (int(following[1]) - int(first[1])) / 1e9
    return None
