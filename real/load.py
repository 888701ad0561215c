"""One process of background load: `python -m real.load LOAD CPU NICE METHOD PARENT`.

It says "ready", then clears memory by a method, reads or copies it (or only computes) until it is killed, at the latest
when its parent, process number PARENT, ends.
"""

from __future__ import annotations

import mmap
import os
import sys
import time

from real.background import REGION_BYTES
from real.system_calls import copy, end_with_parent, fill, map_anonymous, read_all
from real.zeroing import methods


def _use_memory(*, copies: bool) -> None:
    """Say "ready", then read memory or copy its first half to its second, again and again."""
    address, _, _ = map_anonymous(REGION_BYTES, align_bytes=mmap.PAGESIZE)
    fill(address, 0, REGION_BYTES)
    half = REGION_BYTES // 2
    print("ready", flush=True)
    while True:
        if copies:
            copy(address + half, address, half)
        else:
            read_all(address, 1, REGION_BYTES)


def _main(load: str, cpu: str, nice: str, method_name: str, parent: str) -> None:
    end_with_parent(int(parent))
    os.sched_setaffinity(0, {int(cpu)})
    os.setpriority(os.PRIO_PROCESS, 0, int(nice))
    if load == "spin":
        print("ready", flush=True)
        while True:
            end_s = time.perf_counter() + 1.0
            while time.perf_counter() < end_s:
                pass
    if load in ("read", "copy"):
        _use_memory(copies=load == "copy")
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
