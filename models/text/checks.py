"""From a located document to a typed value: pydantic's findings in this project's words, with their places."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from models.text.document import KeyPath, Located, format_path, number_in
from models.text.problems import Finding, InputError, Problem, did_you_mean
from models.text.units import describe, format_like

M = TypeVar("M", bound=BaseModel)


class FileKeys(BaseModel):
    """The keys of a mapping in a file: no others are allowed, values have the very type, and nothing changes them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


_TYPES = {"string_type": "text", "list_type": "a list", "dict_type": "a mapping", "bool_type": "true or false"}
_BOUNDS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


class Checker:
    """Collects the problems of one document, or of the part `within` it at a path, to be raised together."""

    def __init__(self, document: Located, file: str, within: KeyPath = ()) -> None:
        self._document = document
        self._within = within
        self.file = file
        self.problems: list[Problem] = []

    def problem(self, path: KeyPath, message: str, *, of_key: bool = False) -> None:
        """Add a problem at `path` (the value, or its key)."""
        line, column = self._document.place(path, of_key=of_key)
        self.problems.append(Problem(self.file, line, column, format_path((*self._within, *path)), message))

    def add(self, within: KeyPath, findings: Iterable[Finding]) -> None:
        """Add the problems of the part at a path. Messages show values as the document has them."""
        for path, message in findings:

            def value(match: re.Match[str]) -> str:
                return self.found((*within, *match[1].split(".")), match[2] or "nothing")

            self.problem((*within, *path), re.sub(r"\{([a-z_.]+)(?::([^}]*))?\}", value, message))

    def found(self, path: KeyPath, default: str = "nothing") -> str:
        """Return the name of the value at `path` in a message: as in the file, or as the default."""
        try:
            return describe(self._document.at(path))
        except KeyError:
            return f"the default, {default}"

    def has(self, path: KeyPath) -> bool:
        """Return whether the document has a value at `path`."""
        return self._document.has(path)

    def value(self, path: KeyPath) -> Any:
        """Return the value at `path` as the file has it. Raises KeyError if it has none."""
        return self._document.at(path)

    def stop(self) -> None:
        """Raise InputError if there is any problem so far."""
        if self.problems:
            raise InputError(self.problems)


def validate(model: type[M], document: Located, file: str, within: KeyPath = ()) -> M:
    """Return `document`, or a part of one at the path `within`, as a `model`.

    Raises InputError with all problems of the part.
    """
    try:
        return model.model_validate(document.plain())
    except ValidationError as error:
        check = Checker(document, file, within)
        for details in error.errors(include_url=False):
            _report(check, model, details)
        raise InputError(check.problems) from None


def _report(check: Checker, model: type[BaseModel], details: ErrorDetails) -> None:
    path = tuple(step for step in details["loc"] if step not in ("[key]",))
    kind, value, limits = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = _keys(model, path[:-1])
        renamed = _renamed(model, path[:-1]).get(str(path[-1]))
        if renamed is not None:
            check.problem(path, f"this figure is now called {renamed}", of_key=True)
            return
        hint = did_you_mean(str(path[-1]), allowed)
        check.problem(path, f"unknown key; allowed are {', '.join(allowed)}{hint}", of_key=True)
    elif kind == "missing":
        check.problem(path[:-1], f"the key `{path[-1]}` is missing{_meaning(model, path)}")
    elif kind == "quantity":
        check.problem(path, str(limits["problem"]))
    else:
        given = check.value(path) if kind in _BOUNDS and check.has(path) else value
        check.problem(path, f"found {check.found(path)}; allowed is {_allowed(model, path, kind, given, limits)}")


def _allowed(model: type[BaseModel], path: KeyPath, kind: str, value: Any, limits: dict[str, Any]) -> str:
    """Return the text of the allowed values for one kind of pydantic's errors."""
    if kind in ("int_type", "int_from_float", "float_type"):
        number = number_in(value) if isinstance(value, str) else value if isinstance(value, float) else None
        whole = kind.startswith("int")
        hint = ""
        if number is not None and (not whole or number == int(number)):
            quotes = ", without quotes" if isinstance(value, str) else ""
            hint = f"; did you mean {int(number) if whole else number}{quotes}?"
        return f"a {'whole ' if whole else ''}number{hint}"
    if kind in ("model_type", "model_attributes_type"):
        return f"a mapping with the keys {', '.join(_keys(model, path))}{_meaning(model, path)}"
    if kind in _TYPES:
        scalar = kind == "string_type" and isinstance(value, (bool, int, float))
        hint = "; put it in quotes if it is meant as text" if scalar else ""
        return _TYPES[kind] + _meaning(model, path) + hint
    if kind == "literal_error":
        words = _words(_annotation(model, path)) or [str(limits["expected"])]
        return " or ".join(words) + did_you_mean(str(value), words)
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind]} {format_like(value, next(iter(limits.values())))}"
    if kind == "string_too_short":
        least = limits["min_length"]
        return f"text of at least {least} character{'s' * (least > 1)}"
    if kind in ("too_short", "too_long"):
        bound = "at least" if kind == "too_short" else "at most"
        return f"a list of {bound} {limits['min_length' if kind == 'too_short' else 'max_length']}"
    if kind == "string_pattern_mismatch":
        return _meaning(model, path).strip(" ()") or str(limits["pattern"])
    return f"something else: {kind.replace('_', ' ')}"


def _meaning(model: type[BaseModel], path: KeyPath) -> str:
    """Return ' (the description of the key at a path)', or '' if it has none. Items of a list have the list's."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    inner = next(iter(_models_in(_annotation(model, path[:-1]))), None) if path else None
    field = inner.model_fields.get(str(path[-1])) if inner is not None else None
    return f" ({field.description})" if field is not None and field.description else ""


def _annotation(model: type[BaseModel], path: KeyPath) -> Any:
    """Return the declared type at a path, or None if it is unknown."""
    here: Any = model
    for step in path:
        if isinstance(step, int):
            here = get_args(here)[0] if get_args(here) else None
            continue
        inner = next(iter(_models_in(here)), None)
        if inner is None or step not in inner.model_fields:
            return None
        here = inner.model_fields[step].annotation
    return here


def _words(annotation: Any) -> list[str]:
    """Return the words of a Literal, also of an optional one."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _words(part)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _renamed(model: type[BaseModel], path: KeyPath) -> Mapping[str, str]:
    """Return the old keys of the mapping at a path, with their new names."""
    found = next(iter(_models_in(_annotation(model, path))), None)
    return getattr(found, "renamed", {})


def _keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys allowed in the mapping at a path."""
    return [name for found in _models_in(_annotation(model, path))[:1] for name in found.model_fields]
