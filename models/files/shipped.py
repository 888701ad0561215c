"""Scenarios and notebooks that come with the program: in the wheel, or beside the code in a checkout."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

from models.text.document import is_file
from models.text.problems import did_you_mean
from models.text.units import describe

_SUFFIX = {"scenarios": ".yaml", "notebooks": ".ipynb"}


def shipped_files(kind: Literal["scenarios", "notebooks"]) -> dict[str, Path]:
    """Return the shipped files of a kind by name, without the suffix, in the order of the names.

    >>> "clear_gigantic_page" in shipped_files("scenarios")
    True
    """
    inside = Path(str(resources.files("models"))) / kind  # where the wheel has them
    folder = inside if inside.is_dir() else Path(str(resources.files("models"))).parent / kind
    suffix = _SUFFIX[kind]
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}


def find_scenario_file(name: str) -> Path:
    """Return the path of a scenario file: a file of this name, or else the shipped one. Raises ValueError for neither.

    A text with a suffix or a slash is a path, whether there is such a file or not.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name or is_file(path) or name in ("", ".", ".."):
        return path
    known = shipped_files("scenarios")
    if name not in known:
        raise ValueError(
            f"found {describe(name)}; allowed is the path of a scenario file (.yaml) or a shipped scenario "
            f"({', '.join(known)}){did_you_mean(name, tuple(known))}"
        )
    return known[name]
