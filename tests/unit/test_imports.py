"""What commands and other processes import: what takes a while only where it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sim

HEAVY = {"distributed", "matplotlib", "numpy", "optuna", "pandas", "pyarrow", "scipy"}

_SCRIPT = """
import sys
from pathlib import Path
{what}
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def _imported(what: str) -> set[str]:
    """Return the packages that a process of its own has imported after some statements."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(what=what)], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split())


def _command(arguments: list[str]) -> str:
    return (
        f"from sim.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code"
    )


def test_the_start_of_a_command_imports_hardly_anything() -> None:
    """The version is told without pydantic and SimPy, and without everything heavier."""
    assert _imported(_command(["--version"])).isdisjoint(HEAVY | {"pydantic", "simpy"})


@pytest.mark.parametrize("arguments", [["schema"], ["machines"], ["run", "--help"], ["show", "--help"]])
def test_commands_import_what_they_need(arguments: list[str]) -> None:
    """Commands that make no table and no figure import neither pandas nor Matplotlib."""
    assert _imported(_command(arguments)).isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["sim.engine.run", "sim.runs.executors", "sim.runs.store"])
def test_a_process_that_makes_runs_imports_the_simulation_alone(module: str) -> None:
    """What a process of a pool needs to make runs has no tables and no figures."""
    assert _imported(f"import {module}").isdisjoint(HEAVY)


def test_a_run_without_other_work_imports_no_numpy() -> None:
    """Neither reading a scenario without a published table nor its run needs NumPy or pandas."""
    what = (
        "import sim\nfrom sim.engine.run import run_case\n"
        "scenario = sim.load('scenarios/vm_startup.yaml')\nrun_case(scenario.cases[0], 0)"
    )
    assert _imported(what).isdisjoint(HEAVY)


def test_every_public_name_is_found() -> None:
    """Each public name can be had, is listed, and a wrong one is no attribute."""
    assert all(getattr(sim, name) is not None for name in sim.__all__)
    assert set(sim.__all__) <= set(dir(sim))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sim.nothing  # noqa: B018


def test_no_two_classes_have_one_name() -> None:
    """A class is found by its name: in models, sim and real each name stands for one."""
    found: dict[str, list[str]] = {}
    for path in sorted(path for package in ("models", "sim", "real") for path in Path(package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
