"""Sums of floats: those of results are the same on every Python, whose own sum() is compensated from 3.12 on."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from random import Random
from typing import Any

import pytest

from models.files.machine import build_machine
from models.scenario import build_scenario
from models.text.document import locate
from models.text.problems import InputError
from sim.engine.run import run_case
from tests.fuzz import generators

_HERE = Path("test")
SCENARIOS = (
    {
        "machine": "xeon-platinum-8160-2s",
        "task": {"client": "vfio_pin", "size": "3GiB"},
        "kernel": {"version": "ktask-v4", "max_threads": 7},
        "background": {"other": {"load": "spin", "threads": 3, "cpu_time": "10ms"}},
    },
    {
        "machine": "epyc-7742-2s-nps4",
        "task": {"client": "clear_gigantic_page", "size": "9GiB"},
        "kernel": {"version": "padata-5.8", "max_threads": 5},
    },
)


def _naive(items: Iterable[Any], /, start: Any = 0) -> Any:
    return reduce(operator.add, items, start)


def _exact(items: Iterable[Any], /, start: Any = 0) -> Any:
    found = list(items)
    return math.fsum([start, *found]) if any(isinstance(item, float) for item in found) else _naive(found, start)


@pytest.mark.parametrize("document", SCENARIOS, ids=lambda document: document["task"]["client"])
def test_no_result_hangs_on_the_kind_of_sum(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With sum() added up in order, as before Python 3.12, and exactly, results have the same digits."""
    (case,) = build_scenario(locate({"title": "t", "replications": 1, "seed": 1} | document), _HERE).cases
    found = []
    for kind in (_naive, _exact):
        monkeypatch.setattr(builtins, "sum", kind)
        found.append(run_case(case, 0))
        monkeypatch.undo()
    assert repr(found[0]) == repr(found[1])


def test_drawn_scenarios_have_the_same_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for scenarios drawn at random, of any client, policy and other work."""
    n_compared = 0
    for i in range(60):
        r = Random(f"sums {i}")
        try:
            where = build_machine(locate(generators.machine(r)), "drawn")
            case = build_scenario(locate(generators.scenario(r, where)), _HERE, machine=where).cases[0]
        except InputError:
            continue
        if case.least_chunks > 500:
            continue
        found = []
        for kind in (_naive, _exact):
            monkeypatch.setattr(builtins, "sum", kind)
            found.append(repr(run_case(case, 0)))
            monkeypatch.undo()
        assert found[0] == found[1], i
        n_compared += 1
    assert n_compared > 10
