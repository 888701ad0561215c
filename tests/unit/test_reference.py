"""The reference: every public name says its parameters and returns, with an example that gives what it says."""

from __future__ import annotations

import doctest
import inspect
from typing import Any

import pytest

import real
import sim

PUBLIC = [(package, name) for package in (sim, real) for name in package.__all__]
_ERRORS = [
    (package, name)
    for package, name in PUBLIC
    if inspect.isclass(it := getattr(package, name)) and issubclass(it, Exception)
]
SPOKEN = [each for each in PUBLIC if each not in _ERRORS]


def _id(case: object) -> str:
    return case if isinstance(case, str) else getattr(case, "__name__", "")


@pytest.mark.parametrize(("package", "name"), SPOKEN, ids=_id)
def test_a_public_name_is_described(package: Any, name: str) -> None:
    """Functions say each parameter and what they return; everything has an example."""
    what = getattr(package, name)
    text = inspect.getdoc(what) or ""
    assert ">>> " in text
    if inspect.isfunction(what):
        assert "Returns:" in text
        described = text.partition("Args:")[2].partition("Returns:")[0]
        for parameter in inspect.signature(what).parameters:
            assert f"    {parameter}: " in described, parameter


@pytest.mark.parametrize(("package", "name"), SPOKEN, ids=_id)
def test_its_example_gives_what_it_says(
    package: Any, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples run in an empty folder, with the public names of their package at hand."""
    monkeypatch.chdir(tmp_path)
    known = {each: getattr(package, each) for each in package.__all__} | {"sim": sim, "real": real}
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(getattr(package, name), name, globs=known):
        assert test.examples
        assert runner.run(test).failed == 0


def test_errors_say_what_they_are_for() -> None:
    """A public error has a sentence of its own."""
    assert _ERRORS
    assert all((getattr(package, name).__doc__ or "").endswith(".") for package, name in _ERRORS)
