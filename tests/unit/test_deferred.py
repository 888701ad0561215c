"""Which struct pages are deferred, and in which jobs, worked by hand."""

from __future__ import annotations

import pytest

from models.memory.deferred import Span, deferred_jobs, first_deferred, free_spans, highest_zone

LOW, HIGH = Span(0x100, 0x7FFDF), Span(0x100000, 0x140000)  # of a first node with 3 GiB, 2 of them below 4 GiB


def test_only_the_highest_zone_is_deferred() -> None:
    """Memory from 4 GiB on, where a node has some; else from 16 MiB on; else all."""
    assert highest_zone([LOW, HIGH]) == (HIGH,)
    assert highest_zone([LOW]) == (Span(0x1000, 0x7FFDF),)
    assert highest_zone([Span(0x10, 0x800)]) == (Span(0x10, 0x800),)
    assert highest_zone([]) == ()


@pytest.mark.parametrize(
    ("memory", "first"),
    [
        ([LOW, HIGH], 0x108000),  # a section behind 4 GiB
        ([LOW], 0x10000),  # 0x1000 + 0x8000 = 0x9000, up to a section
        ([Span(0x144000, 0x200000)], 0x150000),  # 0x14c000, up
        ([Span(0x140000, 0x146000), Span(0x150000, 0x200000)], 0x158000),  # 0x6000 before the hole, 0x2000 more, up
        ([Span(0x140000, 0x148000)], None),
    ],
)
def test_a_section_or_more_is_not_deferred(memory: list[Span], first: int | None) -> None:
    """The first deferred page is at a multiple of 0x8000, behind 0x8000 pages of the zone or more."""
    assert first_deferred(memory) == first


def test_a_job_for_each_free_range_until_6_17() -> None:
    """A kernel at 0x122400 to 0x125811 cuts node 1 in two: up to 0x128000, where its section ends, and the rest."""
    memory = [Span(0x100000, 0x140000)]
    reserved = [Span(0x122400, 0x125811), Span(0x13CA00, 0x140000)]
    assert deferred_jobs(memory, reserved, by_zone=False) == (Span(0x108000, 0x128000), Span(0x128000, 0x140000))
    assert deferred_jobs(memory, reserved, by_zone=True) == (Span(0x108000, 0x140000),)
    assert deferred_jobs(memory, reserved, by_zone=True, boot_sections=2) == (Span(0x118000, 0x140000),)
    assert deferred_jobs(memory, reserved, by_zone=True, boot_sections=7) == ()
    assert deferred_jobs([LOW], by_zone=True) == (Span(0x10000, 0x80000),)


def test_what_is_free_lies_between_what_is_reserved() -> None:
    """[0, 9) and [20, 30) without [2, 4), [3, 5), [9, 21): [0, 2), [5, 9), [21, 30)."""
    free = free_spans([Span(20, 30), Span(0, 9)], [Span(3, 5), Span(2, 4), Span(9, 21)])
    assert list(free) == [Span(0, 2), Span(5, 9), Span(21, 30)]
