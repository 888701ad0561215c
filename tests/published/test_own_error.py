"""The model's own error, as the published tables have it, is what fits and advice begin with."""

from __future__ import annotations

import math

import pytest

from sim.fit.fit import MODEL_ERROR, MODEL_ERROR_SPREAD
from tests.published.guide import section
from tests.validation.own_error import errors, learnt, own_error_section, transferred


def test_the_prior_is_that_of_the_published_tables() -> None:
    """Median and spread over tables are within a standard error of what 15 tables tell: 1 / sqrt(15) of the spread."""
    median, spread = learnt()
    assert math.log(MODEL_ERROR) == pytest.approx(math.log(median), abs=0.26)
    assert pytest.approx(spread, abs=0.2) == MODEL_ERROR_SPREAD


def test_no_table_makes_the_prior() -> None:
    """Without any one of them the median moves by less than a quarter."""
    median, _ = learnt()
    for name in errors("published"):
        assert learnt(name)[0] == pytest.approx(median, rel=0.25), name


def test_costs_that_no_table_tells_are_as_unsure_as_transfers_are() -> None:
    """Advice takes 30 %: the root mean square of tables predicted without any row of them."""
    assert transferred() == pytest.approx(0.3, abs=0.07)


def test_the_guide_has_the_tables() -> None:
    """VALIDATION.md tells what each table says, and the prior without it."""
    assert section("own-error").strip() == own_error_section()
