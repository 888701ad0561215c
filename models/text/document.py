"""YAML files read with the place of every value, so that an error can say file, line and column.

Scalars follow YAML 1.2 (core schema), not the surprises of 1.1: `010` is ten, `1e3` a number, `1:30` and `no` are
strings. Duplicate keys, anchors, tags, keys without a value and several documents in a file are errors.
"""

from __future__ import annotations

import itertools
import math
import re
import stat
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from models.text.problems import InputError, Problem
from models.text.units import format_size

_NULL = re.compile(r"~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MAX_DEPTH = 20
MAX_YAML_BYTES = 4 * 2**20  # a machine file that lists 16 384 CPUs one by one has some 300 KiB
# What the parser says -> what the user can do.
_HINTS = (
    ("'\\t'", "indent with spaces, not tabs"),
    ("mapping values are not allowed", "check the indentation, and put a text with ': ' in it in quotes"),
    ("cannot start any token", "put a text that starts with such a character in quotes"),
    ("could not find expected ':'", "each line is `key: value`, or `- item` of a list"),
    ("expected <block end>", "keys that belong together are indented alike"),
    ("expected the node content", "a key or list item has no value that can be read"),
    ("expected ',' or", "a list or mapping in brackets is not closed, or a comma is missing"),
    ("unexpected end of stream", "a quote or bracket that opens here is not closed"),
    ("expected a single document", "allowed is one YAML document"),
)

KeyPath = tuple[str | int, ...]


class _Nothing:
    """The mark for a key without a written value. It is never allowed, while `null` may be."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


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
        """Return (line, column) of the value at `path`, or of the nearest part around it that is in the file."""
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
            else:
                break
        return place

    def has(self, path: KeyPath) -> bool:
        """Return whether there is a value at `path`."""
        try:
            self.at(path)
        except KeyError:
            return False
        return True

    def at(self, path: KeyPath) -> Any:
        """Return the value at `path`, without places. Raises KeyError if there is none."""
        here = self
        for step in path:
            try:
                here = here.value[step]
            except (TypeError, IndexError):
                raise KeyError(path) from None
        return here.plain()

    def mapping(self, key: str) -> Mapping[str, Located]:
        """Return the mapping at a key of a mapping, or an empty one if the value is missing or of another type."""
        part = self.value.get(key)
        return part.value if part is not None and isinstance(part.value, dict) else {}


EMPTY = Located({}, 0, 0, {})


def is_file(path: Path) -> bool:
    """Return whether there is a file at `path`. False too for values that can't be a path."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is a folder at `path`. False too for values that can't be a path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a regular file, which has at most `limit_bytes` bytes. Raises InputError."""
    name = str(path) if str(path).isprintable() else ascii(str(path))
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "a device or a pipe"
            raise InputError([Problem(name, 0, 0, "", f"is {kind}; allowed is a file")])
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise InputError([Problem(name, 0, 0, "", "there is no such file")]) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError([Problem(name, 0, 0, "", f"can't be read: {why}")]) from None
    if len(content) > limit_bytes:
        limit = format_size(limit_bytes)
        raise InputError([Problem(name, 0, 0, "", f"is larger than {limit}; allowed is at most that")])
    return content


def read(path: Path) -> Located:
    """Read a YAML file. Raises InputError with every problem of its syntax."""
    name = str(path)
    content = read_bytes(path, MAX_YAML_BYTES)
    try:
        return parse(content.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        place = _place_in(content[: error.start].decode("utf-8", "replace"), error.start)
        message = f"found the byte 0x{content[error.start]:02x}, which is no UTF-8; allowed is a text file in UTF-8"
        raise InputError([Problem(name, *place, "", message)]) from None


def _place_in(text: str, index: int) -> tuple[int, int]:
    """Return (line, column) of a character of a text."""
    before = text[:index]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def parse(text: str, name: str) -> Located:
    """Parse YAML text. `name` stands for the file in messages. Raises InputError."""
    try:
        loader = _Loader(text, name)
        nodes = []
        while loader.check_node() and (node := loader.get_node()) is not None:
            nodes.append(node)
    except yaml.MarkedYAMLError as error:
        raise InputError([_syntax_problem(error, name)]) from None
    except ReaderError as error:
        message = f"found the character {chr(error.character)!a}, which is not allowed in a text file"
        raise InputError([Problem(name, *_place_in(text, error.position), "", message)]) from None
    except RecursionError:
        raise InputError([Problem(name, 1, 1, "", "is nested too deeply")]) from None
    except (ValueError, OverflowError):  # of chr() in the parser
        place = _place_in(text, match.start()) if (match := _BAD_ESCAPE.search(text)) else (1, 1)
        raise InputError([Problem(name, *place, "", "found an escape \\U that is no character")]) from None
    if len(nodes) != 1:
        found = f"{len(nodes)} documents, the second from here" if nodes else "an empty file"
        place = (nodes[1].start_mark.line + 1, nodes[1].start_mark.column + 1) if nodes else (1, 1)
        raise InputError([Problem(name, *place, "", f"found {found}; allowed is one YAML document")])
    problems = loader.problems
    located = _locate(nodes[0], name, (), problems, set())
    if problems:
        raise InputError(problems)
    return located


_BAD_ESCAPE = re.compile(r"\\U(?!000[0-9a-fA-F]|0010)")


def _syntax_problem(error: yaml.MarkedYAMLError, name: str) -> Problem:
    what = f"{error.context or ''}: {error.problem}" if error.context else str(error.problem)
    hint = next((hint for phrase, hint in _HINTS if phrase in what), "")
    at_start = "end of stream" in what or "expected ':'" in what  # what is left open is found out only further down
    mark = (error.context_mark if at_start else None) or error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(name, line, column, "", f"is not YAML, {' '.join(what.split())}{'; ' if hint else ''}{hint}")


class _Loader(yaml.SafeLoader):
    """A loader that finds the anchors and tags, which nodes don't keep."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.problems: list[Problem] = []
        self._name = name

    def get_event(self) -> yaml.Event:
        event: yaml.Event = super().get_event()  # type: ignore[no-untyped-call]
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.start_mark:
            place = (event.start_mark.line + 1, event.start_mark.column + 1)
            if event.anchor:
                message = f"found an anchor (&{event.anchor}); anchors are not allowed, write each value out"
                self.problems.append(Problem(self._name, *place, "", message))
            if event.tag:
                tag = event.tag.replace("tag:yaml.org,2002:", "!!")
                message = f"found the tag {tag!a}; tags are not allowed, leave it out"
                self.problems.append(Problem(self._name, *place, "", message))
        return event


def _locate(node: yaml.Node, name: str, path: KeyPath, problems: list[Problem], seen: set[int]) -> Located:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1

    def report(at: yaml.Node, where: KeyPath, message: str) -> None:
        problems.append(Problem(name, at.start_mark.line + 1, at.start_mark.column + 1, format_path(where), message))

    if id(node) in seen:
        report(node, path, "found an alias (*name); aliases are not allowed, write the value out")
        return Located(None, line, column)
    seen.add(id(node))
    if len(path) > _MAX_DEPTH:
        report(node, path[:3], "is nested too deeply")
        return Located(None, line, column)
    if isinstance(node, yaml.ScalarNode):
        odd = next((c for c in node.value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
        if odd is not None:
            report(node, path, f"found the control character {odd!a} in a text; leave it out")
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
        inner = _locate(value_node, name, (*path, key), problems, seen)
        if not key:
            report(key_node, path, "found nothing as a key; allowed is a word before the `:`")
        elif id(key_node) in seen:
            report(key_node, path, "found an alias (*name) as a key; aliases are not allowed, write the key out")
        elif key in values:
            message = f"found a second time; the key stands in line {keys[key][0]} already, leave one out"
            report(key_node, (*path, key), message)
        else:
            keys[key] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            values[key] = inner
        seen.add(id(key_node))
    return Located(values, line, column, keys)


def _scalar(text: str) -> Any:
    if not text:
        return NOTHING
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def number_in(text: str) -> float | None:
    """Return the number that a text would be without its quotes, or None."""
    value = _scalar(text)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def format_path(path: KeyPath) -> str:
    """Return a path as it is written in messages: task.size, links[0].nodes."""
    text = ""
    for step in path:
        word = str(step) if str(step).isprintable() else ascii(step)
        text += f"[{step}]" if isinstance(step, int) else f".{word}" if text else word
    return text


def combinations(located: Located, keep_lists: Collection[KeyPath], path: KeyPath = ()) -> Iterator[Located]:
    """Yield the document with every choice of one item from each list, the last list in the file varying fastest.

    Lists at the paths in `keep_lists` are values of their own and are kept whole. So are empty lists and lists in a
    list, which no value allows.
    """
    if path in keep_lists or located.value == []:
        yield located
    elif isinstance(located.value, list):
        for item in located.value:
            if isinstance(item.value, list):
                yield item
            else:
                yield from combinations(item, keep_lists, path)
    elif isinstance(located.value, dict):
        parts = [list(combinations(item, keep_lists, (*path, key))) for key, item in located.value.items()]
        for items in itertools.product(*parts):
            yield Located(dict(zip(located.value, items, strict=True)), located.line, located.column, located.keys)
    else:
        yield located


def leaves(located: Located, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield (path, value) for every value of a document that is not a mapping, in the order of the file."""
    if isinstance(located.value, dict):
        for key, item in located.value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, located.plain()


def locate(value: Any) -> Located:
    """Return a Python value as a value of a file without a place."""
    if hasattr(value, "tolist"):  # of NumPy, which is not imported here as it takes a while
        value = value.tolist()
    if isinstance(value, Mapping):
        return Located({str(k): locate(v) for k, v in value.items()}, 0, 0, {str(k): (0, 0) for k in value})
    if isinstance(value, (list, tuple, range)):
        return Located([locate(item) for item in value], 0, 0)
    if isinstance(value, Path):
        value = str(value)
    elif isinstance(value, float) and not math.isfinite(value):
        value = str(value)  # which no number may be
    elif isinstance(value, int) and value.bit_length() > 1000:
        value = "a number of over 300 digits"  # which Python does not even print
    return Located(value, 0, 0)
