"""Figures that can be fitted, by name: those of a machine file, and those of a scenario (kernel, task, other work).

A name is a path of numbers: `rates.clear_rate`, `pages.pin_rate`, `links.bandwidth`, `workers.chunk_time` of a machine
file, or `kernel.stray_block`, `task.cpu_time`, `background.NAME.rate` of a scenario.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from models.clients import CLIENTS
from models.files.machine_keys import RATES, WORKERS
from models.machine import Machine
from models.memory.figures import PAGE_FIGURES, PageFigures, page_figures_of, width
from models.scenario.case import Case
from models.text.problems import did_you_mean
from models.text.units import GIB, Rate, Size, Time, format_rate, format_time

# The best of the exponents tried on 25 published single-socket bandwidth curves (models.machine.capacity).
DEFAULT_KNEE = 6.0

_PARTS = ("rates", "pages", "clients", "links", "workers")  # of a machine file

Unit = Literal["rate", "time", "number"]
# Standard deviation of ln(value) before a fit: of a figure that somebody estimated, that was measured on the machine
# itself, and of one that differs little between machines. 0.7 is a factor of 2, 0.3 one of 1.35, 0.2 one of 1.2.
ESTIMATED, MEASURED, NARROW = 0.7, 0.3, 0.2
_MEASURED_WORDS = ("fitted", "measured")  # how the source of a measured figure begins
_SHARE = 0.25  # of a row's time: the standard deviation of what a cost that is 0 so far may add to it


@dataclass(frozen=True)
class Figure:
    """A figure before a fit, on a scale without units: x = 0 is the value before.

    Attributes:
        name: its path, such as rates.clear_rate.
        value: its value before, in SI units (bytes, seconds). Of an `additive` figure, which was 0: its standard
            deviation.
        prior: standard deviation of x, which is ln(value / before), or value / `value` if `additive`.
        unit: of the value.
        low: least value that a file may have.
        high: greatest value that a file may have.
        relative_to: a figure in proportion to which this one moves.
        given: False where the file has no such figure yet, and `value` is the usual one.
    """

    name: str
    value: float
    prior: float
    unit: Unit = "number"
    low: float = 0.0
    high: float = math.inf
    additive: bool = False
    relative_to: str | None = None
    given: bool = True

    def at(self, x: float) -> float:
        """Return the value at x, within the limits of a file."""
        value = self.value * x if self.additive else self.value * math.exp(x)
        return min(self.high, max(self.low, value))

    def bounds(self) -> tuple[float, float]:
        """Return the least and the greatest x."""
        if self.additive:
            return 0.0, self.high / self.value
        low = math.log(self.low / self.value) if self.low > 0.0 else -math.inf
        return low, math.log(self.high / self.value) if math.isfinite(self.high) else math.inf

    @property
    def before(self) -> float:
        """Return the value before the fit."""
        return 0.0 if self.additive else self.value

    def at_a_limit(self, value: float) -> bool:
        """Return whether a value is at a limit of a file's range that is not a usual answer.

        A cost of 0 and a share of 1 are usual answers.
        """
        near = 1.01
        at_high = math.isfinite(self.high) and value * near >= self.high and self.high != 1.0
        return at_high or (self.low > 0.0 and value <= self.low * near)

    def words(self, value: float) -> str:
        """Return a value with its unit, for a person."""
        if self.unit == "number":
            return f"{value:.3g}"
        return format_rate(value) if self.unit == "rate" else format_time(value)

    def text(self, value: float) -> str | float:
        """Return a value as a file has it."""
        return file_value(self.unit, value)

    @property
    def of_machine(self) -> bool:
        """Return whether it stands in a machine file, and not in a scenario."""
        return self.name.partition(".")[0] in _PARTS


def file_value(unit: Unit, value: float) -> str | float:
    """Return a value as a file has it.

    >>> file_value("time", 2.5e-6), file_value("rate", 2**30)
    ('2.5us', '1GiB/s')
    """
    if unit == "rate":
        return f"{value / GIB:.6g}GiB/s"
    if unit == "time":
        units = (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))
        name, factor = next((u, f) for u, f in units if value * f >= 1.0 or u == "ns")
        return f"{value * factor:.6g}{name}"
    return float(f"{value:.6g}")


# --- figures of a machine -------------------------------------------------------------------------------------------

_RATES = {name: key for name, key in RATES.items() if name != "remote_factors"}
_NARROW_RATES = ("serial_clear_rate", "core_throughput", "clear_traffic", "share_exponent")
_FACTORS = "remote_factors."


def put(machine: Machine, name: str, value: float) -> Machine:
    """Return a machine with a figure of its file in place.

    Args:
        machine: the machine.
        name: path of the figure. `rates.clear_rate` takes the rate of the serial loop along.
        value: in SI units.

    >>> from models.files.machine import load_machine
    >>> put(load_machine("laptop-ryzen-4800u"), "rates.core_throughput", 1.5).rates.core_throughput
    1.5
    """
    part, _, rest = name.partition(".")
    if part == "clients":
        client, _, cost = rest.partition(".")
        own = {**machine.clients.get(client, {}), cost: value}
        return replace(machine, clients={**machine.clients, client: own})
    if part == "pages":
        return replace(machine, pages={**machine.pages, rest: value})
    if part == "links":
        before = machine.links[0].rate_bytes_per_s
        links = tuple(replace(link, rate_bytes_per_s=link.rate_bytes_per_s / before * value) for link in machine.links)
        return replace(machine, links=links)
    if part == "workers":
        return replace(machine, worker_costs={**(machine.worker_costs or {}), rest: value})
    return replace(machine, rates=_put_rate(machine, rest, value))


def _put_rate(machine: Machine, name: str, value: float) -> Any:
    rates = machine.rates
    if name == "clear_rate":
        serial = rates.serial_clear_bytes_per_s / rates.clear_bytes_per_s * value
        return replace(rates, clear_bytes_per_s=value, serial_clear_bytes_per_s=serial)
    if name == "memory_knee":
        value = max(1.0, value)
    if name.startswith(_FACTORS):
        distance = int(name.removeprefix(_FACTORS))
        return replace(rates, remote_factors={**rates.remote_factors, distance: min(1.0, value)})
    first, _, inner = _RATES[name].attribute.partition(".")
    changes: dict[str, Any] = {first: replace(getattr(rates, first), **{inner: value}) if inner else value}
    return replace(rates, **changes)


def put_into(case: Case, name: str, value: float) -> Case:
    """Return a case with a figure of its scenario, or of its machine's file, in place."""
    part, _, rest = name.partition(".")
    if part == "kernel":
        return replace(case, kernel=case.kernel.model_copy(update={rest: value}))
    if part == "task":
        return replace(case, task=_updated(case.task, rest.split("."), value))
    if part == "background":
        load, _, field = rest.partition(".")
        if load not in case.background:
            return case
        changed = _updated(case.background[load], field.split("."), value)
        return replace(case, background={**case.background, load: changed})
    return replace(case, machine=put(case.machine, name, value))


def _updated(model: Any, keys: Sequence[str], value: float) -> Any:
    first, *more = keys
    inner: Any = _updated(getattr(model, first), more, value) if more else value
    return model.model_copy(update={first: inner})


def names_for(case: Case) -> list[str]:
    """Return the figures of a machine file that times of a case's client on it mostly depend on.

    Of hardware these are only the parts that the client's work itself goes through. Links, and figures that the file
    lacks, are fitted when they are named.

    Args:
        case: one of the cases that were measured.

    >>> from models.measured.measurements import load_measurements
    >>> names_for(load_measurements("vfio_pin_xeon_8160").scenario.cases[0])[:2]
    ['rates.memory_bandwidth', 'rates.core_throughput']
    """
    machine, client = case.machine, case.task.client
    names = ["rates.memory_bandwidth"]
    if CLIENTS[client].clears:
        names = ["rates.clear_rate", "rates.serial_clear_rate", *names]
        names += [f"rates.remote_factors.{distance}" for distance in sorted(set(machine.distances.values()) - {10})]
        if machine.rates.memory_curve.knee is not None:
            names.append("rates.memory_knee")
        if machine.rates.cache_bytes_per_s is not None:
            names.append("rates.cache_bandwidth")
    if len({cpu.core_id for cpu in machine.cpus}) < len(machine.cpus):
        names.append("rates.core_throughput")
    return [*names, *_cost_names(client, machine)]


def _cost_names(client: str, machine: Machine) -> list[str]:
    """Return the paths of a client's costs in a machine file: a page's figures are all clients'."""
    field = CLIENTS[client].model_fields.get("costs")
    shared = () if field is None else page_figures_of(type(field.default))
    costs = _costs(client, machine)
    return [f"pages.{cost}" if cost in shared else f"clients.{client}.{cost}" for cost in costs]


def _costs(client: str, machine: Machine) -> dict[str, float]:
    """Return the costs of a client on a machine that are plain numbers."""
    field = CLIENTS[client].model_fields.get("costs") if client in CLIENTS else None
    if field is None:
        return {}
    shared = page_figures_of(type(field.default))
    pages = {name: value for name, value in machine.pages.items() if name in shared}
    found = {**dict(field.default), **pages, **machine.clients.get(client, {})}
    return {name: float(value) for name, value in found.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def figure_of(case: Case, name: str) -> Figure:
    """Return a figure by its name, with its prior before a fit.

    Args:
        case: a case that has it: on its machine, with its kernel, task and other work.
        name: its path.

    Returns:
        The figure. A cost that is 0 so far has a scale of 1 s, or 1. `scaled` finds one that fits a table.

    Raises:
        ValueError: there is no such figure, or it can't be fitted. The message lists those that can.

    >>> from models.measured.measurements import load_measurements
    >>> case = load_measurements("vfio_pin_xeon_8160").scenario.cases[0]
    >>> figure_of(case, "rates.core_throughput").value
    1.02
    """
    part, _, rest = name.partition(".")
    found = {"rates": _rate, "pages": _page, "clients": _cost, "links": _link, "workers": _worker}.get(
        part, _of_scenario
    )(case, rest, part)
    if isinstance(found, str):
        near = did_you_mean(name, known_names(case))
        raise ValueError(f"found {name!r}, which is no figure that can be fitted: {found}{near}")
    source = case.machine.sources.get(name, "").lower()
    if found.prior == ESTIMATED and source.startswith(_MEASURED_WORDS):
        found = replace(found, prior=MEASURED)
    return found


def known_names(case: Case) -> tuple[str, ...]:
    """Return the names of all figures of a case and its machine that can be fitted."""
    machine = case.machine
    names = [f"rates.{name}" for name in _RATES]
    names += [f"rates.{_FACTORS}{distance}" for distance in sorted(set(machine.distances.values()) - {10})]
    names += ["links.bandwidth"] if machine.links else []
    names += [f"workers.{name}" for name in machine.worker_costs or {}]
    names += [f"pages.{name}" for name in PAGE_FIGURES]
    names += [name for name in _cost_names(case.task.client, machine) if name not in names]
    models: list[tuple[str, BaseModel]] = [("kernel", case.kernel), ("task", case.task)]
    models += [(f"background.{load}", model) for load, model in case.background.items()]
    return (*names, *(f"{at}.{field}" for at, model in models for field in _numbers(model)))


def _numbers(model: BaseModel) -> Iterable[str]:
    for name, field in type(model).model_fields.items():
        if _is_figure(field) and _is_number(getattr(model, name)):
            yield name


def _is_figure(field: FieldInfo) -> bool:
    """Return whether a field is a number that is not whole: a count, a size or a seed is an input and no figure."""
    return "float" in str(field.annotation) and _unit(field) is not None


def _unit(field: FieldInfo) -> Unit | None:
    """Return the unit of a field, or None for a size."""
    if Size.__metadata__[0] in field.metadata:  # type: ignore[attr-defined]
        return None
    if Time.__metadata__[0] in field.metadata:  # type: ignore[attr-defined]
        return "time"
    return "rate" if Rate.__metadata__[0] in field.metadata else "number"  # type: ignore[attr-defined]


def _limits(field: FieldInfo) -> tuple[float, float]:
    low, high = 0.0, math.inf
    for part in field.metadata:
        low = max(low, float(getattr(part, "ge", 0.0)), float(getattr(part, "gt", 0.0)))
        high = min(high, float(getattr(part, "le", math.inf)))
    return low, high


def _new(name: str, value: float, prior: float, unit: Unit, low: float, high: float, **more: Any) -> Figure:
    if value <= 0.0:
        return Figure(name, 1.0, 1.0, unit, 0.0, high, additive=True, **more)
    return Figure(name, value, prior, unit, low, high, **more)


def _rate(case: Case, rest: str, part: str) -> Figure | str:
    rates, name = case.machine.rates, f"{part}.{rest}"
    if rest.startswith(_FACTORS):
        distance = rest.removeprefix(_FACTORS)
        distances = sorted(set(case.machine.distances.values()) - {10})
        if distance not in map(str, distances):
            return f"between nodes of {case.machine.name} the distances are {', '.join(map(str, distances)) or 'none'}"
        return Figure(name, rates.remote_factors.get(int(distance), 1.0), NARROW, "number", 0.01, 1.0)
    if rest not in _RATES:
        return f"the rates of a machine file are {', '.join(_RATES)} and remote_factors.DISTANCE"
    key = _RATES[rest]
    unit: Unit = "rate" if key.kind is Rate else "number"
    value = key.of(rates)
    if value is None:  # a last-level cache that is no limit: one that would be none for all its cores
        usual = DEFAULT_KNEE if rest == "memory_knee" else 4.0 * rates.clear_bytes_per_s
        return Figure(name, usual, ESTIMATED, unit, key.low, key.high, given=False)
    prior = NARROW if rest in _NARROW_RATES else ESTIMATED
    relative_to = "rates.clear_rate" if rest == "serial_clear_rate" else None
    return _new(name, float(value), prior, unit, key.low, key.high, relative_to=relative_to)


def _cost(case: Case, rest: str, part: str) -> Figure | str:
    client, _, cost = rest.partition(".")
    if client not in CLIENTS:
        return f"there is no client {client!r}{did_you_mean(client, tuple(CLIENTS))}"
    costs = _costs(client, case.machine)
    own = [each.rpartition(".")[2] for each in _cost_names(client, case.machine) if each.startswith("clients.")]
    if cost in costs and cost not in own:
        return f"it is a figure of pages, pages.{cost}"
    if cost not in costs:
        return f"the costs of {client} are {', '.join(own) or 'none'}"
    field = type(CLIENTS[client].model_fields["costs"].default).model_fields[cost]
    return _new(f"{part}.{rest}", costs[cost], ESTIMATED, _unit(field) or "number", *_limits(field))


def _page(case: Case, rest: str, part: str) -> Figure | str:
    if rest not in PAGE_FIGURES:
        return f"the figures of pages are {', '.join(PAGE_FIGURES)}"
    value = case.machine.pages.get(rest, getattr(PageFigures(), rest))
    field = PageFigures.model_fields[rest]
    return _new(f"{part}.{rest}", float(value), width(rest), _unit(field) or "number", *_limits(field))


def _link(case: Case, rest: str, part: str) -> Figure | str:
    if rest != "bandwidth":
        return "the figure of links is links.bandwidth, of all of them in proportion"
    if not case.machine.links:
        return f"machine {case.machine.name} has no links"
    return Figure(f"{part}.{rest}", case.machine.links[0].rate_bytes_per_s, ESTIMATED, "rate")


def _worker(case: Case, rest: str, part: str) -> Figure | str:
    costs = case.machine.worker_costs or {}
    if rest not in costs:
        return f"the workers of {case.machine.name} have {', '.join(costs) or 'no costs; a calibration measures them'}"
    key = WORKERS[rest]
    return _new(f"{part}.{rest}", costs[rest], ESTIMATED, "time" if key.kind is Time else "number", key.low, key.high)


def _of_scenario(case: Case, rest: str, part: str) -> Figure | str:
    model: Any = {"kernel": case.kernel, "task": case.task}.get(part)
    if part == "background":
        load, _, rest = rest.partition(".")
        if load not in case.background:
            return f"the scenario has other work {', '.join(case.background) or 'of no name'}"
        model, part = case.background[load], f"{part}.{load}"
    if model is None:
        return "allowed are paths of rates, pages, clients, links, workers, kernel, task and background"
    field: FieldInfo | None = None
    keys = rest.split(".")
    for i, key in enumerate(keys):
        field = type(model).model_fields.get(key) if isinstance(model, BaseModel) else None
        if field is None:
            return f"{part} has {', '.join(_numbers(model))}" if i == 0 else f"{'.'.join(keys[:i])} has no such number"
        model = getattr(model, key)
    assert field is not None
    if not _is_figure(field):
        return "it is an input of a run, or a choice"
    if not _is_number(model):
        return "the scenario gives it no value to begin with"
    return _new(f"{part}.{rest}", float(model), ESTIMATED, _unit(field) or "number", *_limits(field))


def scaled(figure: Figure, effect: Callable[[float], float]) -> Figure:
    """Return an additive figure with a scale at which it adds about a quarter to the row that feels it most.

    Args:
        figure: the figure.
        effect: maps a value to the time that it adds to the row that feels it most, as a share of the measured time.
    """
    if not figure.additive:
        return figure
    value = 1.0 if math.isinf(figure.high) else figure.high
    for _ in range(4):
        share = effect(value)
        if share <= 0.0 or 0.5 * _SHARE <= share <= 2 * _SHARE:
            break
        value = min(figure.high, value * _SHARE / share)
    return replace(figure, value=value)
