"""A scenario as it is given at the prompt: a file or a shipped name, and other values for its keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from models.clients import CLIENTS
from models.files.machine import shipped_machines
from models.files.shipped import find_scenario_file, shipped_files
from models.kernels import VERSIONS
from models.scenario import Scenario, load_scenario
from models.scenario.keys import scenario_model
from models.text.document import Located, format_path, parse, read
from models.text.problems import InputError, Problem

F = TypeVar("F", bound=Callable[..., Any])

_RANGE = re.compile(r"(\d{1,6})-(\d{1,6})")
_MOST_IN_RANGE = 4096
_AT_PROMPT = "ktask-sim"
_WHOLE = ("cpus",)  # keys whose value is a list of CPUs as it stands: 0-3,8


def scenario_arguments(command: F) -> F:
    """Add the arguments of every command on a scenario: SCENARIO, PATH=VALUE ..., and --set FILE."""
    for option in (
        click.option("--set", "set_file", type=click.Path(path_type=Path), metavar="FILE",
                     help="Values in place of the scenario's: a YAML file with those of its keys that differ."),
        click.argument("values", nargs=-1, metavar="[PATH=VALUE]...", shell_complete=_complete_value),
        click.argument("scenario", metavar="SCENARIO", shell_complete=_complete_scenario),
    ):  # fmt: skip
        command = option(command)
    return command


def read_scenario(name: str, values: Sequence[str] = (), set_file: Path | None = None) -> Scenario:
    """Return a scenario with other values: a path or shipped name, `PATH=VALUE` texts, and a file of values.

    A value is YAML. Commas make a list, and 1-16 the whole numbers from 1 to 16, but for a list of CPUs. Values at the
    prompt go before values in the file. Raises InputError with all problems, each at its place, and UsageError for a
    text without `=`.
    """
    try:
        path = find_scenario_file(name)
    except ValueError as error:
        raise click.UsageError(f"SCENARIO: {error}") from None
    given: dict[str, tuple[str, Located]] = {}
    if set_file is not None:
        given |= {at: (str(set_file), value) for at, value in _of_file(set_file)}
    for text in values:
        at, value = _of_prompt(text)
        given[at] = (_AT_PROMPT, value)
    scenario = load_scenario(path)
    if not given:
        return scenario
    try:
        return scenario.with_values({at: value.plain() for at, (_, value) in given.items()})
    except InputError as error:
        raise InputError(_placed(problem, given) for problem in error.problems) from None


def stem_of(name: str) -> str:
    """Return the name of a scenario for its results: the file's, without folder and suffix."""
    return Path(name).stem


def _of_file(path: Path) -> Iterator[tuple[str, Located]]:
    """Yield the values of a file by their path. A list is one value. Raises InputError."""
    document = read(path)
    if not isinstance(document.value, dict):
        message = "allowed is a mapping with keys of a scenario, such as `task: {size: 8GiB}`"
        raise InputError([Problem(str(path), document.line, document.column, "", message)])
    stack: list[tuple[tuple[str, ...], Located]] = [((), document)]
    while stack:
        at, here = stack.pop()
        if isinstance(here.value, dict) and (here.value or not at):
            stack += [((*at, key), item) for key, item in reversed(list(here.value.items()))]
        else:
            yield ".".join(at), here


def _of_prompt(text: str) -> tuple[str, Located]:
    """Return path and value of a text such as kernel.max_threads=1,2,4. Raises UsageError or InputError."""
    at, sign, value = text.partition("=")
    if not sign or not at.strip():
        raise click.UsageError(f"found {text!r}; allowed is PATH=VALUE, such as kernel.max_threads=1,2,4")
    at = at.strip()
    if at.rpartition(".")[2] in _WHOLE and not value.lstrip().startswith("["):
        return at, Located(value.strip(), 0, 0)
    if not value.lstrip().startswith(("[", "{", '"', "'")) and "," in value:
        value = f"[{value}]"
    place = f"{_AT_PROMPT} {text if len(text) <= 80 else text[:77] + '...'}"
    found = parse(f"- {value}", place) if value.strip() else Located([Located("", 0, 0)], 0, 0)
    return at, _spread(found.value[0], text)


def _spread(value: Located, text: str) -> Located:
    """Return a value with each range as the numbers of it. Raises UsageError for one that is none, or too long."""
    items = value.value if isinstance(value.value, list) else [value]
    numbers: list[Located] = []
    for item in items:
        match = _RANGE.fullmatch(item.value) if isinstance(item.value, str) else None
        if match is None:
            numbers.append(item)
            continue
        first, last = int(match[1]), int(match[2])
        if not first <= last < first + _MOST_IN_RANGE:
            raise click.UsageError(
                f"{text}: found the range {item.value}; allowed is FIRST-LAST, at most {_MOST_IN_RANGE:,} numbers"
            )
        numbers += [replace(item, value=number) for number in range(first, last + 1)]
    return numbers[0] if len(numbers) == 1 and not isinstance(value.value, list) else replace(value, value=numbers)


def _placed(problem: Problem, given: dict[str, tuple[str, Located]]) -> Problem:
    """Return a problem with the place where its value was given, if that was not the scenario's file."""
    keys = problem.path.split(".")
    for n in range(len(keys), 0, -1):
        at = ".".join(keys[:n]).partition("[")[0]
        if at in given:
            file, value = given[at]
            line, column = (value.line, value.column) if file != _AT_PROMPT else (0, 0)
            return replace(problem, file=file, line=line, column=column)
    return problem


def _complete_scenario(_context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    names = [CompletionItem(name) for name in shipped_files("scenarios") if name.startswith(start)]
    return [*names, CompletionItem(start, type="file")]


def _complete_value(context: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
    """Return the paths that may be set, and for some of them the words that may stand there."""
    at, sign, begun = start.partition("=")
    if sign:
        known = {"machine": shipped_machines(), "task.client": tuple(CLIENTS), "kernel.version": tuple(VERSIONS)}
        known["kernel"] = known["kernel.version"]
        return [f"{at}={word}" for word in known.get(at, ()) if word.startswith(begun)]
    return [f"{path}=" for path in _paths(context.params.get("scenario")) if path.startswith(start)]


def _paths(name: str | None) -> list[str]:
    """Return the paths of the keys that a scenario may have, with the client and kernel of this one."""
    client = version = None
    if name is not None:
        try:
            first = load_scenario(find_scenario_file(name)).cases[0]
            client, version = first.task.client, first.kernel.version
        except (InputError, ValueError):
            pass
    model = scenario_model(client, version).model_fields
    paths = []
    for key, field in model.items():
        inner = getattr(field.annotation, "model_fields", None)
        paths += [format_path((key, part)) for part in inner] if inner else [key]
    return paths


def complete_machine(_context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Complete the name of a shipped machine, or a file."""
    names = [CompletionItem(name) for name in shipped_machines() if name.startswith(start)]
    return [*names, CompletionItem(start, type="file")]
