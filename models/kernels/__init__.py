"""The versions of the framework, one file each: a set of rules, and figures that a scenario may change."""

from __future__ import annotations

from models.kernels.ktask_v1 import KtaskV1

Kernel = KtaskV1
VERSIONS: dict[str, type[Kernel]] = {"ktask-v1": KtaskV1}

__all__ = ["VERSIONS", "Kernel", "KtaskV1"]
