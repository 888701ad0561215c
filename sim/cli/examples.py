"""Examples of each command, as its --help shows them."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "ktask-sim run clear_gigantic_page",
        "ktask-sim run clear_gigantic_page task.size=100GiB kernel.max_threads=1,2,4 --replications 3",
        "ktask-sim run mine.yaml kernel.max_threads=1-16 machine=epyc-7742-2s-nps4 -o results/epyc",
        "ktask-sim run mine.yaml --set other_kernel.yaml --format csv > table.csv",
    ),
    "sweep": (
        "ktask-sim sweep factoring --ci 0.01",
        "ktask-sim sweep mine.yaml kernel.max_threads=1-32 kernel.min_chunk=1MiB,2MiB,4MiB --jobs 8",
    ),
    "tune": (
        "ktask-sim tune tuning --trials 200",
        "ktask-sim tune tuning task.size=64GiB --objective time",
    ),
    "advise": (
        "ktask-sim advise --client qemu_prealloc --memory 64GiB --page-size 1GiB",
        "ktask-sim advise --client jvm_pretouch --memory 31GiB --thp --machine theirs.yaml",
        "ktask-sim advise --client populate --memory 8GiB --cpus 4 --beside others.yaml",
    ),
    "show": (
        "ktask-sim show results/clear_gigantic_page",
        "ktask-sim show results/clear_gigantic_page --format csv > cases.csv",
    ),
    "plot": (
        "ktask-sim plot results/clear_gigantic_page",
        "ktask-sim plot results/clear_gigantic_page --kind speedup -o speedup.pdf",
    ),
    "diff": (
        "ktask-sim run factoring kernel.chunks=ktask -o results/before",
        "ktask-sim run factoring kernel.chunks=factoring -o results/after",
        "ktask-sim diff results/before results/after",
    ),
    "perfetto": (
        "ktask-sim run mine.yaml --trace -o results/sim",
        "ktask-sim run mine.yaml --trace --backend real -o results/real",
        "ktask-sim perfetto results/sim results/real -o both.json",
    ),
    "page": (
        "ktask-sim page results/clear_gigantic_page",
        "ktask-sim page results/clear_gigantic_page -o for_a_colleague.html",
    ),
    "describe": (
        "ktask-sim describe clear_gigantic_page",
        "ktask-sim describe factoring task.size=4GiB",
    ),
    "scenarios": (
        "ktask-sim scenarios",
        "ktask-sim scenarios copy factoring -o mine.yaml",
    ),
    "notebooks": (
        "ktask-sim notebooks",
        "ktask-sim notebooks copy sliders",
    ),
    "completion": ("ktask-sim completion bash > ~/.local/share/bash-completion/completions/ktask-sim",),
    "machines": (
        "ktask-sim machines",
        "ktask-sim machines xeon-platinum-8160-2s",
        "ktask-sim machines theirs.yaml",
    ),
    "policies": ("ktask-sim policies | less",),
    "schema": (
        "ktask-sim schema scenario > scenario.json",
        "ktask-sim schema machine > machine.json",
    ),
    "host": (
        "ktask-sim host",
        "ktask-sim host -o mine.yaml",
    ),
    "import": (
        "ktask-sim import topology.txt -o theirs.yaml",
        "ktask-sim import lscpu.txt numactl.txt -o theirs.yaml",
        "ktask-sim import lscpu.txt --memory 256GiB -o theirs.yaml",
    ),
    "calibrate": (
        "ktask-sim calibrate -o mine.yaml",
        "ktask-sim calibrate --seconds 20 --method memset -o mine.yaml",
    ),
    "fit": ("ktask-sim fit times.csv --machine theirs.yaml --client clear_gigantic_page -o mine.yaml",),
    "compare": (
        "ktask-sim compare",
        "ktask-sim compare vfio_padata_rfc2022_skylake -o compared",
    ),
    "validate": (
        "ktask-sim validate --backend real --machine mine.yaml",
        "ktask-sim validate --backend real qemu_prealloc --machine mine.yaml",
    ),
    "trace": (
        "ktask-sim trace boot.txt -o boot.png",
        "ktask-sim trace boot.txt --machine theirs.yaml --rows times.csv",
    ),
}


def epilog(command: str) -> str:
    """Return the examples of a command as the end of its help."""
    lines = EXAMPLES[command]
    return "\n".join(["\b", f"Example{'s' * (len(lines) > 1)}:", *(f"  {line}" for line in lines)])
