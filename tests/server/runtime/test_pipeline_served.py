"""The engine serves through the pipeline as on a GPU: two batches in flight, and halves when memory is short."""

import asyncio
import shutil
import threading
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from late_device import LateDevice

from linnaeus.models.manifest import Manifest
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.model_store import loader
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import Request
from linnaeus.server.runtime import model_loading, runner_factory
from linnaeus.server.runtime.cuda import CudaForward
from linnaeus.server.runtime.model import Model, Pixels
from linnaeus.server.runtime.model_loading import load_model
from linnaeus.server.runtime.pipeline import PipelinedRunner
from linnaeus.server.runtime.warmup import size_classes

LARGEST = 4


@dataclass
class Served:
    """An engine with one model on a test device, and the same model on the CPU."""

    engine: LocalEngine
    plain: Model
    devices: list[LateDevice] = field(default_factory=list)
    modules: "list[weakref.ref[torch.jit.ScriptModule]]" = field(default_factory=list)
    preexisting: set[threading.Thread] = field(default_factory=set)

    def launchers(self) -> set[threading.Thread]:
        """Returns the launcher threads of this engine, without those of earlier tests."""
        return all_launchers() - self.preexisting

    async def classify(self, images: list[Pixels]) -> list[Any]:
        requests = [Request(RawPixels(image.tobytes(), 28, 28, 1), model="lenet", top_k=3) for image in images]
        return await asyncio.gather(*(self.engine.classify(request) for request in requests))

    def is_right(self, images: list[Pixels], answers: list[Any]) -> bool:
        expected = [self.plain.run([image], 3)[0] for image in images]
        return all(
            [each.index for each in answer.classes] == ranking.indices
            and numpy.allclose([each.probability for each in answer.classes], ranking.probabilities, atol=1e-5)
            for answer, ranking in zip(answers, expected, strict=True)
        )


@pytest.fixture
async def served(repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    devices: list[LateDevice] = []
    modules: list[weakref.ref[torch.jit.ScriptModule]] = []
    preexisting = all_launchers()
    plain = load_model(repository / "lenet" / "1", torch.device("cpu"), 1)

    def open_runner(
        module: torch.jit.ScriptModule, manifest: Manifest, device: object, largest: int, *_: object
    ) -> Any:
        devices.append(LateDevice(seed=5))
        modules.append(weakref.ref(module))
        forward = CudaForward(module, manifest.classes)
        return PipelinedRunner(devices[-1], forward, (28, 28, 1), manifest.classes, size_classes(largest))

    monkeypatch.setattr(runner_factory, "torch_runner", open_runner)
    options: dict[str, Any] = {"max_batch_size": LARGEST, "streams": 2, "decode_threads": 1, "models": "lenet"}
    options["runtime"] = "torchscript"
    engine = LocalEngine(
        Settings(repository=repository, device="cpu", max_queue_delay_seconds=60.0, **options), observer
    )
    await engine.load()
    served = Served(engine, plain, devices, modules, preexisting)
    yield served
    await engine.close()
    assert not served.launchers()


def all_launchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("linnaeus-launcher")}


def digits(count: int) -> list[Pixels]:
    return list(numpy.random.default_rng(1).integers(0, 256, (count, 28, 28, 1), numpy.uint8))


async def test_every_caller_receives_the_answer_to_its_own_image(served: Served) -> None:
    images = digits(40)
    assert served.is_right(images, await served.classify(images))


async def test_a_batch_that_runs_out_of_memory_is_answered_in_halves(served: Served) -> None:
    served.devices[0].computing.refuses = 1
    images = digits(LARGEST)
    answers = await served.classify(images)
    assert served.is_right(images, answers)
    assert [answer.batch_size for answer in answers] == [LARGEST // 2] * LARGEST


async def test_replacing_or_unloading_a_model_frees_its_launcher_and_module(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[bool], int]] = []

    def note() -> None:  # called when the memory of the old model is to be released
        seen.append(([module() is not None for module in served.modules], len(served.launchers())))

    monkeypatch.setattr(loader, "release_freed_memory", note)
    images = digits(LARGEST)
    await served.classify(images)
    calls = asyncio.ensure_future(served.classify(images))
    await served.engine.model_manager.reload_model("lenet")
    assert served.is_right(images, await calls)
    assert seen == [([False, True], 1)]
    assert served.is_right(images, await served.classify(images))
    await served.engine.model_manager.unload_model("lenet")
    assert seen[1:] == [([False, False], 0)]


@pytest.mark.parametrize(("text", "times"), [("cuda_graphs = true\n", 1), ("cuda_graphs = false\n", 0), ("", 0)])
async def test_graphs_are_captured_only_if_the_config_enables_them(
    text: str, times: int, repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text(text)
    captured: list[object] = []
    monkeypatch.setattr(model_loading, "capture_graphs", captured.append)
    engine = LocalEngine(Settings(repository=tmp_path, device="cpu", max_batch_size=1), observer)
    await engine.load()
    assert len(captured) == times
    await engine.close()
