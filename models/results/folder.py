"""Result folders: all their files are written, or none, and what they were made of."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml


@contextmanager
def written_whole(folder: Path, last: str, *, alone: bool = False) -> Iterator[Path]:
    """Give an empty folder for new files. At the end move them to `folder`; after an error it is as it was.

    A new `folder` comes into being with all its files. In one that exists the files take the place of those of their
    name, and `last` is removed first and moved last, so that it stands there only if all others do.

    Args:
        folder: The folder for the files.
        last: The name of the file that marks the folder as whole.
        alone: No other process writes to `folder`, so what a killed one has left there is removed.

    Yields:
        The empty folder, beside or below `folder`.

    Example:
        >>> with written_whole(Path("out"), "done.json") as new:
        ...     write_json(new / "done.json", {})
    """
    if alone:
        for left in folder.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)
    inside = folder.is_dir()
    new = Path(
        tempfile.mkdtemp(prefix=".new-" if inside else f".{folder.name}-", dir=folder if inside else folder.parent)
    )
    try:
        new.chmod(0o755)
        yield new
        if folder.exists():
            (folder / last).unlink(missing_ok=True)
            for path in sorted(new.iterdir(), key=lambda path: path.name == last):
                path.replace(folder / path.name)
        else:
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def json_text(content: Mapping[str, Any]) -> str:
    """Return plain data as JSON, a line for each value."""
    return json.dumps(dict(content), indent=1) + "\n"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as JSON, a line for each value."""
    path.write_text(json_text(content))


def write_inputs(folder: Path, scenario: Mapping[str, Any], machines: Iterable[Mapping[str, Any]]) -> None:
    """Write the scenario and the machines that results were made of."""
    (folder / "scenario.yaml").write_text(yaml.safe_dump(dict(scenario), sort_keys=False, allow_unicode=True))
    for machine in machines:
        write_json(folder / f"machine-{machine['name']}.json", machine)
