"""The problems of a user's input: all of a file at once, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

# What is wrong with a value: its path, within its part of a document, and a message. In a message {size} stands for the
# value of the key `size` of that part as its file has it, {size:2 MiB} for the default 2 MiB if the file has none, and
# {costs.rate} for a value further in.
Finding = tuple[tuple[str, ...], str]

_LONG = 20_000  # characters of a problem; a longer one has a value of the file in it that nobody reads


@dataclass(frozen=True, order=True)
class Problem:
    """One problem of an input file. `line` and `column` count from 1, and 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        return printable(text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 2 :]}")


class InputError(Exception):
    """A user's input can't be used. `problems` has all its problems, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[list[Problem]]]:
        return type(self), (self.problems,)


def printable(text: str) -> str:
    """Return a text of which a terminal shows every character: others (line ends, escapes) as Python writes them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def did_you_mean(found: str, allowed: Sequence[str]) -> str:
    """Return '; did you mean X?' for the nearest allowed word, or '' if none is near."""
    close = get_close_matches(found.lower(), [word.lower() for word in allowed], n=1, cutoff=0.6)
    if not close:
        return ""
    meant = next(word for word in allowed if word.lower() == close[0])
    return f"; did you mean {meant}?"
