"""Inputs drawn at random, some hundreds; `make fuzz` draws as many as one likes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.campaign import CORPUS, found_before
from tests.fuzz.checks import KINDS, limited

EXAMPLES = {
    "value": 200, "text": 80, "prompt": 80, "arguments": 120, "machine": 60, "table": 60, "topology": 80,
    "scenario": 100, "process": 6, "command": 20, "advice": 4,
}  # fmt: skip


@pytest.mark.parametrize("kind", list(KINDS))
def test_any_input_is_used_or_refused(kind: str) -> None:
    """No input of a kind ends in anything but a use or the product's own words."""

    @settings(
        max_examples=EXAMPLES[kind],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def draw(r: Random) -> None:
        with limited():
            KINDS[kind](r)

    draw()


@pytest.mark.parametrize(("kind", "seed"), found_before())
def test_what_once_failed(kind: str, seed: str) -> None:
    """Inputs that failed once, by their seeds, are used or refused."""
    with limited():
        KINDS[kind](Random(f"{kind} {seed}"))


def test_the_corpus_names_kinds() -> None:
    """Each line of the corpus is a kind of input and a seed."""
    assert all(kind in KINDS for kind, _ in found_before()), CORPUS
