"""From a located document to a typed value: pydantic's findings in this project's words, with their places."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from models.document import KeyPath, Located, format_path
from models.problems import InputError, Problem, did_you_mean
from models.units import describe

M = TypeVar("M", bound=BaseModel)


class Checker:
    """Collects the problems of one document, to be raised together."""

    def __init__(self, document: Located, file: str) -> None:
        self._document = document
        self._file = file
        self.problems: list[Problem] = []

    def problem(self, path: KeyPath, message: str, *, of_key: bool = False) -> None:
        """Add a problem at `path` (the value, or its key)."""
        line, column = self._document.place(path, of_key=of_key)
        self.problems.append(Problem(self._file, line, column, format_path(path), message))

    def stop(self) -> None:
        """Raise InputError if there is any problem so far."""
        if self.problems:
            raise InputError(self.problems)


def validate(model: type[M], document: Located, file: str) -> M:
    """Return `document` as a `model`. Raises InputError with all that is wrong with it."""
    try:
        return model.model_validate(document.plain())
    except ValidationError as error:
        check = Checker(document, file)
        for details in error.errors(include_url=False):
            _report(check, model, details)
        raise InputError(check.problems) from None


def _report(check: Checker, model: type[BaseModel], details: ErrorDetails) -> None:
    path = tuple(step for step in details["loc"] if step not in ("[key]",))
    kind, found = details["type"], describe(details["input"])
    limits = details.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = list(_fields(model, path[:-1]))
        word = str(path[-1])
        check.problem(path, f"unknown key; allowed are {', '.join(allowed)}{did_you_mean(word, allowed)}", of_key=True)
    elif kind == "missing":
        check.problem(path[:-1], f"the key `{path[-1]}` is missing")
    elif kind == "quantity":
        check.problem(path, str(limits["problem"]))
    elif kind in ("int_type", "int_from_float", "int_parsing", "float_type", "float_parsing"):
        check.problem(path, f"found {found}; allowed is a {'whole ' if kind.startswith('int') else ''}number")
    elif kind in ("string_type", "list_type", "dict_type", "model_type", "bool_type"):
        words = {"string": "text", "list": "a list", "dict": "a mapping", "model": "a mapping", "bool": "true or false"}
        check.problem(path, f"found {found}; allowed is {words[kind.removesuffix('_type')]}")
    elif kind == "literal_error":
        allowed = [str(word) for word in get_args(_annotation(model, path))] or [str(limits["expected"])]
        check.problem(
            path, f"found {found}; allowed is {', '.join(allowed)}{did_you_mean(str(details['input']), allowed)}"
        )
    elif kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        words = {"greater_than": "more than", "greater_than_equal": "at least", "less_than": "less than"}
        limit = next(iter(limits.values()))
        check.problem(path, f"found {found}; allowed is {words.get(kind, 'at most')} {limit}")
    else:
        message = details["msg"]
        check.problem(path, f"found {found}; {message[0].lower()}{message[1:]}")


def _annotation(model: type[BaseModel], path: KeyPath) -> Any:
    """Return the declared type at a path, or None where it can't be told."""
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


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _fields(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys allowed in the mapping at a path."""
    return [name for found in _models_in(_annotation(model, path))[:1] for name in found.model_fields]
