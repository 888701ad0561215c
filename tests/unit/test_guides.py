"""The guides at the top level: their links lead somewhere, and the scenario and keys of SCENARIOS.md are real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.clients import CLIENTS
from models.kernels import VERSIONS
from models.scenario import build_scenario
from models.scenario.keys import scenario_schema
from models.text.document import parse
from tests.conftest import ROOT

GUIDES = sorted(ROOT.glob("*.md"))


def anchors(guide: Path) -> set[str]:
    """Return the names under which the headings of a guide can be linked to."""
    titles = re.findall(r"^#+ (.*)$", guide.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_links_lead_somewhere(guide: Path) -> None:
    """Every link of a guide that is no web address leads to a file of the repository, and to a heading that it has."""
    links = re.findall(r"\]\(([^)]+)\)", guide.read_text(encoding="utf-8"))
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = guide.parent / path if path else guide
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_guide_to_scenarios_has_one_that_can_be_read(root: Path) -> None:
    """The first scenario of SCENARIOS.md has the 12 cases that the text says."""
    text = (root / "SCENARIOS.md").read_text(encoding="utf-8")
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert "this one has 12 cases" in text
    assert len(build_scenario(parse(example, "SCENARIOS.md"), root / "SCENARIOS.md").cases) == 12


def test_the_guide_to_scenarios_names_keys_that_there_are(root: Path) -> None:
    """Every key in the table of SCENARIOS.md is a key of the schema."""
    table = (root / "SCENARIOS.md").read_text(encoding="utf-8").partition("| key | meaning |")[2].partition("\n\n")[0]
    named = [key for row in table.splitlines()[2:] for key in re.findall(r"`([^`]+)`", row.split("|")[1])]
    known = {key for part in scenario_schema()["$defs"].values() for key in part.get("properties", {})}
    assert named
    assert {key.partition(":")[0].rpartition(".")[2] for key in named} <= known


def test_the_guide_to_scenarios_names_every_job_and_kernel(root: Path) -> None:
    """SCENARIOS.md has each client in its table of jobs, and below it each kernel version but those within a range."""
    text = (root / "SCENARIOS.md").read_text(encoding="utf-8")
    section = text.partition("## Jobs and kernels")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(CLIENTS)
    assert "`ktask-v1` to `ktask-v4`" in section
    assert {name for name in VERSIONS if f"`{name}`" not in section} == {"ktask-v2", "ktask-v3"}
