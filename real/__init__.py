"""Clear memory of this host, really, by the plans that the simulation follows.

import real

plan = real.plan(scenario)  # whether and how; says what to change if not
print(plan.choice)  # the method, and why not the ones before it
results = real.run(plan)  # the same tables as sim.run gives
"""

from real.experiment import Plan, plan, run
from real.host import describe_host, host_machine, host_name, host_topology
from real.huge_pages import PoolError, restore_leftovers
from real.limits import NotEnoughMemoryError, huge_page_sizes
from real.measurement import Measurement, best_method, measure
from real.preparation import Prepared, measure_preparation
from real.programs import NoProgramError, ProgramError, find_programs
from real.zeroing import NoMethodError, choose, methods, transparent_huge_page_bytes

__all__ = [
    "Measurement",
    "NoMethodError",
    "NoProgramError",
    "NotEnoughMemoryError",
    "Plan",
    "PoolError",
    "Prepared",
    "ProgramError",
    "best_method",
    "choose",
    "describe_host",
    "find_programs",
    "host_machine",
    "host_name",
    "host_topology",
    "huge_page_sizes",
    "measure",
    "measure_preparation",
    "methods",
    "plan",
    "restore_leftovers",
    "run",
    "transparent_huge_page_bytes",
]
