"""Families of processors: found by name, inherited figures, and a machine file's rates made of them."""

from __future__ import annotations

import re

import pytest

from models.files.families import (
    UNKNOWN,
    families,
    family_named,
    family_of,
    machine_of,
    pages_of,
    rates_of,
    remote_factor,
)
from models.files.machine import build_machine, load_machine, shipped_machines
from models.text.document import locate
from models.text.units import parse_rate

NAMES = {
    "Intel(R) Xeon(R) CPU E5-2699 v3 @ 2.30GHz": "haswell-ep",
    "Intel(R) Xeon(R) CPU E7-8895 v3 @ 2.60GHz": "haswell-ex",
    "Intel(R) Xeon(R) CPU E5-2699C v4 @ 2.20GHz": "broadwell-ep",
    "Intel(R) Xeon(R) CPU E7-8890 v4 @ 2.20GHz": "broadwell-ex",
    "Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz": "skylake-sp",
    "Intel(R) Xeon(R) Platinum 8167M CPU @ 2.00GHz": "skylake-sp",
    "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz": "cascade-lake-sp",
    "Intel(R) Xeon(R) Platinum 8270CL CPU @ 2.70GHz": "cascade-lake-sp",
    "Intel(R) Xeon(R) Platinum 8358 CPU @ 2.60GHz": "ice-lake-sp",
    "Intel(R) Xeon(R) Platinum 8360Y CPU @ 2.40GHz": "ice-lake-sp",
    "Intel(R) Xeon(R) Platinum 8480+": "sapphire-rapids",
    "INTEL(R) XEON(R) PLATINUM 8592+": "sapphire-rapids",
    "Intel(R) Xeon(R) 6776P": "granite-rapids",
    "AMD EPYC 7551 32-Core Processor": "zen1",
    "AMD EPYC 7742 64-Core Processor": "zen2",
    "AMD EPYC 7J13 64-Core Processor": "zen3",
    "AMD EPYC 7R13 Processor": "zen3",
    "AMD EPYC 7763 64-Core Processor": "zen3",
    "AMD EPYC 7V73X 64-Core Processor": "zen3",
    "AMD EPYC 9654 96-Core Processor": "zen4",
    "AMD EPYC 9R14": "zen4",
    "AMD EPYC 9755 128-Core Processor": "zen5",
    "Neoverse-N1": "neoverse-n1",
    "Neoverse-V2": "neoverse-v",
}


@pytest.mark.parametrize(("name", "family"), NAMES.items())
def test_found_by_name(name: str, family: str) -> None:
    """A processor's name, as /proc/cpuinfo or lscpu has it, tells its family."""
    assert family_of(name).name == family


def test_unknown_processors() -> None:
    """Else the vendor does; of others nothing is known."""
    assert family_of("Intel(R) Xeon(R) Processor", "GenuineIntel").name == "intel"
    assert family_of(None, "AuthenticAMD").name == "amd"
    assert family_of("POWER9", None).name == UNKNOWN


def test_every_family_is_whole() -> None:
    """By itself or its parents each has what a machine file needs, with a source and a width."""
    for family in families().values():
        assert {"rates.clear_rate", "rates.clear_traffic", "sockets.memory_bandwidth"} <= set(family.figures)
        assert all(prior.width > 0 and len(prior.source) > 10 for prior in family.figures.values())


def test_rates_of_a_family() -> None:
    """A socket's bandwidth is shared by its nodes, and factors are interpolated between known distances."""
    rates = rates_of(family_named("skylake-sp"), [10, 11, 21], nodes_per_socket=2)
    assert parse_rate(rates["memory_bandwidth"]["value"]) == pytest.approx(99.6e9 / 2, rel=1e-3)
    assert rates["remote_factors"]["value"] == {"11": 0.985, "21": 0.8}
    assert rates["clear_rate"]["source"].startswith("not measured, of the family skylake-sp, within 8%:")
    assert remote_factor({"12": 0.97, "32": 0.8}, 250) == 0.8


def test_a_machine_of_a_family() -> None:
    """Sockets of a family are a machine with links, distances, rates and figures of pages."""
    document = machine_of(family_of("EPYC 7763"), "two", sockets=2, cores=64, memory="1024GiB", caches_per_socket=8,
                          source="a guess")  # fmt: skip
    machine = build_machine(locate(document), "two")
    assert (len(machine.cpus), len(machine.links), machine.distances[0, 1]) == (256, 1, 32)
    assert len({cpu.cache_id for cpu in machine.cpus}) == 16
    assert machine.pages["clear_gigantic"] == 1.48
    four = build_machine(locate(machine_of(family_of("Xeon Gold 6148"), "four", sockets=4, cores=20, memory="1GiB",
                                           source="a guess")), "four")  # fmt: skip
    assert len(four.links) == 6
    assert four.links[0].rate_bytes_per_s == pytest.approx(17e9, rel=1e-3)


def test_a_figure_predicts_no_table_that_it_comes_from() -> None:
    """What was derived from a table is not taken where that table is to be predicted."""
    family = family_named("skylake-sp")
    assert family.prior("pages.init_rate") is not None
    assert family.prior("pages.init_rate", ["deferred_init_padata_2020"]) is None


def test_unknown_family() -> None:
    """The message says which there are."""
    with pytest.raises(ValueError, match=re.escape("did you mean skylake-sp?")):
        family_named("skylake")


def test_machines_of_a_family_have_its_figures_of_pages() -> None:
    """A shipped machine whose rates are its family's has the family's figures of pages too, or its own."""
    found = 0
    for name in shipped_machines():
        machine = load_machine(name)
        if any("not measured, of the family" in source for source in machine.sources.values()):
            assert machine.family is not None
            assert set(pages_of(family_named(machine.family))) <= set(machine.pages), name
            found += 1
    assert found >= 3
