"""How rows of published tables become cases: times that a source rounds, and what tells rows apart."""

from __future__ import annotations

import pytest

from models.measured.measurements import load_measurements, spread_of
from models.text.units import GIB, MIB

TABLE = "vfio_padata_rfc2022_skylake"


def test_rounded_times_are_not_counted() -> None:
    """A source that rounds to 0.1 s: what is shorter than four of it does not count, and none is known better."""
    measured = load_measurements(TABLE)
    rows = measured.rows
    assert rows["time_s"].min() == 0.1
    assert any("which the source rounds too much" in reason for _, reason in measured.doubts)
    assert (rows["doubtful"] == (rows["time_s"] < 0.4 - 1e-9)).all()
    assert (spread_of(rows) * rows["time_s"] >= 0.05 - 1e-12).all()


@pytest.mark.parametrize(
    ("memtype", "filled", "page_bytes", "thp", "present"),
    [
        ("hugetlb", 0, 2 * MIB, False, False),
        ("hugetlb", 16, 2 * MIB, False, True),
        ("THP", 0, None, True, False),
        ("THP", 16, None, False, True),  # what QEMU has filled with 16 threads takes what base pages take
    ],
)
def test_kinds_of_pinned_memory(memtype: str, filled: int, page_bytes: int | None, thp: bool, present: bool) -> None:
    """Each kind of memory of the table of 2022, absent or filled by QEMU, is a kind of the client's."""
    measured = load_measurements(TABLE)
    assert measured.scenario is not None
    rows = measured.rows
    chosen = rows.index[(rows["memtype"] == memtype) & (rows["qemu_prealloc_threads"] == filled)]
    for i in chosen:
        task = measured.scenario.cases[i].task
        assert (task.page_size, task.thp, task.present) == (page_bytes, thp, present)  # type: ignore[attr-defined]
        assert task.size_bytes(measured.scenario.cases[i].machine) in (128 * GIB, 360 * GIB)


def test_at_most_a_third_is_fitted() -> None:
    """Of the tables that were put in last, most rows are predicted."""
    for name in (
        TABLE,
        "hugetlb_boot_cascade_lake_2025",
        "deferred_init_padata_2020_haswell",
        "qemu_prealloc_hpe_2017",
    ):
        rows = load_measurements(name).rows
        assert 0 < rows["fitted"].sum() <= len(rows) / 3
