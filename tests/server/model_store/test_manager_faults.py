"""A fault while models are loaded or looked for: it is reported, and the other models are served."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import add_version
from tests.server.injected_faults import FailsFirst, refuse_threads
from tests.server.model_store.served_versions import BlockedFunction, answering_version, states

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.model_store import repository as repository_module
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.model_store.reconciler import Reconciler
from linnaeus.server.process.supervisor import Supervisor


def make_engine(root: Path, observer: Any, faults: list[str]) -> LocalEngine:
    settings = Settings(repository=root, device="cpu", max_batch_size=2)
    return LocalEngine(settings, observer, supervisor=Supervisor(faults.append))


async def test_a_fault_at_the_start_of_one_model_fails_it_and_the_others_are_served(
    source: Path, root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str] = []
    add_version(source, root, "a", 1)
    engine = make_engine(root, observer, faults)
    fault = FailsFirst(Reconciler.reconcile, ZeroDivisionError)
    monkeypatch.setattr(Reconciler, "reconcile", lambda *arguments: fault(*arguments))
    await engine.load()
    failed = engine.catalog.versions("a")[1]
    assert failed.state is ModelState.FAILED
    assert failed.reason.startswith("loading it failed, and the log says why (log reference ")
    assert await answering_version(engine) == (1, "one") and faults == ["model_manager"]
    await engine.close()


async def test_the_fault_of_an_operation_whose_caller_left_is_reported(
    root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str] = []
    engine = make_engine(root, observer, faults)
    await engine.load()
    listing = BlockedFunction(monkeypatch, repository_module, "list_model_folders")
    fault = FailsFirst(Reconciler.reconcile, ZeroDivisionError)
    monkeypatch.setattr(Reconciler, "reconcile", lambda *arguments: fault(*arguments))
    reload = asyncio.create_task(engine.model_manager.reload_model("m"))
    await listing.entered()
    (operation,) = engine.model_manager._tasks
    reload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reload
    listing.opened.set()
    await asyncio.wait({operation}, timeout=60)
    assert faults == ["model_manager"]
    assert await answering_version(engine) == (1, "one")
    await engine.close()


async def test_without_a_thread_to_look_at_the_repository_everything_stays_as_it_is(
    root: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(root, observer, [])
    await engine.load()
    with monkeypatch.context() as limited:
        refuse_threads(limited)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await engine.model_manager.reconcile_changes()
    assert states(engine) == {1: ModelState.READY} and await answering_version(engine) == (1, "one")
    await engine.model_manager.reconcile_changes()
    await engine.close()
