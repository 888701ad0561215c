"""The versions of the framework, one file each: a set of rules, and figures that a scenario may change."""

from __future__ import annotations

from collections.abc import Mapping

from models.kernels.cloud_hypervisor import CloudHypervisor
from models.kernels.jvm import Jvm
from models.kernels.kernel import ClientRules, Kernel
from models.kernels.ktask_v1 import KtaskV1
from models.kernels.ktask_v2 import KtaskV2
from models.kernels.ktask_v3 import KtaskV3
from models.kernels.ktask_v4 import KtaskV4
from models.kernels.padata_5_8 import Padata58
from models.kernels.padata_6_15 import Padata615
from models.kernels.padata_6_18 import Padata618
from models.kernels.padata_2022 import Padata2022
from models.kernels.padata_numa import PadataNuma
from models.kernels.qemu import Qemu

VERSIONS: Mapping[str, type[Kernel]] = {
    "ktask-v1": KtaskV1,
    "ktask-v2": KtaskV2,
    "ktask-v3": KtaskV3,
    "ktask-v4": KtaskV4,
    "padata-5.8": Padata58,
    "padata-6.9": PadataNuma,
    "padata-6.15": Padata615,
    "padata-6.18": Padata618,
    "padata-rfc-2022": Padata2022,
    "qemu": Qemu,
    "jvm": Jvm,
    "cloud-hypervisor": CloudHypervisor,
}

__all__ = ["VERSIONS", "ClientRules", "Kernel", "KtaskV1"]
