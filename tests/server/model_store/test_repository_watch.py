"""Tests of the repository watch and of scanning the repository."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from linnaeus.server.model_store.model_folders import list_model_folders
from linnaeus.server.model_store.repository_watch import watch
from linnaeus.server.process.supervisor import Supervisor


class FakeModelManager:
    """A model manager whose reconciliations raise the given errors in turn; sets `done` after the last."""

    def __init__(self, *errors: BaseException | None) -> None:
        self._errors = list(errors)
        self.done = asyncio.Event()

    async def reconcile_changes(self) -> None:
        if not self._errors:
            self.done.set()
            return
        error = self._errors.pop(0)
        if error is not None:
            raise error


async def test_neither_an_unreadable_repository_nor_an_internal_failure_ends_the_watch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone, faults = OSError("gone"), list[str]()
    model_manager: Any = FakeModelManager(None, gone, gone, None, gone, ZeroDivisionError("a fault"))
    watching = asyncio.create_task(watch(model_manager, 0.0, Supervisor(faults.append)))
    await asyncio.wait_for(model_manager.done.wait(), 60)
    watching.cancel()
    messages = [record.getMessage() for record in caplog.records]
    unreadable = "the repository cannot be followed, what is served stays as it is: gone"
    assert messages[:2] == [unreadable, unreadable], "a repeated error is logged once"
    assert len(messages) == 3 and messages[2].startswith("following the repository failed [")
    assert faults == ["repository_watch"]


def test_a_listing_has_only_versions_and_their_files(tmp_path: Path) -> None:
    for name in ("1", "0010", "0", ".2", "three", "+7", "７", "v7", "7.0", "9" * 19):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m" / "4").write_text("no folder")
    (tmp_path / "m" / "0010" / "labels.txt").write_text("a")
    (tmp_path / "m" / "0010" / ".model.pt.rsync").write_text("a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    seen = list_model_folders(tmp_path)
    assert {name: list(folder.versions) for name, folder in seen.items()} == {"m": [1, 10], "empty": []}
    assert [fingerprint[0] for fingerprint in seen["m"].versions[10].fingerprint] == ["0010", "labels.txt"]
    ignored = [sentence.split()[1] for sentence in seen["m"].ignored]
    assert ignored == ["'+7'", "'0'", "'7.0'", f"'{'9' * 19}'", "'v7'", "'７'"]
    (tmp_path / "m" / "0010" / "labels.txt").write_text("ab")
    (tmp_path / "m" / "config.toml").write_text("")
    anew = list_model_folders(tmp_path)
    assert anew["m"].versions[10].fingerprint != seen["m"].versions[10].fingerprint
    assert anew["m"].versions[1].fingerprint == seen["m"].versions[1].fingerprint
    assert seen["m"].config_fingerprint == () and len(anew["m"].config_fingerprint) == 1


@pytest.mark.parametrize("name", ["model.pt", "model.onnx", "model.xml", "model.bin"])
def test_a_model_file_of_any_format_that_is_copied_in_is_seen(tmp_path: Path, name: str) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    before = list_model_folders(tmp_path)["m"].versions[1].fingerprint
    (tmp_path / "m" / "1" / name).write_text("half")
    half = list_model_folders(tmp_path)["m"].versions[1].fingerprint
    (tmp_path / "m" / "1" / name).write_text("the whole")
    assert before != half != list_model_folders(tmp_path)["m"].versions[1].fingerprint


def test_a_model_whose_name_no_message_can_hold_is_ignored_with_a_sentence(tmp_path: Path) -> None:
    for name in (b"new\nline", b"\xff", "ж".encode()):
        (tmp_path / os.fsdecode(name) / "1").mkdir(parents=True)
    seen = list_model_folders(tmp_path)
    assert [name for name, folder in seen.items() if folder.versions] == ["ж"]
    assert seen["new\nline"].ignored == (
        r"folder 'new\nline' is ignored: the name of a model is text in UTF-8 without "
        "control characters",
    )
    assert r"folder '\udcff' is ignored" in seen["\udcff"].ignored[0]


def test_an_unreadable_model_folder_does_not_count_as_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    real = Path.iterdir

    def iterdir(path: Path) -> Any:
        if path.name == "m":
            raise OSError("stale file handle")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(OSError, match="stale"):
        list_model_folders(tmp_path)


async def test_the_watch_sleeps_between_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    model_manager: Any = FakeModelManager(None)
    watching = asyncio.create_task(watch(model_manager, 7.0, Supervisor()))
    await asyncio.wait_for(model_manager.done.wait(), 60)
    watching.cancel()
    assert waited[:2] == [7.0, 7.0]
