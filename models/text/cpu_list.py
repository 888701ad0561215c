"""CPU lists as Linux writes them: "0-3,8,10-11"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from models.text.units import describe

MAX_CPU_ID = 16_383  # well above what Linux can number (8192 CPUs on x86, NR_CPUS in arch/x86/Kconfig)

_ALLOWED = 'a list of CPUs as Linux writes it, such as "0,144" or "0-3"'


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Return the CPU (or node) numbers of a list, ascending. An empty text is no CPU. Raises ValueError."""
    found: set[int] = set()
    for part in text.split(",") if text.strip() else []:
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        if not match:
            raise ValueError(f"found {describe(text)}; allowed is {_ALLOWED}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"found {describe(text)}, in which {part.strip()} runs backwards; allowed is {_ALLOWED}")
        if last > MAX_CPU_ID:
            raise ValueError(f"found {describe(text)}; allowed are numbers up to {MAX_CPU_ID}")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def format_cpu_list(numbers: Iterable[int]) -> str:
    """Return numbers as a list with ranges, ascending: "0-2,8". Two neighbours stay apart, as "0,1"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(str(number) for number in run) for run in runs]
    return ",".join(parts)


def _core(value: Any) -> tuple[int, ...]:
    """Return the hardware threads of a core in a file: a CPU list, or one number."""
    try:
        number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not number and not (isinstance(value, str) and value.strip()):
            raise ValueError(f"found {describe(value)}; allowed is {_ALLOWED}")
        return parse_cpu_list(str(value))
    except ValueError as error:
        raise PydanticCustomError("quantity", "{problem}", {"problem": str(error)}) from None


def _cpus(value: Any) -> tuple[int, ...]:
    return () if isinstance(value, str) and not value.strip() else _core(value)


CpuList = Annotated[
    tuple[int, ...],
    BeforeValidator(_cpus),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^[-0-9, ]*$"}, {"type": "integer", "minimum": 0}]}),
]
CoreCpus = Annotated[
    tuple[int, ...],
    BeforeValidator(_core),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": "^[-0-9, ]+$"}, {"type": "integer", "minimum": 0}],
            "description": "the hardware threads of a core",
        }
    ),
]
