"""The tables of VALIDATION.md as data, for what is too long to be simulated in each run of the tests."""

from __future__ import annotations

from pathlib import Path

GUIDE = Path(__file__).parents[2] / "VALIDATION.md"


def rows_of(text: str) -> list[list[str]]:
    """Return the rows of the first table of a text, heads first, without the spaces around their cells."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|-")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def section(name: str) -> str:
    """Return a section of the guide that `make validate` writes."""
    text = GUIDE.read_text(encoding="utf-8").partition(f"<!-- {name} -->")[2].partition("<!-- end -->")[0]
    assert text, f"the guide has no section {name}"
    return text
