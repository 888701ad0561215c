"""Inputs drawn at random, by the schemas of what is read: mostly right, here and there wrong.

All take a `random.Random`, or Hypothesis's, which then makes a failing input smaller.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import click
import yaml
from pydantic import BaseModel

from models.clients import CLIENTS
from models.kernels import VERSIONS
from models.loads import LOADS
from models.loads.groups import Group
from models.machine import Machine
from sim.cli import cli

Document = dict[str, Any]
DATA = Path(__file__).parent.parent / "data"
TEXTS = sorted(
    path for folder in ("topology", "foreign") for path in (DATA / folder).iterdir() if path.suffix != ".tree"
)
# What a slip, a program or an attacker may put in place of a value.
WILD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 10**12, 10**400, 1e-300, 1e300, float("nan"), float("inf"), "", " ", "²", "5" * 5000),
    *(
        "1e999",
        "-5MiB",
        "5Mib",
        "0B",
        "1e99GiB",
        "\x00",
        "\ud800",
        "é" * 300,
        "a.b",
        "null",
        "nan",
        "0-",
        "3-1",
        "0-99999",
    ),
    *([], [1], [[1]], {}, {"a": 1}, [None], ["x", "x"]),
)
_UNITS = (
    ("GiB/s", ("100MiB/s", "1GiB/s", "9GB/s", "37GB/s")),
    ("GiB", ("4KiB", "64KiB", "1MiB", "2MiB", "3MiB", "33MiB", "100MiB", "1GiB")),
    ("|min|h", ("0s", "300ns", "20us", "1ms", "30ms", "100ms", "2s")),
    ("kW", ("0W", "5W", "100W")),
    ("pJ", ("0.3nJ/B", "38pJ/bit")),
    ("0-9, ", ("0", "0-1", "1,3", "0-3", "2")),
)


def value(schema: Mapping[str, Any], defs: Mapping[str, Any], r: Random, wild: float) -> Any:
    """Return a value by a JSON Schema; with a chance of `wild`, anything else."""
    if wild and r.random() < wild:
        return r.choice(WILD)
    if "$ref" in schema:
        return mapping(defs[schema["$ref"].rpartition("/")[2]], r, wild, defs)
    if "anyOf" in schema:
        return value(r.choice(schema["anyOf"]), defs, r, wild)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return r.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "boolean":
        return r.random() < 0.5
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = min(schema.get("maximum", schema.get("exclusiveMaximum", 64)), low + r.choice((1, 4, 64)))
        if kind == "integer":
            return r.randint(int(low) + ("exclusiveMinimum" in schema), max(int(high), int(low) + 1))
        return round(low + (high - low) * r.choice((0.1, 0.5, 1.0)), 3)
    if kind == "string":
        pattern = schema.get("pattern", "")
        return r.choice(next((texts for sign, texts in _UNITS if sign in pattern), ("g", "h", "0")))
    if kind == "array":
        return [value(schema.get("items", {}), defs, r, wild) for _ in range(r.randint(schema.get("minItems", 0), 3))]
    if kind == "object":
        return mapping(schema, r, wild, defs)
    return None


def mapping(schema: Mapping[str, Any], r: Random, wild: float, defs: Mapping[str, Any] | None = None) -> Document:
    """Return a mapping by the schema of an object: what is required, and some of the rest."""
    defs = schema.get("$defs", {}) if defs is None else defs
    needed = schema.get("required", ())
    keys = [key for key in schema.get("properties", {}) if key in needed or r.random() < 0.2]
    found = {key: value(schema["properties"][key], defs, r, wild) for key in keys}
    if wild and r.random() < wild:
        found[r.choice(("", "colour", "size ", "a.b", "\x07"))] = r.choice(WILD)
    return found


def machine(r: Random, wild: float = 0.0) -> Document:
    """Return a machine file of up to 8 nodes: uneven, some without CPUs or memory, with gaps in their numbers."""

    def some(*values: Any) -> Document:
        return {"value": r.choice(WILD) if r.random() < wild else r.choice(values), "source": "drawn"}

    nodes: list[Document] = []
    nid = 0
    for i in range(r.choice((1, 1, 2, 2, 3, 4, 5, 8))):
        n_kinds = 0 if i and r.random() < 0.2 else r.choice((1, 1, 1, 2))
        cores: list[Document] = []
        for _ in range(n_kinds):
            count = r.randint(1, 6)
            cores.append(
                {"count": count, "threads_per_core": r.choice((1, 1, 2, 4)), "cache_domains": r.randint(1, count)}
            )
            if r.random() < 0.3:
                cores[-1]["speed"] = round(r.uniform(0.3, 2), 2)
        memory = "0B" if i and cores and r.random() < 0.15 else f"{r.choice((64, 256, 333, 1024, 4097))}MiB"
        nid += r.choice((0, 0, 0, 1, 3)) if i else 0
        nodes.append({"nid": nid, "memory": memory, "cores": cores, "source": "drawn"})
        nid += 1
    ids = [node["nid"] for node in nodes]
    document: Document = {"machine": "drawn", "title": "a drawn machine", "nodes": nodes}
    document["cpu_numbering"] = r.choice(("siblings_last", "siblings_adjacent"))
    matrix = [[10 if a == b else r.choice((11, 16, 21, 32, 80)) for b in ids] for a in ids]
    if len(ids) > 1:
        document["distance_matrix"] = {"value": matrix, "source": "drawn"}
        if r.random() < 0.4:
            pairs = [[a, b] for i, a in enumerate(ids) for b in ids[i + 1 :]]
            document["links"] = [{"between": pairs, "bandwidth": f"{r.randint(1, 40)}GiB/s", "source": "drawn"}]
    rates = {
        "clear_rate": some("1GB/s", "3GB/s", "11.33GB/s"),
        "clear_traffic": some(0.5, 1, 2),
        "memory_bandwidth": some("2GB/s", "37GB/s", "100GB/s"),
        "core_throughput": some(0.9, 1.0, 1.3, 2.0),
        "chunk_noise": some(0, 0.02, 0.3),
    }
    optional = {
        "memory_knee": (1, 6, 64),
        "memory_decline": (0, 0.05, 0.9),
        "cache_bandwidth": ("1GiB/s", "20GiB/s"),
        "serial_clear_rate": ("1GiB/s", "9GiB/s"),
        "share_exponent": (0, 0.5, 1),
        "run_noise": (0, 0.03, 0.5),
    }
    rates |= {key: some(*values) for key, values in optional.items() if r.random() < 0.3}
    far = sorted({distance for row in matrix for distance in row} - {10})
    if far and r.random() < 0.5:
        rates["remote_factors"] = {"value": {str(d): r.choice((0.01, 0.5, 1)) for d in far}, "source": "drawn"}
    document["rates"] = rates
    if r.random() < 0.3:
        document["power"] = {"rest": some("100W"), "core_busy": some("5W"), "memory_energy": some("0.3nJ/B")}
    if r.random() < 0.2:
        document["base_page"] = r.choice(("64KiB", "16KiB"))
    for _ in range(3):
        if r.random() < wild:
            _spoil(document, r)
    return document


def _spoil(document: Document, r: Random) -> None:
    """Put anything in place of a value somewhere in a document, or take it out."""
    here: Any = document
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return
        key = r.choice(keys)
        inner = here[key]
        if isinstance(inner, (dict, list)) and inner and r.random() < 0.8:
            here = inner
        elif isinstance(here, dict) and r.random() < 0.3:
            del here[key]
            return
        else:
            here[key] = r.choice(WILD)
            return


def scenario(r: Random, where: Machine, wild: float = 0.0) -> Document:
    """Return a scenario on a machine: any client, kernel, policy, groups and other work, of small size."""
    name = r.choice(list(CLIENTS))
    schema = _schema_of(CLIENTS[name])
    task = {"client": name} | {k: v for k, v in mapping(schema, r, wild).items() if k not in ("costs", "group")}
    if "size" in schema["properties"]:
        page = task.get("page_size")
        unit = 2 if not isinstance(page, str) or "M" not in page else int(re.sub(r"\D", "", page) or 2)
        task["size"] = f"{min(unit, 64) * r.choice((1, 2, 3, 5, 16))}MiB"
    if "cpus" in task and r.random() < 0.8:
        task["cpus"] = str(r.choice(where.cpus).cpu_id)
        task.pop("caller_node", None)
    elif "caller_node" in task and r.random() < 0.8:
        task["caller_node"] = r.choice(list(where.cpu_nids))
    for key in ("memory_node", "page_node"):
        if key in task and r.random() < 0.8:
            task[key] = r.choice([node.nid for node in where.nodes if node.memory_bytes])
    own = getattr(CLIENTS[name], "framework", None)
    version = own if own and r.random() < 0.7 else r.choice(list(VERSIONS))
    kernel_schema = _schema_of(VERSIONS[version])
    few = r.choice((0.1, 0.3, 1.0))
    kernel = {k: v for k, v in mapping(kernel_schema, r, wild).items() if r.random() < few} | {"version": version}
    if isinstance(kernel.get("min_chunk"), str) and r.random() < 0.8:
        kernel["min_chunk"] = r.choice(("64KiB", "1MiB", "2MiB"))
    document: Document = {
        "title": "drawn", "machine": "drawn", "task": task, "kernel": kernel,
        "replications": 1, "seed": r.randint(0, 2**31),
    }  # fmt: skip
    if r.random() < 0.3:
        document["groups"] = {g: mapping(_schema_of(Group), r, wild) for g in ("g", "h")[: r.randint(1, 2)]}
        task |= {"group": "g"} if r.random() < 0.6 else {}
    if r.random() < 0.4:
        document["background"] = {n: load(r, wild, document.get("groups", {})) for n in ("a", "b")[: r.randint(1, 2)]}
    if wild and r.random() < wild:
        _spoil(document, r)
    return document


@cache
def _schema_of(model: type[BaseModel]) -> Mapping[str, Any]:
    return model.model_json_schema()


def load(r: Random, wild: float, groups: Mapping[str, Any]) -> Document:
    """Return other work of any kind."""
    kind = r.choice(list(LOADS))
    found = mapping(_schema_of(LOADS[kind]), r, wild)
    found |= {"load": kind, "threads": r.choice((0, 1, 2, 5))}
    if "requests_per_s" in found:
        found["requests_per_s"] = r.choice((1, 20, 100))
    if "group" in found:
        del found["group"]
        found |= {"group": r.choice(list(groups))} if groups else {}
    return found


def table(r: Random) -> str:
    """Return a CSV of measurements with slips in it."""
    names = [
        "time_s",
        "nthreads",
        "size_gib",
        "stdev_s",
        "page_size",
        "task.state",
        "kernel",
        "held_out",
        "node",
        "chunk",
    ]
    columns = r.sample(names, r.randint(1, 6)) + (["title.x"] if r.random() < 0.05 else [])
    columns = columns if "time_s" in columns or r.random() < 0.1 else ["time_s", *columns]
    slip = r.choice((0.0, 0.0, 0.1, 0.3))
    delimiter = r.choice(",,,;\t")
    rows = [columns]
    for _ in range(r.randint(0, 6)):
        row = [_cell(name, r, slip) for name in columns]
        if r.random() < slip:
            row.append(r.choice(("", "x")))
        if r.random() < slip / 2:
            row.pop()
        rows.append(row)
    text = r.choice(("\n", "\n", "\r\n")).join(delimiter.join(row) for row in rows) + r.choice(("\n", ""))
    return _damaged(text, r) if r.random() < slip else text


def _cell(name: str, r: Random, slip: float) -> str:
    if r.random() < slip:
        return r.choice(("", "inf", "nan", "-1", "1e999", "²", "x", '"', '"a,b"', "1,5", "0", "\x00", "10" * 200))
    texts = {
        "time_s": ("1.5", "2e-3", "7"),
        "nthreads": ("1", "2", "16"),
        "size_gib": ("1", "0.5"),
        "stdev_s": ("0.1",),
    }
    more = {
        "page_size": ("2M", "4KiB"),
        "kernel": ("ktask-v1", "baseline"),
        "held_out": ("true", "false"),
        "node": ("0",),
    }
    return r.choice((texts | more | {"chunk": ("2MiB",), "task.state": ("atomic",)}).get(name, ("x",)))


def topology(r: Random) -> tuple[str, bytes]:
    """Return the name and content of a topology file: one of the tests' own, damaged, quoted, joined or encoded."""
    path = r.choice(TEXTS)
    content = path.read_bytes()
    if path.suffix in (".gz", ".tgz"):
        return path.name, _damaged_bytes(content, r) if r.random() < 0.8 else content
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    for _ in range(r.randint(0, 3)):
        text = _damaged(text, r)
    k = r.random()
    if k < 0.1:
        text = "\n".join(f"> {line}" for line in text.splitlines())
    elif k < 0.15:
        text = f"<details><pre>{text}</pre></details>"
    elif k < 0.2:
        text += r.choice(TEXTS).read_bytes().decode("utf-8", "replace")
    encoding = r.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1"))
    return path.name, text.encode(encoding, "replace")


def _damaged(text: str, r: Random) -> str:
    """Return a text with a piece taken out, put in, doubled, or a number in it changed."""
    if not text:
        return text
    start = r.randrange(len(text))
    kind = r.randrange(4)
    if kind == 0:
        return text[:start] + text[start + r.randrange(60) :]
    if kind == 1:
        slips = (
            "-1",
            "²",
            "99999999999",
            "5" * 5000,
            "\x00",
            "\n",
            '"',
            "<",
            "&a;",
            "node 7 cpus: 1",
            "0-",
            "nan",
            "::",
            "\u2028",
        )
        return text[:start] + r.choice(slips) + text[start:]
    if kind == 2:
        return text[:start] + text[max(0, start - r.randrange(300)) :]
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        return text
    match = r.choice(numbers)
    return text[: match.start()] + r.choice(("0", "1", "255", "99999", "-3", "²", "1e3", "")) + text[match.end() :]


def _damaged_bytes(content: bytes, r: Random) -> bytes:
    place = r.randrange(len(content))
    if r.random() < 0.4:
        return content[:place]
    return content[:place] + bytes([r.randrange(256)]) + content[place + 1 :]


_WORDS = (
    *(
        "0",
        "1",
        "16",
        "1e9",
        "0.5",
        "-",
        "--",
        "+",
        "%",
        "e",
        ".",
        ",",
        " ",
        "\t",
        "\n",
        "_",
        "0x10",
        "²",
        "٣",
        "½",
        "∞",
    ),
    *(
        "GiB",
        "MiB",
        "Gib",
        "GB/s",
        "B",
        "us",
        "µs",
        "h",
        "min",
        "W",
        "pJ/bit",
        "nJ/B",
        "nan",
        "inf",
        "1-16",
        "0-",
        "-1",
    ),
    *(
        "9" * 30,
        "9" * 5000,
        "1" + "0" * 400,
        "\x00",
        "\ud800",
        "\u202e",
        "é",
        "null",
        "true",
        "~",
        "[",
        "]",
        "{",
        "}",
        ":",
    ),
    *("=", "&a", "*a", "<<", "!!python/object:os.system", "|", ">", "'", '"', "#", "../..", "/dev/zero", "task.size"),
)


def words(r: Random) -> str:
    """Return a text of a few pieces: numbers, units, marks, letters of other scripts."""
    return "".join(r.choice(_WORDS) for _ in range(r.choice((1, 1, 2, 2, 3, 5))))


def text(r: Random) -> str:
    """Return YAML: a scenario or machine file as text, most with slips of its syntax."""
    if r.random() < 0.1:
        return "".join(words(r) + r.choice(("\n", " ", ": ", "\n  ")) for _ in range(r.randint(1, 20)))
    document = machine(r) if r.random() < 0.3 else _small_scenario(r)
    found: str = yaml.safe_dump(document, default_flow_style=r.choice((None, None, True, False)), sort_keys=False)
    for _ in range(r.choice((0, 1, 1, 2, 4))):
        found = _damaged(found, r)
    for _ in range(r.choice((0, 0, 1))):
        place = r.randrange(len(found) + 1)
        found = found[:place] + r.choice(_WORDS) + found[place:]
    return found


def _small_scenario(r: Random) -> Document:
    name = r.choice(list(CLIENTS))
    task = {"client": name} | {k: v for k, v in mapping(_schema_of(CLIENTS[name]), r, 0.02).items() if k != "costs"}
    version = r.choice(list(VERSIONS))
    kernel = {k: v for k, v in mapping(_schema_of(VERSIONS[version]), r, 0.02).items() if r.random() < 0.3}
    kernel |= {k: r.choice(("1MiB", "2MiB", "1GiB")) for k in ("min_chunk", "chunk_size") if k in kernel}
    return {
        "title": "drawn", "question": "?", "machine": "laptop-ryzen-4800u", "task": task,
        "kernel": kernel | {"version": version},
        "replications": r.choice((1, 1, 3, [1, 2])), "seed": r.randint(0, 2**31),
    }  # fmt: skip


def assignment(r: Random) -> str:
    """Return a PATH=VALUE of the prompt."""
    paths = (
        *(
            "task.size",
            "kernel.max_threads",
            "kernel.chunks",
            "machine",
            "seed",
            "replications",
            "task.client",
            "title",
        ),
        *("background.x.load", "groups.g.quota", "task.cpus", "kernel", "task", "kernel.version"),
    )
    values = ("1", "1-16", "1,2,4", "2GiB", "1GiB,2GiB", "guided", "0-3", "populate", "ktask-v4", "spin", "0.5", "x")
    path = r.choice(paths) if r.random() < 0.85 else words(r)
    given = r.choice(values) if r.random() < 0.6 else words(r)
    return path + r.choice(("=", "=", "=", "=", "", ":", "==")) + given


@cache
def commands() -> Mapping[str, click.Command]:
    """Return the commands of the prompt, by name."""
    context = click.Context(cli)
    return {name: command for name in cli.list_commands(context) if (command := cli.get_command(context, name))}


def arguments(r: Random) -> tuple[str, list[str]]:
    """Return a command and arguments for it, by its options, right and wrong."""
    name = r.choice(list(commands()))
    found: list[str] = []
    for parameter in commands()[name].params:
        if isinstance(parameter, click.Argument):
            if r.random() < 0.8:
                found += [_argument(parameter, r) for _ in range(1 if parameter.nargs == 1 else r.randint(0, 2))]
        elif r.random() < 0.25:
            option = r.choice(parameter.opts) if r.random() < 0.9 else "--" + words(r)
            is_flag = isinstance(parameter, click.Option) and parameter.is_flag
            found += [option] if is_flag else [option, _argument(parameter, r)]
    if r.random() < 0.1:
        r.shuffle(found)
    # No argument of a process has a NUL; a byte that is no UTF-8 comes as a surrogate of its own.
    return name, [word.replace("\0", "\x01").replace("\ud800", "\udcff") for word in found]


def _argument(parameter: click.Parameter, r: Random) -> str:
    if r.random() < 0.2:
        return words(r)
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return str(r.choice(list(kind.choices)))
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        return r.choice(("0", "1", "2", "0.5", "0.01", "-1", "100", "1e3", "99999999999", "nan", "inf", "", "\u0661"))
    return r.choice(("1GiB", "0-3", "clear_gigantic_page", "laptop-ryzen-4800u", "x.yaml", ".", "/", "qemu_prealloc"))


# Of the prompt, what is answered soon, with nothing to read but what is drawn: a file "in", and a folder "out".
_SOON = (
    *(("run", "in"), ("describe", "in"), ("sweep", "in"), ("tune", "in"), ("import", "in"), ("machines", "in")),
    *(("plot", "out"), ("show", "out"), ("page", "out"), ("perfetto", "out"), ("diff", "out", "out"), ("trace", "in")),
    *(("compare", "in"), ("schema", "machine"), ("policies",), ("completion", "bash")),
)


def command(r: Random) -> tuple[list[str], bytes]:
    """Return a whole command of the prompt on a drawn file, and the content of that."""
    name, *files = r.choice(_SOON)
    kind = r.random()
    if kind < 0.5:
        content = text(r).encode("utf-8", "surrogatepass")
    elif kind < 0.75:
        content = table(r).encode("utf-8", "surrogatepass")
    else:
        content = r.choice((b"", b"\0" * 100, b"\xff\xfe", bytes(r.randrange(256) for _ in range(50)), topology(r)[1]))
    extra: list[str] = []
    if name in ("run", "describe") and r.random() < 0.3:
        extra.append(assignment(r))
    if name in ("run", "sweep", "tune"):
        extra += ["-o", "out", "--jobs", "1"]
    return [name, *files, *extra], content


def advice(r: Random) -> list[str]:
    """Return arguments of `ktask-sim advise`."""
    words = [
        "advise",
        "--client",
        r.choice([*CLIENTS, "quemu"]),
        "--machine",
        "laptop-ryzen-4800u",
        "--jobs",
        "1",
    ]
    words += ["--memory", r.choice(("64MiB", "1GiB", "0B", "-1GiB", "999TiB", "5", "1GiB ", "²GiB", "1e3MiB"))]
    options = {
        "--page-size": ("4KiB", "2MiB", "1GiB", "3MiB", "x"),
        "--smp": ("1", "4", "0", "-3", "99999999", "²"),
        "--keep-free": ("14cpus", "15cpus", "99cpus", "50%", "0%", "200%", "x", ""),
        "--format": ("csv", "json", "table", "xml"),
        "--beside": ("/dev/zero", "/nonexistent", "/"),
    }
    for option, values in options.items():
        if r.random() < 0.3:
            words += [option, r.choice(values)]
    return words + (["--thp"] if r.random() < 0.2 else [])
