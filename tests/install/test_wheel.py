"""Installation in an empty environment, from the built wheel and the lock file."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path


def test_wheel_works_in_an_empty_environment(tmp_path: Path, root: Path) -> None:
    """The wheel with the locked run-time packages alone runs a scenario away from the source tree."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(root)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    pip = [str(tmp_path / "env" / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(root / "requirements.lock")], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    scenario = tmp_path / "tiny.yaml"
    scenario.write_text(
        "title: Tiny\nquestion: Does it run?\nmachine: xeon-e7-8895v3-8s\n"
        "task: {client: clear_gigantic_page, size: 4GiB}\nkernel: ktask-v1\nreplications: 1\n"
        "compare_with: clear_gigantic_page_xeon_e7-8895v3\n"
    )
    command = [str(tmp_path / "env" / "bin" / "ktask-sim"), "run", str(scenario), "--format", "csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].startswith("xeon-e7-8895v3-8s,clear_gigantic_page,ktask-v1,4,4,1,")


def test_lock_files_name_no_index_host(root: Path) -> None:
    """Every pinned package has hashes, and no address stands in a lock file."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (root / name).read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if "==" in line]
        assert pins and all(line.rstrip().endswith("\\") for line in pins)
