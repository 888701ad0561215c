"""What `ktask-sim advise` says to a slip on its command line, or in the file beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.files.machine import load_machine
from models.results import machine_as_data
from sim.cli import main

QEMU = ("--client", "qemu_prealloc", "--memory", "1GiB")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Error: Missing option '--client'."),
        (("--client", "qemu", "--memory", "1GiB"), "--client: found 'qemu'; allowed is "),
        (("--client", "qemu", "--memory", "1GiB"), "; did you mean qemu_prealloc?"),
        (("--client", "jvm_pretuoch", "--memory", "1GiB"), "; did you mean jvm_pretouch?"),
        (("--client", "", "--memory", "1GiB"), "--client: found ''; allowed is "),
        (("--client", "inode_eviction", "--memory", "1GiB"), "found 'inode_eviction', which has no size; allowed is "),
        (("--client", "qemu_prealloc", "--memory", "64"), "--memory: found '64', a number without a unit; allowed is "),
        (("--client", "qemu_prealloc", "--memory", "64Gib"), "did you mean GiB"),
        (
            ("--client", "qemu_prealloc", "--memory", "17GiB"),
            "ktask-sim advise: --memory: found '17GiB'; allowed is at most 16 GiB, the room of machine "
            "laptop-ryzen-4800u in pages of 4 KiB\n",
        ),
        (
            (*QEMU, "--page-size", "32GiB"),
            "--page-size: found '32GiB'; allowed is a multiple of the base page, 4 KiB, up to the memory of a node",
        ),
        ((*QEMU, "--page-size", "3MB"), "--page-size: found '3MB'; allowed is a power of two, such as 2MiB\n"),
        (
            ("--client", "qemu_prealloc", "--memory", "4KiB"),
            "--memory: found '4KiB', in tasks of less than the smallest chunk, 1 MiB; allowed is more memory",
        ),
        (
            ("--client", "free_pages", "--memory", "1GiB", "--page-size", "2MiB"),
            "--page-size: found '2MiB'; free_pages has no such choice, but clear_gigantic_page, ",
        ),
        (
            ("--client", "populate", "--memory", "1GiB", "--task", "shared"),
            "--task: found 'shared'; allowed is KEY=VALUE, ",
        ),
        (
            ("--client", "populate", "--memory", "1GiB", "--task", "thp=true"),
            "--task: found 'thp=true'; thp has an option ",
        ),
        (
            ("--client", "populate", "--memory", "1GiB", "--task", "shared=true"),
            "--task shared: unknown key; allowed are ",
        ),
        (("--client", "free_pages", "--memory", "1GiB", "--thp"), "--thp: found true; free_pages has no such choice"),
        ((*QEMU, "--keep-free", "lots"), "--keep-free: found 'lots'; allowed is a number of CPUs, such as 4cpus\n"),
        ((*QEMU, "--keep-free", "-1"), "--keep-free: found '-1'; allowed is a number of CPUs"),
        (
            (*QEMU, "--keep-free", "16cpus"),
            "--keep-free: found 16; allowed is 0 to 15: machine laptop-ryzen-4800u has 16 CPUs\n",
        ),
        ((*QEMU, "--beside", "none.yaml"), "none.yaml: there is no such file\n"),
    ],
)
def test_message(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip gets a message that says what was found and what is allowed, and status 2."""
    assert message in refused(capsys, "--machine", "laptop-ryzen-4800u", *arguments)


def test_all_problems_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Two slips give two messages."""
    found = refused(
        capsys, "--machine", "laptop-ryzen-4800u", "--client", "qmu", "--memory", "1GiB", "--keep-free", "99"
    )
    assert "--client: found 'qmu'" in found and "--keep-free: found 99" in found and "2 problems" in found


@pytest.mark.parametrize("name", ["laptop", "no/such.yaml"])
def test_no_such_machine(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine that there is not is refused in the words of a scenario's machine."""
    assert f"--machine: found '{name}'" in refused(capsys, "--machine", name, *QEMU)


def test_a_machine_of_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine as a result folder has it is named as such, in one line."""
    path = tmp_path / "machine-laptop.json"
    path.write_text(json.dumps(machine_as_data(load_machine("laptop-ryzen-4800u"))))
    found = refused(capsys, "--machine", str(path), *QEMU)
    assert f"{path}: found a machine as a result folder records it; allowed is a machine file" in found
    assert "1 problem;" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "background: {scan: {load: cleer}}\n",
            "1:27: background.scan.load: found 'cleer'; allowed is spin or clear or",
        ),
        (
            'title: x\nbackground: {other: {load: spin, cpus: "99"}}\n',
            "2:40: background.other.cpus: found CPU 99; machine laptop",
        ),
        ('background: {load: spin, cpus: "1"}\n', "1:13: background: found a load without a name; allowed is a name"),
        (
            "background: {other: {load: spin, group: g}}\n",
            "1:41: background.other.group: found 'g'; the groups are none",
        ),
        ("background: {}\ngroups: {g: {quota: 0}}\n", "2:21: groups.g.quota: found 0; allowed is more than 0"),
        ('load: spin\ncpus: "1"\n', "1:1: the key `background` is missing"),
        ("background:\n- {load: spin}\n", "2:1: background: found a list; allowed is a mapping with a name for each"),
        (
            "background: {other: {load: spin, threads: [1, 2]}}\n",
            "1:43: background.other.threads: found a list, which stands for several situations; allowed is one value",
        ),
        ("- 1\n", "1:1: the key `background` is missing"),
    ],
)
def test_broken_background(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong with the background is told with its place in its file."""
    path = tmp_path / "beside.yaml"
    path.write_text(text)
    found = refused(capsys, "--machine", "laptop-ryzen-4800u", *QEMU, "--beside", str(path))
    assert f"{path}:" in found and message in found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which prints no table and ends with status 2; return its messages."""
    with pytest.raises(SystemExit) as ended:
        main(["advise", *arguments])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert not printed.out
    return printed.err
