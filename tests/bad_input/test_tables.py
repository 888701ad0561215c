"""What is said of a table of measurements that can't be read, and what of other forms can."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.files.table import load_table, read_cells
from models.text.problems import InputError


def written(tmp_path: Path, text: str | bytes) -> Path:
    """Write a table to read."""
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "t.csv: can't be read as a CSV table: is empty"),
        ('""\n', "t.csv: can't be read as a CSV table: is empty"),
        (
            "time_s,nthreads\n10,1,\n5,2,\n",
            "t.csv:2:6: found 3 cells, separated by a comma; allowed are 2, one for each",
        ),
        ("time_s,nthreads\n7,1,x\n", "t.csv:2:5: found 3 cells, separated by a comma; allowed are 2"),
        ("time_s,nthreads\n7\n", "t.csv:2:1: found 1 cells, separated by a comma; allowed are 2"),
        (
            "time_s,nthreads\n10,1\n5,inf\n",
            "t.csv:3:3: nthreads: found 'inf'; allowed is a whole number from 0 to 65536",
        ),
        ("time_s,nthreads\n10,1.5\n", "t.csv:2:4: nthreads: found '1.5'; allowed is a whole number"),
        ("time_s\n1e400\n", "t.csv:2:1: time_s: found '1e400'; allowed is a number from 0 to 1e+09"),
        ("time_s\n-3\n", "t.csv:2:1: time_s: found '-3'"),
        ("time_s\n²\n", "t.csv:2:1: time_s: found '²'"),
        ("time_s,title.x\n10,5\n", "t.csv:1:8: title.x: is no path of a scenario; allowed are paths of task, kernel"),
        ("time_s,time_s\n10,5\n", "t.csv:1:8: time_s: found a second time; allowed is each column once"),
        ("time_s,\n10,5\n", "t.csv:1:8: found a column without a name; allowed is a name for each"),
        ('time_s,notes\n10,"a\n', "t.csv:2:4: found a quote that is not closed"),
        ("time_s,notes\n10,5,7\n", "put a cell with it in quotes"),
        (
            'time_s,nthreads\n"10,5",1\n',
            "t.csv:2:1: time_s: found '10,5'; allowed is a number from 0 to 1e+09; decimal",
        ),
        (b"time_s\n\0\n", "t.csv: can't be read as a CSV table: is no text"),
        ("time_s\n" + "x\n" * 500, "t.csv:12:1: and 490 problems more"),
        ("time_s\n" + "1\n" * 100_001, "t.csv: has 100002 rows; allowed are at most 100000"),
    ],
)
def test_bad_table(text: str | bytes, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is not what it should be is refused with file, line and column."""
    monkeypatch.chdir(written(tmp_path, text).parent)
    with pytest.raises(InputError) as error:
        read_cells(Path("t.csv"))
    assert any(expected in line for line in str(error.value).splitlines()), str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "time_s,nthreads,notes\n10.5,1,a\n5.25,2,\n",
        "time_s,nthreads,notes,\n10.5,1,a,\n5.25,2,,\n",
        "time_s;nthreads;notes\n10,5;1;a\n5,25;2;\n",
        "time_s\tnthreads\tnotes\r\n10,5\t1\ta\r\n5.25\t2\t\r\n",
        '\ufefftime_s,"nthreads",notes\n\n10.5,"1",a\n5.25,2,""\n',
    ],
)
def test_one_table_in_several_forms(text: str, tmp_path: Path) -> None:
    """Semicolons, tabs, decimal commas, a comma at the end of every line, quotes and empty lines do no harm."""
    found = read_cells(written(tmp_path, text))
    expected = pd.DataFrame({"time_s": [10.5, 5.25], "nthreads": [1, 2], "notes": ["a", None]})
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_places_after_quotes(tmp_path: Path) -> None:
    """A cell of two lines moves the places of those after it."""
    path = written(tmp_path, 'notes,time_s\n"a ""b""\nc",x\n')
    with pytest.raises(InputError, match=r"t\.csv:3:4: time_s: found 'x'"):
        read_cells(path)


def test_a_bad_table_to_compare_with(tmp_path: Path) -> None:
    """A scenario's table is read by the same reader."""
    written(tmp_path, "source,client,machine,time_s\na,b,c,1,\n")
    with pytest.raises(ValueError, match=r"found 't\.csv', which can't be used: 2:9: found 5 cells"):
        load_table("t.csv", tmp_path)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_any_text_is_a_table_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever a table has in it, it is read, with finite numbers, or refused with messages."""
    cell = st.sampled_from(
        ["1", "2.5", "", "x", '"', '""', '"a,b"', "inf", "nan", "1e999", "²", "-1", ";", "\t", "\x85", "é"]
    )
    lines = data.draw(st.lists(st.lists(cell, max_size=4).map(",".join), max_size=6))
    text = data.draw(st.sampled_from(["", "time_s,nthreads\n", "time_s\n", "a.b,c\n"])) + "\n".join(lines)
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, encoding="utf-8")
    try:
        found = read_cells(path)
    except InputError:
        return
    for column in {"time_s", "nthreads"} & set(found.columns):
        assert found[column].dropna().map(lambda number: abs(float(number)) < 1e300).all()
