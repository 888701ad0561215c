"""ktask RFC v1 (D. Jordan, 2017-07-14, on Linux 4.12).

Source: msgid 1500070573-3948-1-git-send-email-daniel.m.jordan@oracle.com and its replies. Its own traits: A task has at
most 4 works, a mutex and one unbound workqueue. There is no limit for all tasks together. A helper moves by changing
its own CPU mask. A chunk has at least 256 base pages (KTASK_BPGS_MINCHUNK).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import BusyFactor, ClientRules, Kernel
from models.text.units import MIB


class KtaskV1(Kernel):
    """The rules of ktask v1."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {
        "clear_gigantic_page": ClientRules({"min_chunk": MIB}, "v1 5/6: KTASK_BPGS_MINCHUNK, 256 base pages"),
        "hugetlbfs_fallocate": ClientRules({"min_chunk": 512 * MIB}, "v1 6/6: 256 huge pages of 2 MiB; an assumption"),
    }
    other_clients: ClassVar[ClientRules] = ClientRules(
        {"min_chunk": MIB}, "an assumption: KTASK_BPGS_MINCHUNK, as v1's own clients"
    )

    since_5_4: ClassVar[bool] = False
    version: Literal["ktask-v1"] = "ktask-v1"
    busy_factor: BusyFactor = 32
