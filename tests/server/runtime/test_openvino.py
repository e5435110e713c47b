"""OpenVINO gives TorchScript's answers, within its memory, and falls back or refuses where it cannot."""

import gc
import json
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.export.version_folder import TorchScriptModel, VersionContent, check_input, write_version
from linnaeus.models.manifest import InputSpec, Weights
from linnaeus.models.registry import find
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime import openvino_conversion, openvino_runner
from linnaeus.server.runtime.artifact_checks import Artifact, read_artifact
from linnaeus.server.runtime.calibration_images import generated_pictures
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import LoadOptions, load_model
from linnaeus.server.runtime.openvino_conversion import openvino_core, openvino_model, openvino_precisions
from linnaeus.server.runtime.openvino_runner import CompileOptions, OpenVinoRunner
from linnaeus.server.runtime.runner import Pixels

CPU = torch.device("cpu")
SPEC = InputSpec(channels=1, height=4, width=4, resize=4, interpolation="bilinear")
OPTIONS = CompileOptions(precision="float32", weights_bytes=10, memory_factor=2.0, cache_folder="")
BLANK = numpy.zeros((28, 28, 1), numpy.uint8)
OPENVINO, TORCHSCRIPT = LoadOptions(runtime="openvino"), LoadOptions(runtime="torchscript")


@pytest.fixture
def lenet(repository: Path) -> Artifact:
    return read_artifact(repository / "lenet" / "1")


@pytest.fixture
def runner(lenet: Artifact) -> Iterator[OpenVinoRunner]:
    opened = OpenVinoRunner(openvino_model(lenet), lenet.manifest.input, 8, OPTIONS)
    yield opened
    opened.close()


def write(root: Path, name: str, network: nn.Module, spec: InputSpec = SPEC, **config: str) -> Path:
    """Writes a version of a scripted network with two classes."""
    script = torch.jit.script(network.eval())
    known = tuple(script(check_input(spec))[0].tolist())
    content = VersionContent(name, name, spec, ("a", "b"), Weights("random", 0), TorchScriptModel(script), known)
    return write_version(content, root, 1)


class RaisesOnBlank(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        if int(pixels.sum()) == 0:
            raise RuntimeError("a blank image")
        return torch.softmax(pixels.flatten(1)[:, :2].to(torch.float32) / 64.0, dim=1)


class Ties(nn.Module):
    """Gives both classes the same probability."""

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(pixels.flatten(1)[:, :2].to(torch.float32) * 0.0, dim=1)


class CountsItsBatch(nn.Module):
    """Its answer depends on the number of images, so that padding would show."""

    def forward(self, pixels: Tensor) -> Tensor:
        zeros = pixels.flatten(1)[:, :1].to(torch.float32) * 0.0
        first = torch.sigmoid(zeros + (zeros + 1.0).sum() / 4.0)
        return torch.cat([first, 1.0 - first], dim=1)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_every_image_of_a_batch_gets_the_answer_that_torchscript_gives(repository: Path, count: int) -> None:
    folder = repository / "lenet" / "1"
    plain, model = (load_model(folder, CPU, 8, options=options) for options in (TORCHSCRIPT, OPENVINO))
    pictures = generated_pictures(model.manifest.input)[:count]
    ours, theirs = model.run(pictures, 10), plain.run(pictures, 10)
    assert [each.indices for each in ours] == [each.indices for each in theirs]
    assert numpy.allclose([each.probabilities for each in ours], [each.probabilities for each in theirs], atol=1e-5)


def test_a_batch_is_run_as_it_is_without_padding(tmp_path: Path) -> None:
    model = load_model(write(tmp_path, "counts", CountsItsBatch()), CPU, 8, options=OPENVINO)
    for count in range(1, 9):
        (ranking, *_) = model.run([numpy.zeros((4, 4, 1), numpy.uint8)] * count, 2)
        assert ranking.probabilities[0] == pytest.approx(torch.sigmoid(torch.tensor(count / 4.0)).item(), abs=1e-5)


def test_equal_probabilities_come_by_lower_index(tmp_path: Path) -> None:
    model = load_model(write(tmp_path, "ties", Ties()), CPU, 2, options=OPENVINO)
    assert [each.indices for each in model.run([numpy.ones((4, 4, 1), numpy.uint8)] * 2, 2)] == [[0, 1]] * 2


@pytest.mark.parametrize(
    ("weights_bytes", "factor", "compiled"),
    [
        (10, 2.0, [(0, 2, 1), (0, 1, 2), (8, 2, 1)]),
        (200 << 20, 2.0, [(0, 2, 1), (0, 1, 2)]),
        (200 << 20, 4.0, [(0, 2, 1), (0, 1, 2), (8, 2, 1), (1, 2, 1)]),
        (200 << 20, 0.0, [(0, 2, 1)]),
    ],
    ids=["small", "by default", "more", "none"],
)
def test_memory_limits_how_often_a_model_is_compiled_and_any_size_runs(
    lenet: Artifact, weights_bytes: int, factor: float, compiled: list[tuple[int, int, int]]
) -> None:
    options = replace(OPTIONS, weights_bytes=weights_bytes, memory_factor=factor)
    runner = OpenVinoRunner(openvino_model(lenet), lenet.manifest.input, 8, options)
    runner.keep_sizes([1, 2, 4, 8])
    runner.keep_cores(2, 1)
    assert list(runner._compiled) == compiled
    assert runner.memory_bytes == weights_bytes * (1 + len(compiled))
    assert all(len(runner.run([BLANK] * count, 1).indices) == count for count in range(1, 9))


def settings(runner: OpenVinoRunner, name: str) -> list[str]:
    return [str(compiled.get_property(name)) for compiled in runner._compiled.values()]


def test_a_compiled_model_has_the_given_cores_and_computes_in_float32(runner: OpenVinoRunner) -> None:
    runner.keep_cores(1, 1)
    assert set(settings(runner, "INFERENCE_PRECISION_HINT")) == {"<Type: 'float32'>"}
    assert set(settings(runner, "ENABLE_CPU_PINNING")) == {"False"}
    assert set(settings(runner, "NUM_STREAMS")) == set(settings(runner, "INFERENCE_NUM_THREADS")) == {"1"}


def test_a_batch_alone_runs_in_one_stream_on_all_cores_and_two_at_once_in_two(runner: OpenVinoRunner) -> None:
    runner.keep_sizes([1, 4])
    runner.keep_cores(2, 1)
    assert settings(runner, "NUM_STREAMS")[:2] == ["1", "2"]
    assert settings(runner, "INFERENCE_NUM_THREADS")[:2] == ["2", "2"]
    alone, beside, *_ = runner._compiled.values()
    requests = [RecordedRequests(each) for each in (alone, beside)]
    runner._compiled.update(zip(list(runner._compiled), requests, strict=False))
    runner._free.clear()
    threads = torch.get_num_threads()
    try:
        for cores in (2, 1):
            torch.set_num_threads(cores)
            runner.run([BLANK] * 3, 1)
        assert [each.created for each in requests] == [1, 1]
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


class RecordedRequests:
    """A compiled model that counts the requests that were made of it."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self.created = 0

    def create_infer_request(self) -> Any:
        self.created += 1
        return self._compiled.create_infer_request()


def test_closing_frees_the_compiled_models(lenet: Artifact) -> None:
    runner = OpenVinoRunner(openvino_model(lenet), lenet.manifest.input, 8, OPTIONS)
    runner.run([BLANK], 1)
    compiled: list[weakref.ref[Any]] = [weakref.ref(each) for each in runner._compiled.values()]
    runner.settle()
    runner.close()
    runner.close()
    gc.collect()
    assert [each() for each in compiled] == [None] * len(compiled)


def test_a_model_that_raises_on_some_pixels_is_not_converted(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, "raises", RaisesOnBlank())
    with pytest.raises(ModelRefused, match=r"^OpenVINO cannot convert it: it may raise, depending on a tensor"):
        load_model(folder, CPU, 1, options=OPENVINO)


def test_auto_falls_back_to_torchscript_and_the_log_says_why(
    repository: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnknownFrontEnd:
        def load_by_framework(self, name: str) -> Any:
            raise RuntimeError("no frontend")

    monkeypatch.setattr("openvino.frontend.FrontEndManager", UnknownFrontEnd)
    with caplog.at_level("INFO"):
        model = load_model(repository / "lenet" / "1", CPU, 1)
    assert model.specialisation.runtime == "torchscript"
    assert "OpenVINO cannot convert it: no frontend" in model.specialisation.runtime_reason
    assert [each.message for each in caplog.records if "openvino" in each.message] == [
        "not served by openvino in float32: it cannot run it (OpenVINO cannot convert it: no frontend)"
    ]


def test_a_model_that_openvino_does_not_reproduce_is_refused(lenet: Artifact, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lenet.folder, tmp_path / "lenet" / "1"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["check"]["probabilities"] = manifest["check"]["probabilities"][::-1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelRefused, match=r"^model.pt differs"):
        load_model(folder, CPU, 1, options=OPENVINO)


def test_openvino_is_refused_on_a_gpu_and_in_a_precision_that_the_processor_lacks(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelRefused, match=r"^runtime is openvino, which cannot run model.pt on cuda:0, but torch"):
        load_model(repository / "lenet" / "1", torch.device("cuda", 0), 1, options=OPENVINO)
    monkeypatch.setattr("linnaeus.server.runtime.model_loading.openvino_precisions", list)
    with pytest.raises(ModelRefused, match=r"^openvino cannot compute in bfloat16 on this processor"):
        load_model(repository / "lenet" / "1", CPU, 1, options=replace(OPENVINO, precision="bfloat16"))


def test_an_openvino_file_is_served_by_openvino(repository: Path, tmp_path: Path) -> None:
    import openvino

    from linnaeus.models.model_format import model_files_digest

    folder = Path(shutil.copytree(repository / "lenet" / "1", tmp_path / "lenet" / "1"))
    plain = load_model(folder, CPU, 1, options=TORCHSCRIPT)
    model = openvino.convert_model(
        torch.jit.load(str(folder / "model.pt")), input=[([-1, 1, 28, 28], openvino.Type.u8)]
    )
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    (folder / "model.pt").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"model_format": "openvino", "sha256": model_files_digest(folder, "openvino")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    served = load_model(folder, CPU, 2)
    assert (served.specialisation.runtime, served.specialisation.runtime_reason) == (
        "openvino",
        "auto: there is no other",
    )
    pictures: Sequence[Pixels] = generated_pictures(served.manifest.input)[:2]
    assert answers(served, pictures) == answers(plain, pictures)


def answers(model: Model, pictures: Sequence[Pixels]) -> list[int]:
    return [model.run([picture], 1)[0].indices[0] for picture in pictures]


def test_the_processors_precisions_are_those_that_openvino_names() -> None:
    capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert ("bfloat16" in openvino_precisions()) == ("BF16" in capabilities)


def test_features_equal_torchscript_s_in_every_batch(tmp_path: Path) -> None:
    lenet = find("lenet")
    folder = export_torchscript(lenet, lenet.bundled_weights(), tmp_path, 1, features=True)
    ours, theirs = (load_model(folder, CPU, 8, options=options) for options in (OPENVINO, TORCHSCRIPT))
    try:
        for count in (1, 3, 8):
            images = generated_pictures(ours.manifest.input)[:count]
            answers = [model.run(images, 2, want_features=True) for model in (ours, theirs)]
            features = [[numpy.frombuffer(each.features, "<f4") for each in answer] for answer in answers]
            assert numpy.abs(numpy.subtract(*features)).max() < 1e-4 * numpy.abs(features).max()
        assert not any(ranking.features for ranking in ours.run(images, 2))
    finally:
        ours.close()
        theirs.close()


# Leaves the process as much address space as it uses, and a little: one picture fits, 256 do not.
_TOO_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy
from linnaeus.server.runtime.artifact_checks import read_artifact
from linnaeus.server.runtime.openvino_conversion import openvino_model
from linnaeus.server.runtime.openvino_runner import CompileOptions, OpenVinoRunner
from linnaeus.server.runtime.out_of_memory import OutOfMemory

artifact = read_artifact(Path(sys.argv[1]))
options = CompileOptions("float32", 18 << 20, 1.0)
runner = OpenVinoRunner(openvino_model(artifact), artifact.manifest.input, 256, options)
blank = numpy.zeros((224, 224, 3), numpy.uint8)
runner.run([blank], 1)
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (150 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    runner.run([blank] * 256, 1)
except OutOfMemory:
    print("out of memory")
"""


@pytest.mark.slow
def test_a_batch_that_memory_does_not_suffice_for_is_out_of_memory(repository: Path) -> None:
    command = [sys.executable, "-c", _TOO_LITTLE_MEMORY, str(repository / "efficientnet_lite0" / "1")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "out of memory\n", done.stdout + done.stderr


class CountsThreads:
    """Calls a function, and records how many threads are in it at each call's begin."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.at_once = list[int]()
        self._function = function
        self._threads = set[int]()

    def __call__(self, *arguments: Any) -> Any:
        self._threads.add(threading.get_ident())
        self.at_once.append(len(self._threads))
        try:
            return self._function(*arguments)
        finally:
            self._threads.remove(threading.get_ident())


def test_models_that_are_opened_at_once_are_converted_and_cached_one_after_the_other(
    lenet: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two conversions at once may mix up their graphs; two uses of the cache leave the process in the locale C."""
    convert, compile_model = CountsThreads(openvino_conversion._converted), CountsThreads(openvino_core().compile_model)
    monkeypatch.setattr(openvino_conversion, "_converted", convert)
    monkeypatch.setattr(openvino_runner, "openvino_core", lambda: SimpleNamespace(compile_model=compile_model))
    options = replace(OPTIONS, cache_folder=str(tmp_path))

    def open_one(size: int) -> None:
        OpenVinoRunner(openvino_model(lenet), lenet.manifest.input, size, options).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_one, range(2, 10)))
    assert convert.at_once == [1] * 8
    assert len(compile_model.at_once) >= 8 and set(compile_model.at_once) == {1}
