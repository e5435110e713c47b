"""Files are read again when they change; a change that cannot be used leaves everything as it was."""

import os
from pathlib import Path

import pytest

from linnaeus.server.security.reloaded_files import ReloadedFiles


class Refusals(list[Exception]):
    """What could not be used."""


def join(contents: list[bytes]) -> bytes:
    """Refuses whatever holds the word bad."""
    joined = b"+".join(contents)
    if b"bad" in joined:
        raise ValueError("bad content")
    return joined


@pytest.fixture
def told() -> Refusals:
    return Refusals()


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "one", tmp_path / "two"]
    for path in made:
        path.write_bytes(path.name.encode())
    return made


def watch(paths: list[Path], told: Refusals) -> ReloadedFiles[bytes]:
    return ReloadedFiles([str(path) for path in paths], join, told.append)


def replace(path: Path, content: bytes) -> None:
    """As a careful operator does, and Kubernetes: whole or not at all."""
    aside = path.with_suffix(".new")
    aside.write_bytes(content)
    os.replace(aside, path)


def test_what_does_not_change_is_not_read_again(paths: list[Path], told: Refusals) -> None:
    files = watch(paths, told)
    assert files.value == b"one+two"
    assert not files.reload_if_changed() and files.value == b"one+two" and not told


def test_a_change_is_read_at_the_next_check(paths: list[Path], told: Refusals) -> None:
    files = watch(paths, told)
    replace(paths[1], b"new")
    assert files.reload_if_changed() and files.value == b"one+new"
    assert not files.reload_if_changed()


def test_a_link_that_is_moved_is_a_change(tmp_path: Path, paths: list[Path], told: Refusals) -> None:
    link = tmp_path / "link"
    link.symlink_to(paths[0])
    files = watch([link], told)
    aside = tmp_path / "link.new"
    aside.symlink_to(paths[1])
    os.replace(aside, link)
    assert files.reload_if_changed() and files.value == b"two"


def test_what_is_refused_is_told_once_and_the_old_holds_until_it_is_good_again(
    paths: list[Path], told: Refusals
) -> None:
    files = watch(paths, told)
    replace(paths[0], b"bad")
    assert not files.reload_if_changed() and not files.reload_if_changed()
    assert files.value == b"one+two" and [str(error) for error in told] == ["bad content"]
    replace(paths[0], b"good")
    assert files.reload_if_changed() and files.value == b"good+two"


def test_a_file_that_is_gone_leaves_the_old_until_it_is_back(paths: list[Path], told: Refusals) -> None:
    files = watch(paths, told)
    paths[0].unlink()
    assert not files.reload_if_changed() and files.value == b"one+two" and isinstance(told[0], FileNotFoundError)
    replace(paths[0], b"back")
    assert files.reload_if_changed() and files.value == b"back+two"


def test_files_that_change_while_they_are_read_are_read_again(paths: list[Path], told: Refusals) -> None:
    replace_it = iter([b"", b"second", b""])

    def make(contents: list[bytes]) -> bytes:
        content = next(replace_it, b"")
        if content:  # somebody rotates the second file after it was read
            replace(paths[1], content)
        return join(contents)

    files = ReloadedFiles([str(path) for path in paths], make, told.append)
    replace(paths[0], b"first")
    assert not files.reload_if_changed() and files.value == b"one+two"
    assert files.reload_if_changed() and files.value == b"first+second" and not told


def test_at_the_start_what_cannot_be_used_is_an_error(paths: list[Path], told: Refusals) -> None:
    paths[0].write_bytes(b"bad")
    with pytest.raises(ValueError, match="bad content"):
        watch(paths, told)
    with pytest.raises(FileNotFoundError):
        watch([paths[0].with_name("nowhere")], told)
