"""padata's multithreaded jobs as in Linux 6.18 (2025).

Difference from 6.15: Struct pages are initialised in one job for each node. The job runs from the first deferred page
to the end of the node's highest zone, even where parts of it are in use. Source: boots of Linux 6.18 and 7.3 that were
traced (tests/kernels).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from models.kernels.padata_6_15 import Padata615


class Padata618(Padata615):
    """The rules of padata in Linux 6.18."""

    one_job_a_zone: ClassVar[bool] = True

    version: Literal["padata-6.18"] = "padata-6.18"  # type: ignore[assignment]
