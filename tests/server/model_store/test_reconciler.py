"""Tests of the reconciliation of served versions with changes in the repository."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import add_version
from tests.server.model_store.served_versions import BlockedFunction, answering_version, request, running, states

from linnaeus.server.errors import ModelNotFound, NotLoaded
from linnaeus.server.model_store import loader
from linnaeus.server.model_store.catalog import ModelState

BROKEN = {"corrupt": "sha256", "wrong labels": "labels.txt has 1 lines", "raises": "this model does not like company"}


async def test_a_version_that_is_renamed_into_place_is_loaded_and_becomes_the_default(
    source: Path, root: Path, observer: Any
) -> None:
    async with running(root, observer) as engine:
        add_version(source, root, "m", 2, "two ").rename(root / "m" / ".still-written")
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (1, "one") and states(engine) == {1: ModelState.READY}
        (root / "m" / ".still-written").rename(root / "m" / "2")
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two") and await answering_version(engine, "1") == (1, "one")
        add_version(source, root, "new", 7)
        await engine.model_manager.reconcile_changes()
        assert (await engine.classify(request("new"))).version == 7


async def test_unchanged_versions_are_not_loaded_again(
    source: Path, root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(source, root, "m", 2, spoilt="corrupt")
    async with running(root, observer) as engine:
        loads = BlockedFunction(monkeypatch, loader, "load_model")
        loads.opened.set()
        await engine.model_manager.reconcile_changes()
        assert loads.calls == 0
        with pytest.raises(NotLoaded):
            await engine.model_manager.load_model("m")  # loads the refused version again, not the other
        assert loads.calls == 1
        shutil.rmtree(root / "m" / "2")
        assert [entry.version for entry in await engine.model_manager.load_model("m")] == [1]
        assert loads.calls == 1


@pytest.mark.parametrize(("how", "reason"), BROKEN.items())
async def test_a_broken_new_version_changes_nothing_and_has_a_reason(
    source: Path, root: Path, observer: Any, how: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(root, observer) as engine:
        add_version(source, root, "m", 2, spoilt=how)
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (1, "one")
        assert states(engine) == {1: ModelState.READY, 2: ModelState.FAILED}
        assert reason in engine.catalog.find("m", "2").reason and reason in caplog.text
        with pytest.raises(ModelNotFound, match="m/2 is not served"):
            await answering_version(engine, "2")
        assert observer.load_failures == ["m"]
        add_version(source, root, "m", 2, "two ")
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two") and observer.load_failures == ["m"]


@pytest.mark.parametrize(("how", "reason"), BROKEN.items())
async def test_a_version_replaced_by_a_broken_one_is_served_as_before_and_has_a_reason(
    source: Path, root: Path, observer: Any, how: str, reason: str
) -> None:
    async with running(root, observer) as engine:
        add_version(source, root, "m", 1, "anew ", spoilt=how)
        with pytest.raises(NotLoaded) as refusal:
            await engine.model_manager.reload_model("m")
        assert reason in refusal.value.refusals["m/1"]
        entry = engine.catalog.find("m", "1")
        assert (
            entry.state is ModelState.READY and entry.reason.startswith("served as before") and reason in entry.reason
        )
        assert await answering_version(engine) == (1, "one") and observer.load_failures == ["m"]
        add_version(source, root, "m", 1, "whole ")
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (1, "whole") and engine.catalog.find("m", "1").reason == ""


async def test_an_incomplete_folder_is_loaded_again_once_it_changes(source: Path, root: Path, observer: Any) -> None:
    whole = add_version(source, root.parent / f"{root.name}-aside", "m", 2, "two ")
    async with running(root, observer) as engine:
        (root / "m" / "2").mkdir()
        for name in ("manifest.json", "labels.txt"):
            shutil.copy(whole / name, root / "m" / "2")
            await engine.model_manager.reconcile_changes()
            assert await answering_version(engine) == (1, "one") and states(engine)[2] is ModelState.FAILED
        shutil.copy(whole / "model.pt", root / "m" / "2")
        for _ in range(2):  # the second scan finds that nobody writes to it any more
            await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two")


@pytest.mark.parametrize("last", ["model.pt", "manifest.json", "labels.txt"])
async def test_a_copy_into_place_is_refused_until_it_is_whole_then_served_and_logged_once(
    source: Path,
    root: Path,
    observer: Any,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = add_version(source, root.parent / f"{root.name}-aside", "m", 2, "two ")
    content = (whole / last).read_bytes()
    async with running(root, observer) as engine:
        shutil.copytree(whole, root / "m" / ".2", ignore=lambda *_: [last])
        (root / "m" / ".2").rename(root / "m" / "2")
        await engine.model_manager.reconcile_changes()
        loads = BlockedFunction(monkeypatch, loader, "load_model")
        loads.opened.set()
        with (root / "m" / "2" / last).open("wb") as file:
            for start in range(0, len(content), len(content) // 10 + 1):
                file.write(content[start : start + len(content) // 10 + 1])
                file.flush()
                await engine.model_manager.reconcile_changes()
                assert await answering_version(engine) == (1, "one") and states(engine)[2] is ModelState.FAILED
        assert loads.calls == 0, "nothing is read while the file grows"
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two") and loads.calls == 1
    said = [record.getMessage() for record in caplog.records if "m/2" in record.getMessage()]
    assert said == [f"model m/2 is refused: {last} is missing"]


async def test_a_copy_that_pauses_is_logged_once(
    source: Path, root: Path, observer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    whole = add_version(source, root.parent / f"{root.name}-aside", "m", 2, "two ")
    content = (whole / "model.pt").read_bytes()
    async with running(root, observer) as engine:
        shutil.copytree(whole, root / "m" / "2")
        for size in (100, 1_000, 10_000):
            (root / "m" / "2" / "model.pt").write_bytes(content[:size])
            for _ in range(3):
                await engine.model_manager.reconcile_changes()
            assert states(engine)[2] is ModelState.FAILED and "copied whole" in engine.catalog.find("m", "2").reason
        assert caplog.text.count("m/2 is refused") == 1
        with pytest.raises(NotLoaded):
            await engine.model_manager.load_model("m")
        assert caplog.text.count("m/2 is refused") == 2, "who asks is told"
        (root / "m" / "2" / "model.pt").write_bytes(content)
        for _ in range(2):
            await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two")


async def test_a_served_version_that_is_overwritten_in_place_goes_on_until_the_copy_is_whole(
    source: Path, root: Path, observer: Any
) -> None:
    whole = add_version(source, root.parent / f"{root.name}-aside", "m", 1, "anew ")
    async with running(root, observer) as engine:
        (root / "m" / "1" / "model.pt").write_bytes(b"half")
        shutil.copy(whole / "labels.txt", root / "m" / "1")
        for _ in range(3):
            await engine.model_manager.reconcile_changes()
            assert await answering_version(engine) == (1, "one") and states(engine)[1] is ModelState.READY
        shutil.copy(whole / "model.pt", root / "m" / "1")
        for _ in range(2):
            await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (1, "anew") and engine.catalog.find("m", "1").reason == ""


async def test_leading_zeros_are_no_part_of_a_version_and_two_folders_of_one_version_are_refused(
    source: Path, root: Path, observer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(source, root, "m", 2, "two ").rename(root / "m" / "0002")
    (root / "m" / "２").mkdir()
    async with running(root, observer) as engine:
        assert await answering_version(engine) == (2, "two") and await answering_version(engine, "0002") == (2, "two")
        assert caplog.text.count("folder '２' of model m is ignored") == 1
        add_version(source, root, "m", 2, "other ")
        for _ in range(2):
            await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two")
        reason = "the folders '0002', '2' are all version 2; keep one of them"
        assert engine.catalog.find("m", "2").reason.endswith(reason) and caplog.text.count(reason) == 1
        shutil.rmtree(root / "m" / "0002")
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "other") and engine.catalog.find("m", "2").reason == ""
        assert caplog.text.count("is ignored") == 1


async def test_a_removed_folder_is_unloaded_but_an_empty_repository_is_an_error(
    source: Path, root: Path, observer: Any
) -> None:
    add_version(source, root, "m", 2, "two ")
    add_version(source, root, "other", 1)
    async with running(root, observer) as engine:
        shutil.rmtree(root / "m" / "2")
        shutil.rmtree(root / "other")
        await engine.model_manager.reconcile_changes()
        assert states(engine) == {1: ModelState.READY} and not engine.catalog.knows("other")
        assert await answering_version(engine) == (1, "one")
        root.rename(root.parent / f"{root.name}-unmounted")
        for gone in ("", "not mounted"):
            if gone:
                root.mkdir()
            with pytest.raises(OSError):
                await engine.model_manager.reconcile_changes()
            assert await answering_version(engine) == (1, "one")


async def test_changed_settings_apply_and_invalid_ones_change_nothing(root: Path, observer: Any) -> None:
    config = root / "m" / "config.toml"
    async with running(root, observer) as engine:
        config.write_text("max_batch_size = 3\n")
        await engine.model_manager.reconcile_changes()
        assert engine.catalog.find("m", "1").max_batch_size == 3
        config.write_text("max_bach_size = 4\n")
        await engine.model_manager.reconcile_changes()
        entry = engine.catalog.find("m", "1")
        assert (entry.state, entry.max_batch_size) == (ModelState.READY, 3)
        assert "config.toml: max_bach_size is no setting of a model" in entry.reason and observer.load_failures == ["m"]
        with pytest.raises(NotLoaded) as refusal:
            await engine.model_manager.load_model("m")
        assert list(refusal.value.refusals) == ["m/config.toml"]
        config.write_text("max_batch_size = 3\n")
        await engine.model_manager.reconcile_changes()
        assert engine.catalog.find("m", "1").reason == "" and engine.catalog.find("m", "1").generation == 2
