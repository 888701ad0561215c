"""One simulation: flows through shared resources, threads, the CPU scheduler, the framework, other work."""
