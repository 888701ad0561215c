"""What all figures look like. Colours are the colour-blind safe set of Okabe and Ito (2008)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK, YELLOW)  # vermilion is left for what must stand out
GREY, GRID = "#999999", "#dddddd"
HEAT = "cividis"  # even to the eye, and the same to the colour-blind

_TITLE_INCHES, _SMALL_INCHES = 0.09, 0.075  # for a character of a title, and of small text


def set_title(figure: Figure, text: str) -> None:
    """Give the figure a title, on as many lines as its width needs."""
    width = int(figure.get_figwidth() / _TITLE_INCHES)
    figure.suptitle("\n".join(textwrap.wrap(text, width)))


def width_inches(names: Iterable[str]) -> float:
    """Return how wide the longest of some names is in small text; 0 where there is none."""
    return _SMALL_INCHES * max((len(name) for name in names), default=0)


def save(figure: Figure, path: str | Path | None) -> Figure:
    """Write the figure to `path`, if there is one, in the format that its suffix says, and return the figure."""
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure
