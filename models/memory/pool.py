"""Free huge pages by NUMA node, and the default memory policy that hands them out."""

from __future__ import annotations

from models.machine import Machine


def spread_pool(machine: Machine, n_pages: int, page_bytes: int) -> dict[int, int]:
    """Return pages per node of a huge-page pool: one by one, round robin over the nodes that still have room.

    This is how Linux fills a pool set through nr_hugepages. Raises ValueError if the machine has too little memory.
    """
    room = {node.nid: node.memory_bytes // page_bytes for node in machine.nodes}
    if n_pages > sum(room.values()):
        raise ValueError(f"{n_pages} pages asked for, {sum(room.values())} fit")
    pages = dict.fromkeys(room, 0)
    left = n_pages
    while left:
        open_nids = [nid for nid in pages if pages[nid] < room[nid]]
        share = min(left // len(open_nids), min(room[nid] - pages[nid] for nid in open_nids))
        if share == 0:
            for nid in open_nids[:left]:
                pages[nid] += 1
            return pages
        for nid in open_nids:
            pages[nid] += share
        left -= share * len(open_nids)
    return pages


def free_pages(machine: Machine, page_bytes: int, pool_bytes: int | None) -> PagePool:
    """Return a pool of this many bytes, none of it taken yet. None is all memory of every node.

    Raises ValueError if the machine has too little memory.
    """
    room = sum(node.memory_bytes // page_bytes for node in machine.nodes)
    n_pages = room if pool_bytes is None else pool_bytes // page_bytes
    return PagePool(machine, spread_pool(machine, n_pages, page_bytes))


class PagePool:
    """The pages that are free, taken by the default (local) policy: the own node first, then by distance."""

    def __init__(self, machine: Machine, pages_by_nid: dict[int, int]) -> None:
        self._free = dict(pages_by_nid)
        self._zonelists = machine.zonelists

    def take(self, nid: int) -> int:
        """Take a page for a thread that runs on node `nid` and return the page's node.

        Raises MemoryError if none is left.
        """
        for other in self._zonelists[nid]:
            if self._free[other]:
                self._free[other] -= 1
                return other
        raise MemoryError("no page is free on any node")

    def take_some(self, nid: int, most: int) -> tuple[int, int]:
        """Take up to `most` pages of one node for a thread on node `nid`, and return (their node, how many).

        Raises MemoryError if none is left.
        """
        found = self.take(nid)
        more = min(most - 1, self._free[found])
        self._free[found] -= more
        return found, 1 + more
