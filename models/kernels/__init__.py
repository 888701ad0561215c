"""The versions of the framework, one file each: a set of rules, and figures that a scenario may change."""

from __future__ import annotations

from collections.abc import Mapping

from models.kernels.kernel import ClientRules, Kernel
from models.kernels.ktask_v1 import KtaskV1

VERSIONS: Mapping[str, type[Kernel]] = {"ktask-v1": KtaskV1}

__all__ = ["VERSIONS", "ClientRules", "Kernel", "KtaskV1"]
