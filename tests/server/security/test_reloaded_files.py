"""Files are reloaded when they change; an invalid change keeps the previous value."""

import os
from pathlib import Path

import pytest

from linnaeus.server.security.reloaded_files import ReloadedFiles


def join(contents: list[bytes]) -> bytes:
    """Parses contents: joins them; refuses those that contain the word bad."""
    joined = b"+".join(contents)
    if b"bad" in joined:
        raise ValueError("bad content")
    return joined


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "one", tmp_path / "two"]
    for path in files:
        path.write_bytes(path.name.encode())
    return files


def load(paths: list[Path], errors: list[Exception]) -> ReloadedFiles[bytes]:
    return ReloadedFiles([str(path) for path in paths], join, errors.append)


def replace(path: Path, content: bytes) -> None:
    """Replaces a file atomically, as Kubernetes does."""
    aside = path.with_suffix(".new")
    aside.write_bytes(content)
    os.replace(aside, path)


def test_unchanged_files_are_not_reloaded(paths: list[Path], errors: list[Exception]) -> None:
    files = load(paths, errors)
    assert files.value == b"one+two"
    assert not files.reload_if_changed() and files.value == b"one+two" and not errors


def test_a_change_is_reloaded_at_the_next_check(paths: list[Path], errors: list[Exception]) -> None:
    files = load(paths, errors)
    replace(paths[1], b"new")
    assert files.reload_if_changed() and files.value == b"one+new"
    assert not files.reload_if_changed()


def test_a_redirected_symlink_is_a_change(tmp_path: Path, paths: list[Path], errors: list[Exception]) -> None:
    link = tmp_path / "link"
    link.symlink_to(paths[0])
    files = load([link], errors)
    aside = tmp_path / "link.new"
    aside.symlink_to(paths[1])
    os.replace(aside, link)
    assert files.reload_if_changed() and files.value == b"two"


def test_an_invalid_change_is_reported_once_and_the_old_value_stays_until_a_valid_one(
    paths: list[Path], errors: list[Exception]
) -> None:
    files = load(paths, errors)
    replace(paths[0], b"bad")
    assert not files.reload_if_changed() and not files.reload_if_changed()
    assert files.value == b"one+two" and [str(error) for error in errors] == ["bad content"]
    replace(paths[0], b"good")
    assert files.reload_if_changed() and files.value == b"good+two"


def test_a_deleted_file_keeps_the_old_value_until_it_is_back(paths: list[Path], errors: list[Exception]) -> None:
    files = load(paths, errors)
    paths[0].unlink()
    assert not files.reload_if_changed() and files.value == b"one+two" and isinstance(errors[0], FileNotFoundError)
    replace(paths[0], b"back")
    assert files.reload_if_changed() and files.value == b"back+two"


def test_files_that_change_while_they_are_read_are_read_again_at_the_next_check(
    paths: list[Path], errors: list[Exception]
) -> None:
    replacements = iter([b"", b"second", b""])

    def parse(contents: list[bytes]) -> bytes:
        content = next(replacements, b"")
        if content:  # the second file is rotated after it was read
            replace(paths[1], content)
        return join(contents)

    files = ReloadedFiles([str(path) for path in paths], parse, errors.append)
    replace(paths[0], b"first")
    assert not files.reload_if_changed() and files.value == b"one+two"
    assert files.reload_if_changed() and files.value == b"first+second" and not errors


def test_invalid_or_missing_files_are_an_error_at_construction(paths: list[Path], errors: list[Exception]) -> None:
    paths[0].write_bytes(b"bad")
    with pytest.raises(ValueError, match="bad content"):
        load(paths, errors)
    with pytest.raises(FileNotFoundError):
        load([paths[0].with_name("nowhere")], errors)
