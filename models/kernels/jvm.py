"""The workers of Java's garbage collector, as they touch the heap: not a kernel's framework, but similar rules.

Source: OpenJDK, src/hotspot/share/gc/shared/pretouchTask.cpp and workerPolicy.cpp. Workers are ParallelGCThreads, here
max_threads, and at most one for each chunk. A worker claims the next chunk (PreTouchParallelChunkSize, here chunk_size)
by a compare-and-swap on one counter. 4 MiB on Linux since Java 16, before that 1 GiB (JDK-8254699, recalled). Up to
Java 8 one thread touches the heap (recalled).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from models.kernels.kernel import ClientRules, Kernel, Migration, Start, StartLatency, WakePull
from models.policies.options import PolicyName
from models.text.units import GIB, MIB, Time

_SERIAL, _LARGE_CHUNKS = 8, 15  # the last versions of Java with one thread, and with chunks of 1 GiB


class Jvm(Kernel):
    """The rules of the Java virtual machine."""

    other_clients: ClassVar[ClientRules] = ClientRules(
        {"min_chunk": 4 * MIB}, "PreTouchParallelChunkSize, seen with -XX:+PrintFlagsFinal of Java 17"
    )

    version: Literal["jvm"] = "jvm"
    java: Annotated[
        int, Field(ge=6, le=99, description="Java's version: chunks of 1 GiB up to 15; up to 8 one thread")
    ] = 17
    policy: PolicyName = "jvm"
    wake_pull: WakePull = 0.0
    start: Start = "kthread"
    start_latency: StartLatency = 17e-6
    lock_hold_time: Annotated[
        Time,
        Field(ge=0, description="time to claim a chunk: a compare-and-swap, its line fetched; an estimate"),
    ] = 0.1e-6
    migration: Migration = "none"

    def for_client(self, client: str) -> Self:
        """Return the kernel with the values of Java's code: at most one work for each chunk, of any size."""
        kernel = super().for_client(client)
        given = self.model_fields_set
        if self.java <= _SERIAL:
            kernel = kernel.model_copy(update={"max_threads": 1})
        if self.java <= _LARGE_CHUNKS and not {"chunk_size", "min_chunk"} & given:
            kernel = kernel.model_copy(update={"min_chunk": GIB})
        return kernel if self.chunk_size is None else kernel.model_copy(update={"min_chunk": self.chunk_size})
