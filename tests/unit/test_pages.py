"""Pages of HTML: whole, offline, with tables that sort and filter; opened in a browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

import sim
from models.results import Results
from sim.cli import cli
from sim.show.page import page, paragraphs, table
from sim.show.results_page import results_html

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


@pytest.fixture(scope="module")
def results() -> Results:
    """A traced run with published times."""
    scenario = sim.load(Path(__file__).parents[2] / "scenarios" / "clear_gigantic_page.yaml")
    changes = {"task.size": "8GiB", "task.pool": "16GiB", "kernel.max_threads": [1, 2, 3, 4], "replications": 2}
    changes |= {"kernel.chunks": ["ktask", "factoring"]}
    return sim.run(scenario.with_values(changes), traces=True)


class Links(HTMLParser):
    """Collects what a page refers to, and which ids it has."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.inside: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Note the references and ids of an element."""
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action") and value is not None:
                if not value.startswith("data:"):  # a picture in a figure
                    (self.inside if value.startswith("#") else self.outside).append(value)
            elif name == "id" and value is not None:
                self.ids.append(value)


def read(text: str) -> Links:
    """Return the references of a page."""
    links = Links()
    links.feed(text)
    return links


def test_a_page_needs_nothing_else_and_links_lead_somewhere(results: Results) -> None:
    """Nothing is loaded from elsewhere, each link of the contents and of a figure has its place, ids are unique."""
    text = results_html(results)
    links = read(text)
    assert links.outside == []
    assert {link.removeprefix("#") for link in links.inside} <= set(links.ids)
    assert len(links.ids) == len(set(links.ids))
    assert "url(http" not in text and "@import" not in text
    for words in ("In short", "Cases", "Throughput and speed-up", "Who did what when", "Scenario", "Made with"):
        assert f">{words}</h2>" in text
    assert "threads at work" in text and "beaten by" in text
    assert text.count("<svg") == text.count("</svg>") >= 5
    assert '<circle class="pt"' in text and "at work)" in text  # values of points
    assert "np.float64" not in text
    assert text.index('id="in-short"') < text.index('id="cases"') and "a tie with" in text


def test_words_of_users_are_no_html() -> None:
    """Titles, heads and cells are text, whatever is in them."""
    evil = "<script>alert(1)</script>&"
    text = page(evil, paragraphs(evil), [(evil, [table(evil, {evil: [evil, "b"]})])])
    assert "<script>alert" not in text and text.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;") >= 5


def test_the_command_writes_the_page(results: Results, tmp_path: Path) -> None:
    """`page DIR` writes index.html there, or where it is told; what is no result folder is refused."""
    results.save(tmp_path / "r")
    assert CliRunner().invoke(cli, ["page", str(tmp_path / "r")]).exit_code == 0
    assert (tmp_path / "r" / "index.html").read_text().startswith("<!doctype html>")
    assert CliRunner().invoke(cli, ["page", str(tmp_path)]).exit_code == 2


def in_browser(tmp_path: Path, text: str, script: str, width: int) -> str:
    """Open a page in a headless browser, run a script that sets the title to what it found, and return that."""
    if not BROWSER:
        pytest.skip("there is no chromium here: `apt-get install chromium`")
    probe = f"<script>document.title='';try{{{script}}}catch(e){{document.title='error: '+e;}}</script>"
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", f"{probe}</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},900", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found is not None, done.stderr[-500:]
    return found[1]


def test_a_browser_sorts_filters_and_fits_a_phone(results: Results, tmp_path: Path) -> None:
    """A click on a head sorts by number, words filter, a point tells its value, and a narrow page fits."""
    script = """
    var t=document.getElementById('t-cases'),b=t.tBodies[0],heads=Array.from(t.tHead.rows[0].cells);
    var at=heads.findIndex(function(h){return h.textContent==='time (s)';});
    heads[at].querySelector('button').click();
    var v=Array.from(b.rows).map(function(r){return Number(r.cells[at].dataset.v);});
    var sorted=v.every(function(x,i){return !i||v[i-1]<=x;});
    var box=document.querySelector("input[data-for='t-cases']");
    box.value='ktask';box.dispatchEvent(new Event('input'));
    var left=Array.from(b.rows).filter(function(r){return !r.hidden;}).length;
    var p=document.querySelector('.pt');p.dispatchEvent(new Event('focus'));
    var tip=document.getElementById('tip').textContent;
    document.title=[sorted,left,tip.length>10,document.documentElement.scrollWidth<=window.innerWidth].join(' ');
    """
    found = in_browser(tmp_path, results_html(results), script, 500)
    # Cases of ktask, and those that one of ktask beats, whose row names it.
    sorted_, left, tip, fits = found.split()
    assert (sorted_, tip, fits) == ("true", "true", "true") and 4 <= int(left) < 8
