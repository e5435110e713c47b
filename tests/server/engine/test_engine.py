"""Tests of the engine with real models in this process."""

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import BlockedDecode, digit, let_others_run, model_of, running
from tests.server.reference_cycles import reference_cycles

from linnaeus.server.config.settings import Settings
from linnaeus.server.decoding import decoder_threads as decoders_module
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.errors import (
    DeadlineExceeded,
    InternalFailure,
    InvalidArgument,
    InvalidImage,
    ModelNotFound,
    Overloaded,
    StartupError,
    Unavailable,
)
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.picture import RawPixels

pytestmark = pytest.mark.usefixtures("both_links")


async def test_a_refused_request_leaves_no_reference_cycle(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet") as engine:
        with reference_cycles() as names:
            for _ in range(5):
                with pytest.raises(DeadlineExceeded):
                    await engine.classify(digit(deadline=1.0))
    assert not names


async def test_an_image_left_to_a_blocked_decoder_is_decoded_by_another(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, entered, opened = decoders_module.decode, threading.Event(), threading.Event()

    def decode(image: Any, *arguments: Any) -> Any:
        if image is held_up.image:
            entered.set()
            assert opened.wait(30)
        return real(image, *arguments)

    held_up = digit(seed=1)
    async with running(repository, observer, models="lenet", decode_threads=2) as engine:
        for seed in range(8):
            await engine.classify(digit(seed))  # so that the estimate of the decode time is small
        monkeypatch.setattr(decoders_module, "decode", decode)
        waiting = asyncio.create_task(engine.classify(held_up))
        while not entered.is_set():
            await let_others_run()
        async with asyncio.timeout(30):
            await engine.classify(digit(seed=2))
        opened.set()
        await waiting


async def test_an_image_gets_the_same_answer_at_every_index_of_a_full_batch(repository: Path, observer: Any) -> None:
    options = {"max_batch_size": 4, "max_queue_delay_seconds": 60.0, "decode_threads": 1}
    async with running(repository, observer, models="lenet", **options) as engine:
        answers = {}
        for position in range(4):  # one decoder keeps the order of arrival
            requests = [digit(seed=0 if other == position else other + 1, top_k=10) for other in range(4)]
            batch = await asyncio.gather(*(engine.classify(request) for request in requests))
            assert [answer.batch_size for answer in batch] == [4] * 4
            answers[position] = {each.index: each.probability for each in batch[position].classes}
    for position in range(1, 4):
        for index, probability in answers[0].items():
            assert abs(answers[position][index] - probability) < 1e-5


async def test_every_version_is_loaded_and_the_highest_is_the_default(
    repository: Path, tmp_path: Path, observer: Any
) -> None:
    for version in ("1", "2", "10"):
        folder = Path(shutil.copytree(repository / "lenet" / "1", tmp_path / "lenet" / version))
        manifest = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(manifest.replace('"version": 1,', f'"version": {version},'))
    async with running(tmp_path, observer, max_batch_size=1) as engine:
        assert (await engine.classify(digit())).version == 10
        assert (await engine.classify(digit(version="2"))).version == 2
        assert (await engine.classify(digit(model=""))).model == "lenet"
        with pytest.raises(ModelNotFound, match="there are: 1, 2, 10"):
            await engine.classify(digit(version="3"))
        with pytest.raises(ModelNotFound, match="has no version latest"):
            await engine.classify(digit(version="latest"))
        for nonsense in ("1.0", "-1", "²", "../1"):
            with pytest.raises(InvalidArgument):
                await engine.classify(digit(version=nonsense))


async def test_a_broken_model_is_refused_with_its_reason_and_the_others_are_served(
    repository: Path, tmp_path: Path, observer: Any
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    broken = Path(shutil.copytree(repository / "lenet", tmp_path / "broken"))
    (broken / "1" / "labels.txt").write_text("one\n")
    async with running(tmp_path, observer, max_batch_size=1) as engine:
        assert [(entry.name, entry.state) for entry in engine.catalog.entries()] == [
            ("broken", ModelState.FAILED),
            ("lenet", ModelState.READY),
        ]
        assert (await engine.classify(digit())).model == "lenet"
        with pytest.raises(ModelNotFound, match=r"broken/1 .* refused .* labels.txt has 1 lines"):
            await engine.classify(digit(model="broken"))


async def test_a_model_that_is_still_loading_is_unavailable(repository: Path, observer: Any) -> None:
    engine = LocalEngine(Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1), observer)
    loading = asyncio.create_task(engine.load())
    await let_others_run()
    with pytest.raises(Unavailable, match="loading"):
        await engine.classify(digit())
    assert observer.rejections == [("lenet", "unavailable")]
    await loading
    assert (await engine.classify(digit())).model == "lenet"
    await engine.close()


async def test_a_missing_or_empty_repository_fails_the_start_with_one_sentence(tmp_path: Path, observer: Any) -> None:
    (tmp_path / "lenet" / "one").mkdir(parents=True)
    (tmp_path / ".export-half" / "1").mkdir(parents=True)
    for root, models, message in (
        (tmp_path / "nowhere", "", "is not a folder"),
        (tmp_path, "", "holds no version folder"),
        (tmp_path, "resnet, lenet", "has no model resnet"),
    ):
        engine = LocalEngine(Settings(repository=root, models=models, device="cpu"), observer)
        with pytest.raises(StartupError, match=message):
            await engine.load()
        await engine.close()


async def test_top_k_zero_means_the_default_and_invalid_values_are_refused(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet", max_batch_size=1) as engine:
        assert len((await engine.classify(digit())).classes) == 5
        answer = await engine.classify(digit(top_k=10))
        probabilities = [each.probability for each in answer.classes]
        assert probabilities == sorted(probabilities, reverse=True) and abs(sum(probabilities) - 1) < 1e-5
        for top_k in (11, -1):
            with pytest.raises(InvalidArgument, match=f"top_k is {top_k}, but model lenet has 10 classes"):
                await engine.classify(digit(top_k=top_k))


async def test_a_full_queue_refuses_before_decoding_and_states_a_retry_delay(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, models="lenet", max_batch_size=1, max_queue_size=2) as engine:
        held = [asyncio.create_task(engine.classify(digit(seed))) for seed in range(2)]
        await blocked.wait_entered()
        await blocked.wait_entered()
        with pytest.raises(Overloaded) as refusal:
            await engine.classify(digit())
        assert refusal.value.retry_after_seconds > 0
        assert not blocked.entered.acquire(blocking=False)
        blocked.opened.set()
        await asyncio.gather(*held)
        await engine.classify(digit())
    assert observer.rejections == [("lenet", "queue_full")]


async def test_batch_seconds_has_every_size_on_every_device(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet", max_batch_size=4) as engine:
        await engine.classify(digit())
        by_size = engine.core.batch_seconds(LaneKey("lenet", 1, 1))["cpu"]
        assert sorted(by_size) == [1, 2, 4] and min(by_size.values()) > 0


async def test_a_models_config_sets_its_limits(repository: Path, tmp_path: Path, observer: Any) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("max_batch_size = 3\n")
    async with running(tmp_path, observer, max_batch_size=8) as engine:
        assert model_of(engine).max_batch_size == 3


async def test_an_unknown_config_key_refuses_the_model_and_is_named(
    repository: Path, tmp_path: Path, observer: Any
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("max_bach_size = 3\n")
    async with running(tmp_path, observer) as engine:
        entry = engine.catalog.entries()[0]
        assert entry.state is ModelState.FAILED
        assert "config.toml: max_bach_size is no setting of a model" in entry.reason


async def test_a_bad_image_fails_and_frees_its_place(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet", max_batch_size=4) as engine:
        requests = [digit(seed) for seed in range(8)]
        bad = digit(image=RawPixels(b"short", 28, 28, 1))
        answers = await asyncio.gather(
            *(engine.classify(each) for each in [*requests[:4], bad, *requests[4:]]), return_exceptions=True
        )
        assert [type(each).__name__ for each in answers].count("Classification") == 8
        assert isinstance(answers[4], InvalidImage) and answers[4].field == "image.pixels.data"
        assert engine.core.queue_depth(("lenet", 1, 1)) == 0
    assert observer.rejections == [("lenet", "invalid_image")]


async def test_an_internal_failure_of_a_decoder_reaches_the_caller(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    async with running(repository, observer, models="lenet", max_batch_size=1) as engine:
        monkeypatch.setattr(decoders_module, "decode", decode)
        with pytest.raises(InternalFailure) as failure:
            await engine.classify(digit())
        assert "secret" not in str(failure.value) and failure.value.reference in str(failure.value)


async def test_close_answers_admitted_requests_and_refuses_later_ones(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, models="lenet", max_batch_size=2) as engine:
        held = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        closing = asyncio.create_task(engine.close())
        await let_others_run()
        with pytest.raises(Unavailable, match="stopping"):
            await engine.classify(digit())
        blocked.opened.set()
        assert (await held).model == "lenet"
        await closing


async def test_the_times_of_an_answer_add_up_to_its_total(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet", max_batch_size=1) as engine:
        await engine.classify(digit())
    (request,) = observer.batches[0].requests
    parts = request.decode_seconds + request.queue_seconds + request.inference_seconds + request.respond_seconds
    assert min(request[:5]) >= 0 and request.prediction_error_seconds is None
    assert parts == pytest.approx(request.total_seconds, abs=0.01)


@pytest.mark.parametrize("bound", [-0.25, 1.25, float("nan"), float("inf")])
async def test_a_min_probability_that_is_none_is_refused(repository: Path, observer: Any, bound: float) -> None:
    async with running(repository, observer, models="lenet") as engine:
        with pytest.raises(
            InvalidArgument, match=f"min_probability is {bound}, but must be between 0 and 1"
        ) as refusal:
            await engine.classify(digit(min_probability=bound))
    assert refusal.value.field == "min_probability"
