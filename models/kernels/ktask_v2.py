"""ktask RFC v2 (D. Jordan, 2017-08-24, on Linux 4.13-rc6).

Source: msgid 20170824205004.18502-1-daniel.m.jordan@oracle.com and its patches. Differences from v1: A client may set
its own max_threads. KTASK_BPGS_MINCHUNK is 1 GiB of base pages, so that a gigantic page of 1 GiB gets one work.
Deferred struct page init is a client. As posted, hugetlbfs_fallocate gives that number for huge pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import BusyFactor, ClientRules, Kernel
from models.policies.options import PolicyName
from models.text.units import GIB, MIB

BASE_PAGES = 262_144  # KTASK_BPGS_MINCHUNK: 1 GiB of them


class KtaskV2(Kernel):
    """The rules of ktask v2."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {
        "clear_gigantic_page": ClientRules({"min_chunk": GIB}, "v2: KTASK_BPGS_MINCHUNK"),
        "hugetlbfs_fallocate": ClientRules(
            {"min_chunk": BASE_PAGES * 2 * MIB}, "v2: KTASK_BPGS_MINCHUNK, but huge pages of 2 MiB", {"min_chunk": GIB}
        ),
        "deferred_struct_page_init": ClientRules(
            {"min_chunk": GIB, "works": "node"}, "v2 7/7: KTASK_BPGS_MINCHUNK, all CPUs of the node"
        ),
    }
    other_clients: ClassVar[ClientRules] = ClientRules(
        {"min_chunk": GIB}, "an assumption: KTASK_BPGS_MINCHUNK, as v2's own clients"
    )

    since_5_4: ClassVar[bool] = False
    version: Literal["ktask-v2"] = "ktask-v2"
    policy: PolicyName = "ktask-v2"
    busy_factor: BusyFactor = 32
