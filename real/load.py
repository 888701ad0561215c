"""One process of background load: `python -m real.load LOAD CPU METHOD PARENT`.

It says "ready", then clears memory by a method (or only computes) until it is killed, at the latest when its parent,
process number PARENT, ends.
"""

from __future__ import annotations

import os
import sys
import time

from real.background import REGION_BYTES
from real.system_calls import end_with_parent
from real.zeroing import methods


def _main(load: str, cpu: str, method_name: str, parent: str) -> None:
    end_with_parent(int(parent))
    os.sched_setaffinity(0, {int(cpu)})
    if load == "spin":
        print("ready", flush=True)
        while True:
            end_s = time.perf_counter() + 1.0
            while time.perf_counter() < end_s:
                pass
    method = next(method for method in methods() if method.name == method_name)
    arena = method.open(REGION_BYTES)
    step = max(method.page_bytes, 32 << 20)
    arena.clear(0, REGION_BYTES)
    print("ready", flush=True)
    while True:
        for start in range(0, REGION_BYTES, step):  # step by step: what lies free meanwhile may go to a hypervisor
            arena.give_back(start, step)
            arena.clear(start, step)


if __name__ == "__main__":
    _main(*sys.argv[1:])
