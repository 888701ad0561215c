"""Weights of nice levels: a thread's share of a CPU is its weight over those of all that want it.

Source: sched_prio_to_weight, kernel/sched/core.c: each level is about 1.25 times the next, 10 % of a CPU between two
threads.
"""

_OF_NICE = (
    *(88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916),
    *(9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277),
    *(1024, 820, 655, 526, 423, 335, 272, 215, 172, 137),
    *(110, 87, 70, 56, 45, 36, 29, 23, 18, 15),
)
NORMAL = 1024  # of nice 0


def weight_of(nice: int) -> int:
    """Return the weight of a nice level, -20 to 19. Raises ValueError for others."""
    if not -20 <= nice <= 19:
        raise ValueError(f"nice must be -20 to 19; found {nice}")
    return _OF_NICE[nice + 20]
