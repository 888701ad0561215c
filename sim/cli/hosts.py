"""Commands on real machines: description, runs on this host, calibration and validation."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pandas as pd
import yaml
from tabulate import tabulate
from tqdm import tqdm

from models.files.importers import import_topology, with_memory
from models.files.machine import build_machine, load_machine
from models.files.machine_writer import machine_document, machine_yaml, rate_remarks, valid_name, write_machine
from models.machine import Machine
from models.machine.topology import Topology
from models.measured.designs import calibration_design, method_design, thread_counts, validation_design
from models.results import Results
from models.scenario import Scenario
from models.text.document import locate
from models.text.problems import InputError
from models.text.units import parse_size
from sim.cli.host_options import HOST_OPTIONS, host_options
from sim.cli.jobs import JOBS
from sim.cli.programs import COUNT, measure_page_faults, validate_programs
from sim.cli.published import validate_tables, validate_transfer
from sim.compare.host import describe_validation
from sim.compare.host import validate as compare
from sim.fit.host import Calibration, CalibrationError, describe_calibration
from sim.fit.host import calibrate as fit
from sim.fit.page_faults import with_page_faults
from sim.show.host_figure import plot_validation

_OF_CLEARING = 0.75  # of the time of a calibration; the rest is for page faults


def _refuse_given(names: Sequence[str], use: str) -> None:
    """Raise UsageError if an option was given that means nothing here."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = next(p.opts[-1] for p in context.command.params if p.name == name)
            raise click.UsageError(f"{option} is for {use}")


def real_backend() -> ModuleType:
    """Return the real backend. Raises UsageError where there is none."""
    if sys.platform != "linux":
        raise click.UsageError(f"the real backend needs Linux; this is {sys.platform}")
    import real

    return real


@contextmanager
def refused() -> Iterator[None]:
    """Turn the missing abilities of a host into an error message that names the change to make."""
    real = real_backend()
    try:
        yield
    except (real.NotEnoughMemoryError, real.NoMethodError, real.PoolError, CalibrationError) as error:
        raise click.UsageError(str(error)) from None
    except real.ProgramError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Machine file to write; default stdout.")
@click.option("--name", help="Name of the machine; default the host's.")
@click.option("--clean", is_flag=True, help="Only restore a pool of huge pages that a killed run has left.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def host(output: Path | None, name: str | None, clean: bool, force: bool) -> None:
    """Say what this machine is, as a machine file, and what may be done on it.

    Rates are not measured: `ktask-sim calibrate` does that.
    """
    real = real_backend()
    if clean:
        done = real.restore_leftovers()
        click.echo("\n".join(done) if done else "nothing was left behind")
        return
    topology = real.host_topology()
    _write_topology(topology, name or real.host_name(), None, output, force)
    click.echo("\n" + real.describe_host(topology), err=True)


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Machine file to write; default stdout.")
@click.option("--name", help="Name of the machine; default the file's.")
@click.option(
    "--memory", metavar="SIZE[,SIZE...]", help="Memory of the whole machine (64GiB), or of each node in order."
)
@click.option("--rates-of", help="Machine whose rates are taken over; default: figures of the processor's family.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def import_machine(
    files: tuple[Path, ...],
    output: Path | None,
    name: str | None,
    memory: str | None,
    rates_of: str | None,
    force: bool,
) -> None:
    """Make a machine file of FILE: a copied /sys tree (folder or tar), hwloc XML, or text of numactl -H or lscpu.

    Several files are texts about one machine: lscpu and numactl -H. Mail quotes, comments and web pages around a text
    and packed files (gzip, bzip2, xz, zip, zstd) do no harm.
    """
    topology = import_topology(*files)
    if memory is not None:
        try:
            topology = with_memory(topology, [parse_size(text) for text in memory.split(",")])
        except ValueError as error:
            raise click.UsageError(f"--memory: {error}") from None
    elif not any(node.memory_bytes for node in topology.nodes):
        n = len(topology.nodes)
        each = f", or a size for each of its {n} nodes (--memory {','.join(['32GiB'] * min(n, 3))}{',...' * (n > 3)})"
        raise click.UsageError(
            f"{files[0]} tells no memory; give it with --memory SIZE, of the whole machine (--memory 64GiB)"
            f"{each * (n > 1)}"
        )
    try:
        reference = None if rates_of is None else load_machine(rates_of)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _write_topology(topology, name or valid_name(files[0].resolve().name), reference, output, force)


def _write_topology(topology: Topology, name: str, rates_of: Machine | None, output: Path | None, force: bool) -> None:
    document = machine_document(topology, name, rates_of)
    build_machine(locate(document), f"machine {name}")  # a bad name is refused here
    if output is None:
        click.echo(machine_yaml(document), nl=False)
    else:
        _refuse_existing(output, force)
        write_machine(document, output)
        click.echo(f"machine file: {output}", err=True)
    for remark in (*topology.remarks, *rate_remarks(topology, rates_of)):
        click.echo(f"note: {remark}", err=True)
    click.echo("note: the rates are not measured; `ktask-sim calibrate` measures them on the machine itself", err=True)


def _refuse_existing(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise click.UsageError(f"{path} exists; give another file (-o), or --force to overwrite it")


def _refuse_table(others: Sequence[str]) -> None:
    """Raise UsageError for arguments of a calibration: it fitted tables too, which has a command of its own now."""
    if not others:
        return
    if others[0].startswith("-"):
        raise click.NoSuchOption(others[0])
    raise click.UsageError(f"found {others[0]}; a table is fitted with: ktask-sim fit {shlex.join(others)}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("others", nargs=-1, type=click.UNPROCESSED, metavar="")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Machine file to write; default HOST.yaml.")
@click.option("--seconds", type=click.FloatRange(5, 3600), default=60.0, show_default=True, help="Time to measure for.")
@click.option("--force", is_flag=True, help="Overwrite the files.")
@host_options
def calibrate(
    others: tuple[str, ...],
    output: Path | None,
    seconds: float,
    force: bool,
    method: str | None,
    memory_share: float,
    allow_hugepage_pool: bool,
) -> None:
    """Fit a machine file to this host, by clearing memory on it.

    Exit status: 3 if the calibration failed, as on a host that was busy meanwhile. It prints the next step.
    """
    _refuse_table(others)
    real = real_backend()
    output = output or Path(f"{real.host_name()}.yaml")
    table = output.with_suffix(".csv")
    for path in (output, table):
        _refuse_existing(path, force)
    usage: dict[str, Any] = {"method": method, "share": memory_share, "allow_pool": allow_hugepage_pool}
    machine = real.host_machine()
    with refused():
        measurement = _measure(real, machine, [calibration_design], usage, _OF_CLEARING * seconds)
        design, runs = measurement.parts[0].scenario, measurement.parts[0].runs
        calibration = fit(design, runs, machine)
        of_faults_s = seconds - _OF_CLEARING * seconds
        own, prepared = measure_page_faults(real, machine, share=memory_share, seconds=of_faults_s)
        calibration = with_page_faults(calibration, own, prepared.runs[0])
    write_machine(_document(real, calibration, measurement), output)
    runs.to_csv(table, index=False)
    click.echo(stability(runs, measurement.results))
    click.echo("\n" + describe_calibration(calibration))
    errors = calibration.cells["error_pct"].abs()
    click.echo(f"Fitted cases: mean error {errors.mean():.1f} %, worst {errors.max():.1f} %.\n")
    click.echo(f"machine file: {output}\nmeasurements: {table}", err=True)
    if calibration.failure:
        click.echo(f"Error: the calibration failed: {calibration.failure}. The file says so too.", err=True)
    if wanting := calibration.remedy(seconds):
        click.echo(wanting, err=True)
    if calibration.failure:
        sys.exit(calibration.exit_status)
    click.echo(_other_methods(real, machine, usage))


@click.command()
@click.argument("tables", nargs=-1)
@click.option(
    "--backend",
    type=click.Choice(["published", "real"]),
    default="published",
    show_default=True,
    help="Compare the simulation with published tables, or with runs on this host.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for page, tables and figures; with real, default results/validation.",
)
@click.option("--jobs", type=JOBS, help="Processes for published tables; default the CPUs there are.")
@click.option("--machine", "machine_file", help="With real: calibrated machine file; default: calibrate now.")
@click.option("--seconds", type=click.FloatRange(5, 3600), default=60.0, show_default=True,
              help="With real: time to measure for; five rounds of all cases at least.")  # fmt: skip
@host_options
@click.option("--transfer", "without", is_flag=True, help="Predict each table without any row of it.")
def validate(
    tables: tuple[str, ...],
    backend: str,
    without: bool,
    output: Path | None,
    jobs: int | None,
    machine_file: str | None,
    seconds: float,
    method: str | None,
    memory_share: float,
    allow_hugepage_pool: bool,
) -> None:
    """Compare the simulation with runs on this host (--backend real).

    Without that, it does what `ktask-sim compare` does: published TABLES, by default all. With it, runs of pages
    cleared that were not used in the fit; or of programs, named by their clients in place of tables: qemu_prealloc,
    jvm_pretouch. Exit status then: 0 all cases agree, 1 one does not, 2 none disagrees but one is undecided.
    """
    if backend == "published":
        _refuse_given(("machine_file", "seconds", *HOST_OPTIONS), "--backend real")
        told = " ".join(["ktask-sim compare", *tables])
        click.echo(f"note: `{told}` is the new name of this; `validate --backend real` is about this host", err=True)
        (validate_transfer if without else validate_tables)(tables, output, jobs)
        return
    _refuse_given(("jobs", "without"), "published tables")
    if tables:
        _refuse_given(("method",), "the clearing of pages, without programs")
    output = output or Path("results/validation")
    real = real_backend()
    usage: dict[str, Any] = {"method": method, "share": memory_share, "allow_pool": allow_hugepage_pool}
    try:
        machine = real.host_machine() if machine_file is None else load_machine(machine_file)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if machine_file is not None and machine.worker_costs is None:
        raise click.UsageError(
            f"{machine_file} is not of a calibration (it has no `workers`); `ktask-sim calibrate` makes one"
        )
    if tables:
        with refused():
            programs = validate_programs(
                real,
                tables,
                machine,
                calibrated=machine_file is not None,
                share=memory_share,
                allow_pool=allow_hugepage_pool,
                seconds=seconds,
                output=output,
            )
        sys.exit(programs.exit_status)
    with refused():
        measurement = _measure(real, machine, [calibration_design, validation_design], usage, seconds)
        known, held_out = measurement.parts
        if machine_file is None:
            calibration = fit(known.scenario, known.runs, machine)
            machine = calibration.machine
            click.echo(describe_calibration(calibration) + "\n")
        validation = compare(held_out.scenario, held_out.runs, machine, reference=(known.scenario, known.runs))
    output.mkdir(parents=True, exist_ok=True)
    if machine_file is None:
        write_machine(_document(real, calibration, measurement), output / "machine.yaml")
    validation.cells.to_csv(output / "validation.csv", index=False)
    measurement.results.runs.to_csv(output / "runs.csv", index=False)
    (output / "host.yaml").write_text(yaml.safe_dump(dict(measurement.results.host or {}), sort_keys=False))
    plot_validation(validation, output / "validation.png")
    click.echo(stability(pd.concat([known.runs, held_out.runs]), measurement.results) + "\n")
    click.echo(describe_validation(validation))
    click.echo(f"figure: {output / 'validation.png'}\ntables: {output}", err=True)
    sys.exit(validation.exit_status)


def _measure(
    real: ModuleType,
    machine: Machine,
    designs: Sequence[Callable[..., Scenario]],
    usage: dict[str, Any],
    seconds: float,
) -> Any:
    """Measure designs with a progress bar, print the method, and return the real.Measurement."""
    click.echo(str(real.best_method(machine, **usage)), err=True)
    with tqdm(desc="measuring", unit=" runs", bar_format=COUNT, disable=None, leave=False) as progress:
        return real.measure(machine, *designs, **usage, seconds=seconds, on_done=progress.update)


def _document(real: ModuleType, calibration: Calibration, measurement: Any) -> dict[str, Any]:
    """Return the machine file of a calibration."""
    day = measurement.results.provenance["started"][:10]
    document = machine_document(real.host_topology(), calibration.machine.name)
    return calibration.document(document, f"on this machine, {day}, method {measurement.choice.method.name}")


def stability(runs: pd.DataFrame, results: Results) -> str:
    """Return how many runs were disturbed, and the causes."""
    unstable = runs[runs["unstable"] != ""]
    lines = [f"{len(runs)} runs, {len(unstable)} of them unstable (column `unstable`)"]
    reasons = unstable["unstable"].str.replace(r"\d+(\.\d+)?", "N", regex=True).str.split("; ").explode()
    lines += [f"  {count} x {reason}" for reason, count in reasons.value_counts().head(4).items()]
    lines += [f"  {doubt}" for doubt in (results.host or {}).get("doubts", [])]
    return "\n".join(lines)


def _other_methods(real: ModuleType, machine: Machine, usage: dict[str, Any]) -> str:
    """Measure the other methods that this host allows, shortly, and return a table of all their rates."""
    most: Sequence[int] = thread_counts(machine) or [1]
    rows = []
    for method in real.methods():
        try:
            results = real.measure(machine, method_design, **{**usage, "method": method.name}, replications=5).results
        except (real.NotEnoughMemoryError, real.NoMethodError, real.PoolError, InputError) as error:
            rows.append([method.name, "", "", f"not measured: {_reason(error)}"])
            continue
        rates = results.runs.groupby("nthreads").apply(_median_rate)
        rows.append([method.name, f"{rates.iloc[0]:.1f}", f"{rates.iloc[-1]:.1f}", method.measures])
    heads = ["method", "1 thread (GiB/s)", f"{most[-1]} threads (GiB/s)", "measures"]
    return tabulate(rows, headers=heads, disable_numparse=True)


def _reason(error: Exception) -> str:
    """Return the first part of a message, without the name of its subject."""
    return str(error).partition("can't be used: ")[2].partition("; ")[0] or str(error).partition("; ")[0]


def _median_rate(runs: pd.DataFrame) -> float:
    return float((runs["size_gib"] / runs["time_s"]).median())
