"""Batches in flight on an asynchronous device never mix, are pipelined, and keep their order.

The device is a test device that delays every operation as long as it may; the pipeline is the one that serves on a GPU.
"""

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from late_device import LateDevice
from tests.server.injected_faults import FAULTS, FailsFirst, refuse_threads
from torch import Tensor, nn

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.export.version_folder import TorchScriptModel, VersionContent, check_input, write_version
from linnaeus.models.manifest import InputSpec, Weights
from linnaeus.models.registry import find
from linnaeus.server.runtime import cuda, runner_factory
from linnaeus.server.runtime.artifact_checks import load_module, read_artifact
from linnaeus.server.runtime.cpu import CpuRunner
from linnaeus.server.runtime.cuda import CudaForward
from linnaeus.server.runtime.pipeline import Answers, PipelinedRunner
from linnaeus.server.runtime.runner import BatchOutput, Pixels
from linnaeus.server.runtime.topk import device_top_k
from linnaeus.server.runtime.value_reads import value_reading_operation

CPU = torch.device("cpu")
SHAPE = (2, 2, 1)
CLASSES = 5
FEATURES = 3
SIZES = (1, 2, 4, 6)


class Network:
    """A forward that returns different answers for different images, and records batch sizes and calling threads.

    Attributes:
        fails: numbers of the calls that fail, from 1.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[int] = set()
        self.fails: set[int] = set()

    def __call__(self, pixels: Tensor, k: int) -> Answers:
        self.sizes.append(len(pixels))
        self.threads.add(threading.get_ident())
        if len(self.sizes) in self.fails:
            raise RuntimeError("broken")
        sums = pixels.flatten(1).sum(1, dtype=torch.float32).unsqueeze(1)
        values, indices = device_top_k((sums + torch.arange(CLASSES) * 3) % 17, k)
        return values.contiguous(), indices.contiguous(), torch.cat([sums, -sums, sums / 2], dim=1)


def expected(image: Pixels, k: int) -> tuple[list[int], list[float]]:
    scores = [(float(image.sum()) + place * 3) % 17 for place in range(CLASSES)]
    order = sorted(range(CLASSES), key=lambda place: (-scores[place], place))[:k]
    return order, [scores[place] for place in order]


def make_images(count: int, first: int = 0) -> list[Pixels]:
    return [numpy.full(SHAPE, (first + place) % 250, numpy.uint8) for place in range(count)]


def is_right(answers: BatchOutput, images: Sequence[Pixels], k: int) -> bool:
    if answers.features is not None:
        sums = numpy.array([image.sum() for image in images], numpy.float32)
        assert (answers.features == numpy.stack([sums, -sums, sums / 2], axis=1)).all()
    return list(zip(answers.indices, answers.probabilities, strict=True)) == [expected(image, k) for image in images]


def pipeline(device: Any, network: Callable[[Tensor, int], Answers], in_flight: int = 2) -> Any:
    return PipelinedRunner(device, network, SHAPE, CLASSES, SIZES, in_flight, FEATURES)


def in_thread(work: Callable[..., BatchOutput], *arguments: object) -> "Future[BatchOutput]":
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work, *arguments)
    pool.shutdown(wait=False)
    return future


@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(1, SIZES[-1]), st.integers(1, CLASSES), st.booleans()), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 2**16),
    in_flight=st.integers(0, 2),
)
@settings(deadline=None, max_examples=40)
def test_every_image_receives_its_own_answer_in_any_sequence_of_batches(
    batches: list[list[tuple[int, int, bool]]], seed: int, in_flight: int
) -> None:
    runner = pipeline(LateDevice(seed), Network(), in_flight)

    def serve(stream: int) -> list[bool]:
        results = []
        for number, (count, k, want_features) in enumerate(batches[stream]):
            images = make_images(count, first=50 * stream + 10 * number)
            output = runner.run(images, k, want_features)
            results.append(is_right(output, images, k) and (output.features is not None) == want_features)
        return results

    with ThreadPoolExecutor(len(batches)) as streams:
        for results in streams.map(serve, range(len(batches))):
            assert all(results)


@given(
    batches=st.lists(st.tuples(st.integers(1, SIZES[-1]), st.booleans()), min_size=1, max_size=8),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=40)
def test_a_batch_that_cannot_be_launched_does_not_affect_later_batches(
    batches: list[tuple[int, bool]], seed: int
) -> None:
    device = LateDevice(seed)
    runner = pipeline(device, Network())
    for number, (count, fails) in enumerate(batches):
        images = make_images(count, first=10 * number)
        device.computing.refuses = int(fails)
        if fails:
            with pytest.raises(RuntimeError, match="out of memory"):
                runner.run(images, 2)
        else:
            assert is_right(runner.run(images, 2), images, 2)


def test_a_batch_that_fails_on_the_device_does_not_affect_later_batches() -> None:
    network = Network()
    network.fails = {1, 3, 4}
    runner = pipeline(LateDevice(), network)
    for number in range(6):
        images = make_images(3, first=10 * number)
        if number + 1 in network.fails:
            with pytest.raises(RuntimeError):
                runner.run(images, 2)
        else:
            assert is_right(runner.run(images, 2), images, 2)


def test_answers_that_were_computed_but_not_fetched_are_never_returned() -> None:
    device, network = LateDevice(), Network()
    runner = pipeline(device, network, in_flight=1)
    copying = device.command_queues[-1]
    copying.accepts, copying.refuses = 1, 1  # the batch is sent and computed, but cannot be fetched
    with pytest.raises(RuntimeError, match="out of memory"):
        runner.run(make_images(2), 1)
    network.fails = {2}
    with pytest.raises(RuntimeError, match="not been computed"):
        runner.run(make_images(2, first=30), 1)
    images = make_images(2, first=60)
    assert is_right(runner.run(images, 1), images, 1) and network.sizes == [2, 2, 2]


def test_the_next_batch_is_staged_and_copied_while_one_computes() -> None:
    device, network = LateDevice(), Network()
    runner = pipeline(device, network)
    device.held.add(device.computing)
    first, second = make_images(2), make_images(3, first=40)
    runs = [in_thread(runner.run, images, 1) for images in (first, second)]
    copying = device.command_queues[1:]
    with device.changed:
        # Each slot's copy queue has sent its batch and waits for the computation.
        assert device.changed.wait_for(lambda: [command_queue.done for command_queue in copying] == [1, 1], timeout=20)
    assert not network.sizes and not any(run.done() for run in runs)
    device.release(device.computing)
    assert is_right(runs[0].result(timeout=20), first, 1) and is_right(runs[1].result(timeout=20), second, 1)


def test_batches_are_computed_in_the_order_of_their_launch() -> None:
    device, network = LateDevice(), Network()
    runner = pipeline(device, network)
    device.held.add(device.computing)
    runs = []
    for number, count in enumerate((4, 1)):
        runs.append(in_thread(runner.run, make_images(count), 1))
        with device.changed:  # waits until it is launched, before the next run
            enqueued = 2 * (number + 1)
            assert device.changed.wait_for(lambda enqueued=enqueued: device.computing.enqueued == enqueued, timeout=20)
    device.release(device.computing)
    for run in runs:
        run.result(timeout=20)
    assert network.sizes == [4, 1]


def test_staging_memory_is_reused_but_never_shared_by_concurrent_batches() -> None:
    device = LateDevice()
    runner = pipeline(device, Network())
    made = len(device.staged)
    for number in range(10):
        images = make_images(3, first=number)
        assert is_right(runner.run(images, 1), images, 1)
    assert len(device.staged) == made, "one batch after another needs no more memory than was made beforehand"
    device.held.add(device.computing)
    batches = [make_images(6, first=30 * number) for number in range(3)]
    runs = [in_thread(runner.run, images, 2) for images in batches]
    with device.changed:
        assert device.changed.wait_for(lambda: device.computing.enqueued - device.computing.done == 6, timeout=20)
    assert len(device.staged) == made // 2 * 3, "three at once need a third slot"
    device.release(device.computing)
    for run, images in zip(runs, batches, strict=True):
        assert is_right(run.result(timeout=20), images, 2)


def test_batches_are_padded_to_the_next_kept_size() -> None:
    network = Network()
    runner = pipeline(LateDevice(), network)
    for count in range(1, SIZES[-1] + 1):
        runner.run(make_images(count), 1)
    assert network.sizes == [1, 2, 4, 4, 6, 6]
    network.sizes.clear()
    runner.keep_sizes([1, 3])
    images = make_images(2)
    assert is_right(runner.run(images, 1), images, 1) and network.sizes == [3]


def test_memory_for_sizes_that_are_not_kept_is_freed() -> None:
    device = LateDevice()
    runner = pipeline(device, Network())
    before = len(device.staged)
    runner.keep_sizes([1, 2])
    device.held.add(device.computing)
    runs = [in_thread(runner.run, make_images(2), 1) for _ in range(3)]  # one more than there are slots
    with device.changed:
        assert device.changed.wait_for(lambda: device.computing.enqueued == 6, timeout=20)
    device.release(device.computing)
    for run in runs:
        run.result(timeout=20)
    pixels = [staged for staged in device.staged[before:] if staged.dtype == torch.uint8]
    assert [len(staged) for staged in pixels] == [2, 2, 2]


def test_the_launcher_makes_all_calls_into_the_model() -> None:
    device, network = LateDevice(is_eager=True), Network()
    runner = pipeline(device, network)
    callers = [in_thread(lambda: (threading.get_ident(), runner.run(make_images(1), 1))) for _ in range(3)]  # type: ignore[arg-type,return-value]
    idents = {caller.result(timeout=20)[0] for caller in callers}
    runner.run_on_launcher(lambda: network.threads.add(threading.get_ident()))
    assert len(network.threads) == 1 and network.threads == device.threads
    assert not network.threads & {*idents, threading.get_ident()}


def test_close_waits_for_the_device_frees_memory_on_the_launcher_and_ends_it() -> None:
    device, network = LateDevice(), Network()
    runner = pipeline(device, network)
    runner.run(make_images(2), 1)
    device.computing.accepts, device.computing.refuses = 0, 1
    with pytest.raises(RuntimeError):
        runner.run(make_images(2), 1)  # its copies may still be pending
    pending: list[int] = []
    threads: list[int] = []
    staged = [weakref.ref(tensor) for tensor in device.staged]
    device.staged.clear()

    def free() -> None:
        assert not any(tensor() is not None for tensor in staged)
        pending.append(sum(command_queue.enqueued - command_queue.done for command_queue in device.command_queues))
        threads.append(threading.get_ident())

    forward = weakref.ref(network)
    launcher = next(thread for thread in threading.enumerate() if thread.ident in device.threads)
    runner.close(free)
    assert pending == [0] and threads == [launcher.ident] and not launcher.is_alive()
    runner.close(free)
    assert pending == [0], "a second time does nothing"
    del runner, network
    assert forward() is None


@pytest.mark.parametrize("error", FAULTS)
def test_a_fault_on_the_launcher_reaches_its_batch_and_the_launcher_goes_on(error: type[BaseException]) -> None:
    network = Network()
    fault = FailsFirst(network, error)
    runner = pipeline(LateDevice(is_eager=True), fault)
    with pytest.raises(error, match="injected"):
        runner.run(make_images(2), 1)
    images = make_images(2)
    assert is_right(runner.run(images, 1), images, 1)
    runner.close()


def test_the_launcher_is_a_daemon_so_that_a_device_that_hangs_does_not_outlive_the_server() -> None:
    device = LateDevice()
    runner = pipeline(device, Network())
    (launcher,) = (thread for thread in threading.enumerate() if thread.ident in device.threads)
    assert launcher.daemon and launcher.name == "linnaeus-launcher"
    runner.close()


def test_a_runner_without_a_thread_fails_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_threads(monkeypatch)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        pipeline(LateDevice(), Network())


def test_a_runner_that_fails_to_open_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    device = LateDevice()
    monkeypatch.setattr(device, "staging", _refuse)
    with pytest.raises(RuntimeError) as failure:
        pipeline(device, Network())
    assert failure.value is not None  # the exception references the frames, and with them the runner
    assert not any(thread.ident in device.threads for thread in threading.enumerate())


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_model_returns_the_same_classes_through_the_pipeline_and_on_the_cpu(repository: Path, count: int) -> None:
    artifact = read_artifact(repository / "lenet" / "1")
    module, manifest = load_module(artifact, CPU), artifact.manifest
    images = list(numpy.random.default_rng(3).integers(0, 256, (count, 28, 28, 1), numpy.uint8))
    sizes, shape = [1, 2, 4], (28, 28, 1)
    forward = CudaForward(module, manifest.classes)
    runner = PipelinedRunner(LateDevice(), forward, shape, manifest.classes, sizes)
    for k in (1, 3, 10):
        answers, plain = runner.run(images, k), CpuRunner(module, manifest.input, 4).run(images, k)
        assert answers.indices == plain.indices
        assert numpy.allclose(answers.probabilities, plain.probabilities, atol=1e-6)


@pytest.mark.parametrize("want_features", [True, False])
def test_a_model_s_features_come_through_the_pipeline_as_on_the_cpu(tmp_path: Path, want_features: bool) -> None:
    lenet = find("lenet")
    folder = export_torchscript(lenet, lenet.bundled_weights(), tmp_path, 1, features=True)
    artifact = read_artifact(folder)
    module, manifest = load_module(artifact, CPU), artifact.manifest
    forward = CudaForward(module, manifest.classes)
    runner = PipelinedRunner(LateDevice(), forward, (28, 28, 1), 10, [1, 2, 4], features=manifest.features)
    images = list(numpy.random.default_rng(3).integers(0, 256, (3, 28, 28, 1), numpy.uint8))
    answers = runner.run(images, 3, want_features)
    later = runner.run(images[::-1], 3, True)
    plain = CpuRunner(module, manifest.input, 4).run(images, 3, want_features)
    assert answers.indices == plain.indices and later.features is not None
    if not want_features:
        assert answers.features is None and plain.features is None
        return
    assert answers.features is not None and plain.features is not None and answers.features.shape == (3, 500)
    assert numpy.allclose(answers.features, plain.features, atol=1e-5)
    assert numpy.allclose(answers.features, later.features[::-1], atol=1e-5)
    assert not numpy.allclose(answers.features[0], answers.features[1], atol=1e-2)


class ReadsValue(nn.Module):
    """Reads a tensor's value in a nested branch."""

    def forward(self, pixels: Tensor) -> Tensor:
        rows = pixels.flatten(1)[:, :2].to(torch.float32)
        if rows.dim() == 2 and int(pixels.sum()) < 0:
            rows = -rows
        return torch.softmax(rows / 16.0, dim=1)


def gpu_runner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns the runner of a GPU's model, on a test device."""
    monkeypatch.setattr(cuda, "CudaAccelerator", lambda device: LateDevice())
    artifact = read_artifact(folder)
    return runner_factory.torch_runner(load_module(artifact, CPU), artifact.manifest, torch.device("cuda", 0), 4)


def test_a_model_that_reads_a_tensors_value_runs_without_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec, script = InputSpec(1, 4, 4, 4, "bilinear"), torch.jit.script(ReadsValue())
    model = TorchScriptModel(script)
    known = tuple(script(check_input(spec))[0].tolist())
    content = VersionContent("reads_value", "ReadsValue", spec, ("a", "b"), Weights("random", 0), model, known)
    runner = gpu_runner(write_version(content, tmp_path, 1), monkeypatch)
    monkeypatch.setattr(torch.cuda, "Stream", _refuse)  # the capture must not even start
    image = numpy.zeros((4, 4, 1), numpy.uint8)
    before = runner.run([image], 2)
    assert not runner_factory.capture_graphs(runner)
    assert "cannot be recorded" in caplog.text and "asks for a tensor's value on the way (aten::Int)" in caplog.text
    assert runner.run([image], 2) == before


def test_sizes_in_a_trace_do_not_count_as_reading_a_tensors_value() -> None:
    def flatten(pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32).reshape(pixels.size(0), -1)

    traced = torch.jit.trace(flatten, torch.zeros(2, 1, 2, 2, dtype=torch.uint8))
    assert traced.graph.findAllNodes("aten::Int"), "the trace has no aten::Int to ignore"
    assert not value_reading_operation(traced.graph)


def test_a_model_that_cuda_refuses_to_capture_runs_without_graphs(
    repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner = gpu_runner(repository / "lenet" / "1", monkeypatch)
    monkeypatch.setattr(torch.cuda, "Stream", _refuse)
    runner.keep_sizes([1, 2])
    images = [numpy.zeros((28, 28, 1), numpy.uint8)]
    before = runner.run(images, 2)
    assert not runner_factory.capture_graphs(runner)
    assert "cannot be recorded" in caplog.text and "operation not permitted" in caplog.text
    assert "Search for it" not in caplog.text
    assert runner.run(images, 2) == before


def test_a_cpu_runner_captures_no_graphs(repository: Path) -> None:
    artifact = read_artifact(repository / "lenet" / "1")
    runner = runner_factory.torch_runner(load_module(artifact, CPU), artifact.manifest, CPU, 2)
    assert isinstance(runner, CpuRunner) and not runner_factory.capture_graphs(runner)


def _refuse(*_: object, **__: object) -> None:
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nSearch for it")
