"""`ktask-sim compare TABLE` and `ktask-sim fit TIMES.csv` as a user calls them, and by their old names."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from models.files.machine import load_machine
from sim.cli import main

TABLE = "hugetlbfs_fallocate_xeon_e7-8895v3"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Call the command line; return status, stdout and stderr."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return int(stop.value.code or 0), out, err


def test_validate_one_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The verdict and each cell are printed; a page, a figure and the cells are written."""
    status, out, _ = call(capsys, "compare", TABLE, "-o", str(tmp_path / "page"), "--jobs", "1")
    assert status == 0
    assert "7 cells predicted, 2 fitted" in out
    assert "not counted (?)" in out
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == [
        f"{TABLE}.csv",
        f"{TABLE}.png",
        "index.html",
        "tables.csv",
    ]


def test_the_old_name_works_and_says_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    """`validate TABLE` does what it did, with a note on stderr."""
    name = "hugetlb_boot_padata"
    status, out, err = call(capsys, "validate", name, "--jobs", "1")
    assert (status, "cells predicted" in out) == (0, True)
    assert f"note: `ktask-sim compare {name}` is the new name of this" in err


def test_a_table_that_is_not_described_has_a_status_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Times that rise with the threads are no pinning: status 3, the verdict first, and the file says it."""
    table, output = tmp_path / "times.csv", tmp_path / "fitted.yaml"
    pd.DataFrame({"nthreads": [1, 2, 4, 8], "size_gib": 64, "time_s": [2, 4, 8, 16]}).to_csv(table, index=False)
    arguments = ("--machine", "xeon-platinum-8160-2s", "--client", "vfio_pin", "--fit", "pages.pin_rate")
    status, out, _ = call(capsys, "fit", str(table), *arguments, "-o", str(output), "--jobs", "1")
    assert status == 3
    assert out.startswith("The model does not describe the table: fitted rows are off by")
    assert "are columns swapped" in out
    assert "which the model does not describe" in " ".join(output.read_text().split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("validate", "hugetlbfs_falocate"), "is not known; allowed are"),
        (
            ("validate", TABLE, "--backend", "real"),
            "the programs that can be run here are of the clients",
        ),
        (("validate", "--seconds", "5"), "--seconds is for --backend real"),
        (("calibrate", "--secnds", "9"), "--secnds"),
        (
            ("calibrate", "my times.csv", "--client", "vfio_pin"),
            "a table is fitted with: ktask-sim fit 'my times.csv' --client vfio_pin",
        ),
        (("fit", "none.csv"), "needs --machine BASE.yaml"),
        (("fit", "none.csv", "--machine", "laptop", "--client", "vfio_pin"), "allowed is a shipped machine"),
        (
            ("fit", "none.csv", "--machine", "laptop-ryzen-4800u", "--client", "vfio_pin"),
            "none.csv: there is no such file",
        ),
    ],
)
def test_slips(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """A user's slip is told, status 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
    assert not list(tmp_path.iterdir())


def test_calibrate_writes_a_machine_that_loads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The fitted machine file loads, has the fitted cost with its source, and is not overwritten unasked."""
    table, output = tmp_path / "times.csv", tmp_path / "fitted.yaml"
    pd.DataFrame({"nthreads": [1, 2, 4, 8], "size_gib": 64, "time_s": [16.5, 8.6, 4.7, 2.8]}).to_csv(table, index=False)
    arguments = ("fit", str(table), "--machine", "xeon-platinum-8160-2s", "--client", "vfio_pin")
    arguments += ("--fit", "pages.pin_rate,clients.vfio_pin.before", "-o", str(output), "--jobs", "1")
    status, out, _ = call(capsys, *arguments)
    assert status == 0
    assert "4 rows fitted to (*)" in out
    machine = load_machine(output)
    assert machine.pages["pin_rate"] == pytest.approx(4.1 * 2**30, rel=0.1)
    assert "times.csv" in machine.sources["pages.pin_rate"]
    assert len(pd.read_csv(output.with_suffix(".csv"))) == 4
    status, _, err = call(capsys, *arguments)
    assert status == 2
    assert "--force" in err
