"""Other work on the machine, beside the job: the kinds of a scenario's `background`. A new kind is one new file."""

from collections.abc import Mapping

from models.loads.bursts import Bursts
from models.loads.load import Arrival, Compute, Load, LoadStep, Move, SleepFor
from models.loads.memory import Clear, Copy, Read
from models.loads.service import Service
from models.loads.spin import Spin
from models.loads.usemem import Usemem

LOADS: Mapping[str, type[Load]] = {
    "spin": Spin,
    "clear": Clear,
    "read": Read,
    "copy": Copy,
    "usemem": Usemem,
    "bursts": Bursts,
    "service": Service,
}

__all__ = ["LOADS", "Arrival", "Compute", "Load", "LoadStep", "Move", "Service", "SleepFor"]
