"""Published measurements: CSV tables with their sources, shipped in models/published."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd

from models.problems import did_you_mean

_REQUIRED = ("source", "client", "machine", "time_s")


@dataclass(frozen=True)
class PublishedTable:
    """One table. `cells` has the file's columns; times are in seconds, sizes in GiB; empty means not stated."""

    name: str
    cells: pd.DataFrame


def shipped_tables() -> tuple[str, ...]:
    """Return the names of the tables that come with the program."""
    folder = resources.files("models") / "published"
    return tuple(sorted(item.name.removesuffix(".csv") for item in folder.iterdir() if item.name.endswith(".csv")))


def load_table(name: str, base: Path) -> PublishedTable:
    """Return a shipped table by name, or one from a CSV file by its path relative to `base`.

    Raises ValueError saying what was found and what is allowed.
    """
    stem = name.removesuffix(".csv")
    if (base / name).is_file():
        path = base / name
    elif stem in shipped_tables():
        path = Path(str(resources.files("models") / "published" / f"{stem}.csv"))
    else:
        names = shipped_tables()
        raise ValueError(
            f"found {name!r}; allowed is a shipped table ({', '.join(names)}) or the path of a CSV file"
            f"{did_you_mean(stem, names)}"
        )
    try:
        cells = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"found {name!r}, which is not a CSV table: {error}") from None
    missing = [column for column in _REQUIRED if column not in cells.columns]
    if missing:
        raise ValueError(f"found {name!r}, a table without the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
    if not pd.api.types.is_numeric_dtype(cells["time_s"]):
        raise ValueError(f"found {name!r}, in which time_s has something that is no number")
    return PublishedTable(stem, cells)
