"""Pages of HTML that need nothing else: tables that sort and filter, figures with values, readable on any screen."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .5rem;padding-top:.8rem;
border-top:2px solid #888}h3{font-size:1.05rem;margin:1.2rem 0 .3rem}
nav{background:#f3f3f3;padding:.6rem 1rem;border-left:4px solid #555}nav ol{margin:.2rem 0;padding-left:1.4rem;
columns:16rem}nav a{overflow-wrap:anywhere}
a{color:#004b87}pre{font-size:13px;overflow-x:auto;background:#f3f3f3;padding:.8rem}
.wide{overflow-x:auto;-webkit-overflow-scrolling:touch;max-width:100%;position:relative}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ccc;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap}td.w{min-width:20rem}
th{position:sticky;top:0;background:#fff;border-bottom:2px solid #555;vertical-align:bottom}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible,.pt:focus-visible{outline:2px solid #000}
th button::after{content:" \\2195";color:#888}th[aria-sort=ascending] button::after{content:" \\2191";color:#000}
th[aria-sort=descending] button::after{content:" \\2193";color:#000}
.filter{margin:.4rem 0;font-size:.9rem}.filter input{font:inherit;padding:.2rem .4rem;max-width:60vw}
.badge{display:inline-block;border:2px solid #1a1a1a;border-radius:.3rem;padding:0 .45rem;font-weight:600;
white-space:nowrap}.good{background:#fff}.fair{background:#e4e4e4;border-style:dashed}.bad{background:#1a1a1a;color:#fff}
.none{border:1px dotted #555;font-weight:400}
figure{margin:1rem 0}figure svg{width:100%;min-width:min(34rem,var(--w,34rem));max-width:min(60rem,var(--w,60rem));
height:auto;display:block}
.pt{fill:transparent;cursor:help}.pt:hover,.pt:focus{fill:rgba(0,0,0,.18)}
#tip{position:fixed;left:.5rem;right:.5rem;bottom:.5rem;max-width:40rem;margin:auto;background:#1a1a1a;color:#fff;
padding:.5rem .8rem;border-radius:.3rem;display:none;z-index:9}
p{max-width:46rem;overflow-wrap:anywhere}
@media print{.filter,nav,#tip{display:none}th{position:static}}
"""
_SCRIPT = """
"use strict";
document.querySelectorAll("table.data").forEach(function(table){
 var body=table.tBodies[0],rows=Array.from(body.rows),heads=Array.from(table.tHead.rows[0].cells);
 function value(row,i){var cell=row.cells[i];return cell.dataset.v!==undefined?cell.dataset.v:cell.textContent;}
 heads.forEach(function(head,i){head.querySelector("button").addEventListener("click",function(){
  var up=head.getAttribute("aria-sort")!=="ascending";
  heads.forEach(function(other){other.removeAttribute("aria-sort");});
  head.setAttribute("aria-sort",up?"ascending":"descending");
  rows.slice().sort(function(a,b){var x=value(a,i),y=value(b,i);
   if(x===""||y==="")return (x==="")-(y==="");
   var m=Number(x),n=Number(y),order=isNaN(m)||isNaN(n)?x.localeCompare(y):m-n;return up?order:-order;
  }).forEach(function(row){body.appendChild(row);});});});
 var box=table.closest("section").querySelector("input[data-for='"+table.id+"']");
 if(box)box.addEventListener("input",function(){var words=box.value.toLowerCase().split(/\\s+/),n=0;
  rows.forEach(function(row){var text=row.textContent.toLowerCase();
   row.hidden=!words.every(function(word){return text.includes(word);});n+=row.hidden?0:1;});
  box.parentNode.querySelector("output").textContent=n+" of "+rows.length;});
});
var tip=document.getElementById("tip");
document.querySelectorAll(".pt").forEach(function(point){
 function show(){tip.textContent=point.getAttribute("aria-label");tip.style.display="block";}
 function hide(){tip.style.display="none";}
 ["mouseenter","focus","click"].forEach(function(name){point.addEventListener(name,show);});
 ["mouseleave","blur"].forEach(function(name){point.addEventListener(name,hide);});
});
"""
_PIXELS = 100  # for an inch of a figure
_LONG = 40  # characters of a text that makes its column a wide one
_MOST_UNFILTERED = 6  # rows of a table that need no filter

Cell = str | float | int | None


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def anchor(name: str) -> str:
    """Return the id of a section of this name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "section"


def link(name: str, words: str) -> Html:
    """Return a link to the section of a name."""
    return Html(f'<a href="#{anchor(name)}">{html.escape(words)}</a>')


def badge(words: str, kind: str) -> Html:
    """Return a verdict: `kind` is good, fair, bad or none, told apart by border and ground, not by colour."""
    return Html(f'<span class="badge {kind}">{html.escape(words)}</span>')


def table(
    name: str, columns: Mapping[str, Sequence[Cell]], *, shown: Mapping[str, Sequence[str]] | None = None
) -> Html:
    """Return a table that sorts by each column, and filters if it is long.

    Parameters: a name of its own on the page, values by head (numbers are sorted as numbers), and for some heads the
    format of values. None and NaN are empty.
    """
    shown = shown or {}
    rows = list(zip(*columns.values(), strict=True))
    long = [any(isinstance(value, str) and len(value) > _LONG for value in values) for values in columns.values()]
    numeric = [any(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    heads = "".join(
        f'<th scope="col"{" class=n" if number else ""}><button type="button">{html.escape(head)}</button></th>'
        for head, number in zip(columns, numeric, strict=True)
    )
    body = []
    for at, row in enumerate(rows):
        cells = []
        for head, value, number, wide in zip(columns, row, numeric, long, strict=True):
            text = shown[head][at] if head in shown else _text(value)
            written = text if isinstance(text, Html) else html.escape(text)
            key = f' data-v="{value!r}"' if _is_number(value) else ' data-v=""' if number else ""
            cells.append(f"<td{' class=n' if number else ' class=w' if wide else ''}{key}>{written}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    at_id = f"t-{anchor(name)}"
    box = ""
    if len(rows) > _MOST_UNFILTERED:
        box = (
            f'<p class="filter"><label>Filter <input type="search" data-for="{at_id}" placeholder="words"></label> '
            f"<output>{len(rows)} of {len(rows)}</output></p>"
        )
    return Html(
        f'{box}<div class="wide"><table class="data" id="{at_id}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _is_number(value: Cell) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _text(value: Cell) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


def picture(figure: Figure, name: str, words: str) -> Html:
    """Return a figure as SVG, with `words` for those who can't see it."""
    from sim.figures.style import svg

    drawn = svg(figure, anchor(name))
    told = html.escape(words)
    width = f"{_PIXELS * figure.get_figwidth():.0f}px"  # small figures don't grow to the width of the page
    return Html(f'<figure class="wide" style="--w:{width}" aria-label="{told}">{drawn}</figure>')


def paragraphs(text: str) -> Html:
    """Return text as paragraphs, which empty lines part."""
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return Html("".join(f"<p>{html.escape(part)}</p>" for part in parts))


def preformatted(text: str) -> Html:
    """Return text as it stands."""
    return Html(f"<pre>{html.escape(text)}</pre>")


def page(title: str, intro: Html, sections: Sequence[tuple[str, Iterable[Html]]]) -> str:
    """Return a page: its title, its opening part, contents with a link to each section, and the sections."""
    contents = "".join(f"<li>{link(name, name)}</li>" for name, _ in sections)
    body = "".join(
        f'<section id="{anchor(name)}"><h2>{html.escape(name)}</h2>{"".join(parts)}</section>'
        for name, parts in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{html.escape(title)}</h1>{intro}<nav aria-label="Contents"><b>Contents</b><ol>{contents}</ol></nav>'
        f'{body}<div id="tip" role="status"></div><script>{_SCRIPT}</script></body></html>\n'
    )
