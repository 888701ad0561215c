"""The common style of all figures. Colours are the colour-blind safe set of Okabe and Ito (2008)."""

from __future__ import annotations

import html
import io
import math
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from weakref import WeakKeyDictionary

from matplotlib import rc_context
from matplotlib.axes import Axes
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
    """Return how wide the longest of some names is in small text, or 0 where there is none."""
    return _SMALL_INCHES * max((len(name) for name in names), default=0)


def save(figure: Figure, path: str | Path | None) -> Figure:
    """Write the figure to `path`, if there is one, in the format that its suffix says, and return the figure."""
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure


Point = tuple[Axes, float, float, str]
_HOVERS: WeakKeyDictionary[Figure, list[Point]] = WeakKeyDictionary()


def hover(axis: Axes, xs: Iterable[float], ys: Iterable[float], texts: Iterable[str]) -> None:
    """Write the values at the points of an axis, for figures that are looked at with a pointer (`svg`)."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    points = zip(xs, ys, texts, strict=True)
    _HOVERS.setdefault(figure, []).extend((axis, float(x), float(y), text) for x, y, text in points)


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element for a page, with the text of each point that `hover` was told.

    Text stays text. Points are circles of class `pt` that can be reached by pointer, finger and keyboard. `name` makes
    the ids of one page's figures differ.
    """
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.set_dpi(72)
        figure.draw_without_rendering()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", text)  # of groups, which nothing refers to
    head, body = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    height = figure.get_figheight() * 72
    circles = []
    for axis, x, y, words in _HOVERS.get(figure, ()):
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        at_x, at_y = axis.transData.transform((x, y))
        box = axis.get_window_extent()
        if box.x0 - 1 <= at_x <= box.x1 + 1 and box.y0 - 1 <= at_y <= box.y1 + 1:
            told = html.escape(words)
            circles.append(
                f'<circle class="pt" cx="{at_x:.1f}" cy="{height - at_y:.1f}" r="7" tabindex="0" role="img" '
                f'aria-label="{told}"><title>{told}</title></circle>'
            )
    return f'{head} role="group">{body}'.replace("</svg>", "".join(circles) + "</svg>").strip()
