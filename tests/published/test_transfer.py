"""Each published table predicted without any row of it: how near, in which order, and that nothing of it is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.files.families import families
from models.files.machine import load_machine, shipped_machines
from models.files.without import DEFAULT, machine_without
from models.measured.measurements import load_measurements, tables_with_cases
from sim.compare.transfer import Transfer, is_of_the_work, transfer, transfer_section, transfer_summary
from sim.runs.experiment import available_cpus

GUIDE = Path(__file__).parents[2] / "VALIDATION.md"


@pytest.fixture(scope="module")
def found() -> list[Transfer]:
    """All tables, as `ktask-sim validate --transfer` predicts them."""
    return transfer(jobs=available_cpus())


def test_how_near(found: list[Transfer]) -> None:
    """What was reached, stated so that it may not get worse; the bars are in the guide."""
    table = transfer_summary(found)
    assert len(table) >= 9
    assert table["mean_error_pct"].median() <= MEDIAN_PCT
    assert table["mean_error_pct"].max() <= WORST_PCT
    assert table["misranked"].sum() <= 0.1 * table["ranked"].sum()


MEDIAN_PCT, WORST_PCT = 17.0, 40.0


def test_all_cells_count(found: list[Transfer]) -> None:
    """No cell is left out as fitted: none is."""
    for each in found:
        assert not each.result.cells["fitted"].any()


def test_which_tables(found: list[Transfer]) -> None:
    """Every table with cases is predicted, but those in which the work itself was fitted."""
    names = {each.result.measured.name for each in found}
    for name in tables_with_cases():
        measured = load_measurements(name)
        assert (name in names) == (measured.scenario is not None and not is_of_the_work(measured)), name


def test_nothing_fitted_stays() -> None:
    """Each figure that was fitted to a table is another one without it, or stands on another source."""
    for name in shipped_machines():
        machine = load_machine(name)
        for fit in machine.fits:
            without = machine_without(name, frozenset([fit.table]))
            replaced = {fallback.figure for fallback in without.fallbacks}
            fitted = {each if "." in each else f"rates.{each}" for each in fit.parameters}
            assert fitted <= replaced, (name, fit.table)
            assert not any(each.table == fit.table for each in without.machine.fits)
            named = re.compile(rf"\b{re.escape(fit.table)}(?!_)\b")
            assert not any(named.search(fallback.source) for fallback in without.fallbacks), (name, fit.table)
            assert not any(fallback.source == DEFAULT for fallback in without.fallbacks), (name, fit.table)


def test_guide_shows_these_numbers(found: list[Transfer]) -> None:
    """VALIDATION.md has what the study gives (`make transfer` writes it)."""
    assert transfer_section(found) in GUIDE.read_text()


def test_every_machine_has_a_family() -> None:
    """A shipped machine says which family may stand in for what is not known of it."""
    assert all(load_machine(name).family in families() for name in shipped_machines())
