"""What is served follows what is asked for and what the repository holds, and no call fails for it."""

import asyncio
import shutil
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.repositories import add_version

from linnaeus.server.config.settings import Settings
from linnaeus.server.decoding import decoder_threads as decoders_module
from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import InvalidArgument, ModelNotFound, NotLoaded, Unavailable
from linnaeus.server.model_store import loader
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import Request

PATIENCE_SECONDS = 60
BROKEN = {"corrupt": "sha256", "wrong labels": "labels.txt has 1 lines", "raises": "this model does not like company"}


@asynccontextmanager
async def running(root: Path, observer: Any, **settings: Any) -> AsyncIterator[Engine]:
    engine = Engine(Settings(repository=root, device="cpu", max_batch_size=2, **settings), observer)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
def source(repository: Path) -> Path:
    return repository / "lenet" / "1"


@pytest.fixture
def root(source: Path, tmp_path: Path) -> Path:
    add_version(source, tmp_path, "m", 1, "one ")
    return tmp_path


def request(model: str = "m", version: str = "") -> Request:
    return Request(RawPixels(numpy.zeros(30 * 30, numpy.uint8).tobytes(), 30, 30, 1), model=model, version=version)


async def answering_version(engine: Engine, version: str = "") -> tuple[int, str]:
    """The version that answers, by its number and by the first word of its label."""
    answer = await engine.classify(request(version=version))
    return answer.version, answer.classes[0].label.split()[0]


def states(engine: Engine) -> dict[int, ModelState]:
    return {version: entry.state for version, entry in engine.catalog.versions("m").items()}


class BlockedFunction:
    """Holds up a function that other threads call, until the test lets it go on; counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.opened = threading.Event()
        self._entered = threading.Semaphore(0)
        self.calls = 0
        real = getattr(module, name)

        def held(*arguments: Any) -> Any:
            self.calls += 1
            self._entered.release()
            if not self.opened.wait(PATIENCE_SECONDS):
                raise TimeoutError
            return real(*arguments)

        monkeypatch.setattr(module, name, held)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.acquire, timeout=PATIENCE_SECONDS)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_version_that_is_renamed_in_is_noticed_and_answers_from_then_on(
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


async def test_what_has_not_changed_is_not_loaded_again(
    source: Path, root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(source, root, "m", 2, spoilt="corrupt")
    async with running(root, observer) as engine:
        loads = BlockedFunction(monkeypatch, loader, "load_model")
        loads.opened.set()
        await engine.model_manager.reconcile_changes()
        assert loads.calls == 0
        with pytest.raises(NotLoaded):
            await engine.model_manager.load_model("m")  # asked for, a refused one is tried again; the other one is not
        assert loads.calls == 1
        shutil.rmtree(root / "m" / "2")
        assert [entry.version for entry in await engine.model_manager.load_model("m")] == [1]
        assert loads.calls == 1


async def test_a_reload_moves_the_calls_and_returns_the_old_model_s_memory(
    root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(root, observer) as engine:
        await answering_version(engine)
        old = engine.catalog.find("m", "1")
        model, lane = weakref.ref(old.model), old.lane
        del old
        left: list[bool] = []
        monkeypatch.setattr(loader, "release_freed_memory", lambda: left.append(model() is not None))
        assert model() is not None
        (entry,) = await engine.model_manager.reload_model("m")
        assert (entry.version, entry.state) == (1, ModelState.READY) and entry.generation > lane.generation
        assert left == [False], "nothing holds the old model when its memory is to be returned"
        assert engine.batch_seconds(lane) == {}
        assert await answering_version(engine) == (1, "one")
        model = weakref.ref(entry.model)
        del entry
        await engine.model_manager.unload_model("m", "1")
        assert left == [False, False]


async def test_a_call_that_was_resolved_before_a_reload_is_answered_by_what_it_was_resolved_to(
    source: Path, root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(root, observer, decode_threads=1) as engine:
        decoding = BlockedFunction(monkeypatch, decoders_module, "decode")
        before = asyncio.create_task(answering_version(engine))
        await decoding.entered()
        add_version(source, root, "m", 1, "anew ")
        reload = asyncio.create_task(engine.model_manager.reload_model("m"))
        while engine.catalog.find("m", "1").generation == 1:  # ends with the test's time limit
            await asyncio.to_thread(lambda: None)
        after = asyncio.create_task(answering_version(engine))
        await turns()
        assert not reload.done() and engine.catalog.find("m", "1").state is ModelState.READY
        decoding.opened.set()
        assert await before == (1, "one") and await after == (1, "anew")
        await reload


@pytest.mark.parametrize(("how", "reason"), BROKEN.items())
async def test_a_broken_new_version_changes_nothing_and_says_why(
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
async def test_a_version_that_is_replaced_by_a_broken_one_is_served_as_before_and_says_why(
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


async def test_a_folder_that_is_still_being_copied_is_tried_again_when_it_has_changed(
    source: Path, root: Path, observer: Any
) -> None:
    whole = add_version(source, root.parent / f"{root.name}-aside", "m", 2, "two ")
    async with running(root, observer) as engine:
        (root / "m" / "2").mkdir()
        for name in ("manifest.json", "labels.txt"):
            shutil.copy(whole / name, root / "m" / "2")
            await engine.model_manager.reconcile_changes()
            assert await answering_version(engine) == (1, "one") and states(engine)[2] is ModelState.FAILED
        shutil.copy(whole / "model.pt", root / "m" / "2")
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two")


async def test_an_unloaded_version_ends_with_its_calls_and_comes_back_only_when_asked_for(
    source: Path, root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(source, root, "m", 2, "two ")
    async with running(root, observer, decode_threads=1) as engine:
        decoding = BlockedFunction(monkeypatch, decoders_module, "decode")
        before = asyncio.create_task(answering_version(engine))
        await decoding.entered()
        unload = asyncio.create_task(engine.model_manager.unload_model("m", "2"))
        await turns()
        assert states(engine) == {1: ModelState.READY, 2: ModelState.DRAINING} and not unload.done()
        with pytest.raises(Unavailable, match="m/2 is being unloaded"):
            await answering_version(engine, "2")
        after = asyncio.create_task(answering_version(engine))
        decoding.opened.set()
        assert await before == (2, "two") and await after == (1, "one")
        await unload
        assert states(engine) == {1: ModelState.READY, 2: ModelState.UNLOADED}
        await engine.model_manager.reconcile_changes()
        with pytest.raises(ModelNotFound, match="m/2 is not loaded: it was unloaded"):
            await answering_version(engine, "2")
        await engine.model_manager.unload_model("m")
        add_version(source, root, "m", 3)
        await engine.model_manager.reconcile_changes()
        assert set(states(engine).values()) == {ModelState.UNLOADED}
        await engine.model_manager.load_model("m")
        assert states(engine) == dict.fromkeys((1, 2, 3), ModelState.READY)


async def test_a_folder_that_is_removed_is_unloaded_and_forgotten_but_an_empty_repository_is_not_believed(
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


@pytest.mark.parametrize("name", ["../m", "/m", "m/../m", "m/1", "m\0", ".hidden", ".", "..", "M"])
async def test_a_name_leads_nowhere_but_to_a_model_of_the_repository(root: Path, observer: Any, name: str) -> None:
    shutil.copytree(root / "m", root / ".hidden")
    async with running(root, observer) as engine:
        for ask in (
            engine.model_manager.load_model,
            engine.model_manager.reload_model,
            engine.model_manager.unload_model,
        ):
            with pytest.raises(ModelNotFound):
                await ask(name)
        with pytest.raises(ModelNotFound):
            engine.model_manager.set_default_version(name, "1")
        with pytest.raises(InvalidArgument):
            await engine.model_manager.load_model("")
        assert [(entry.name, entry.version) for entry in engine.catalog.entries()] == [("m", 1)]


async def test_a_caller_that_cancels_or_asks_twice_neither_stops_nor_repeats_a_load(
    source: Path, root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(root, observer) as engine:
        loads = BlockedFunction(monkeypatch, loader, "load_model")
        add_version(source, root, "m", 2, "two ")
        cancelled, patient = (asyncio.create_task(engine.model_manager.load_model("m")) for _ in range(2))
        await loads.entered()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await answering_version(engine) == (1, "one") and states(engine)[2] is ModelState.LOADING
        loads.opened.set()
        assert [entry.state for entry in await patient] == [ModelState.READY, ModelState.READY]
        assert await answering_version(engine) == (2, "two") and loads.calls == 1


async def test_a_server_that_stops_begins_no_other_load_and_tells_who_waits(
    source: Path, root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(root, observer) as engine:
        loads = BlockedFunction(monkeypatch, loader, "load_model")
        for version in (2, 3):
            add_version(source, root, "m", version)
        waiting = asyncio.create_task(engine.model_manager.load_model("m"))
        await loads.entered()
        engine.model_manager.close()
        for refused in (waiting, engine.model_manager.reload_model("m")):
            with pytest.raises(Unavailable, match="stopping"):
                await refused
        loads.opened.set()
        assert loads.calls == 1


async def test_the_highest_versions_that_can_be_served_are_the_latest(source: Path, root: Path, observer: Any) -> None:
    (root / "m" / "config.toml").write_text('versions = "latest:2"\n')
    for version in (2, 3):
        add_version(source, root, "m", version)
    async with running(root, observer) as engine:
        assert states(engine) == {1: ModelState.UNLOADED, 2: ModelState.READY, 3: ModelState.READY}
        add_version(source, root, "m", 4, spoilt="corrupt")
        await engine.model_manager.reconcile_changes()
        assert states(engine) == {
            1: ModelState.UNLOADED,
            2: ModelState.READY,
            3: ModelState.READY,
            4: ModelState.FAILED,
        }
        add_version(source, root, "m", 4, "four ")
        await engine.model_manager.reconcile_changes()
        assert states(engine) == {
            1: ModelState.UNLOADED,
            2: ModelState.UNLOADED,
            3: ModelState.READY,
            4: ModelState.READY,
        }
        assert await answering_version(engine) == (4, "four")


async def test_listed_versions_are_served_and_the_last_one_goes_on_where_none_of_them_can_be(
    source: Path, root: Path, observer: Any
) -> None:
    for version in (2, 3):
        add_version(source, root, "m", version, spoilt="corrupt" if version == 3 else "")
    config = root / "m" / "config.toml"
    config.write_text("versions = [1]\n")
    async with running(root, observer) as engine:
        assert states(engine) == {1: ModelState.READY, 2: ModelState.UNLOADED, 3: ModelState.UNLOADED}
        config.write_text("versions = [3]\n")
        await engine.model_manager.reconcile_changes()
        assert states(engine) == {1: ModelState.READY, 2: ModelState.UNLOADED, 3: ModelState.FAILED}
        config.write_text("versions = [2, 5]\n")
        with pytest.raises(NotLoaded, match="versions lists 5, which the repository does not hold"):
            await engine.model_manager.load_model("m")
        assert states(engine) == {1: ModelState.UNLOADED, 2: ModelState.READY, 3: ModelState.UNLOADED}
        assert observer.load_failures == ["m", "m"]


async def test_labels_name_versions_and_one_that_names_none_that_is_served_fails_alone(
    source: Path, root: Path, observer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(source, root, "m", 2, "two ")
    config = root / "m" / "config.toml"
    config.write_text("labels = { stable = 1, canary = 2, next = 3 }\n")
    async with running(root, observer) as engine:
        assert await answering_version(engine, "stable") == (1, "one") and await answering_version(
            engine, "canary"
        ) == (2, "two")
        assert "label next of model m names version 3, which is not served" in caplog.text
        with pytest.raises(ModelNotFound, match="label next of model m names version 3, which is not there"):
            await answering_version(engine, "next")
        with pytest.raises(ModelNotFound, match="m has no version beta; there are: 1, 2, canary, next, stable"):
            await answering_version(engine, "beta")
        generation = engine.catalog.find("m", "2").generation
        config.write_text("labels = { stable = 2 }\n")
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine, "stable") == (2, "two")
        assert engine.catalog.find("m", "2").generation == generation, "nothing had to be loaded for it"


async def test_the_default_version_is_what_was_set_last_by_number_or_by_label(
    source: Path, root: Path, observer: Any
) -> None:
    add_version(source, root, "m", 2, "two ")
    config = root / "m" / "config.toml"
    config.write_text('default_version = "stable"\nlabels = { stable = 1 }\n')
    async with running(root, observer) as engine:
        assert await answering_version(engine) == (1, "one")
        assert engine.model_manager.set_default_version("m", "2").version == 2
        assert await answering_version(engine) == (2, "two")
        for nonsense, error in (("3", ModelNotFound), ("beta", ModelNotFound), ("1.5", InvalidArgument)):
            with pytest.raises(error):
                engine.model_manager.set_default_version("m", nonsense)
        assert engine.model_manager.set_default_version("m", "").version == 1
        config.write_text('default_version = "stable"\nlabels = { stable = 2 }\n')
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two")
        await engine.model_manager.unload_model("m", "stable")
        assert await answering_version(engine) == (1, "one"), "the highest that is ready stands in"


async def test_settings_that_change_hold_from_then_on_and_wrong_ones_change_nothing(root: Path, observer: Any) -> None:
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


async def test_under_explicit_control_nothing_is_served_that_nobody_asked_for(
    source: Path, root: Path, observer: Any
) -> None:
    add_version(source, root, "other", 1)
    async with running(root, observer, model_control="explicit") as engine:
        assert {entry.state for entry in engine.catalog.entries()} == {ModelState.UNLOADED}
        with pytest.raises(ModelNotFound, match="m/1 is not loaded: nobody has asked for it"):
            await answering_version(engine)
        await engine.model_manager.load_model("m")
        assert await answering_version(engine) == (1, "one") and (await engine.classify(request(""))).model == "m"
    async with running(root, observer, model_control="explicit", models="m") as engine:
        assert await answering_version(engine) == (1, "one")


async def test_the_same_model_loaded_anew_keeps_what_was_learnt_of_its_batches(root: Path, observer: Any) -> None:
    async with running(root, observer) as engine:
        await answering_version(engine)
        lane = engine.catalog.find("m", "").lane
        (learnt,) = dict(engine._queue._state.lanes[lane].tables).values()
        await engine.model_manager.reload_model("m")
        (table,) = engine._queue._state.lanes[engine.catalog.find("m", "").lane].tables.values()
        assert table is learnt
