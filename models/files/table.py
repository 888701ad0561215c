"""Tables of measurements: one reader for all CSV files, and the published ones, shipped in models/published."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from models.files.content import refusal, text_of
from models.text.document import is_file, read_bytes
from models.text.problems import InputError, Problem, did_you_mean
from models.text.units import MIB, describe

if TYPE_CHECKING:
    import pandas as pd

_MAX_BYTES = 16 * MIB
_MAX_ROWS = 100_000
_MAX_PROBLEMS = 10  # of a table: more are mostly one and the same
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,300}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]{1,300},[0-9]+(?:[eE][-+]?[0-9]{1,3})?")
_EMPTY = ("", "NA", "N/A", "n/a", "NaN", "nan", "<NA>", "null", "NULL", "None", "#N/A")  # that pandas takes so, too
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


@dataclass(frozen=True)
class NumberColumn:
    """The allowed numbers of a column."""

    low: float
    high: float
    whole: bool = False

    def wrong(self, text: str) -> str | None:
        """Return the allowed values in place of a text, or None if the text is allowed."""
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        allowed = f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"
        if math.isnan(value) or not self.low <= value <= self.high or (self.whole and value != int(value)):
            return allowed
        return None


NUMBER_COLUMNS: Mapping[str, NumberColumn] = {
    "time_s": NumberColumn(0, 1e9),
    "stdev_s": NumberColumn(0, 1e9),
    "resolution_s": NumberColumn(0, 1e9),
    "rel_err_pct": NumberColumn(0, 1e6),
    "nthreads": NumberColumn(0, 65_536, whole=True),
    "size_gib": NumberColumn(0, 2**30),
    "speedup": NumberColumn(0, 1e6),
}
# Parts of a scenario in which a column with a dot may name a value.
_PARTS = ("task", "kernel", "background", "groups")


@dataclass(frozen=True)
class _Cell:
    text: str
    line: int
    column: int


def _records(text: str, delimiter: str) -> Iterator[list[_Cell]]:
    """Yield the cells of each record (RFC 4180: quotes around a cell, doubled inside), with where each begins.

    Empty lines are passed over. Raises ValueError for a quote that is not closed.
    """
    record: list[_Cell] = []
    line, start, place, n = 1, 0, 0, len(text)
    while place < n:
        column = place - start + 1
        if text[place] == '"':
            parts, begin = [], line
            place += 1
            while True:
                end = text.find('"', place)
                if end < 0:
                    raise ValueError(begin, column)
                part = text[place:end]
                parts.append(part)
                if "\n" in part:
                    line, start = line + part.count("\n"), place + part.rfind("\n") + 1
                place = end + 1
                if not text.startswith('"', place):
                    break
                parts.append('"')
                place += 1
            end = _end(text, place, delimiter)
            record.append(_Cell("".join(parts) + text[place:end].strip(), begin, column))
        else:
            end = _end(text, place, delimiter)
            record.append(_Cell(text[place:end].strip(), line, column))
        place = end + 1
        if end >= n or text[end] == "\n":
            if len(record) > 1 or record[0].text:
                yield record
            record, line, start = [], line + 1, place
        elif place >= n:
            record.append(_Cell("", line, place - start + 1))
    if record:
        yield record


def _end(text: str, place: int, delimiter: str) -> int:
    ends = [found for found in (text.find(delimiter, place), text.find("\n", place)) if found >= 0]
    return min(ends, default=len(text))


def read_cells(path: Path) -> pd.DataFrame:
    """Return the table in a CSV file, a row a record.

    Cells are separated by commas, semicolons or tabs. Where they aren't separated by commas, numbers may have decimal
    commas. Columns of NUMBER_COLUMNS have finite numbers in their range. Raises InputError with every problem and its
    place.
    """
    name = str(path)
    text = text_of(read_bytes(path, _MAX_BYTES)).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise refusal(path, "can't be read as a CSV table: is no text")
    head = text.lstrip("\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=lambda mark: (head.count(mark), mark == ","))
    try:
        records = list(_records(text, delimiter))
    except ValueError as error:
        line, column = error.args
        raise refusal(
            path, "found a quote that is not closed; allowed is a second one at the end of the cell", line, column
        ) from None
    if not records:
        raise refusal(path, "can't be read as a CSV table: is empty; allowed is a first line with names of columns")
    if len(records) > _MAX_ROWS:
        raise refusal(path, f"has {len(records)} rows; allowed are at most {_MAX_ROWS}")
    names, rows = records[0], records[1:]
    # A delimiter at the end of every line is an empty column without a name.
    while (
        names[-1].text == ""
        and len(names) > 1
        and all(len(row) < len(names) or not row[len(names) - 1].text for row in rows)
    ):
        rows = [row[: len(names) - 1] if len(row) == len(names) else row for row in rows]
        names = names[:-1]
    problems = [Problem(name, *found) for found in _problems(names, rows, delimiter)]
    if problems:
        more = len(problems) - _MAX_PROBLEMS
        last = problems[_MAX_PROBLEMS - 1 :][:1] if more > 0 else []
        rest = [Problem(name, last[0].line + 1, 1, "", f"and {more} problems more")] if last else []
        raise InputError([*problems[:_MAX_PROBLEMS], *rest])
    import pandas as pd  # takes a while, which most commands don't need

    if not rows:
        return pd.DataFrame(columns=[cell.text for cell in names])
    out = io.StringIO()
    for record in (names, *rows):
        cells = (_plain(cell.text, delimiter).replace('"', '""') for cell in record)
        out.write(",".join(f'"{cell}"' for cell in cells) + "\n")
    found = pd.read_csv(io.StringIO(out.getvalue()), index_col=False, skip_blank_lines=False)
    for column in NUMBER_COLUMNS.keys() & set(found.columns):
        found[column] = pd.to_numeric(found[column])
    return found


def _plain(text: str, delimiter: str) -> str:
    return text.replace(",", ".") if delimiter != "," and _DECIMAL_COMMA.fullmatch(text) else text


def _problems(
    names: Sequence[_Cell], rows: Sequence[Sequence[_Cell]], delimiter: str
) -> Iterator[tuple[int, int, str, str]]:
    """Yield line, column, path and message of each thing that is wrong."""
    seen: dict[str, _Cell] = {}
    for cell in names:
        part, dot, _ = cell.text.partition(".")
        if not cell.text:
            yield cell.line, cell.column, "", "found a column without a name; allowed is a name for each"
        elif not cell.text.isprintable() or len(cell.text) > 200:
            yield cell.line, cell.column, "", f"found a column {describe(cell.text)}; allowed are printable names"
        elif cell.text in seen:
            yield cell.line, cell.column, cell.text, "found a second time; allowed is each column once"
        elif dot and part not in _PARTS:
            allowed = f"allowed are paths of {', '.join(_PARTS)}, such as task.state"
            yield cell.line, cell.column, cell.text, f"is no path of a scenario; {allowed}"
        seen.setdefault(cell.text, cell)
    for row in rows:
        if len(row) != len(names):
            found = f"found {len(row)} cells, separated by {_DELIMITERS[delimiter]}"
            hint = "; put a cell with it in quotes" if len(row) > len(names) else ""
            hint = "; leave out the one at the end" if not row[-1].text and len(row) == len(names) + 1 else hint
            yield row[0].line, row[-1].column, "", f"{found}; allowed are {len(names)}, one for each column{hint}"
            continue
        for head, cell in zip(names, row, strict=True):
            kind = NUMBER_COLUMNS.get(head.text)
            if kind is None or cell.text in _EMPTY:
                continue
            wanted = kind.wrong(_plain(cell.text, delimiter))
            if wanted:
                comma = "; decimal commas need semicolons between cells" if _DECIMAL_COMMA.fullmatch(cell.text) else ""
                yield cell.line, cell.column, head.text, f"found {describe(cell.text)}; allowed is {wanted}{comma}"


_SOURCED = ("source", "client", "machine")
_REQUIRED = (*_SOURCED, "time_s")


@dataclass(frozen=True)
class PublishedTable:
    """One table. `cells` has the file's columns. Times are in seconds, sizes in GiB. Empty means not stated."""

    name: str
    cells: pd.DataFrame


def shipped_tables() -> tuple[str, ...]:
    """Return the names of the tables that come with the program."""
    folder = resources.files("models") / "published"
    return tuple(sorted(item.name.removesuffix(".csv") for item in folder.iterdir() if item.name.endswith(".csv")))


def load_table(name: str, base: Path, *, of_times: bool = True) -> PublishedTable:
    """Return a shipped table by name, or one from a CSV file by its path relative to `base`.

    It has to have times, unless `of_times` is false. Raises ValueError with the value found and the values allowed.
    """
    stem = name.removesuffix(".csv")
    if is_file(base / name):
        path = base / name
    elif stem in shipped_tables():
        path = Path(str(resources.files("models") / "published" / f"{stem}.csv"))
    else:
        names = shipped_tables()
        raise ValueError(
            f"found {describe(name)}; allowed is a shipped table ({', '.join(names)}) or the path of a CSV file"
            f"{did_you_mean(stem, names)}"
        )
    try:
        cells = read_cells(path)
    except InputError as error:
        said = "; ".join(str(problem).removeprefix(f"{path}:").strip() for problem in error.problems[:3])
        raise ValueError(f"found {name!r}, which can't be used: {said}") from None
    needed = _REQUIRED if of_times else _SOURCED
    missing = [column for column in needed if column not in cells.columns]
    if missing:
        raise ValueError(
            f"found {name!r}, a table without the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"needed are {', '.join(needed)}"
        )
    if cells.empty:
        raise ValueError(f"found {name!r}, a table without a row; allowed is a table of measurements")
    if of_times and "time_s" in cells.columns and not (cells["time_s"].dropna() > 0).all():
        raise ValueError(f"found {name!r}, in which time_s is not above 0 in every row; allowed are seconds above 0")
    return PublishedTable(stem, cells)
