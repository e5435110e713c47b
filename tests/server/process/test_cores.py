"""The usable cores of a process are limited by its CPU affinity and its control groups."""

import os
from pathlib import Path

import pytest
import torch

from linnaeus.server.process.cores import usable_cores
from linnaeus.server.runtime import device


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root folder of a system whose process is bound to eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_cgroup_v2(root: Path, group: str, **limits: str) -> None:
    """Writes a control group of version 2 with limits by folder."""
    write(root, proc__self__cgroup=f"0::{group}\n")
    for folder, limit in limits.items():
        write(root, **{f"sys__fs__cgroup{folder}__cpu_max": limit})


def write_cgroup_v1(root: Path, folder: str, quota: str) -> None:
    """Writes a control group of version 1; its folder may be the mounted root, as in a container."""
    write(root, proc__self__cgroup="5:devices:/\n4:cpu,cpuacct:/docker/abc\n0::/\n")
    for name, text in {"quota": quota, "period": "100000\n"}.items():
        path = root / "sys/fs/cgroup/cpu" / folder / f"cpu.cfs_{name}_us"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_without_control_groups_the_affinity_limits_the_cores(root: Path) -> None:
    assert usable_cores(root) == 8


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 8), ("200000 100000\n", 2), ("250000 100000", 3), ("1000 100000", 1), ("9900000 100000", 8)],
)
def test_a_quota_limits_the_cores_and_is_rounded_up(root: Path, limit: str, cores: int) -> None:
    write_cgroup_v2(root, "/", **{"": limit})
    assert usable_cores(root) == cores


def test_the_lowest_quota_of_a_group_and_its_ancestors_limits_the_cores(root: Path) -> None:
    write_cgroup_v2(root, "/pods/one", **{"__pods__one": "max 100000", "__pods": "400000 100000"})
    assert usable_cores(root) == 4
    write_cgroup_v2(root, "/pods/one", **{"__pods__one": "300000 100000"})
    assert usable_cores(root) == 3


@pytest.mark.parametrize("folder", ["docker/abc", ""])
@pytest.mark.parametrize(("quota", "cores"), [("150000\n", 2), ("-1\n", 8)])
def test_quotas_of_cgroup_version_1_limit_the_cores(root: Path, folder: str, quota: str, cores: int) -> None:
    write_cgroup_v1(root, folder, quota)
    assert usable_cores(root) == cores


@pytest.mark.parametrize("malformed", ["", "fast", "0 0", "100000", "\x00"])
def test_a_malformed_quota_is_ignored(root: Path, malformed: str) -> None:
    write_cgroup_v2(root, "/", **{"": malformed})
    assert usable_cores(root) == 8


def test_workers_and_decoders_depend_on_the_cores_and_a_gpu_has_fewer_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    for cores, workers, decoders, beside_gpu in ((1, 1, 1, 1), (3, 3, 3, 3), (16, 4, 16, 4)):
        monkeypatch.setattr(device, "usable_cores", lambda cores=cores: cores)
        assert device.default_workers(cpu) == workers and device.default_workers(gpu) == 2
        assert device.default_decoders([cpu], False) == device.default_decoders([cpu, gpu], True) == decoders
        assert device.default_decoders([cpu, gpu], False) == beside_gpu
