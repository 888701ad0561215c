"""Which figure serves which clients, and that none is fitted twice on a machine."""

from __future__ import annotations

from pathlib import Path

from tests.validation.figure_uses import clients_of, figure_uses, figures_section, twice_fitted


def test_no_figure_is_fitted_twice() -> None:
    """On a machine a figure is fitted to one table; what is learned there serves the others."""
    assert twice_fitted() == []


def test_clients_share_stages() -> None:
    """Clearing serves all that clear, pinning who pins, and a rate of a machine's memory everyone."""
    assert {"clear_gigantic_page", "vfio_pin", "qemu_prealloc", "hugetlb_boot_alloc"} <= set(
        clients_of("rates.clear_rate")
    )
    assert clients_of("pages.init_rate") == ("deferred_struct_page_init",)
    assert set(clients_of("pages.pin_base")) == {"vfio_pin", "pinned_pool"}
    assert "free_pages" in clients_of("rates.memory_bandwidth")


def test_fitted_figures_are_listed() -> None:
    """Each figure that a machine's file says was fitted is in the table, with its stage."""
    uses = {use.figure: use for use in figure_uses()}
    assert uses["pages.init_rate"].fitted["xeon-e5-2699v3-2s"] == ("deferred_init_padata_2020_haswell",)
    assert all(use.stage for use in uses.values())


def test_guide_has_the_table() -> None:
    """VALIDATION.md has it (`python -m tests.validation.study figures` writes it)."""
    assert figures_section() in (Path(__file__).parents[2] / "VALIDATION.md").read_text()
