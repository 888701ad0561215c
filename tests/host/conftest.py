"""What several tests on this host use: the lock on its pool of huge pages, and a small memory cgroup."""

from __future__ import annotations

from tests.host.test_huge_pages import pool
from tests.host.test_limits import small_group

__all__ = ["pool", "small_group"]
