"""Lack of memory is recognised wherever it occurs, and limits only the batch size."""

from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor, nn

from linnaeus.models.export.version_folder import TorchScriptModel, VersionContent, check_input, write_version
from linnaeus.models.manifest import InputSpec, Weights
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact_checks import load_module, read_artifact
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import load_model
from linnaeus.server.runtime.out_of_memory import OutOfMemory, error_summary, is_out_of_memory
from linnaeus.server.runtime.runner_factory import torch_runner
from linnaeus.server.runtime.warmup import warm_up

CPU = torch.device("cpu")
SPEC = InputSpec(channels=1, height=4, width=4, resize=4, interpolation="bilinear")
MORE_THAN_ANY_MACHINE_HAS = 1 << 50


class LimitedModel(nn.Module):
    """Allocates more memory than exists if a batch is larger than `fits`."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.fits, self.too_much = fits, MORE_THAN_ANY_MACHINE_HAS  # TorchScript cannot read globals

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.size(0) > self.fits:
            pixels = pixels + torch.zeros([self.too_much], dtype=torch.uint8, device=pixels.device)[0]
        return torch.softmax(pixels.flatten(1)[:, :2].to(torch.float32), dim=1)


@pytest.fixture
def limited(tmp_path: Path) -> Path:
    """A version folder of a model that fits four images but not eight, a size that warm-up always tries."""
    script = torch.jit.script(LimitedModel(4))
    probabilities = tuple(script(check_input(SPEC))[0].tolist())
    model = TorchScriptModel(script)
    content = VersionContent("limited", "LimitedModel", SPEC, ("a", "b"), Weights("random", 0), model, probabilities)
    return write_version(content, tmp_path, 1)


@pytest.mark.parametrize(
    "device", [CPU, pytest.param(torch.device("cuda", 0), marks=pytest.mark.gpu)], ids=["cpu", "cuda"]
)
def test_a_model_that_runs_out_of_memory_at_large_batches_is_served_in_smaller_ones(
    limited: Path, device: torch.device
) -> None:
    model = load_model(limited, device, 0)
    assert model.max_batch_size <= 4 and len(model.run([numpy.zeros((4, 4, 1), numpy.uint8)], 1)) == 1


@pytest.mark.parametrize(
    "device", [CPU, pytest.param(torch.device("cuda", 0), marks=pytest.mark.gpu)], ids=["cpu", "cuda"]
)
def test_a_model_that_does_not_fit_is_refused_with_a_one_line_reason(limited: Path, device: torch.device) -> None:
    with pytest.raises(ModelRefused, match=r"^model\.pt does not fit into what memory is left on (cpu|cuda:0); ") as it:
        load_model(limited, device, 16)
    assert "\n" not in str(it.value) and "smaller max_batch_size" in str(it.value)


def test_out_of_memory_inside_a_model_raises_out_of_memory_and_smaller_batches_still_run(limited: Path) -> None:
    artifact = read_artifact(limited)
    runner = torch_runner(load_module(artifact, CPU), artifact.manifest, CPU, 16)
    model, image = Model(artifact, CPU, runner, 16), numpy.zeros((4, 4, 1), numpy.uint8)
    with pytest.raises(OutOfMemory, match="can't allocate memory") as refusal:
        model.run([image] * 5, 1)
    assert "\n" not in str(refusal.value)
    assert len(model.run([image] * 4, 1)) == 4
    with pytest.raises(ValueError, match="broadcast"):
        model.run([numpy.zeros((5, 5, 1), numpy.uint8)], 1)


@pytest.mark.parametrize(
    ("text", "is_memory", "line"),
    [
        (
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which 12.50 "
            "MiB is free. Process 7 has 79.00 GiB memory in use. See documentation for Memory Management (https://…)",
            True,
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which 12.50 "
            "MiB is free",
        ),
        (
            "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://… for more information.\n"
            "CUDA kernel errors might be asynchronously reported at some other API call\n"
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n",
            True,
            "CUDA error: out of memory",
        ),
        (
            "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript (most recent "
            'call last):\n  File "x.py", line 3, in forward\nRuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED\n',
            True,
            "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        ),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True, None),
        (
            "CUDA error: an illegal memory access was encountered\nFor debugging consider passing "
            "CUDA_LAUNCH_BLOCKING=1\n",
            False,
            "CUDA error: an illegal memory access was encountered",
        ),
        ("Traceback of TorchScript\nRuntimeError: shapes do not fit\n", False, "RuntimeError: shapes do not fit"),
        ("", False, "without a message"),
    ],
)
def test_torch_errors_are_summarised_and_classified(text: str, is_memory: bool, line: str | None) -> None:
    assert is_out_of_memory(RuntimeError(text)) is is_memory
    assert error_summary(RuntimeError(text)) == (text if line is None else line)


def test_torchs_out_of_memory_error_is_recognised() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("no more")) and is_out_of_memory(OutOfMemory("no more"))


def test_an_error_raised_by_a_models_own_code_is_not_out_of_memory() -> None:
    error = torch.jit.Error("Traceback of TorchScript\ntorch.jit.Error: my list is out of memory\n")
    assert not is_out_of_memory(error) and error_summary(error) == "torch.jit.Error: my list is out of memory"


def test_warm_up_stops_where_memory_ends_unless_the_size_is_fixed() -> None:
    def run(size: int) -> None:
        if size > 4:
            raise OutOfMemory

    now = iter(range(1000))
    assert [each.size for each in warm_up(run, 16, True, lambda: float(next(now)))] == [1, 2, 4]
    with pytest.raises(OutOfMemory):
        warm_up(run, 16, False, lambda: float(next(now)))
