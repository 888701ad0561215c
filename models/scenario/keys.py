"""Scenario files: the keys of a scenario, their allowed values, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from models.clients import CLIENTS, Client
from models.kernels import VERSIONS, Kernel
from models.loads import LOADS, Load
from models.loads.groups import Group
from models.text.checks import Checker, FileKeys, validate
from models.text.document import KeyPath, Located
from models.text.problems import InputError

SHARED: tuple[KeyPath, ...] = (
    ("title",),
    ("question",),
    ("compare_with",),
    ("task", "zones"),
)  # all cases have the same of these

_TAKEN = ("published", "job")  # what its columns would be called, others are
_NAME, _NAME_WORDS = (
    r"[A-Za-z][A-Za-z0-9_-]{0,39}",
    f"allowed are letters, digits, - and _, a letter first, 40 at most, and not {' or '.join(_TAKEN)}",
)


class ScenarioFile(FileKeys):
    """A scenario file."""

    title: Annotated[str, StringConstraints(strip_whitespace=True), Field(min_length=1, description="its heading")]
    question: Annotated[
        str,
        StringConstraints(strip_whitespace=True),
        Field(min_length=1, description="question that the scenario answers; may be left out"),
    ] = ""
    machine: Annotated[str, Field(description="a shipped machine, or the path of a machine file")]
    task: Annotated[Client, Field(description="the job")]
    kernel: Annotated[Kernel, Field(description="a version, or a version and its changed keys")]
    background: Annotated[
        dict[str, Any], Field(description="other work on the machine, each by a name of its own; default none")
    ] = {}
    groups: Annotated[
        dict[str, Any], Field(description="cgroups that the job and other work may be in, by name; default none")
    ] = {}
    replications: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of all random streams")] = 1
    compare_with: Annotated[
        str | None, Field(description="a published table (a shipped name, or the path of a CSV file)")
    ] = None


@cache
def scenario_model(client: str | None, version: str | None) -> type[ScenarioFile]:
    """Return the model of a scenario file with this client and kernel version, or one that refuses unknown names."""
    task = CLIENTS.get(client or "") or _one_of(Client, "client", CLIENTS)
    kernel = VERSIONS.get(version or "") or _one_of(Kernel, "version", VERSIONS)
    return _scenario_model(task, kernel)


def _scenario_model(task: Any, kernel: Any) -> type[ScenarioFile]:
    parts: dict[str, Any] = {
        name: (Annotated[kind, Field(description=ScenarioFile.model_fields[name].description)], ...)
        for name, kind in (("task", task), ("kernel", kernel))
    }
    return create_model("ScenarioFile", __base__=ScenarioFile, **parts)


def _one_of(base: type[BaseModel], key: str, names: Iterable[str]) -> type[BaseModel]:
    """Return a stand-in for a part whose `key` is missing or unknown. Only that key is found wrong with it."""
    words: Any = Literal[tuple(names)]
    free = type("_Free", (base,), {"model_config": ConfigDict(extra="allow"), "__module__": __name__})
    field: Any = (Annotated[words, Field(description=base.model_fields[key].description)], ...)
    return create_model(base.__name__, __base__=free, **{key: field})


def read_loads(document: Located, check: Checker) -> dict[str, Load]:
    """Return the other work of a document by name, as far as it can be read. `check` gets the problems."""
    kind = document.mapping("background").get("load")
    if kind is not None and not isinstance(kind.value, dict):
        message = (
            "found a load without a name; allowed is a name for each, such as "
            'background: {other: {load: spin, cpus: "1"}}; for no load, background: {} or threads: 0'
        )
        check.problem(("background",), message)
        return {}

    def of_one(part: Located) -> Any:
        kind = part.value.get("load") if isinstance(part.value, dict) else None
        return LOADS.get(str(kind.value) if kind is not None else "") or _one_of(Load, "load", LOADS)

    return _parts(document, "background", of_one, check)


def read_groups(document: Located, check: Checker) -> dict[str, Group]:
    """Return the cgroups of a document by name, as far as they can be read."""
    return _parts(document, "groups", lambda _part: Group, check)


def _parts(document: Located, key: str, of_one: Callable[[Located], Any], check: Checker) -> dict[str, Any]:
    """Return the parts of a mapping from names of their own, each as its model."""
    found: dict[str, Any] = {}
    for name, part in document.mapping(key).items():
        if not re.fullmatch(_NAME, name) or name in _TAKEN:
            check.problem((key, name), f"found the name {name!r}; {_NAME_WORDS}", of_key=True)
        try:
            found[name] = validate(of_one(part), part, check.file, (key, name))
        except InputError as error:
            check.problems += error.problems
    return found


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file: each value may be a list, and `kernel` a version's name."""
    every = _scenario_model(
        Annotated[Union[tuple(CLIENTS.values())], Field(discriminator="client")],  # noqa: UP007
        Annotated[Union[tuple(VERSIONS.values())], Field(discriminator="version")],  # noqa: UP007
    )
    loads: Any = Annotated[Union[tuple(LOADS.values())], Field(discriminator="load")]  # noqa: UP007
    parts: dict[str, Any] = {
        name: (Annotated[kind, Field(description=ScenarioFile.model_fields[name].description)], {})
        for name, kind in (("background", dict[str, loads]), ("groups", dict[str, Group]))
    }
    every = create_model("ScenarioFile", __base__=every, **parts)
    schema = every.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        for key, value in part.get("properties", {}).items():
            if (key,) not in SHARED:
                hint = {k: value.pop(k) for k in ("description", "default", "title") if k in value}
                names = [{"enum": list(VERSIONS)}] if key == "kernel" else []
                part["properties"][key] = {
                    **hint,
                    "anyOf": [value, *names, {"type": "array", "items": {"anyOf": [value, *names]}}],
                }
    return schema
