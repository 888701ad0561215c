"""This host as a machine: its topology, and memory and CPUs as far as this process may use them."""

from __future__ import annotations

import mmap
import os
import platform
import re
from dataclasses import replace
from pathlib import Path

from models.files.importers import sysfs
from models.files.machine import build_machine
from models.files.machine_writer import machine_document
from models.machine import Machine
from models.machine.topology import Topology, title_of
from models.text.cpu_list import format_cpu_list
from models.text.document import locate
from models.text.units import GIB, MIB, format_size
from real.host_state import permitted
from real.limits import available_memory, read_meminfo
from real.zeroing import methods, why_not

SYSFS = Path("/sys")


def host_topology() -> Topology:
    """Return the topology of this host: all nodes, and the CPUs that this process may use.

    Returns:
        The topology, read from /sys.

    Raises:
        InputError: The system does not tell it.

    Example:
        >>> len(host_topology().nodes) >= 1
        True
    """
    found = sysfs.read_folder(SYSFS)
    allowed = os.sched_getaffinity(0)
    cpus = tuple(cpu for cpu in found.cpus if cpu.cpu_id in allowed)
    remarks = tuple(remark for remark in found.remarks if remark not in (sysfs.MEMORY_REMARK, sysfs.PAGE_REMARK))
    # What the nodes say may be far too little, as long as struct pages are still being initialised.
    total_bytes, of_nodes_bytes = read_meminfo()["MemTotal"], sum(node.memory_bytes for node in found.nodes)
    nodes = tuple(
        replace(node, memory_bytes=node.memory_bytes * total_bytes // of_nodes_bytes // MIB * MIB)
        for node in found.nodes
    )
    remarks += ("memory is what the kernel manages, a little below what is built in, in the nodes' proportions",)
    if len(cpus) < len(found.cpus):
        which = format_cpu_list(cpu.cpu_id for cpu in cpus)
        remarks += (f"of {len(found.cpus)} CPUs those are left out that this process may not use; it may use {which}",)
    return replace(
        found,
        title=title_of(found.model_name, nodes, len(cpus)),
        nodes=nodes,
        cpus=cpus,
        base_page_bytes=mmap.PAGESIZE,
        remarks=remarks,
    )


def host_name() -> str:
    """Return the host's name in the form of a machine's name: letters, digits, '.', '_' and '-'.

    Returns:
        The name.

    Example:
        >>> bool(host_name())
        True
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", platform.node()).lstrip("._-")[:100] or "host"


def host_machine(name: str | None = None) -> Machine:
    """Return this host as a machine whose rates are not measured yet.

    Args:
        name: The name of the machine. None takes the host's own.

    Returns:
        The machine. Its sources say that its rates are guesses.

    Raises:
        InputError: The system does not tell its topology.

    Example:
        >>> len(host_machine("here").cpus) >= 1
        True
    """
    document = machine_document(host_topology(), name or host_name())
    return build_machine(locate(document), "this host")


def describe_host(topology: Topology) -> str:
    """Describe this host in words: its memory, its permissions, its methods and the needs of each.

    Args:
        topology: The host's topology (`host_topology`).

    Returns:
        Lines for a person.

    Raises:
        OSError: There is no /proc.

    Example:
        >>> "memory" in describe_host(host_topology())
        True
    """
    limit = available_memory()
    lines = [topology.title, f"memory that may be used: {format_size(limit.size_bytes)} ({limit.limited_by})"]
    lines += [f"{what}: {said}" for what, said in permitted().items()]
    lines.append("methods of clearing memory, the best first (for 1 GiB in chunks of 2 MiB):")
    for method in methods():
        reason = why_not(method, GIB, [2 * MIB])
        lines.append(f"  {method.name}: {method.measures}" + (f"\n    not now: {reason}" if reason else ""))
    return "\n".join(lines)
