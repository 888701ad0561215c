"""Clear memory of this host, really, by the plans that the simulation follows.

import real

plan = real.plan(scenario)  # whether and how; says what to change if not
print(plan.choice)  # the method, and why not the ones before it
results = real.run(plan)  # the same tables as sim.run gives
"""

from real.experiment import Plan, plan, run
from real.host import describe_host, host_machine, host_name, host_topology
from real.huge_pages import PoolError, restore_leftovers
from real.limits import NotEnoughMemoryError
from real.measurement import Measurement, best_method, measure
from real.zeroing import NoMethodError, choose, methods

__all__ = [
    "Measurement",
    "NoMethodError",
    "NotEnoughMemoryError",
    "Plan",
    "PoolError",
    "best_method",
    "choose",
    "describe_host",
    "host_machine",
    "host_name",
    "host_topology",
    "measure",
    "methods",
    "plan",
    "restore_leftovers",
    "run",
]
