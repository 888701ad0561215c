"""Installation in an empty environment, from the built wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==[^ ]+(?: ; (.*?))? \\$", re.MULTILINE)


def link_packages(lock: Path, folder: Path) -> None:
    """Make the packages that a lock file names, and no others, importable from a folder, without a network."""
    folder.mkdir()
    for name, marker in _PIN.findall(lock.read_text()):
        if marker and "win32" in marker:
            continue
        for path in distribution(name).files or ():
            top = path.parts[0]
            link = folder / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(str(distribution(name).locate_file(top)))


def test_wheel_works_in_an_empty_environment(tmp_path: Path, root: Path) -> None:
    """The wheel with the locked run-time packages alone runs a scenario away from the source tree."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(root)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {"models/scenarios/clear_gigantic_page.yaml", "models/notebooks/sliders.ipynb"} <= set(inside)
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    (packages,) = home.glob("lib/python3*/site-packages")
    link_packages(root / "requirements.lock", tmp_path / "packages")
    (packages / "locked.pth").write_text(f"{tmp_path / 'packages'}\n")
    install = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "-q", "--no-index"]
    subprocess.run([*install, "--no-deps", "--disable-pip-version-check", str(wheel)], check=True)
    scenario = tmp_path / "tiny.yaml"
    scenario.write_text(
        "title: Tiny\nquestion: Does it run?\nmachine: xeon-e7-8895v3-8s\n"
        "task: {client: clear_gigantic_page, size: 4GiB}\nkernel: ktask-v1\nreplications: 1\n"
        "compare_with: clear_gigantic_page_xeon_e7-8895v3\n"
    )
    command = [str(home / "bin" / "ktask-sim"), "run", str(scenario), "--format", "csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].startswith("xeon-e7-8895v3-8s,clear_gigantic_page,ktask-v1,4,4,1,")


def test_lock_files_name_no_index_host(root: Path) -> None:
    """Every pinned package has hashes, and no address stands in a lock file."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (root / name).read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if "==" in line]
        assert pins and all(line.rstrip().endswith("\\") for line in pins)
