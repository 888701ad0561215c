"""YAML files read with the place of every value, so that an error can say file, line and column.

Scalars follow YAML 1.2 (core schema), not the surprises of 1.1: `010` is ten, `1e3` a number, `1:30` and `no` are
strings. Duplicate keys, anchors, tags and several documents in a file are errors.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from models.problems import InputError, Problem

_NULL = re.compile(r"(~|null|Null|NULL|)$")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"[-+]?[0-9]+$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Located:
    """A value of a file and where it stands: a scalar, a list of Located, or a mapping from key to Located."""

    value: Any
    line: int
    column: int
    keys: Mapping[str, tuple[int, int]] | None = None  # of a mapping: where each key stands

    def plain(self) -> Any:
        """Return the value without places: dict, list and scalars."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def place(self, path: KeyPath, *, of_key: bool = False) -> tuple[int, int]:
        """Return (line, column) of the value at `path`, or of the nearest thing around it that is in the file."""
        here, place = self, (self.line, self.column)
        for step in path:
            inner = here.value
            if isinstance(inner, dict) and step in inner:
                assert here.keys is not None
                key_place, here = here.keys[str(step)], inner[str(step)]
                place = key_place if of_key else (here.line, here.column)
            elif isinstance(inner, list) and isinstance(step, int) and 0 <= step < len(inner):
                here = inner[step]
                place = (here.line, here.column)
        return place


def read(path: Path) -> Located:
    """Read a YAML file. Raises InputError with every problem of its syntax."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError([Problem(str(path), 0, 0, "", "there is no such file")]) from None
    except IsADirectoryError:
        raise InputError([Problem(str(path), 0, 0, "", "is a folder; allowed is a YAML file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(str(path), 0, 0, "", f"can't be read: {error}")]) from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Located:
    """Parse YAML text; `name` stands for the file in messages. Raises InputError."""
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"is not YAML: {error.problem or error.context}"
        if "\t" in message or "'\\t'" in message:
            message += "; indent with spaces, not tabs"
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise InputError([Problem(name, line, column, "", message)]) from None
    except yaml.YAMLError as error:
        raise InputError([Problem(name, 0, 0, "", f"is not YAML: {' '.join(str(error).split())}")]) from None
    if len(nodes) != 1 or nodes[0] is None:
        found = "nothing" if not nodes or nodes[0] is None else f"{len(nodes)} documents"
        raise InputError([Problem(name, 1, 1, "", f"found {found}; allowed is one YAML document")])
    problems: list[Problem] = []
    located = _locate(nodes[0], name, (), problems, set())
    if problems:
        raise InputError(problems)
    return located


def _locate(node: yaml.Node, name: str, path: KeyPath, problems: list[Problem], seen: set[int]) -> Located:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1

    def report(at: yaml.Node, where: KeyPath, message: str) -> None:
        problems.append(Problem(name, at.start_mark.line + 1, at.start_mark.column + 1, format_path(where), message))

    if id(node) in seen:
        report(node, path, "found an alias (*name); write the value out")
        return Located(None, line, column)
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        if not node.tag.startswith("tag:yaml.org,2002:"):
            report(node, path, f"found the tag {node.tag}; tags are not allowed")
        return Located(_scalar(node.value) if node.style is None else node.value, line, column)
    if isinstance(node, yaml.SequenceNode):
        items = [_locate(item, name, (*path, i), problems, seen) for i, item in enumerate(node.value)]
        return Located(items, line, column)
    values: dict[str, Located] = {}
    keys: dict[str, tuple[int, int]] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            report(key_node, path, "found a list or mapping as a key; allowed is a word")
            continue
        key = str(key_node.value)
        if key in values:
            report(key_node, (*path, key), f"found a second time; it stands in line {keys[key][0]} already")
            continue
        keys[key] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        values[key] = _locate(value_node, name, (*path, key), problems, seen)
    return Located(values, line, column, keys)


def _scalar(text: str) -> Any:
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text) and len(text) < 20:
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text


def format_path(path: KeyPath) -> str:
    """Return a path as it is written in messages: task.size, links[0].nodes."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def combinations(
    located: Located, keep_lists: Collection[KeyPath], path: KeyPath = ()
) -> Iterator[tuple[Located, dict[KeyPath, Any]]]:
    """Yield every choice of one item from each list: (the document with that choice, {path of the list: item}).

    The last list in the file varies fastest. Lists at the paths in `keep_lists` are values of their own, kept whole.
    """
    if path in keep_lists:
        yield located, {}
    elif isinstance(located.value, list):
        for item in located.value:
            for chosen, choices in combinations(item, keep_lists, path):
                yield chosen, {path: chosen.plain(), **choices}
    elif isinstance(located.value, dict):
        parts = [list(combinations(item, keep_lists, (*path, key))) for key, item in located.value.items()]
        for chosen_items in itertools.product(*parts):
            value = {key: item for key, (item, _) in zip(located.value, chosen_items, strict=True)}
            merged: dict[KeyPath, Any] = {}
            for _, choices in chosen_items:
                merged.update(choices)
            yield Located(value, located.line, located.column, located.keys), merged
    else:
        yield located, {}
