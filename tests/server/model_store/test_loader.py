"""Tests of loading versions on one or several devices."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from tests.server.injected_faults import FailsFirst, refuse_threads

from linnaeus.server.config.model_settings import ModelSettings
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.errors import ModelRefused
from linnaeus.server.model_store import loader as loader_module
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.model_store.model_folders import VersionFolder
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import Request
from linnaeus.server.runtime.device import CoreShare
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import LoadOptions

# torch accepts any index of the CPU, which gives two devices without a GPU.
TWO_DEVICES = ("cpu", "cpu:1")
TORCHSCRIPT = LoadOptions(runtime="torchscript")


def settings_for(**changes: Any) -> ModelSettings:
    defaults: dict[str, Any] = {
        "max_batch_size": 4,
        "max_queue_size": 7,
        "max_queue_delay_seconds": 0.25,
        "default_timeout_seconds": 1.0,
        "devices": TWO_DEVICES,
    }
    return ModelSettings(**defaults | changes)


def on_two(repository: Path) -> list[Model]:
    folder = VersionFolder("lenet", 1, repository / "lenet" / "1")
    devices = {torch.device(name): CoreShare(torch.device(name), 1) for name in TWO_DEVICES}
    return loader_module.load_on_each(folder, devices, 4, options=TORCHSCRIPT)


def test_each_device_is_used_once_under_any_of_its_names() -> None:
    assert loader_module.devices_of(settings_for(devices=("cpu", "cpu", "cpu:1"))) == [
        torch.device("cpu"),
        torch.device("cpu:1"),
    ]
    assert loader_module.devices_of(settings_for(devices=("cpu, cpu:1",))) == [
        torch.device("cpu"),
        torch.device("cpu:1"),
    ]


def test_a_missing_device_refuses_the_model_and_names_the_config_key() -> None:
    with pytest.raises(ModelRefused, match=r"config\.toml: devices: .*cuda:99"):
        loader_module.devices_of(settings_for(devices=("cpu", "cuda:99")))


def test_a_version_gives_the_same_answers_on_each_of_its_devices(repository: Path) -> None:
    models = on_two(repository)
    assert [str(model.device) for model in models] == list(TWO_DEVICES)
    image = numpy.random.default_rng(0).integers(0, 256, (28, 28, 1), numpy.uint8)
    first, second = (model.run([image], 3)[0] for model in models)
    assert first.indices == second.indices and first.probabilities == pytest.approx(second.probabilities)


def test_lane_parameters_come_from_the_settings_and_the_warm_up(repository: Path) -> None:
    settings = settings_for(instances=2, weight=3.0, priority_weights=(5.0, 2.0, 1.0))
    limits, tables = loader_module.lane_parameters(on_two(repository), settings)
    assert (limits.max_batch_size, limits.max_queue_size, limits.max_queue_delay_seconds) == (4, 7, 0.25)
    assert (limits.weight, limits.priority_weights, limits.instances) == (3.0, (5.0, 2.0, 1.0), 2)
    assert list(tables) == list(TWO_DEVICES)
    for table in tables.values():
        assert table.sizes == [1, 2, 4] and table.expected(1, 0, 0.0) > 0


def on_one_core_if_short(repository: Path, monkeypatch: pytest.MonkeyPatch, bounds: Sequence[float]) -> Model:
    """Loads a model whose timings are compared with `bounds` (seconds) in turn to decide whether runs are short."""
    remaining = iter(bounds)
    monkeypatch.setattr(CoreShare, "are_short", lambda _, seconds: seconds <= next(remaining))
    folder = VersionFolder("lenet", 1, repository / "lenet" / "1")
    devices = {torch.device("cpu"): CoreShare(torch.device("cpu"), 6)}
    return loader_module.load_on_each(folder, devices, 4, options=TORCHSCRIPT)[0]


def test_a_model_of_short_runs_is_timed_on_one_core_and_gets_one_instance(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    warm_up = Model.warm_up

    def watched(model: Model, choose: bool, clock: Callable[[], float]) -> Any:
        threads.append(torch.get_num_threads())
        return warm_up(model, choose, clock)

    monkeypatch.setattr(Model, "warm_up", watched)
    model = on_one_core_if_short(repository, monkeypatch, [inf, inf])
    assert model.is_short and threads == [6, 1] and [each.size for each in model.timings] == [1, 2, 4]
    limits, _ = loader_module.lane_parameters([model], settings_for())
    assert limits.instances == 1 and limits.is_short
    assert loader_module.lane_parameters([model], settings_for(instances=2))[0].instances == 2


@pytest.mark.parametrize("bounds", [[0.0], [inf, 0.0]], ids=["on all cores", "on one"])
def test_a_model_of_longer_runs_uses_all_cores(
    repository: Path, monkeypatch: pytest.MonkeyPatch, bounds: list[float]
) -> None:
    model = on_one_core_if_short(repository, monkeypatch, bounds)
    limits, _ = loader_module.lane_parameters([model], settings_for())
    assert not model.is_short and limits.instances == 0 and not limits.is_short


async def test_two_devices_serve_one_model_at_the_same_time(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text('devices = ["cpu", "cpu:1"]\n')
    options: dict[str, Any] = {"max_batch_size": 1, "streams": 1, "decode_threads": 1}
    engine = LocalEngine(Settings(repository=tmp_path, device="cpu", **options), observer)
    await engine.load()
    both = threading.Barrier(2, timeout=30)
    devices: list[str] = []
    real = Model.run

    def run(self: Model, images: Sequence[Any], k: int, want_features: bool = False) -> Any:
        devices.append(str(self.device))
        both.wait()  # returns only if each device has a batch
        return real(self, images, k, want_features)

    monkeypatch.setattr(Model, "run", run)
    data = numpy.zeros(28 * 28, numpy.uint8).tobytes()
    request = Request(RawPixels(data, 28, 28, 1), model="lenet")
    answers = await asyncio.gather(engine.classify(request), engine.classify(request))
    assert sorted(devices) == list(TWO_DEVICES)
    assert answers[0].classes[0].index == answers[1].classes[0].index
    assert engine.catalog.entries()[0].devices == TWO_DEVICES and engine.device_states == dict.fromkeys(
        TWO_DEVICES, True
    )
    assert set(engine.core.batch_seconds(("lenet", 1, 1))) == set(TWO_DEVICES)
    await engine.close()


async def test_a_model_whose_device_is_missing_is_refused_and_the_others_are_served(
    repository: Path, tmp_path: Path, observer: Any
) -> None:
    for name in ("lenet", "other"):
        shutil.copytree(repository / "lenet", tmp_path / name)
    manifest = tmp_path / "other" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "lenet"', '"name": "other"'))
    (tmp_path / "other" / "config.toml").write_text('devices = ["cuda:99"]\n')
    engine = LocalEngine(Settings(repository=tmp_path, device="cpu", max_batch_size=1), observer)
    await engine.load()
    states = {entry.name: (entry.state, entry.reason) for entry in engine.catalog.entries()}
    assert states["lenet"] == (ModelState.READY, "")
    assert states["other"][0] is ModelState.FAILED
    assert states["other"][1].startswith("config.toml: devices: device cuda:99 is not there")
    await engine.close()


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
async def test_any_error_of_torch_during_a_load_refuses_the_version(
    repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    faults: list[str] = []
    monkeypatch.setattr(loader_module, "load_model", FailsFirst(None, error))  # type: ignore[arg-type]
    loader = loader_module.Loader(1, lambda: 0.0, Supervisor(faults.append))
    folder = VersionFolder("lenet", 1, repository / "lenet" / "1")
    with pytest.raises(ModelRefused, match=r"^loading it failed, and the log says why \(log reference (\w+)\)$"):
        await loader.load(folder, settings_for(devices=("cpu",)), loader_module.LoadContext())
    assert "loading lenet/1 failed [" in caplog.text and "injected" in caplog.text and faults == ["loader"]


async def test_a_load_for_which_no_thread_can_be_started_refuses_the_version(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str] = []
    loader = loader_module.Loader(1, lambda: 0.0, Supervisor(faults.append))
    folder = VersionFolder("lenet", 1, repository / "lenet" / "1")
    refuse_threads(monkeypatch)
    with pytest.raises(ModelRefused, match=r"^loading it failed, and the log says why \(log reference (\w+)\)$"):
        await loader.load(folder, settings_for(devices=("cpu",)), loader_module.LoadContext())
    assert faults == ["loader"]


async def test_a_load_beside_served_models_uses_one_core_and_the_batch_size_of_the_same_model(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, bool]] = []
    real = loader_module.load_model

    def load_model(path: Path, device: Any, size: int, clock: Any, before_warm_up: Any, *_: object) -> Model:
        seen.append((torch.get_num_threads(), size, clock is time.perf_counter))
        return real(path, device, size or 1, clock, before_warm_up)

    monkeypatch.setattr(loader_module, "load_model", load_model)
    loader = loader_module.Loader(2, lambda: 0.0, Supervisor())
    folder = VersionFolder("lenet", 1, repository / "lenet" / "1")
    settings = settings_for(devices=("cpu",), max_batch_size=0)
    first = await loader.load(folder, settings, loader_module.LoadContext())
    same = await loader.load(folder, settings, loader_module.LoadContext(True, first.models[0].manifest.sha256, 3))
    other = await loader.load(folder, settings, loader_module.LoadContext(True, "another", 3))
    assert (first.is_same, same.is_same, other.is_same) == (False, True, False)
    assert seen == [(2, 0, True), (1, 3, False), (1, 0, False)]
