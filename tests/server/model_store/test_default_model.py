"""The model that answers calls that name none: what the operator said, or the only one of the repository."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import add_version
from tests.server.model_store.served_versions import request, running

from linnaeus.server.config.settings import read_settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.errors import InvalidArgument, ModelNotFound, RequestError, StartupError, Unavailable
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState

MODEL: Any = object()
NOT_READY = [state for state in ModelState if state is not ModelState.READY]


def catalog(*names: str, **arguments: Any) -> Catalog:
    """A catalog with one ready version of each name."""
    made = Catalog(**arguments)
    for name in names:
        made.put(Entry(name, 1, ModelState.READY, model=MODEL))
    return made


def answering_model(made: Catalog, version: str = "") -> str:
    return made.resolve("", version)[0].name


def refusal(made: Catalog) -> str:
    with pytest.raises(InvalidArgument) as refused:
        made.resolve("", "")
    assert refused.value.field == "model"
    return str(refused.value)


def test_the_only_model_answers_calls_that_name_none() -> None:
    assert answering_model(catalog("a")) == "a"
    assert answering_model(catalog("a"), "1") == "a"


def test_of_several_models_none_answers_and_the_error_lists_what_is_served() -> None:
    assert refusal(catalog("a", "b")) == "model is empty and this server has no default model; name one of: a, b"
    assert refusal(catalog()) == "model is empty and this server has no default model; no model is served now"


@pytest.mark.parametrize("state", NOT_READY)
def test_a_model_that_is_not_served_is_not_replaced_by_the_only_one_left(state: ModelState) -> None:
    made = catalog("a", "b")
    made.put(Entry("b", 1, state, "why"))
    assert refusal(made) == "model is empty and this server has no default model; name one of: a"


@pytest.mark.parametrize("state", NOT_READY)
@pytest.mark.parametrize("arguments", [{"default_model": "b"}, {"wanted_models": {"b"}}])
def test_the_default_model_stays_the_default_while_it_is_not_served(
    state: ModelState, arguments: dict[str, Any]
) -> None:
    made = catalog("a", "b", **arguments)
    assert answering_model(made) == "b"
    made.put(Entry("b", 1, state, "why"))
    with pytest.raises((ModelNotFound, Unavailable), match="model b/1"):
        made.resolve("", "")
    made.put(Entry("b", 1, ModelState.READY, model=MODEL))
    assert answering_model(made) == "b"


def test_a_default_model_whose_folder_is_gone_is_named_in_the_error() -> None:
    made = catalog("a", "b", "c", default_model="b")
    made.remove("b", 1)
    said = "model is empty and the server's default model b is not in its repository; name one of: a, c"
    assert refusal(made) == said


def test_of_several_models_that_were_asked_for_none_is_the_default_even_if_one_is_gone() -> None:
    made = catalog("a", "b", wanted_models={"a", "b"})
    made.remove("b", 1)
    assert "no default model" in refusal(made)


def test_another_version_of_the_only_model_changes_nothing() -> None:
    made = catalog("a")
    made.put(Entry("a", 2, ModelState.READY, model=MODEL))
    made.put(Entry("a", 1, ModelState.UNLOADED))
    entry, _ = made.resolve("", "")
    assert (entry.name, entry.version) == ("a", 2)


def test_the_default_model_must_be_one_that_models_names() -> None:
    assert read_settings(models="a,b", default_model="a").default_model == "a"
    with pytest.raises(StartupError, match="^default_model is 'c', but must be one of those in models$"):
        read_settings(models="a,b", default_model="c")


@pytest.fixture
def two_models(source: Path, root: Path) -> Path:
    """A repository of the models m and other."""
    add_version(source, root, "other", 1)
    return root


async def answering(engine: LocalEngine) -> str:
    """Returns the name of the model that answers a call that names none, or the error."""
    try:
        return (await engine.classify(request(model=""))).model
    except RequestError as error:
        return str(error)


async def test_unloading_one_of_two_models_does_not_make_the_other_the_default(two_models: Path, observer: Any) -> None:
    async with running(two_models, observer) as engine:
        assert (await answering(engine)).endswith("name one of: m, other")
        await engine.model_manager.unload_model("other")
        assert (await answering(engine)).endswith("name one of: m")
        await engine.model_manager.load_model("other")
        assert (await answering(engine)).endswith("name one of: m, other")


async def test_the_default_model_that_was_said_answers_until_it_is_unloaded_and_again_after_a_load(
    two_models: Path, observer: Any
) -> None:
    async with running(two_models, observer, default_model="other") as engine:
        assert await answering(engine) == "other"
        await engine.model_manager.reload_model("other")
        await engine.model_manager.unload_model("m")
        assert await answering(engine) == "other"
        await engine.model_manager.load_model("m")
        await engine.model_manager.unload_model("other")
        assert (await answering(engine)).startswith("model other/1 is not loaded")
        await engine.model_manager.load_model("other")
        assert await answering(engine) == "other"


@pytest.mark.parametrize(("models", "said"), [("", "name one of: other"), ("m", "model m/1 is not loaded")])
async def test_under_explicit_control_the_model_that_is_loaded_is_not_the_default_by_that(
    two_models: Path, observer: Any, models: str, said: str
) -> None:
    async with running(two_models, observer, model_control="explicit", models=models) as engine:
        await engine.model_manager.load_model("other")
        await engine.model_manager.unload_model("m")
        assert said in await answering(engine)


@pytest.mark.parametrize("config", ["", "versions = [7]\n"])
async def test_a_second_model_in_the_repository_ends_the_default_with_a_warning_and_its_removal_restores_it(
    source: Path, root: Path, observer: Any, caplog: pytest.LogCaptureFixture, config: str
) -> None:
    async with running(root, observer) as engine:
        assert await answering(engine) == "m"
        add_version(source, root, "other", 1)
        (root / "other" / "config.toml").write_text(config)
        await engine.model_manager.reconcile_changes()
        assert "no default model" in await answering(engine)
        assert "went to m and are refused from now on, for the repository holds other as well" in caplog.text
        shutil.rmtree(root / "other")
        await engine.model_manager.reconcile_changes()
        assert await answering(engine) == "m"


async def test_a_default_model_that_the_repository_does_not_hold_fails_the_start(root: Path, observer: Any) -> None:
    with pytest.raises(StartupError, match="has no model mm, which --default-model names$"):
        async with running(root, observer, default_model="mm"):
            pass
