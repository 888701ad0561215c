"""Java's -XX:+AlwaysPreTouch: the GC's workers touch the heap at its start, in chunks claimed from one counter.

Source: OpenJDK, src/hotspot/share/gc/shared/pretouchTask.cpp (PretouchTask). Threads by number of CPUs and the default
chunk of 4 MiB were seen with Java 17 on Linux. The rest is recalled: chunks were of 1 GiB up to Java 15 (JDK-8254699).
Since Java 22 transparent huge pages are populated (JDK-8315923), while other pages are touched one by one.

The thread that starts the workers only waits. Here it stands for the first of them. The heap is one task, as in G1. The
parallel collector touches each of its spaces in turn.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.advised import suffixed, works_for
from models.clients.page_faults import Populated
from models.kernels import Kernel
from models.kernels.jvm import Jvm
from models.machine import Machine


class JvmPretouch(Populated):
    """Touch the heap of a Java virtual machine."""

    framework: ClassVar[str] = "jvm"

    client: Annotated[Literal["jvm_pretouch"], Field(description="the program that prepares its memory")]
    populate: Annotated[
        bool,
        Field(description="true: MADV_POPULATE_WRITE, as Java 22 for transparent huge pages; false: page by page"),
    ] = False

    def words(self, machine: Machine) -> str:
        return f"Java prepares its heap: {self.what(machine)}. Memory is of the node of the thread that comes first."

    @classmethod
    def default_threads(cls, machine: Machine, size_bytes: int) -> int:
        """Return the threads for a heap of base pages if neither ParallelGCThreads nor a chunk size is given."""
        return works_for(Jvm().for_client("jvm_pretouch"), machine, size_bytes)

    def advice_options(self, threads: int, chunk_bytes: int | None, machine: Machine, kernel: Kernel) -> str:  # noqa: ARG002 - no kernel
        """Return Java's options."""
        size, page = suffixed(self.size), self.unit_bytes(machine)
        options = [f"-Xms{size}", f"-Xmx{size}", "-XX:+AlwaysPreTouch", f"-XX:ParallelGCThreads={threads}"]
        if chunk_bytes is not None:
            options.append(f"-XX:PreTouchParallelChunkSize={suffixed(chunk_bytes)}")
        if self.thp:
            options.append("-XX:+UseTransparentHugePages")
        elif page != machine.base_page_bytes:
            options += ["-XX:+UseLargePages", f"-XX:LargePageSizeInBytes={suffixed(page)}"]
        return " ".join(options)
