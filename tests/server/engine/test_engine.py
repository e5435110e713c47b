"""The engine: one line from picture to answer, with real models in this process."""

import asyncio
import dataclasses
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest

from linnaeus.server.config import Settings
from linnaeus.server.engine import engine as engine_module
from linnaeus.server.engine.catalog import State
from linnaeus.server.engine.decode import RawPixels
from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.work import Request
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


@asynccontextmanager
async def running(repository: Path, heard: Any, **settings: Any) -> AsyncIterator[Engine]:
    engine = Engine(Settings(repository=repository, device="cpu", **settings), heard)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


def digit(seed: int = 0, **changes: Any) -> Request:
    data = numpy.random.default_rng(seed).integers(0, 256, 28 * 28, numpy.uint8).tobytes()
    return dataclasses.replace(Request(RawPixels(data, 28, 28, 1), model="lenet"), **changes)


async def let_others_run() -> None:
    """Gives every task that can run one turn; no time passes."""
    await asyncio.sleep(0)


class Gate:
    """Stands in for decode: pictures wait until the test opens it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        real = engine_module.decode

        def decode(*arguments: Any) -> Any:
            self.entered.release()
            if not self.opened.wait(30):
                raise TimeoutError
            return real(*arguments)

        monkeypatch.setattr(engine_module, "decode", decode)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


async def test_the_same_image_gets_the_same_answer_at_every_place_of_a_full_batch(repository: Path, heard: Any) -> None:
    options = {"max_batch_size": 4, "max_queue_delay_seconds": 60.0, "decode_threads": 1}
    async with running(repository, heard, models="lenet", **options) as engine:
        answers = {}
        for place in range(4):  # one decoder keeps the order of arrival
            requests = [digit(seed=0 if other == place else other + 1, top_k=10) for other in range(4)]
            batch = await asyncio.gather(*(engine.classify(request) for request in requests))
            assert [answer.batch_size for answer in batch] == [4] * 4
            answers[place] = {each.index: each.probability for each in batch[place].classes}
    for place in range(1, 4):
        for index, probability in answers[0].items():
            assert abs(answers[place][index] - probability) < 1e-5


async def test_every_version_is_found_and_the_highest_answers_by_default(
    repository: Path, tmp_path: Path, heard: Any
) -> None:
    for version in ("1", "2", "10"):
        folder = Path(shutil.copytree(repository / "lenet" / "1", tmp_path / "lenet" / version))
        manifest = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(manifest.replace('"version": 1,', f'"version": {version},'))
    async with running(tmp_path, heard, max_batch_size=1) as engine:
        assert (await engine.classify(digit())).version == 10
        assert (await engine.classify(digit(version="2"))).version == 2
        assert (await engine.classify(digit(model=""))).model == "lenet"
        with pytest.raises(ModelNotFound, match="there are: 1, 2, 10"):
            await engine.classify(digit(version="3"))
        for nonsense in ("latest", "1.0", "-1", "²", "../1"):
            with pytest.raises(InvalidArgument):
                await engine.classify(digit(version=nonsense))


async def test_a_broken_model_is_refused_with_its_reason_and_the_others_are_served(
    repository: Path, tmp_path: Path, heard: Any
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    broken = Path(shutil.copytree(repository / "lenet", tmp_path / "broken"))
    (broken / "1" / "labels.txt").write_text("one\n")
    async with running(tmp_path, heard, max_batch_size=1) as engine:
        assert [(entry.name, entry.state) for entry in engine.catalog.entries()] == [
            ("broken", State.FAILED),
            ("lenet", State.READY),
        ]
        assert (await engine.classify(digit())).model == "lenet"
        with pytest.raises(ModelNotFound, match=r"broken/1 .* refused .* labels.txt has 1 lines"):
            await engine.classify(digit(model="broken"))


async def test_a_model_that_is_still_loading_is_unavailable(repository: Path, heard: Any) -> None:
    engine = Engine(Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1), heard)
    loading = asyncio.create_task(engine.load())
    await let_others_run()
    with pytest.raises(Unavailable, match="loading"):
        await engine.classify(digit())
    assert heard.rejections == [("lenet", "unavailable")]
    await loading
    assert (await engine.classify(digit())).model == "lenet"
    await engine.close()


async def test_a_missing_or_empty_repository_is_one_clear_sentence(tmp_path: Path, heard: Any) -> None:
    (tmp_path / "lenet" / "one").mkdir(parents=True)
    (tmp_path / ".export-half" / "1").mkdir(parents=True)
    for root, models, message in (
        (tmp_path / "nowhere", "", "is not a folder"),
        (tmp_path, "", "holds no version folder"),
        (tmp_path, "resnet, lenet", "has no model resnet"),
    ):
        engine = Engine(Settings(repository=root, models=models, device="cpu"), heard)
        with pytest.raises(StartupError, match=message):
            await engine.load()
        await engine.close()


async def test_top_k_zero_is_the_default_and_too_many_are_refused(repository: Path, heard: Any) -> None:
    async with running(repository, heard, models="lenet", max_batch_size=1) as engine:
        assert len((await engine.classify(digit())).classes) == 5
        answer = await engine.classify(digit(top_k=10))
        probabilities = [each.probability for each in answer.classes]
        assert probabilities == sorted(probabilities, reverse=True) and abs(sum(probabilities) - 1) < 1e-5
        for top_k in (11, -1):
            with pytest.raises(InvalidArgument, match=f"top_k is {top_k}, but model lenet has 10 classes"):
                await engine.classify(digit(top_k=top_k))


async def test_a_full_queue_refuses_before_decoding_and_says_when_to_come_back(
    repository: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    async with running(repository, heard, models="lenet", max_batch_size=1, max_queue_size=2) as engine:
        held = [asyncio.create_task(engine.classify(digit(seed))) for seed in range(2)]
        await gate.wait_entered()
        await gate.wait_entered()
        with pytest.raises(Overloaded) as refusal:
            await engine.classify(digit())
        assert refusal.value.retry_after_seconds > 0
        assert not gate.entered.acquire(blocking=False)
        gate.opened.set()
        await asyncio.gather(*held)
        await engine.classify(digit())
    assert heard.rejections == [("lenet", "queue_full")]


async def test_a_cancelled_caller_frees_its_place_and_its_image_is_never_run(
    repository: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    async with running(repository, heard, models="lenet", max_batch_size=1) as engine:
        leaver = asyncio.create_task(engine.classify(digit()))
        await gate.wait_entered()
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        assert engine.in_flight == 0 and engine.queue_depth(("lenet", 1)) == 0
        gate.opened.set()
        await engine.classify(digit())
    assert heard.cancellations == [("lenet", "decode")]
    assert sum(report.size for report in heard.batches) == 1


async def test_an_image_that_is_late_for_its_decoder_is_not_decoded(
    repository: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    now = [100.0]
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1, decode_threads=1)
    engine = Engine(settings, heard, clock=lambda: now[0])
    await engine.load()
    first = asyncio.create_task(engine.classify(digit()))
    await gate.wait_entered()
    second = asyncio.create_task(engine.classify(digit(deadline=101.0)))
    await let_others_run()
    now[0] = 102.0
    gate.opened.set()
    await first
    with pytest.raises(DeadlineExceeded, match="waited for a decoder"):
        await second
    with pytest.raises(DeadlineExceeded, match="had passed when the request arrived"):
        await engine.classify(digit(deadline=101.0))
    assert not gate.entered.acquire(blocking=False)
    await engine.close()


async def test_a_call_without_a_deadline_gets_its_models_own(
    repository: Path, tmp_path: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("default_timeout_seconds = 2.5\n")
    now = 100.0
    engine = Engine(Settings(repository=tmp_path, device="cpu", decode_threads=1), heard, lambda: now)
    await engine.load()
    gate = Gate(monkeypatch)
    first = asyncio.create_task(engine.classify(digit()))
    await gate.wait_entered()
    late, patient = (asyncio.create_task(engine.classify(digit(deadline=each))) for each in (None, now + 60))
    await let_others_run()
    now += 2.5
    gate.opened.set()
    assert (await patient).model == "lenet"
    for task in (first, late):
        with pytest.raises(DeadlineExceeded):
            await task
    await engine.close()


async def test_a_models_own_limits_hold_for_it(repository: Path, tmp_path: Path, heard: Any) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("max_batch_size = 3\n")
    async with running(tmp_path, heard, max_batch_size=8) as engine:
        model = engine.catalog.entries()[0].model
        assert model is not None and model.max_batch_size == 3


async def test_a_wrong_key_refuses_the_model_and_names_itself(repository: Path, tmp_path: Path, heard: Any) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("max_bach_size = 3\n")
    async with running(tmp_path, heard) as engine:
        entry = engine.catalog.entries()[0]
        assert entry.state is State.FAILED
        assert "config.toml: max_bach_size is no setting of a model" in entry.reason


async def test_a_bad_image_fails_alone_and_holds_no_place(repository: Path, heard: Any) -> None:
    async with running(repository, heard, models="lenet", max_batch_size=4) as engine:
        requests = [digit(seed) for seed in range(8)]
        bad = digit(image=RawPixels(b"short", 28, 28, 1))
        answers = await asyncio.gather(
            *(engine.classify(each) for each in [*requests[:4], bad, *requests[4:]]), return_exceptions=True
        )
        assert [type(each).__name__ for each in answers].count("Classification") == 8
        assert isinstance(answers[4], InvalidImage) and answers[4].field == "image.pixels.data"
        assert engine.queue_depth(("lenet", 1)) == 0
    assert heard.rejections == [("lenet", "invalid_image")]


async def test_a_decoder_that_breaks_is_our_fault_and_the_caller_is_told(
    repository: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    async with running(repository, heard, models="lenet", max_batch_size=1) as engine:
        monkeypatch.setattr(engine_module, "decode", decode)
        with pytest.raises(InternalFailure) as failure:
            await engine.classify(digit())
        assert "secret" not in str(failure.value) and failure.value.reference in str(failure.value)


async def test_close_answers_what_was_admitted_and_refuses_what_comes_after(
    repository: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    async with running(repository, heard, models="lenet", max_batch_size=2) as engine:
        held = asyncio.create_task(engine.classify(digit()))
        await gate.wait_entered()
        closing = asyncio.create_task(engine.close())
        await let_others_run()
        with pytest.raises(Unavailable, match="stopping"):
            await engine.classify(digit())
        gate.opened.set()
        assert (await held).model == "lenet"
        await closing


async def test_the_times_of_an_answer_add_up_to_its_total(repository: Path, heard: Any) -> None:
    async with running(repository, heard, models="lenet", max_batch_size=1) as engine:
        await engine.classify(digit())
    (request,) = heard.batches[0].requests
    parts = request.decode_seconds + request.queue_seconds + request.inference_seconds + request.respond_seconds
    assert min(dataclasses.astuple(request)) >= 0
    assert parts == pytest.approx(request.total_seconds, abs=0.01)
