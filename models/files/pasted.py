"""The lines of a text as a program wrote them, when it comes by mail, from a web page, a log or a terminal."""

from __future__ import annotations

import html
import quopri
import re
from dataclasses import dataclass

# What mail, comments and diffs put before a line: "> ", "# ", "// ", "| ", and prompts.
_PREFIX = re.compile(r"^(?:\s*(?:[>#|*;%+]|//)\s?)+")
_TAG = re.compile(r"<(?:/?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?/?|!--[^<>]*--)>")
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr|/pre)\b[^<>]*>(?!\n)", re.IGNORECASE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x08")
# What stands before each line where many machines answer at once (pdsh), in a log or in a listing.
_BEFORE = re.compile(r"^(.{1,200}?)(?:available: [0-9]+ nodes? ?\(|Architecture: |<topology\b)", re.MULTILINE)
_QUOTED_PRINTABLE = re.compile(r"=(?:20|C2=A0|3D)\r?$", re.MULTILINE)


MAX_LINES = 500_000  # of the largest machines some 20 000; a trace of a boot around a report has more
_MAX_TEXT = 48_000_000
_MAX_LINE = 200_000  # characters; the CPUs of a node of the largest machines take some 80 000


@dataclass(frozen=True)
class Line:
    """A line: its number in the file, as it stands there, and without the marks around it."""

    number: int
    raw: str
    text: str


def pasted_lines(text: str) -> tuple[Line, ...]:
    """Return all lines, with words one space apart in `text`. Raises ValueError for too many.

    >>> [line.text for line in pasted_lines("> node 0 cpus:  0 1")]
    ['node 0 cpus: 0 1']
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"is a text of more than {_MAX_TEXT} characters; allowed are at most {_MAX_TEXT}")
    if _QUOTED_PRINTABLE.search(text):
        text = quopri.decodestring(text.encode("utf-8", "replace")).decode("utf-8", "replace")
    if _TAG.search(text):
        text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
    text = _ESCAPES.sub("", text).replace("\0", "")
    if text.count("\n") > MAX_LINES:
        raise ValueError(f"has more than {MAX_LINES} lines; allowed are at most {MAX_LINES}")
    if max(map(len, text.splitlines()), default=0) > _MAX_LINE:
        raise ValueError(f"has a line of more than {_MAX_LINE} characters; allowed are at most {_MAX_LINE}")
    found = _BEFORE.search(text)
    # Times of a log and numbers of lines differ from line to line.
    before = re.sub(r"[0-9]+", "[0-9]+", re.escape(found[1].rstrip())) if found and found[1].strip() else None
    start = re.compile("$^" if before is None else f"{before} ?")
    lines = (start.sub("", line, count=1) if start.match(line) else line for line in text.splitlines())
    return tuple(
        Line(number, line, " ".join(_PREFIX.sub("", line).strip("`").split())) for number, line in enumerate(lines, 1)
    )
