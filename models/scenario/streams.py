"""Random streams: one for each source of chance, all from one seed, so that policies meet the same luck."""

from __future__ import annotations

import hashlib
from random import Random


class Streams:
    """The named streams of one replication. The same seed, replication and name give the same numbers anywhere."""

    def __init__(self, seed: int, replication: int) -> None:
        self._prefix = f"{seed}/{replication}/"
        self._streams: dict[str, Random] = {}

    def __getitem__(self, name: str) -> Random:
        stream = self._streams.get(name)
        if stream is None:
            digest = hashlib.sha256((self._prefix + name).encode()).digest()
            stream = self._streams[name] = Random(int.from_bytes(digest, "big"))
        return stream
