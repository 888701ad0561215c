"""The clients: jobs of the kernel that ktask and padata were made for. One file each, and an entry here."""

from __future__ import annotations

from collections.abc import Mapping

from models.clients.clear_gigantic_page import ClearGigantic
from models.clients.client import Caller, Client, Costs, Pause, Step, Stream, Task, Thread
from models.clients.vfio_pin import VfioPin

CLIENTS: Mapping[str, type[Client]] = {"clear_gigantic_page": ClearGigantic, "vfio_pin": VfioPin}

__all__ = ["CLIENTS", "Caller", "ClearGigantic", "Client", "Costs", "Pause", "Step", "Stream", "Task", "Thread"]
