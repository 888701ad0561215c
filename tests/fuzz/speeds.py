"""A case with everything twice as fast: rates doubled, times halved, all else as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel

from models.machine import Machine, Node
from models.memory.figures import PageFigures
from models.scenario.case import Case

M = TypeVar("M", bound=BaseModel)
_RATES = ("clear_bytes_per_s", "serial_clear_bytes_per_s", "memory_bytes_per_s", "cache_bytes_per_s")


def faster(model: M, times: float = 2.0) -> M:
    """Return a model with each time divided and each rate multiplied."""
    powers = _powers(type(model))
    values = {name: getattr(model, name) for name in powers}
    changed = {name: value * times ** powers[name] for name, value in values.items() if value is not None}
    return model.model_copy(update=changed)


@cache
def _powers(model: type[BaseModel]) -> Mapping[str, int]:
    """Return for each rate of a model 1 and for each time -1, by the units that its schema tells."""
    found = {}
    for name, schema in model.model_json_schema()["properties"].items():
        pattern = " ".join(part.get("pattern", "") for part in (schema, *schema.get("anyOf", ())))
        if "B/s" in pattern or name.endswith("_per_s"):
            found[name] = 1
        elif "|min|h" in pattern:
            found[name] = -1
    return found


def faster_machine(machine: Machine, times: float = 2.0) -> Machine:
    """Return a machine with all rates multiplied, and with every figure of a page's life in it."""
    rates = {name: value * times for name in _RATES if (value := getattr(machine.rates, name)) is not None}
    figures = PageFigures().model_copy(update=dict(machine.pages))
    return replace(
        machine,
        rates=replace(machine.rates, **rates),
        nodes=tuple(_faster_node(node, times) for node in machine.nodes),
        links=tuple(replace(link, rate_bytes_per_s=link.rate_bytes_per_s * times) for link in machine.links),
        pages={name: getattr(faster(figures, times), name) for name in PageFigures.model_fields},
    )


def _faster_node(node: Node, times: float) -> Node:
    own = node.memory_bytes_per_s
    return node if own is None else replace(node, memory_bytes_per_s=own * times)


def faster_case(case: Case, times: float = 2.0) -> Case:
    """Return a case with machine, job, kernel, groups and other work so many times as fast."""
    task: Any = faster(case.task, times)
    if hasattr(task, "costs"):
        task = task.model_copy(update={"costs": faster(case.task.costs_on(case.machine), times)})
    return replace(
        case,
        machine=faster_machine(case.machine, times),
        task=task,
        kernel=faster(case.kernel, times),
        background={name: faster(load, times) for name, load in case.background.items()},
        groups={name: faster(group, times) for name, group in case.groups.items()},
    )
