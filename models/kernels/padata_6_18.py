"""padata's multithreaded jobs as in Linux 6.18 (2025).

What tells it from 6.15: struct pages are initialised in one job for each node, from the first deferred page to the end
of its highest zone, whatever is in use of it. Source: boots of Linux 6.18 and 7.3 that were traced (tests/kernels).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from models.kernels.padata_6_15 import Padata615


class Padata618(Padata615):
    """What padata does in Linux 6.18."""

    one_job_a_zone: ClassVar[bool] = True

    version: Literal["padata-6.18"] = "padata-6.18"  # type: ignore[assignment]
