"""The repository is looked through again and again, whatever goes wrong meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from linnaeus.server.model_store import repository
from linnaeus.server.model_store.repository_watch import watch


class FakeModelManager:
    """A model manager whose reconciliations end as a test says; the last one is waited for."""

    def __init__(self, *ends: BaseException | None) -> None:
        self._ends = list(ends)
        self.done = asyncio.Event()

    async def reconcile_changes(self) -> None:
        if not self._ends:
            self.done.set()
            return
        end = self._ends.pop(0)
        if end is not None:
            raise end


async def test_neither_a_repository_that_cannot_be_read_nor_a_fault_of_ours_ends_the_watch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = OSError("gone")
    model_manager: Any = FakeModelManager(None, gone, gone, None, gone, ZeroDivisionError("a fault"))
    watching = asyncio.create_task(watch(model_manager, 0.0))
    await asyncio.wait_for(model_manager.done.wait(), 60)
    watching.cancel()
    messages = [record.getMessage() for record in caplog.records]
    trouble = "the repository cannot be followed, what is served stays as it is: gone"
    assert messages == [trouble, trouble, "following the repository failed"], "the same trouble is told once"


def test_a_listing_has_versions_their_files_and_nothing_else(tmp_path: Path) -> None:
    for name in ("1", "10", "01", "0", ".2", "three"):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m" / "4").write_text("no folder")
    (tmp_path / "m" / "10" / "labels.txt").write_text("a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    seen = repository.list_model_folders(tmp_path)
    assert {name: list(folder.versions) for name, folder in seen.items()} == {"m": [1, 10], "empty": []}
    assert [fingerprint[0] for fingerprint in seen["m"].versions[10].fingerprint] == ["labels.txt"]
    (tmp_path / "m" / "10" / "labels.txt").write_text("ab")
    (tmp_path / "m" / "config.toml").write_text("")
    anew = repository.list_model_folders(tmp_path)
    assert anew["m"].versions[10].fingerprint != seen["m"].versions[10].fingerprint
    assert anew["m"].versions[1].fingerprint == seen["m"].versions[1].fingerprint
    assert seen["m"].config_fingerprint == () and len(anew["m"].config_fingerprint) == 1


def test_a_model_that_cannot_be_read_is_no_model_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    real = Path.iterdir

    def iterdir(path: Path) -> Any:
        if path.name == "m":
            raise OSError("stale file handle")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(OSError, match="stale"):
        repository.list_model_folders(tmp_path)


async def test_a_watch_hands_its_time_back_between_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    model_manager: Any = FakeModelManager(None)
    watching = asyncio.create_task(watch(model_manager, 7.0))
    await asyncio.wait_for(model_manager.done.wait(), 60)
    watching.cancel()
    assert waited[:2] == [7.0, 7.0]
