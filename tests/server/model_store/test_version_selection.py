"""Tests of the versions that config.toml selects: policies, lists, labels and the default version."""

from pathlib import Path
from typing import Any

import pytest
from tests.repositories import add_version
from tests.server.model_store.served_versions import answering_version, running, states

from linnaeus.server.errors import InvalidArgument, ModelNotFound, NotLoaded
from linnaeus.server.model_store.catalog import ModelState


async def test_the_policy_latest_serves_the_highest_versions_that_load(source: Path, root: Path, observer: Any) -> None:
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


async def test_listed_versions_are_served_and_a_ready_one_stays_if_none_of_them_loads(
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


async def test_labels_name_versions_and_a_label_of_an_unserved_version_fails_alone(
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
        with pytest.raises(ModelNotFound, match="m has no version beta; there are: 1, 2, canary, stable$"):
            await answering_version(engine, "beta")
        generation = engine.catalog.find("m", "2").generation
        config.write_text("labels = { stable = 2 }\n")
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine, "stable") == (2, "two")
        assert engine.catalog.find("m", "2").generation == generation, "a label moves without a load"


async def test_the_default_version_is_the_one_set_last_by_number_or_by_label(
    source: Path, root: Path, observer: Any
) -> None:
    add_version(source, root, "m", 2, "two ")
    config = root / "m" / "config.toml"
    config.write_text('default_version = "stable"\nlabels = { stable = 1 }\n')
    async with running(root, observer) as engine:
        assert await answering_version(engine) == (1, "one")
        assert (await engine.model_manager.set_default_version("m", "2")).version == 2
        assert await answering_version(engine) == (2, "two")
        for nonsense, error in (("3", ModelNotFound), ("beta", ModelNotFound), ("1.5", InvalidArgument)):
            with pytest.raises(error):
                await engine.model_manager.set_default_version("m", nonsense)
        assert (await engine.model_manager.set_default_version("m", "")).version == 1
        config.write_text('default_version = "stable"\nlabels = { stable = 2 }\n')
        await engine.model_manager.reconcile_changes()
        assert await answering_version(engine) == (2, "two")
        await engine.model_manager.unload_model("m", "stable")
        assert await answering_version(engine) == (1, "one"), "the highest version that is ready becomes the default"
