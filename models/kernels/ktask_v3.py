"""ktask RFC v3 (D. Jordan, 2017-12-05, on Linux 4.15-rc2).

Source: msgid 20171205195220.28208-1-daniel.m.jordan@oracle.com and its patches. Differences from v2: Helpers of all
tasks take at most 80 % of the CPUs of a node, and at most 80 % of all CPUs. Helpers beyond a node's limit run anywhere.
A work begins with the entry of its number. A helper changes nodes when its work is queued again on the new node.
Deferred struct page init takes a quarter of a node's CPUs. As posted, the code looks for room on the new node in the
old node's count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import BusyFactor, ClientRules, FirstEntry, Kernel, Migration
from models.kernels.ktask_v2 import KtaskV2
from models.policies.options import PolicyName
from models.text.units import GIB


class KtaskV3(Kernel):
    """The rules of ktask v3."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {
        "clear_gigantic_page": ClientRules(
            {"min_chunk": GIB}, "v3: KTASK_BPGS_MINCHUNK is v2's; that 5/7 gives it is an assumption"
        ),
        "hugetlbfs_fallocate": KtaskV2.client_rules["hugetlbfs_fallocate"],
        "deferred_struct_page_init": ClientRules(
            {"min_chunk": GIB, "works": "quarter-of-node"},
            "v3 7/7: KTASK_BPGS_MINCHUNK, DIV_ROUND_UP(CPUs of the node, 4)",
        ),
    }
    other_clients: ClassVar[ClientRules] = ClientRules(
        {"min_chunk": GIB}, "an assumption: KTASK_BPGS_MINCHUNK, as v3's own clients"
    )
    asks_old_node: ClassVar[bool] = True

    since_5_4: ClassVar[bool] = False
    version: Literal["ktask-v3"] = "ktask-v3"
    policy: PolicyName = "ktask-v3"
    busy_factor: BusyFactor = 32
    first_entry: FirstEntry = "number"
    migration: Migration = "requeue"
