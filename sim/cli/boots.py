"""The command on traces of real kernels: a boot's decisions beside the simulation's."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pandas as pd
from tabulate import tabulate

from models.files.importers import import_topology
from models.files.kernel_trace import KernelTrace, read_kernel_trace
from models.files.machine import build_machine, load_machine
from models.files.machine_writer import machine_document
from models.kernels import VERSIONS
from models.machine import Machine
from models.machine.topology import Topology
from models.measured.traces import TraceError, trace_rows
from models.text.document import is_folder, locate
from models.text.problems import InputError
from sim.compare.kernel import compare_trace, describe_comparison, timelines
from sim.figures.timeline import plot_timelines


@click.command("trace")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--machine", "machine_name", help="The machine: a machine file or shipped one, a copied /sys, or the "
              "text of numactl -H; default what FILE tells of it.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Figure to write: the kernel's timeline above the simulated one.")  # fmt: skip
@click.option("--rows", type=click.Path(dir_okay=False, path_type=Path),
              help="CSV to write: the times of FILE, as `ktask-sim calibrate FILE` takes them.")  # fmt: skip
@click.option("--kernel", type=click.Choice([name for name in VERSIONS if name.startswith("padata")]),
              help="The rules that the kernel has; default by the release that FILE tells.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the simulation.")
def trace(
    file: Path, machine_name: str | None, output: Path | None, rows: Path | None, kernel: str | None, seed: int
) -> None:
    """Compare FILE, the trace of a kernel's boot, with the simulation of the same tasks on the same machine.

    FILE is the text of /sys/kernel/tracing/trace or of trace-cmd report, with dmesg in front of it. A boot log alone
    gives its times. HOST.md says how to make one. Exit status: 0 all decisions agree, 1 one does not.
    """
    found = read_kernel_trace(file)
    measured = trace_rows(found)
    if len(measured):
        click.echo(_measured(measured) + "\n")
    elif found.told_nodes or found.told_pages:
        click.echo(_told(found) + "\n")
    if rows is not None:
        measured.to_csv(rows, index=False)
        click.echo(f"times: {rows}", err=True)
    if not found.tasks:
        click.echo("note: the text has no traced tasks of padata to compare, just times", err=True)
        return
    try:
        machine = _machine(found, machine_name, file)
        comparison = compare_trace(found, machine, seed, kernel)
    except TraceError as error:
        raise click.UsageError(f"{file}: {error}") from None
    click.echo(describe_comparison(comparison))
    if output is not None:
        title = f"{file.name}: the kernel and the simulation"
        node_of = {cpu.cpu_id: cpu.nid for cpu in machine.cpus}
        plot_timelines(timelines(comparison), node_of=node_of, title=title, path=output)
        click.echo(f"figure: {output}", err=True)
    sys.exit(1 if len(comparison.differences) else 0)


def _machine(trace: KernelTrace, name: str | None, file: Path) -> Machine:
    """Return the machine of a trace: the named one, or else the one in the text. Raises UsageError."""
    if name is None:
        if trace.topology is None:
            raise click.UsageError(
                f"{file} does not tell the machine; give --machine, or put the text of `numactl -H` or the lines "
                "`.... node #0, CPUs: ...` of dmesg in front of the trace"
            )
        return _with_rates(trace.topology, file.stem)
    path = Path(name)
    if is_folder(path) or (path.is_file() and path.suffix not in (".yaml", ".yml")):
        return _with_rates(import_topology(path), path.stem)
    try:
        return load_machine(name)
    except InputError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _with_rates(topology: Topology, name: str) -> Machine:
    """Return a machine with rates of a shipped one: decisions don't depend on them."""
    named = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-") or "traced"
    return build_machine(locate(machine_document(topology, named)), f"machine {named}")


def _measured(rows: pd.DataFrame) -> str:
    """Return the times of a text as a table: a row for each node, and one for huge pages."""
    shown = []
    for _, row in rows.iterrows():
        numbers = [1e3 * row["time_s"], row["rate_gib_s"], 1e3 * row["start_s"], 1e3 * row["last_start_s"]]
        texts = ["" if pd.isna(number) else f"{number:.3g}" for number in numbers]
        whole = ["" if pd.isna(row[name]) else f"{row[name]:.0f}" for name in ("node", "nthreads")]
        shown.append([row["client"], *whole, f"{row['size_gib']:.3f}", *texts])
    heads = ["measured", "node", "threads", "size (GiB)", "time (ms)", "GiB/s a thread", "helpers start (ms)", "last"]
    return tabulate(shown, headers=heads, disable_numparse=True)


def _told(trace: KernelTrace) -> str:
    """Return the times in dmesg."""
    rows = [["struct pages", str(nid), f"{1e3 * seconds:.0f}", ""] for nid, seconds in sorted(trace.told_nodes.items())]
    rows += [["huge pages", "", f"{1e3 * seconds:.0f}", str(threads)] for seconds, threads in trace.told_pages]
    return tabulate(rows, headers=["as dmesg tells", "node", "time (ms)", "threads"], disable_numparse=True)
