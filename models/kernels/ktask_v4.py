"""ktask RFC v4 (D. Jordan, 2018-11-05, on mmotm of 2018-10-30).

Source: msgid 20181105165558.11698-1-daniel.m.jordan@oracle.com and its patches. Differences from v3: Chunks have at
least 128 MiB (KTASK_MEM_CHUNK). After an error the caller alone undoes the finished part. VFIO is a client. As posted,
two clients give that chunk in a wrong unit. Helpers run at the lowest priority until the caller waits for them (4/13,
5/13), which shows beside other work only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import BalanceMasks, BusyFactor, ClientRules, FirstEntry, Kernel, Migration, Undo
from models.policies.options import PolicyName
from models.text.units import KIB, MIB

MEM_CHUNK = 128 * MIB  # KTASK_MEM_CHUNK
# The test is not in the series, so its least chunk isn't known. With ktask's four chunks for each thread, helpers would
# have had theirs done long before stress-ng freed its CPUs, which 5/13 says they were waiting for (helper_renice).
TEST_OF_PRIORITIES = ClientRules(
    {"min_chunk": MIB, "chunks_per_work": 1}, "concluded from v4 5/13: one chunk for each thread"
)


class KtaskV4(Kernel):
    """The rules of ktask v4."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {
        "clear_gigantic_page": ClientRules(
            {"min_chunk": MEM_CHUNK * 4 * KIB},
            "v4 12/13: KTASK_MEM_CHUNK, but base pages of 4 KiB",
            {"min_chunk": MEM_CHUNK},
        ),
        "hugetlbfs_fallocate": ClientRules({"min_chunk": MEM_CHUNK}, "v4 13/13: KTASK_PMD_MINCHUNK, 64 pages of 2 MiB"),
        "deferred_struct_page_init": ClientRules(
            {"min_chunk": MEM_CHUNK, "works": "quarter-of-node"},
            "v4 11/13: KTASK_PTE_MINCHUNK, DIV_ROUND_UP(CPUs of the node, 4)",
        ),
        "vfio_pin": ClientRules({"min_chunk": 2 * MIB}, "v4 6/13: PMD_SIZE", {"min_chunk": MEM_CHUNK}),
        "ktask_test": TEST_OF_PRIORITIES,
    }
    other_clients: ClassVar[ClientRules] = ClientRules(
        {"min_chunk": MEM_CHUNK}, "an assumption: KTASK_MEM_CHUNK, as v4's own clients"
    )
    asks_old_node: ClassVar[bool] = True

    since_5_4: ClassVar[bool] = False
    version: Literal["ktask-v4"] = "ktask-v4"
    policy: PolicyName = "ktask-v4"
    busy_factor: BusyFactor = 32
    balance_masks: BalanceMasks = False
    first_entry: FirstEntry = "number"
    migration: Migration = "requeue"
    undo: Undo = True
