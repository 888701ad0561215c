"""Result folders: all files or none, whatever happens while they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.results.folder import written_whole


def names(folder: Path) -> list[str]:
    """Return the names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_new_folder_is_whole_or_absent(tmp_path: Path) -> None:
    """A new folder comes with all its files, and after an error nothing is left of it."""
    with written_whole(tmp_path / "a", "last") as new:
        (new / "first").write_text("1")
        (new / "last").write_text("1")
        assert not (tmp_path / "a").exists()
    assert names(tmp_path / "a") == ["first", "last"]
    with pytest.raises(OSError, match="full"), written_whole(tmp_path / "b", "last") as new:
        (new / "first").write_text("1")
        raise OSError("full")
    assert names(tmp_path) == ["a"]


def test_files_of_a_folder_are_replaced(tmp_path: Path) -> None:
    """Files of other names stay, after an error all stay, and what a killed process left is removed if asked for."""
    (tmp_path / "last").write_text("old")
    (tmp_path / "notes").write_text("mine")
    (tmp_path / ".new-killed").mkdir()
    with pytest.raises(OSError, match="full"), written_whole(tmp_path, "last") as new:
        (new / "last").write_text("new")
        raise OSError("full")
    assert names(tmp_path) == [".new-killed", "last", "notes"] and (tmp_path / "last").read_text() == "old"
    with written_whole(tmp_path, "last", alone=True) as new:
        (new / "first").write_text("new")
        (new / "last").write_text("new")
    assert names(tmp_path) == ["first", "last", "notes"]
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == ["new", "new", "mine"]


def test_the_last_file_marks_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When files can't all be moved, the one that marks the folder as whole isn't there."""
    (tmp_path / "last").write_text("old")
    move = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.name == "second":
            raise OSError("full")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full"), written_whole(tmp_path, "last") as new:
        for name in ("first", "last", "second"):
            (new / name).write_text("new")
    assert "last" not in names(tmp_path)
