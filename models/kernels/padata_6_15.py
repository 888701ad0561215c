"""padata's multithreaded jobs as in Linux 6.15 (2025).

Difference from 6.9: Huge pages are allocated at boot by a quarter of the online CPUs, or by as many threads as
`hugepage_alloc_threads=` says (here max_threads). Source: mm/hugetlb.c, hugetlb_pages_alloc_boot, and boots of Linux
6.16 that were traced (tests/kernels).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import ClientRules
from models.kernels.padata_5_8 import DEFERRED_INIT
from models.kernels.padata_numa import GIGANTIC, PadataNuma


class Padata615(PadataNuma):
    """The rules of padata in Linux 6.15."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {
        "deferred_struct_page_init": DEFERRED_INIT,
        "hugetlb_boot_alloc": ClientRules(
            {"min_chunk": 1, "works": "quarter", "chunks": "hugetlb"},
            "hugetlb_pages_alloc_boot: a quarter of the online CPUs, min_chunk = pages / max_threads, numa_aware",
        ),
        "hugetlb_boot_alloc, gigantic pages": GIGANTIC,
    }

    version: Literal["padata-6.15"] = "padata-6.15"  # type: ignore[assignment]
