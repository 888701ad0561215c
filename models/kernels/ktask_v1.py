"""ktask RFC v1 (D. Jordan, 2017-07-14, on Linux 4.12).

Source: msgid 1500070573-3948-1-git-send-email-daniel.m.jordan@oracle.com and its replies. What tells it apart: at most
4 works, a mutex, one unbound workqueue, no limit for all tasks together; a helper moves by changing its own CPU mask; a
chunk has at least 256 base pages (KTASK_BPGS_MINCHUNK).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.kernels.kernel import ClientRules, Kernel
from models.units import MIB


class KtaskV1(Kernel):
    """What ktask v1 does."""

    client_rules: ClassVar[Mapping[str, ClientRules]] = {
        "clear_gigantic_page": ClientRules({"min_chunk": MIB}, "v1 5/6: KTASK_BPGS_MINCHUNK"),
    }

    version: Literal["ktask-v1"] = "ktask-v1"
