"""The usable memory is the machine's, or the smallest limit of the process's control groups."""

import os
from pathlib import Path

import pytest

from linnaeus.server.process.memory import usable_memory_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MEBIBYTE = 1 << 20


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_control_groups_it_is_the_machine_s(tmp_path: Path) -> None:
    assert usable_memory_bytes(tmp_path) == MACHINE


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/pod/server\n", "sys/fs/cgroup/pod/memory.max"),
        ("4:cpu:/\n5:memory:/pod/server\n", "sys/fs/cgroup/memory/pod/memory.limit_in_bytes"),
    ],
)
def test_the_limit_of_a_control_group_or_its_ancestor_holds(tmp_path: Path, groups: str, file: str) -> None:
    write(tmp_path / "proc/self/cgroup", groups)
    write(tmp_path / file, f"{MEBIBYTE}\n")
    assert usable_memory_bytes(tmp_path) == MEBIBYTE


def test_a_group_without_a_limit_has_the_machine_s(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/pod\n")
    write(tmp_path / "sys/fs/cgroup/pod/memory.max", "max\n")
    assert usable_memory_bytes(tmp_path) == MACHINE
