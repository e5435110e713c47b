"""The engine: one line from picture to answer, with real models in this process."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.server.reference_cycles import reference_cycles

from linnaeus.server.config.settings import Settings
from linnaeus.server.decoding import decoder_threads as decoders_module
from linnaeus.server.engine.engine import Engine
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
from linnaeus.server.execution import device_pool
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.requests.event_log import FileEventLog
from linnaeus.server.requests.picture import EncodedImage, RawPixels
from linnaeus.server.requests.request import Priority, Request
from linnaeus.server.runtime.model import Model
from linnaeus.server.scheduling import BatchQueue


@asynccontextmanager
async def running(repository: Path, observer: Any, **settings: Any) -> AsyncIterator[Engine]:
    engine = Engine(Settings(repository=repository, device="cpu", **settings), observer)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


def digit(seed: int = 0, **changes: Any) -> Request:
    data = numpy.random.default_rng(seed).integers(0, 256, 30 * 30, numpy.uint8).tobytes()
    return Request(RawPixels(data, 30, 30, 1), model="lenet")._replace(**changes)


def digit_as_it_is() -> Request:
    """One that no decoder needs to see."""
    data = numpy.random.default_rng(7).integers(0, 256, 28 * 28, numpy.uint8).tobytes()
    return Request(RawPixels(data, 28, 28, 1), model="lenet")


def watch_runs(engine: Engine, monkeypatch: pytest.MonkeyPatch, runs_inline: bool) -> list[bool]:
    """Of each run of the only model from now on, whether the event loop did it itself."""
    runs: list[bool] = []
    run = Model.run

    def watched(model: Model, *arguments: Any) -> Any:
        runs.append(threading.current_thread() is threading.main_thread())
        return run(model, *arguments)

    (entry,) = engine.catalog.entries()
    assert entry.model is not None
    entry.model.runs_inline = runs_inline  # whatever it is on this machine
    monkeypatch.setattr(Model, "run", watched)
    return runs


async def let_others_run() -> None:
    """Gives every task that can run one turn; no time passes."""
    await asyncio.sleep(0)


class BlockedDecode:
    """Stands in for decode: pictures wait until the test opens it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        real = decoders_module.decode

        def decode(*arguments: Any) -> Any:
            self.entered.release()
            if not self.opened.wait(30):
                raise TimeoutError
            return real(*arguments)

        monkeypatch.setattr(decoders_module, "decode", decode)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


async def test_images_that_come_one_by_one_are_run_without_waking_a_thread_and_company_ends_that(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = digit_as_it_is()
    async with running(repository, observer, models="lenet") as engine:
        runs = watch_runs(engine, monkeypatch, runs_inline=True)
        answers = [await engine.classify(as_it_is) for _ in range(32)]
        assert not any(runs)
        while not runs[-1]:  # the worker that had the last one may not be back yet
            answers.append(await engine.classify(as_it_is))
        runs.clear()
        answers += await engine.classify_many([as_it_is] * 2)
        answers += [await engine.classify(as_it_is) for _ in range(32)]
        assert not any(runs)
        while not runs[-1]:
            answers.append(await engine.classify(as_it_is))
        runs.clear()
        for seed in range(8):
            await engine.classify(digit(seed))
        assert not any(runs), "what a decoder has to see goes to threads"
    assert len({tuple(answer.ranking.indices) for answer in answers}) == 1
    assert {report.size for report in observer.batches} == {1, 2}


async def test_a_model_that_is_not_brief_never_keeps_the_event_loop(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(repository, observer, models="lenet") as engine:
        runs = watch_runs(engine, monkeypatch, runs_inline=False)
        for _ in range(64):
            await engine.classify(digit_as_it_is())
    assert runs == [False] * 64


async def test_a_refused_request_leaves_nothing_to_the_collector(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet") as engine:
        with reference_cycles() as names:
            for _ in range(5):
                with pytest.raises(DeadlineExceeded):
                    await engine.classify(digit(deadline=1.0))
    assert not names


async def test_what_was_left_to_a_decoder_that_is_held_up_is_taken_by_another(
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
            await engine.classify(digit(seed))  # decoding them takes next to nothing, it learns
        monkeypatch.setattr(decoders_module, "decode", decode)
        waiting = asyncio.create_task(engine.classify(held_up))
        while not entered.is_set():
            await let_others_run()
        async with asyncio.timeout(30):
            await engine.classify(digit(seed=2))
        opened.set()
        await waiting


async def test_the_same_image_gets_the_same_answer_at_every_place_of_a_full_batch(
    repository: Path, observer: Any
) -> None:
    options = {"max_batch_size": 4, "max_queue_delay_seconds": 60.0, "decode_threads": 1}
    async with running(repository, observer, models="lenet", **options) as engine:
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
    engine = Engine(Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1), observer)
    loading = asyncio.create_task(engine.load())
    await let_others_run()
    with pytest.raises(Unavailable, match="loading"):
        await engine.classify(digit())
    assert observer.rejections == [("lenet", "unavailable")]
    await loading
    assert (await engine.classify(digit())).model == "lenet"
    await engine.close()


async def test_a_missing_or_empty_repository_is_one_clear_sentence(tmp_path: Path, observer: Any) -> None:
    (tmp_path / "lenet" / "one").mkdir(parents=True)
    (tmp_path / ".export-half" / "1").mkdir(parents=True)
    for root, models, message in (
        (tmp_path / "nowhere", "", "is not a folder"),
        (tmp_path, "", "holds no version folder"),
        (tmp_path, "resnet, lenet", "has no model resnet"),
    ):
        engine = Engine(Settings(repository=root, models=models, device="cpu"), observer)
        with pytest.raises(StartupError, match=message):
            await engine.load()
        await engine.close()


async def test_top_k_zero_is_the_default_and_too_many_are_refused(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet", max_batch_size=1) as engine:
        assert len((await engine.classify(digit())).classes) == 5
        answer = await engine.classify(digit(top_k=10))
        probabilities = [each.probability for each in answer.classes]
        assert probabilities == sorted(probabilities, reverse=True) and abs(sum(probabilities) - 1) < 1e-5
        for top_k in (11, -1):
            with pytest.raises(InvalidArgument, match=f"top_k is {top_k}, but model lenet has 10 classes"):
                await engine.classify(digit(top_k=top_k))


async def test_a_full_queue_refuses_before_decoding_and_says_when_to_come_back(
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


async def test_a_cancelled_caller_frees_its_place_and_its_image_is_never_run(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, models="lenet", max_batch_size=1) as engine:
        cancelled = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert engine.in_flight == 0 and engine.queue_depth(("lenet", 1, 1)) == 0
        blocked.opened.set()
        await engine.classify(digit())
    assert observer.cancellations == [("lenet", "decode")]
    assert sum(report.size for report in observer.batches) == 1


async def test_an_image_that_is_late_for_its_decoder_is_not_decoded_and_the_event_log_says_why(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    now = [100.0]
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1, decode_threads=1)
    event_log = FileEventLog(tmp_path / "trace")
    engine = Engine(settings, observer, lambda: now[0], event_log)
    await engine.load()
    first = asyncio.create_task(engine.classify(digit()))
    await blocked.wait_entered()
    second = asyncio.create_task(engine.classify(digit(deadline=1100.0)))
    await let_others_run()
    now[0] = 2000.0
    blocked.opened.set()
    await first
    with pytest.raises(DeadlineExceeded, match="waited for a decoder"):
        await second
    with pytest.raises(DeadlineExceeded, match="had passed when the request arrived"):
        await engine.classify(digit(deadline=1100.0))
    assert not blocked.entered.acquire(blocking=False)
    await engine.close()
    assert observer.rejections == [("lenet", "deadline")] * 2
    event_log.close()
    events = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    dropped = {"event": "dropped", "at": 2000.0, "request": 2, "reason": "deadline"}
    assert [each for each in events if each["event"] == "dropped"] == [dropped]


@asynccontextmanager
async def frozen(repository: Path, observer: Any, **settings: Any) -> AsyncIterator[Engine]:
    """An engine for which no time passes; deadlines still fire, for the loop counts them down itself."""
    chosen = {"models": "lenet", "device": "cpu", "max_batch_size": 1, "streams": 1, "decode_threads": 1} | settings
    engine = Engine(Settings(repository=repository, **chosen), observer, clock=lambda: 100.0)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


async def test_a_deadline_ends_requests_that_are_at_or_before_their_decoder(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        at_decoder = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        await blocked.wait_entered()
        before_it = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        for task, stage in ((at_decoder, "decode"), (before_it, "admitted")):
            with pytest.raises(DeadlineExceeded, match=f"the image was at the stage {stage}"):
                await asyncio.wait_for(task, 60)
        assert not blocked.opened.is_set(), "they ended though nothing went on"
        assert engine.in_flight == 0 and engine.queue_depth(("lenet", 1, 1)) == 0
        blocked.opened.set()
        await engine.classify(digit())
    assert blocked.entered.acquire(blocking=False) and not blocked.entered.acquire(blocking=False), (
        "the second never was"
    )
    assert sum(report.size for report in observer.batches) == 1
    assert observer.rejections == [("lenet", "deadline")] * 2 and observer.cancellations == []


async def test_a_deadline_ends_requests_that_are_on_or_before_their_device(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with frozen(repository, observer) as engine:
        runs = BlockedRuns(engine)
        running = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        await runs.wait_entered()
        waiting = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        with pytest.raises(DeadlineExceeded, match="at the stage inference"):
            await asyncio.wait_for(running, 60)
        with pytest.raises(DeadlineExceeded, match="at the stage (queue|decode|admitted)"):
            await asyncio.wait_for(waiting, 60)
        assert not runs.opened.is_set()
        runs.opened.set()
        await engine.classify(digit())
    assert runs.count == 2, "the one that waited was never run"


class BlockedRuns:
    """Stands before a model: runs wait until the test opens it, and then fail if they are told to."""

    def __init__(self, engine: Engine) -> None:
        model: Any = engine.catalog.entries()[0].model
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.count = 0
        self.works = True
        real = model.run

        def run(images: Sequence[Any], k: int) -> Any:
            self.count += 1
            self.entered.release()
            if not self.opened.wait(30):
                raise TimeoutError
            if not self.works:
                raise RuntimeError("lost")
            return real(images, k)

        model.run = run

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


async def test_a_call_without_a_deadline_gets_its_models_own_on_time(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("default_timeout_seconds = 0.3\n")
    async with frozen(tmp_path, observer) as engine:
        blocked = BlockedDecode(monkeypatch)
        hasty = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        patient = asyncio.create_task(engine.classify(digit(deadline=5000.0)))
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(hasty, 60)
        assert not patient.done(), "a deadline of its own goes before the model's"
        blocked.opened.set()
        assert (await patient).model == "lenet"


async def test_a_call_without_any_deadline_waits_as_long_as_it_takes(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    now = [100.0]
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1, decode_threads=1)
    engine = Engine(settings, observer, clock=lambda: now[0])
    await engine.load()
    held = [asyncio.create_task(engine.classify(digit(seed))) for seed in range(3)]
    await blocked.wait_entered()
    now[0] = 1e6
    blocked.opened.set()
    assert [answer.model for answer in await asyncio.gather(*held)] == ["lenet"] * 3
    await engine.close()


async def test_the_more_urgent_priority_is_served_first(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        order: list[str] = []

        async def ask(priority: Priority) -> None:
            await engine.classify(digit(priority=priority))
            order.append(priority.name)

        first = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        asked = [asyncio.create_task(ask(each)) for each in (Priority.LOW, Priority.NORMAL, Priority.HIGH)]
        await let_others_run()
        blocked.opened.set()
        await asyncio.gather(first, *asked)
    assert order == ["HIGH", "NORMAL", "LOW"]


async def test_an_image_that_is_cancelled_before_the_decoder_is_never_decoded(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        first = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        cancelled = asyncio.create_task(engine.classify(digit()))
        await let_others_run()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert engine.in_flight == 1 and engine.queue_depth(("lenet", 1, 1)) == 1
        blocked.opened.set()
        await first
        assert not blocked.entered.acquire(blocking=False), "the picture of who left was never decoded"
    assert observer.cancellations == [("lenet", "admitted")]
    assert sum(report.size for report in observer.batches) == 1


async def test_when_the_last_device_is_lost_everybody_is_sent_elsewhere_at_once(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_pool, "is_responsive", lambda device: False)
    async with frozen(repository, observer) as engine:
        runs = BlockedRuns(engine)
        runs.works = False
        held = [asyncio.create_task(engine.classify(digit(seed))) for seed in range(5)]
        await runs.wait_entered()
        assert engine.device_states == {"cpu": True}
        engine.health_changed.clear()
        runs.opened.set()
        for refusal in await asyncio.wait_for(asyncio.gather(*held, return_exceptions=True), 60):
            assert isinstance(refusal, Unavailable) and refusal.retry_after_seconds > 0
        await asyncio.wait_for(engine.health_changed.wait(), 60)
        assert engine.device_states == {"cpu": False}
        with pytest.raises(Unavailable, match="every device that runs model lenet has failed; try another server"):
            await engine.classify(digit())
        assert engine.in_flight == 0 and engine.queue_depth(("lenet", 1, 1)) == 0
    assert runs.count == 1
    assert observer.rejections == [("lenet", "unavailable")] * 6


async def test_a_lost_device_does_not_keep_the_engine_from_closing(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_pool, "is_responsive", lambda device: False)
    async with frozen(repository, observer, streams=3, decode_threads=2) as engine:
        runs = BlockedRuns(engine)
        runs.works = False
        runs.opened.set()
        with pytest.raises(Unavailable):
            await engine.classify(digit())
        await asyncio.wait_for(engine.close(), 60)


async def test_the_table_of_a_ready_model_tells_of_every_size_on_every_device(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet", max_batch_size=4) as engine:
        await engine.classify(digit())
        (by_size,) = (seconds for device, seconds in engine.batch_seconds(("lenet", 1, 1)).items() if device == "cpu")
        assert sorted(by_size) == [1, 2, 4] and min(by_size.values()) > 0


async def test_the_event_log_tells_the_whole_story(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    event_log = FileEventLog(tmp_path / "trace")
    now = [100.0]
    options: dict[str, Any] = {"device": "cpu", "max_batch_size": 1, "streams": 1, "decode_threads": 1}
    settings = Settings(repository=repository, models="lenet", max_queue_size=3, **options)
    engine = Engine(settings, observer, clock=lambda: now[0], event_log=event_log)
    await engine.load()
    answered = asyncio.create_task(engine.classify(digit(priority=Priority.HIGH, deadline=5000.0)))
    await blocked.wait_entered()
    cancelled, late = (asyncio.create_task(engine.classify(digit(deadline=each))) for each in (None, 1100.0))
    await let_others_run()
    with pytest.raises(Overloaded):
        await engine.classify(digit())
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    now[0] = 2000.0
    blocked.opened.set()
    await asyncio.gather(answered, late, return_exceptions=True)
    with pytest.raises(InvalidArgument):
        await engine.classify(digit(top_k=99))
    await engine.close()
    event_log.close()
    events = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    by_request = {number: [each["event"] for each in events if each.get("request") == number] for number in range(1, 6)}
    assert by_request[1] == ["admitted", "ended"]
    assert by_request[2] == ["admitted", "ended"]
    assert by_request[3][0] == "admitted" and by_request[3][-1] == "ended"
    assert by_request[4] == ["refused", "ended"]
    assert by_request[5] == ["ended"]
    ends = {each["request"]: each["outcome"] for each in events if each["event"] == "ended"}
    assert ends == {1: "answered", 2: "cancelled", 3: "deadline", 4: "queue_full", 5: "invalid_argument"}
    told = {"model": "lenet", "version": 1}
    admitted = next(each for each in events if each.get("request") == 1)
    predicted = admitted.pop("predicted")
    assert admitted == told | {"event": "admitted", "at": 100.0, "request": 1, "priority": "high", "deadline": 5000.0}
    assert 100.0 < predicted < 5000.0
    refused = next(each for each in events if each["event"] == "refused")
    assert (refused["reason"], refused["deadline"], refused["priority"]) == ("queue_full", None, "normal")
    (batch,) = (each for each in events if each["event"] == "batch")
    assert batch == told | {"event": "batch", "at": 2000.0, "batch": 1, "device": "cpu", "requests": [1]}
    (ran,) = (each for each in events if each["event"] == "ran")
    assert ran == {"event": "ran", "at": 2000.0, "batch": 1, "succeeded": True}


async def test_the_event_log_tells_of_a_batch_that_failed_and_of_images_dropped_before_the_device(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_log = FileEventLog(tmp_path / "trace")
    now = [100.0]
    options: dict[str, Any] = {"device": "cpu", "max_batch_size": 2, "streams": 1, "decode_threads": 1}
    engine = Engine(Settings(repository=repository, models="lenet", **options), observer, lambda: now[0], event_log)
    await engine.load()
    blocked, runs = BlockedDecode(monkeypatch), BlockedRuns(engine)
    blocked.opened.set()
    runs.works = False
    failing = asyncio.create_task(engine.classify(digit()))
    await runs.wait_entered()
    late, last = (asyncio.create_task(engine.classify(digit(deadline=each))) for each in (1100.0, None))
    for _ in range(3):
        await blocked.wait_entered()  # by the time that the one decoder has the last, the late one waits for the device
    now[0] = 2000.0
    runs.opened.set()
    for task in (failing, last):
        with pytest.raises(InternalFailure):
            await task
    with pytest.raises(DeadlineExceeded, match="would have come 900.000 s after the deadline"):
        await late
    await engine.close()
    event_log.close()
    events = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    assert [each["succeeded"] for each in events if each["event"] == "ran"] == [False, False]
    assert [each["requests"] for each in events if each["event"] == "batch"] == [[1], [3]]
    dropped = {"event": "dropped", "at": 2000.0, "request": 2, "reason": "deadline"}
    assert [each for each in events if each["event"] == "dropped"] == [dropped]


async def test_a_models_own_limits_hold_for_it(repository: Path, tmp_path: Path, observer: Any) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("max_batch_size = 3\n")
    async with running(tmp_path, observer, max_batch_size=8) as engine:
        model = engine.catalog.entries()[0].model
        assert model is not None and model.max_batch_size == 3


async def test_a_wrong_key_refuses_the_model_and_names_itself(repository: Path, tmp_path: Path, observer: Any) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("max_bach_size = 3\n")
    async with running(tmp_path, observer) as engine:
        entry = engine.catalog.entries()[0]
        assert entry.state is ModelState.FAILED
        assert "config.toml: max_bach_size is no setting of a model" in entry.reason


async def test_a_bad_image_fails_alone_and_holds_no_place(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet", max_batch_size=4) as engine:
        requests = [digit(seed) for seed in range(8)]
        bad = digit(image=RawPixels(b"short", 28, 28, 1))
        answers = await asyncio.gather(
            *(engine.classify(each) for each in [*requests[:4], bad, *requests[4:]]), return_exceptions=True
        )
        assert [type(each).__name__ for each in answers].count("Classification") == 8
        assert isinstance(answers[4], InvalidImage) and answers[4].field == "image.pixels.data"
        assert engine.queue_depth(("lenet", 1, 1)) == 0
    assert observer.rejections == [("lenet", "invalid_image")]


async def test_a_decoder_that_breaks_is_our_fault_and_the_caller_is_told(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    async with running(repository, observer, models="lenet", max_batch_size=1) as engine:
        monkeypatch.setattr(decoders_module, "decode", decode)
        with pytest.raises(InternalFailure) as failure:
            await engine.classify(digit())
        assert "secret" not in str(failure.value) and failure.value.reference in str(failure.value)


async def test_close_answers_what_was_admitted_and_refuses_what_comes_after(
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
    assert min(request) >= 0
    assert parts == pytest.approx(request.total_seconds, abs=0.01)


async def test_only_a_cancellation_by_the_caller_counts_against_it(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    real = BatchQueue.cancel

    def cancel(queue: Any, ticket: Any, by_caller: bool = True) -> Any:
        told.append(by_caller)
        return real(queue, ticket, by_caller)

    monkeypatch.setattr(BatchQueue, "cancel", cancel)
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, models="lenet", decode_threads=1) as engine:
        cancelled = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert told == [True]
        blocked.opened.set()
        with pytest.raises(InvalidImage):
            await engine.classify(digit()._replace(image=EncodedImage(b"no picture")))
    assert told == [True, False]
