"""The image is built with this machine's pip configuration, none of which stays in the image."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def pip_configuration(docker_folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("pip_configuration", docker_folder / "pip_configuration.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_environment_overrides_command_section_overrides_global_section(
    pip_configuration: ModuleType,
) -> None:
    listing = ":env:.retries='9'\nglobal.retries='1'\ninstall.retries='5'\nglobal.cert='/a'\ninstall.cert='/b'\n"
    assert pip_configuration.effective_options(listing) == {"retries": "9", "cert": "/b"}


def test_sections_of_other_commands_are_ignored(pip_configuration: ModuleType) -> None:
    assert pip_configuration.effective_options("download.dest='/x'\nglobal.timeout='3'\n") == {"timeout": "3"}


def test_existing_local_paths_are_listed_once(pip_configuration: ModuleType, tmp_path: Path) -> None:
    index, wheels = tmp_path / "index", tmp_path / "wheels"
    for folder in (index / "simple", index / "files", wheels):
        folder.mkdir(parents=True)
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    values = [f"file://{index}/simple {tmp_path}/gone", str(wheels), str(certificate), "180", "relative/path"]
    assert pip_configuration.local_paths(values) == [certificate, index, wheels]
