"""Broken files and the exact messages for them; `python -m tests.bad_input.test_messages --write` renews the messages.

Each scenarios/*.yaml, machines/*.yaml and tuning/*.yaml (which can be run, but not tuned) is wrong in the way that its
name says; the .txt beside it has what a user reads. A change of a message shows up as a change of these files.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.files.machine import build_machine, load_machine, shipped_machines
from models.scenario import build_scenario, load_scenario
from models.text.document import parse
from models.text.problems import InputError
from sim.search.tuning import check_space

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BROKEN = sorted(path.relative_to(HERE) for path in HERE.glob("*/*.yaml"))
LOADERS: dict[str, Callable[[Path], object]] = {
    "scenarios": load_scenario,
    "machines": load_machine,
    "tuning": lambda path: check_space(load_scenario(path)),
}
GOOD_SCENARIO = (ROOT / "scenarios" / "clear_gigantic_page.yaml").read_text(encoding="utf-8")
GOOD_MACHINE = (ROOT / "models" / "machines" / "xeon-e7-8895v3-8s.yaml").read_text(encoding="utf-8")

# What a user's slip may put in place of a value.
SLIPS = (
    "",
    "5",
    "-1",
    "1e3",
    "1e999",
    "yes",
    "null",
    "~",
    "[]",
    "[1, [2]]",
    "{a: 1}",
    '"',
    "&a",
    "*a",
    "!!int 5",
    "5Gib",
)


def message(path: Path) -> str:
    """Return what a user reads on a broken file, named relative to its folder."""
    with contextlib.chdir(HERE / path.parent), pytest.raises(InputError) as error:
        LOADERS[path.parent.name](Path(path.name))
    return f"{error.value}\n"


@pytest.mark.parametrize("path", BROKEN, ids=str)
def test_message(path: Path) -> None:
    """The messages for a broken file are, to the letter, those kept beside it."""
    assert message(path) == (HERE / path).with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", BROKEN, ids=str)
def test_every_line_has_its_place(path: Path) -> None:
    """Every line of a message starts with file, line and column, which are in that file, and says something."""
    for line in (HERE / path).with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        match = re.match(r"([^:]+\.yaml):(\d+):(\d+): \S", line)
        assert match, line
        file, row, column = match[1], int(match[2]), int(match[3])
        lines = (HERE / path.parent / file).read_bytes().decode("utf-8", "replace").splitlines()
        # Past the end is where something missing would have to stand.
        assert 1 <= row <= len(lines) + 1
        assert 1 <= column <= len([*lines, ""][row - 1]) + 1


def test_no_message_is_left_over() -> None:
    """Each kept message belongs to a broken file."""
    kept = {path.relative_to(HERE).with_suffix(".yaml") for path in HERE.glob("*/*.txt")}
    assert kept == set(BROKEN)


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_shipped_scenario_is_refused(path: Path) -> None:
    """Every scenario that comes with the program can be loaded."""
    assert load_scenario(path).cases


@pytest.mark.parametrize("name", shipped_machines())
def test_no_shipped_machine_is_refused(name: str) -> None:
    """Every machine that comes with the program can be loaded."""
    assert load_machine(name).name == name


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"task.size": 5}, "task.size: found 5, a number without a unit"),
        ({"task.size": []}, "task.size: found an empty list"),
        ({"kernel.max_thread": 5}, "kernel.max_thread: unknown key"),
        ({"kernal.max_threads": 5}, "did you mean kernel?"),
        ({"kernel.version": "ktask-v9"}, "did you mean ktask-v4?"),
        ({"kernel.max_threads": 10**5000}, "kernel.max_threads: found 'a number of over 300 digits'"),
        ({"kernel.wake_pull": float("nan")}, "kernel.wake_pull: found 'nan'; allowed is a number"),
        ({"kernel.wake_pull": float("inf")}, "kernel.wake_pull: found 'inf'; allowed is a number"),
        ({"task.size.unit": "GiB"}, "task.size.unit: found no mapping to set 'unit' in"),
        ({"title.x": "y"}, "title.x: found no mapping to set 'x' in"),
        ({"machine": Path("no_such.yaml")}, "machine: found 'no_such.yaml'"),
        ({"": 5}, "unknown key"),
    ],
)
def test_with_values_refuses(values: dict[str, object], expected: str) -> None:
    """Values from Python are refused in the words of a file, with their path."""
    scenario = load_scenario(ROOT / "scenarios" / "clear_gigantic_page.yaml")
    with pytest.raises(InputError, match=re.escape(expected)):
        scenario.with_values(values)


def test_with_values_reaches_a_kernel_named_in_short() -> None:
    """A figure of the kernel can be set where the file has a version's name, or a list of kernels."""
    text = GOOD_SCENARIO[: GOOD_SCENARIO.index("kernel:")]
    for kernel in ("ktask-v1", "[ktask-v1, {chunks_per_work: 8}]"):
        scenario = build_scenario(parse(f"{text}kernel: {kernel}\n", "s.yaml"), Path("s.yaml"))
        cases = scenario.with_values({"kernel.version": "ktask-v1", "kernel.max_threads": 3}).cases
        assert {case.kernel.max_threads for case in cases} == {3}


@st.composite
def broken_texts(draw: st.DrawFn, good: str) -> str:
    """Draw a text that differs from a good one by some slips: of lines, of values, of characters."""
    lines = good.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.integers(0, len(lines) - 1))
        slip = draw(st.sampled_from(("delete", "double", "move", "value", "indent", "characters", "word")))
        key = lines[i].partition(":")[0]
        if slip == "delete" and len(lines) > 1:
            del lines[i]
        elif slip == "double":
            lines.insert(i, lines[i])
        elif slip == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(i))
        elif slip == "value":
            lines[i] = f"{key}: {draw(st.sampled_from(SLIPS))}"
        elif slip == "indent":
            lines[i] = draw(st.sampled_from((" ", "  ", "\t", "- "))) + lines[i]
        elif slip == "characters":
            at = draw(st.integers(0, len(lines[i])))
            more = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=3))
            lines[i] = lines[i][:at] + more + lines[i][at + draw(st.integers(0, 3)) :]
        else:
            words = lines[i].split(" ")
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(SLIPS))
            lines[i] = " ".join(words)
    return "\n".join(lines) + "\n"


def lines_of(error: InputError) -> list[str]:
    """Return the lines that a user reads, which must have no line breaks of their own."""
    lines = str(error).splitlines()
    assert len(lines) == len(error.problems) > 0
    return lines


@settings(derandomize=True, deadline=None, max_examples=300)
@given(broken_texts(GOOD_SCENARIO))
def test_a_scenario_loads_or_is_refused(text: str) -> None:
    """Whatever a scenario file has in it, it is loaded or refused with messages, never anything else."""
    try:
        assert build_scenario(parse(text, "s.yaml"), ROOT / "s.yaml").cases
    except InputError as error:
        assert all(re.match(r"[^:]+:\d+:\d+: ", line) for line in lines_of(error))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(broken_texts(GOOD_MACHINE))
def test_a_machine_loads_or_is_refused(text: str) -> None:
    """Whatever a machine file has in it, it is loaded or refused with messages, never anything else."""
    try:
        assert build_machine(parse(text, "m.yaml"), "m.yaml").cpus
    except InputError as error:
        assert all(line.startswith("m.yaml:") for line in lines_of(error))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(max_size=60))
def test_any_text_is_refused(text: str) -> None:
    """Text of any kind is refused as a scenario with messages."""
    with pytest.raises(InputError):
        build_scenario(parse(text, "s.yaml"), ROOT / "s.yaml")


def write() -> None:
    """Write the message of every broken file beside it."""
    for path in HERE.glob("*/*.txt"):
        path.unlink()
    for path in BROKEN:
        (HERE / path).with_suffix(".txt").write_text(message(path), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.bad_input.test_messages --write")
    write()
