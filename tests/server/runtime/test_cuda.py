"""A GPU computes what the CPU computes, without synchronising calls, in memory allocated at load."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor, nn

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.export.version_folder import TorchScriptModel, VersionContent, check_input, write_version
from linnaeus.models.manifest import InputSpec, Weights
from linnaeus.models.registry import find
from linnaeus.server.runtime.artifact_checks import load_module, read_artifact
from linnaeus.server.runtime.device import configure_process
from linnaeus.server.runtime.model import Model, Pixels
from linnaeus.server.runtime.model_loading import LoadOptions, load_model
from linnaeus.server.runtime.out_of_memory import OutOfMemory
from linnaeus.server.runtime.torch_module import fitted

pytestmark = pytest.mark.gpu

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
GRAPHS = pytest.mark.parametrize("cuda_graphs", [False, True], ids=["launched", "recorded"])
TOLERANCE = 1e-4  # both are float32, summed in another order
LARGEST = 8
# Between the needs of efficientnet_lite0 for one image and for eight; its two widest layers take 77 MiB for eight.
_LITTLE_BYTES = 64 << 20
# PyTorch's allocator reserves this much at a time for tensors below 1 MiB.
_STEP_BYTES = 2 << 20


@pytest.fixture(autouse=True)
def configured() -> None:
    configure_process(0)


@pytest.fixture(scope="module")
def loaded(repository: Path) -> dict[tuple[str, bool], Model]:
    configure_process(0)
    names, both = ("lenet", "efficientnet_lite0"), (False, True)
    return {
        (name, graphs): load_model(repository / name / "1", GPU, LARGEST, options=LoadOptions(cuda_graphs=graphs))
        for name in names
        for graphs in both
    }


def noise(model: Model, count: int, seed: int = 0) -> list[Pixels]:
    spec = model.manifest.input
    shape = (count, spec.height, spec.width, spec.channels)
    return list(numpy.random.default_rng(seed).integers(0, 256, shape, numpy.uint8))


def probabilities(model: Model, images: list[Pixels]) -> numpy.ndarray:
    """Returns probabilities by class index, [N, classes]."""
    rows = numpy.zeros((len(images), model.manifest.classes), numpy.float32)
    for row, ranking in zip(rows, model.run(images, model.manifest.classes), strict=True):
        row[ranking.indices] = ranking.probabilities
    return rows


@GRAPHS
def test_features_equal_those_of_the_cpu_at_every_batch_size(cuda_graphs: bool, tmp_path: Path) -> None:
    lenet = find("lenet")
    folder = export_torchscript(lenet, lenet.bundled_weights(), tmp_path, 1, features=True)
    model, plain = (
        load_model(folder, GPU, LARGEST, options=LoadOptions(cuda_graphs=cuda_graphs)),
        load_model(folder, CPU, LARGEST),
    )
    for count in range(1, LARGEST + 1):
        images = noise(model, count, seed=count)
        ours, theirs = (each.run(images, 3, want_features=True) for each in (model, plain))
        for one, other in zip(ours, theirs, strict=True):
            features = (numpy.frombuffer(each.features, "<f4") for each in (one, other))
            assert numpy.allclose(*features, rtol=1e-3, atol=1e-3) and one.indices[0] == other.indices[0]
        assert not any(ranking.features for ranking in model.run(images, 3))


@GRAPHS
@pytest.mark.parametrize("name", ["lenet", "efficientnet_lite0"])
def test_answers_equal_those_of_the_cpu_at_every_batch_size(
    name: str, cuda_graphs: bool, repository: Path, loaded: dict[tuple[str, bool], Model]
) -> None:
    model, plain = loaded[name, cuda_graphs], load_model(repository / name / "1", CPU, LARGEST)
    for count in range(1, LARGEST + 1):
        images = noise(model, count, seed=count)
        assert abs(probabilities(model, images) - probabilities(plain, images)).max() < TOLERANCE


@GRAPHS
def test_concurrent_batches_do_not_mix_answers(cuda_graphs: bool, loaded: dict[tuple[str, bool], Model]) -> None:
    model = loaded["lenet", cuda_graphs]
    batches = [noise(model, 1 + number % LARGEST, seed=number) for number in range(64)]
    alone = [probabilities(model, images) for images in batches]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            for expected, given in zip(
                alone, threads.map(lambda images: probabilities(model, images), batches), strict=True
            ):
                assert numpy.allclose(given, expected, atol=1e-6)


@GRAPHS
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_run_makes_no_synchronising_call(cuda_graphs: bool, loaded: dict[tuple[str, bool], Model]) -> None:
    model = loaded["efficientnet_lite0", cuda_graphs]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for count in (1, 3, LARGEST):
            assert len(model.run(noise(model, count), 5)) == count
        # confirms that the debug mode detects a synchronising call
        with pytest.raises(RuntimeError, match="synchroniz"):
            torch.ones(1, device=GPU).item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@GRAPHS
def test_serving_allocates_no_device_memory_after_loading(
    cuda_graphs: bool, loaded: dict[tuple[str, bool], Model]
) -> None:
    model = loaded["efficientnet_lite0", cuda_graphs]
    model.run(noise(model, LARGEST), 5)
    before = torch.cuda.memory_reserved(GPU)
    for count in range(1, LARGEST + 1):
        model.run(noise(model, count), count)
    assert torch.cuda.memory_reserved(GPU) - before <= _STEP_BYTES


@pytest.fixture
def little_memory(loaded: dict[tuple[str, bool], Model]) -> Iterator[None]:
    """Leaves enough memory for a batch of one of efficientnet_lite0, but not for a batch of eight."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(GPU) + _LITTLE_BYTES) / total, GPU)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, GPU)


@pytest.mark.usefixtures("little_memory")
def test_a_batch_too_large_for_the_memory_raises_out_of_memory_and_smaller_ones_still_run(
    loaded: dict[tuple[str, bool], Model],
) -> None:
    model = loaded["efficientnet_lite0", False]
    with pytest.raises(OutOfMemory, match="out of memory") as refusal:
        model.run(noise(model, LARGEST), 1)
    assert "\n" not in str(refusal.value)
    assert len(model.run(noise(model, 1), 1)) == 1


class ReadsValue(nn.Module):
    """A model that reads a tensor's value, so it cannot be captured."""

    def forward(self, pixels: Tensor) -> Tensor:
        rows = pixels.flatten(1)[:, :2].to(torch.float32)
        if int(pixels.sum()) < 0:
            rows = -rows
        return torch.softmax(rows / 16.0, dim=1)


def test_a_model_that_cannot_be_captured_is_served_without_graphs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, loaded: dict[tuple[str, bool], Model]
) -> None:
    spec, script = InputSpec(1, 4, 4, 4, "bilinear"), torch.jit.script(ReadsValue())
    model = TorchScriptModel(script)
    known = tuple(script(check_input(spec))[0].tolist())
    content = VersionContent("reads_value", "ReadsValue", spec, ("a", "b"), Weights("random", 0), model, known)
    folder = write_version(content, tmp_path, 1)
    model, plain = (load_model(folder, device, 4, options=LoadOptions(cuda_graphs=True)) for device in (GPU, CPU))
    assert "cannot be recorded" in caplog.text
    images = noise(model, 3)
    assert abs(probabilities(model, images) - probabilities(plain, images)).max() < TOLERANCE
    # A failed capture does not affect other models.
    other = loaded["lenet", True]
    assert len(other.run(noise(other, 2), 1)) == 2


def test_a_model_is_loaded_and_captured_while_another_one_serves(
    repository: Path, loaded: dict[tuple[str, bool], Model]
) -> None:
    serving, stop, wrong = loaded["lenet", False], threading.Event(), []
    images = noise(serving, 5)
    expected = probabilities(serving, images)

    def serve() -> None:
        while not stop.is_set():
            if abs(probabilities(serving, images) - expected).max() > 1e-6:
                wrong.append("an answer")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        model = load_model(repository / "efficientnet_lite0" / "1", GPU, 4, options=LoadOptions(cuda_graphs=True))
    finally:
        stop.set()
        thread.join(timeout=30)
    assert not wrong and len(model.run(noise(model, 3), 1)) == 3


def test_convolutions_use_full_float32_even_in_a_model_traced_with_tf32() -> None:
    network = nn.Conv2d(256, 64, 3).eval()
    images = torch.randn(4, 256, 12, 12)
    exact = network.double()(images.double())
    network, images = network.float().to(GPU), images.to(GPU)
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    traced = torch.jit.trace(network, images)
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    for run in (network, fitted(traced, GPU, "float32", torch.contiguous_format)):
        with torch.inference_mode():
            error = (run(images).cpu().double() - exact).norm() / exact.norm()
        assert error < 1e-5  # about 3e-4 with TF32


def test_a_module_is_loaded_onto_the_given_device(repository: Path) -> None:
    module = load_module(read_artifact(repository / "lenet" / "1"), GPU)
    answers = module(torch.zeros(2, 1, 28, 28, dtype=torch.uint8, device=GPU))
    assert answers.device == GPU and answers.shape == (2, 10)
