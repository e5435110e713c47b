"""`classify_folder` of both clients: which files are images of a folder, and in which order."""

import re
from pathlib import Path

import pytest

from linnaeus.client import InvalidImage


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "below/c.webp", "below/.cache/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["a.png", "b.JPG"]),
        ({"recursive": True}, ["a.png", "b.JPG", "below/c.webp"]),
        ({"pattern": "*.txt"}, ["notes.txt"]),
        ({"pattern": "?.png", "recursive": True}, ["a.png"]),
    ],
)
def test_the_images_of_a_folder_are_sorted_by_path(run, folder, stub, options, expected):
    outcomes, failure = run(folder, method="classify_folder", **options)
    assert failure is None
    assert [outcome.source for outcome in outcomes] == [folder / name for name in expected]
    assert sorted(image.encoded.decode() for image in stub.images) == expected


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing", "missing: there is no such folder"),
        ("empty", r"empty: there is no picture \(.bmp, .*\) in this folder"),
        ("cat.jpg", "cat.jpg: this is a file, not a folder"),
    ],
)
def test_a_folder_without_images_is_an_error(run, tmp_path, stub, name, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cat.jpg").write_bytes(b"a picture")
    outcomes, failure = run(str(tmp_path / name), method="classify_folder")
    assert outcomes == []
    assert isinstance(failure, InvalidImage)
    assert re.search(told, str(failure))
    assert stub.requests == []
