"""Published measurements: CSV tables with their sources, shipped in models/published."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.text.document import is_file
from models.text.problems import did_you_mean
from models.text.units import describe

if TYPE_CHECKING:
    import pandas as pd

_SOURCED = ("source", "client", "machine")
_REQUIRED = (*_SOURCED, "time_s")
_NUMBERS = ("time_s", "nthreads", "size_gib", "stdev_s", "speedup")


@dataclass(frozen=True)
class PublishedTable:
    """One table. `cells` has the file's columns; times are in seconds, sizes in GiB; empty means not stated."""

    name: str
    cells: pd.DataFrame


def shipped_tables() -> tuple[str, ...]:
    """Return the names of the tables that come with the program."""
    folder = resources.files("models") / "published"
    return tuple(sorted(item.name.removesuffix(".csv") for item in folder.iterdir() if item.name.endswith(".csv")))


def load_table(name: str, base: Path, *, of_times: bool = True) -> PublishedTable:
    """Return a shipped table by name, or one from a CSV file by its path relative to `base`.

    It has to have times, unless `of_times` is false. Raises ValueError saying what was found and what is allowed.
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
    import pandas as pd  # takes a while, which most commands don't need

    try:
        cells = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        why = " ".join(str(error).split())
        raise ValueError(f"found {name!r}, which can't be read as a CSV table: {why}") from None
    needed = _REQUIRED if of_times else _SOURCED
    missing = [column for column in needed if column not in cells.columns]
    if missing:
        raise ValueError(
            f"found {name!r}, a table without the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"needed are {', '.join(needed)}"
        )
    if cells.empty:
        raise ValueError(f"found {name!r}, a table without a row; allowed is a table of measurements")
    for column in _NUMBERS:
        if column in cells.columns and not _are_numbers(cells[column]):
            raise ValueError(f"found {name!r}, in which {column} has something else than numbers; allowed are numbers")
    if "time_s" in cells.columns and not (cells["time_s"].dropna() > 0).all():
        raise ValueError(f"found {name!r}, in which time_s is not above 0 in every row; allowed are seconds above 0")
    return PublishedTable(stem, cells)


def _are_numbers(cells: pd.Series[Any]) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells)
