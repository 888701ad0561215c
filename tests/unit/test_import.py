"""`import sim` finds its own packages, and says in one sentence what is in the way if it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sim


@pytest.mark.parametrize("name", ["models.py", "models/__init__.py", "real.py"])
def test_a_module_of_the_users_in_the_way_is_named(name: str, tmp_path: Path, root: Path) -> None:
    """A script beside a models.py of its own is told which file that is, and what to do."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    (tmp_path / "script.py").write_text(f"import sys\nsys.path.append({str(root)!r})\nimport sim\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    own = name.partition("/")[0].removesuffix(".py")
    assert last == (
        f"ImportError: {tmp_path / name} is in the way: ktask-sim has a package `{own}` of its own; rename that one, "
        "or start Python in another folder"
    )


def test_the_version_is_that_of_the_code() -> None:
    """`sim.__version__` begins with the version that is installed."""
    assert sim.__version__.startswith("0.")


def test_the_command_says_version_and_code(tmp_path: Path) -> None:
    """`ktask-sim --version` looks at no file of the current folder, and says which code it is."""
    (tmp_path / "models.py").write_text("raise SystemExit('the current folder was looked into')\n")
    command = [str(Path(sys.executable).with_name("ktask-sim")), "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"ktask-sim {sim.__version__} (code ")
