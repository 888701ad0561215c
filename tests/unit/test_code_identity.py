"""Results know which code made them: version, commit, changes, and a user's own rules with their source."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from models.policies.chunks import ChunkRule, KtaskChunks
from models.results import provenance_of
from models.results.code import code_identity, rule_identity
from models.scenario import load_scenario


def git(home: Path, *arguments: str) -> None:
    """Run git in a folder, as somebody."""
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(home), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A program of one file, in a folder without a repository."""
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "engine.py").write_text("SPEED = 1\n")
    return tmp_path


def identity(home: Path) -> dict[str, object]:
    """What identifies the code as it is now."""
    code_identity.cache_clear()
    return code_identity(home)


def test_any_change_of_a_source_changes_the_digest(copy: Path) -> None:
    """The digest tells two codes apart where there is no repository, and is the same for the same code."""
    before = identity(copy)
    assert (before["commit"], before["changed"]) == (None, None)
    assert identity(copy) == before
    (copy / "sim" / "engine.py").write_text("SPEED = 2\n")
    assert identity(copy)["digest"] != before["digest"]


def test_the_version_is_that_beside_the_code(copy: Path) -> None:
    """Without a repository and without a tag it is pyproject.toml's, whatever is installed; of another project, not."""
    (copy / "pyproject.toml").write_text('[project]\nname = "ktask-sim"\nversion = "9.8.7"\n')
    assert identity(copy)["version"] == "9.8.7"
    git(copy, "init", "-q")
    git(copy, "add", ".")
    git(copy, "commit", "-q", "-m", "first")
    assert str(identity(copy)["version"]).startswith("9.8.7+")
    (copy / "pyproject.toml").write_text('[project]\nname = "theirs"\nversion = "9.8.7"\n')
    assert not str(identity(copy)["version"]).startswith("9.8.7")


def test_a_checkout_says_tag_commit_and_changes(copy: Path) -> None:
    """At a tag the version is the tag's; a commit later it has the commit, and a change is said."""
    git(copy, "init", "-q")
    git(copy, "add", ".")
    git(copy, "commit", "-q", "-m", "first")
    git(copy, "tag", "v1.2.3")
    found = identity(copy)
    assert (found["version"], found["changed"]) == ("1.2.3", False)
    assert len(str(found["commit"])) == 40
    (copy / "sim" / "engine.py").write_text("SPEED = 3\n")
    assert identity(copy)["version"] == "1.2.3-dirty"
    assert identity(copy)["changed"] is True
    git(copy, "commit", "-q", "-a", "-m", "second")
    assert str(identity(copy)["version"]).startswith("1.2.3-1-g")


def test_provenance_names_the_code(root: Path) -> None:
    """A result folder records the digest of the code that is loaded."""
    code_identity.cache_clear()
    scenario = load_scenario(root / "scenarios" / "clear_gigantic_page.yaml")
    assert provenance_of(scenario, "sim", with_traces=False)["code"] == code_identity()


def make_rule(divisor: int) -> type[ChunkRule]:
    """A rule of a user's: two of them have one name, and different sources."""
    return half_tail() if divisor == 2 else third_tail()


def half_tail() -> type[ChunkRule]:
    """A rule that takes half."""

    class Tail(KtaskChunks):
        """A rule of a user's."""

        def share(self, left: int) -> int:
            return left // 2

    Tail.__qualname__ = "Tail"
    return Tail


def third_tail() -> type[ChunkRule]:
    """A rule of the same name that takes a third."""

    class Tail(KtaskChunks):
        """A rule of a user's."""

        def share(self, left: int) -> int:
            return left // 3

    Tail.__qualname__ = "Tail"
    return Tail


def test_two_rules_of_one_name_are_told_apart_by_what_they_do(root: Path) -> None:
    """Provenance differs where two rules of a user have one name and do different things; the same rule is the same."""
    scenario = load_scenario(root / "scenarios" / "clear_gigantic_page.yaml")
    half, third = (scenario.with_rules(chunks=make_rule(divisor)) for divisor in (2, 3))
    digests = {provenance_of(each, "sim", with_traces=False)["digest"] for each in (scenario, half, third)}
    assert len(digests) == 3
    assert rule_identity(make_rule(2)) == rule_identity(make_rule(2))
    assert rule_identity(make_rule(2))[0] == rule_identity(make_rule(3))[0]
