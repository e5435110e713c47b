"""Tests of loading, reloading and unloading models while requests are answered."""

import asyncio
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import add_version
from tests.server.model_store.served_versions import (
    BlockedFunction,
    answering_version,
    request,
    run_event_loop,
    running,
    states,
)

from linnaeus.server.decoding import decoder_threads as decoders_module
from linnaeus.server.errors import InvalidArgument, ModelNotFound, Unavailable
from linnaeus.server.model_store import loader
from linnaeus.server.model_store.catalog import ModelState


async def test_a_reload_moves_new_requests_and_frees_the_old_models_memory(
    root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(root, observer) as engine:
        await answering_version(engine)
        old = engine.catalog.find("m", "1")
        lane = old.lane
        (loaded,) = engine.core.devices.models(lane)
        model = weakref.ref(loaded)
        del old, loaded
        left: list[bool] = []
        monkeypatch.setattr(loader, "release_freed_memory", lambda: left.append(model() is not None))
        assert model() is not None
        (entry,) = await engine.model_manager.reload_model("m")
        assert (entry.version, entry.state) == (1, ModelState.READY) and entry.generation > lane.generation
        assert left == [False], "nothing refers to the old model when its memory is freed"
        assert engine.core.batch_seconds(lane) == {}
        assert await answering_version(engine) == (1, "one")
        (loaded,) = engine.core.devices.models(entry.lane)
        model = weakref.ref(loaded)
        del loaded
        await engine.model_manager.unload_model("m", "1")
        assert left == [False, False]


async def test_a_request_resolved_before_a_reload_is_answered_by_the_old_generation(
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
        await run_event_loop()
        assert not reload.done() and engine.catalog.find("m", "1").state is ModelState.READY
        decoding.opened.set()
        assert await before == (1, "one") and await after == (1, "anew")
        await reload


async def test_an_unloaded_version_answers_its_requests_and_returns_only_by_a_load(
    source: Path, root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(source, root, "m", 2, "two ")
    async with running(root, observer, decode_threads=1) as engine:
        decoding = BlockedFunction(monkeypatch, decoders_module, "decode")
        before = asyncio.create_task(answering_version(engine))
        await decoding.entered()
        unload = asyncio.create_task(engine.model_manager.unload_model("m", "2"))
        await run_event_loop()
        assert states(engine) == {1: ModelState.READY, 2: ModelState.DRAINING} and not unload.done()
        with pytest.raises(Unavailable, match="m/2 is being unloaded"):
            await answering_version(engine, "2")
        after = asyncio.create_task(answering_version(engine))
        decoding.opened.set()
        assert await before == (2, "two") and await after == (1, "one")
        await unload
        assert states(engine) == {1: ModelState.READY, 2: ModelState.UNLOADED}
        await engine.model_manager.reconcile_changes()
        with pytest.raises(ModelNotFound, match="m/2 is not loaded: by an operator's request; load it"):
            await answering_version(engine, "2")
        await engine.model_manager.unload_model("m")
        add_version(source, root, "m", 3)
        await engine.model_manager.reconcile_changes()
        assert set(states(engine).values()) == {ModelState.UNLOADED}
        await engine.model_manager.load_model("m")
        assert states(engine) == dict.fromkeys((1, 2, 3), ModelState.READY)


@pytest.mark.parametrize("name", ["../m", "/m", "m/../m", "m/1", "m\0", ".hidden", ".", "..", "M"])
async def test_a_name_never_leads_out_of_the_repository(root: Path, observer: Any, name: str) -> None:
    shutil.copytree(root / "m", root / ".hidden")
    async with running(root, observer) as engine:
        for operation in (
            engine.model_manager.load_model,
            engine.model_manager.reload_model,
            engine.model_manager.unload_model,
        ):
            with pytest.raises(ModelNotFound):
                await operation(name)
        with pytest.raises(ModelNotFound):
            await engine.model_manager.set_default_version(name, "1")
        with pytest.raises(InvalidArgument):
            await engine.model_manager.load_model("")
        assert [(entry.name, entry.version) for entry in engine.catalog.entries()] == [("m", 1)]


async def test_a_cancelled_or_repeated_call_neither_stops_nor_repeats_a_load(
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


async def test_close_starts_no_further_load_and_ends_pending_calls(
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


async def test_under_explicit_control_only_requested_models_are_served(source: Path, root: Path, observer: Any) -> None:
    add_version(source, root, "other", 1)
    async with running(root, observer, model_control="explicit") as engine:
        assert {entry.state for entry in engine.catalog.entries()} == {ModelState.UNLOADED}
        with pytest.raises(ModelNotFound, match="m/1 is not loaded: nobody has asked for it"):
            await answering_version(engine)
        await engine.model_manager.load_model("m")
        assert await answering_version(engine) == (1, "one")
    async with running(root, observer, model_control="explicit", models="m") as engine:
        assert await answering_version(engine) == (1, "one") and (await engine.classify(request(""))).model == "m"


async def test_a_reload_of_the_same_model_keeps_its_latency_table(root: Path, observer: Any) -> None:
    async with running(root, observer) as engine:
        await answering_version(engine)
        lane = engine.catalog.find("m", "").lane
        (before,) = dict(engine.core.queue._state.lanes[lane].tables).values()
        await engine.model_manager.reload_model("m")
        (after,) = engine.core.queue._state.lanes[engine.catalog.find("m", "").lane].tables.values()
        assert after is before
