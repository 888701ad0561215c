"""Which code makes results: version, commit, and a digest of every source file that is loaded."""

from __future__ import annotations

import hashlib
import subprocess
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType
from typing import Any

_PACKAGES = ("models", "real", "sim")
_HOME = Path(__file__).parents[2]  # of the three packages: a checkout, or site-packages


@cache
def code_identity(home: Path = _HOME) -> dict[str, Any]:
    """Return the identity of this program's code, or of another copy of it in the folder `home`.

    Returns: ``version`` (as ``git describe`` has it, else the stated one), ``commit`` (None outside a
    checkout), ``changed`` (whether the checkout has changes that are not committed, None outside one) and ``digest``
    (SHA-256 over the sources of sim, models and real, which tells any two codes apart).

    Example:
        >>> sorted(code_identity())
        ['changed', 'commit', 'digest', 'version']
    """
    described = _git(home, "describe", "--tags", "--always", "--dirty", "--match", "v*")
    commit = _git(home, "rev-parse", "HEAD")
    return {
        "version": _described_version(described, home),
        "commit": commit,
        "changed": None if described is None else described.endswith("-dirty"),
        "digest": _digest(home),
    }


def stated_version(home: Path = _HOME) -> str:
    """Return the version that the pyproject.toml beside the code says, else the installed one, else "unknown"."""
    file = home / "pyproject.toml"  # of a checkout or a source distribution, whatever else is installed
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}) if file.exists() else {}
    if project.get("name") == "ktask-sim":
        return str(project["version"])
    try:
        return version("ktask-sim")
    except PackageNotFoundError:
        return "unknown"


def rule_identity(rule: type[Any]) -> list[str]:
    """Return the identity of a user's own rule: its name, and a digest of its code and its own bases' code.

    It is made of the compiled code and the plain values of the classes, not of their source. A notebook or a prompt may
    not keep the source, and `inspect` finds the first of two classes of one name.
    """
    found = hashlib.sha256()
    for each in rule.__mro__:
        if each.__module__.partition(".")[0] in (*_PACKAGES, "builtins"):
            continue
        for name, value in sorted(vars(each).items()):
            if name not in _NOT_BEHAVIOUR:
                found.update(f"{name}={_behaviour(value)}\n".encode())
    return [f"{rule.__module__}.{rule.__qualname__}", found.hexdigest()]


_NOT_BEHAVIOUR = (
    *("__doc__", "__module__", "__dict__", "__weakref__", "__qualname__", "__abstractmethods__", "_abc_impl"),
    *("__firstlineno__", "__static_attributes__"),
)


def _behaviour(value: Any) -> str:
    """Return the code of a class's member, as text that is the same in every process."""
    inner = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
    code = getattr(inner, "__code__", None)
    if code is None:
        return _constant(inner)
    return f"{_code(code)} {getattr(inner, '__defaults__', None)!r}"


def _code(code: CodeType) -> str:
    consts = [_code(each) if isinstance(each, CodeType) else _constant(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {consts}"


def _constant(value: Any) -> str:
    """Return a constant as text, sets in an order that no hash decides, and other things as the name of their type."""
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(_constant, value)))}}}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_constant, value))})"
    return repr(value) if isinstance(value, (str, bytes, int, float, complex, type(None))) else type(value).__name__


def _described_version(described: str | None, home: Path) -> str:
    """Return the version of a checkout: the tag and later commits, or the stated version and the commit."""
    if described is None:
        return stated_version(home)
    if described.startswith("v"):
        return described.removeprefix("v")
    return f"{stated_version(home)}+{described}"


def _git(home: Path, *arguments: str) -> str | None:
    """Return git's output on the checkout in a folder, or None if there is no checkout or no git."""
    if not (home / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(home), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _digest(home: Path) -> str:
    found = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((home / package).rglob("*.py")):
            found.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
