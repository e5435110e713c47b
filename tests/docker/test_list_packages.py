"""What the image contains is listed with versions and licences."""

import importlib.util
from email.message import Message
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def list_packages(docker_folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("list_packages", docker_folder / "list_packages.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_requirement_is_listed_with_all_that_it_requires_and_nothing_else(list_packages: ModuleType) -> None:
    listed = dict(row[:2] for row in map(list_packages.row_of, list_packages.required("linnaeus[server]")))
    assert {"linnaeus", "torch", "grpcio", "protobuf", "pydantic_core", "MarkupSafe"} <= listed.keys()
    assert listed["torch"] == version("torch")
    assert not {"torchvision", "pytest", "matplotlib", "safetensors"} & listed.keys()


def test_every_package_of_the_server_declares_a_licence(list_packages: ModuleType) -> None:
    licences = dict((row[0], row[2]) for row in map(list_packages.row_of, list_packages.required("linnaeus[server]")))
    # A package without files, which only names others.
    licences.pop("cuda-toolkit", None)
    assert licences["linnaeus"] == "Apache-2.0"
    assert [name for name, licence in licences.items() if licence in ("", "UNKNOWN", "not declared")] == []


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "other")], "MIT"),
        ([("Classifier", "License :: OSI Approved :: MIT License"), ("License", "text")], "MIT License"),
        ([("License", "BSD 3-Clause\nRedistribution and use …")], "BSD 3-Clause"),
        ([("License-File", "LICENSE"), ("License-File", "NOTICE")], "see LICENSE, NOTICE"),
        ([], "not declared"),
    ],
)
def test_a_licence_is_what_the_metadata_declare(
    list_packages: ModuleType, fields: list[tuple[str, str]], licence: str
) -> None:
    metadata = Message()
    for name, value in fields:
        metadata[name] = value
    assert list_packages.licence(SimpleNamespace(metadata=metadata)) == licence
