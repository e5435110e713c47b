"""docs/architecture.md names files that exist, every folder of the server, and the layers in the order that holds."""

import re

import pytest
from tests.pages import ROOT
from tests.test_layers import LAYERS

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SERVER = ROOT / "server" / "linnaeus" / "server"
LIKELY_CHANGES = 20


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of each row of a section's table, its head left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


CHANGES = {change: re.findall(r"`([^`]+)`", files) for change, files in rows("Where to change what")}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_in_files_that_exist(change: str) -> None:
    assert CHANGES[change]
    for path in CHANGES[change]:
        assert (ROOT / path).is_file(), path


def test_the_table_has_the_likely_changes() -> None:
    assert len(CHANGES) >= LIKELY_CHANGES


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", PAGE))))
def test_every_file_of_the_server_that_is_named_exists(name: str) -> None:
    assert (SERVER / name).is_file() or (ROOT / name).is_file()


def test_the_steps_of_a_call_say_on_which_thread_they_are() -> None:
    threads = {row[0] for row in rows("Threads")}
    steps = rows("The life of one call")
    assert len(steps) > LIKELY_CHANGES
    for step, _, thread in steps:
        assert any(name in thread for name in threads), step


def test_every_folder_of_the_server_is_in_the_table_of_layers() -> None:
    folders = {f"{path.parent.name}/" for path in SERVER.glob("*/__init__.py")}
    named = {name for row in rows("Layers") for name in re.findall(r"`([a-z_]+/)`", row[0])}
    assert folders and named == folders


def test_the_layers_stand_in_the_order_that_the_imports_keep() -> None:
    named = [name for row in rows("Layers") for name in re.findall(r"`([a-z_]+)(?:/|\.py)`", row[0])]
    assert named == [layer for layer in LAYERS if layer != "__main__"]


def test_every_word_of_the_glossary_stands_there_once_and_in_order() -> None:
    words = [row[0] for row in rows("Glossary")]
    assert words == sorted(set(words), key=str.lower)
