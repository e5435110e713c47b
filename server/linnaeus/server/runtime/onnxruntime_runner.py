"""Runs batches of an ONNX file by ONNX Runtime, on the CPU or a CUDA device.

One session serves all concurrent batches: it holds the weights once, and each run computes on the thread that calls and
on the session's own. These threads do not spin while they wait, because other models share the cores. Their number is
fixed: another number takes another session. The package is imported when it is used: it is optional.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch

from linnaeus.models.manifest import Manifest
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.out_of_memory import OutOfMemory, error_summary, names_memory
from linnaeus.server.runtime.runner import BatchOutput, Pixels
from linnaeus.server.runtime.topk import top_k

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_LOG_FATAL = 4
_FEATURES = 1  # the place of the second output


class OnnxRuntimeRunner:
    """Implements `Runner`; each concurrent run has its own staging buffer.

    Args:
        path: the ONNX file: uint8 [N, C, H, W] to float32 [N, classes], and perhaps features.
        manifest: the version's manifest.
        device: the device to run on; on a CPU a batch uses as many cores as torch in this thread until `keep_cores`.
        largest: the largest batch size.

    Raises:
        ModelRefused: if ONNX Runtime cannot open the file, or was installed without the device.
        OutOfMemory: if memory runs out.
    """

    def __init__(self, path: Path, manifest: Manifest, device: torch.device, largest: int) -> None:
        self._path = path
        self._providers = _providers(device)
        spec = manifest.input
        self._image_shape = (spec.channels, spec.height, spec.width)
        self._largest = largest
        self._staging: list[Pixels] = []  # free buffers
        self._threads = torch.get_num_threads()
        self._session: Any = self._open()
        try:
            self._check_output(manifest)
        except BaseException:
            self.close()
            raise

    def run(self, images: Sequence[Pixels], k: int, want_features: bool = False) -> BatchOutput:
        """Runs one batch; see `Runner`."""
        staging = self._take_staging()
        try:
            for row, image in zip(staging[: len(images)], images, strict=True):
                row[:] = image.transpose(2, 0, 1)
            outputs = self._outputs(staging[: len(images)], want_features)
        finally:
            self._staging.append(staging)
        values, indices = top_k(outputs[0], k)
        features = outputs[_FEATURES] if len(outputs) > _FEATURES else None
        return BatchOutput(indices, values, features)

    def keep_sizes(self, sizes: Sequence[int]) -> None:
        """Frees the buffers of larger batches; see `Runner`."""
        self._largest = sizes[-1]
        self._staging.clear()

    def keep_cores(self, alone: int, beside: int) -> None:
        """Uses a session of `alone` threads, also for two batches at once; see `Runner`."""
        if alone != self._threads and self._providers == [_CPU]:
            self._threads, self._session = alone, None  # the old session is freed before the new one reads the weights
            self._session = self._open()

    def settle(self) -> None:
        """Does nothing: nothing is kept that only loading needs; see `Runner`."""

    def close(self) -> None:
        """Frees the session and the buffers; see `Runner`."""
        self._staging.clear()
        self._session = None

    def _open(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _LOG_FATAL  # errors are raised; without this they are printed as well
        try:
            return onnxruntime.InferenceSession(str(self._path), options, providers=self._providers)
        except _errors() as error:
            raise _memory_error(error) or ModelRefused(
                f"{self._path.name} cannot be opened by onnxruntime: {error_summary(error)}"
            ) from error

    def _outputs(self, pixels: Pixels, want_features: bool) -> list[Any]:
        """Runs the session on uint8 [N, C, H, W]; returns the probabilities, and the features if they are wanted."""
        names = [output.name for output in self._session.get_outputs()[: 1 + want_features]]
        try:
            outputs: list[Any] = self._session.run(names, {self._session.get_inputs()[0].name: pixels})
        except _errors() as error:
            raise _memory_error(error) or RuntimeError(error_summary(error)) from error
        return outputs

    def _check_output(self, manifest: Manifest) -> None:
        """Runs a blank image and checks the outputs' shapes and dtypes."""
        try:
            outputs = self._outputs(numpy.zeros((1, *self._image_shape), numpy.uint8), want_features=True)
        except OutOfMemory:
            raise
        except RuntimeError as error:
            raise ModelRefused(f"{self._path.name} cannot be run by onnxruntime: {error}") from error
        given = [f"{each.dtype} {list(each.shape)}" for each in outputs]
        expected = [f"float32 [1, {size}]" for size in (manifest.classes, manifest.features) if size]
        if given != expected:
            raise ModelRefused(
                f"{self._path.name} gives {' and '.join(given)} for one image, but must give {' and '.join(expected)}"
            )

    def _take_staging(self) -> Pixels:
        """Returns a free buffer, or a new one: uint8 [largest, C, H, W]."""
        try:
            return self._staging.pop()
        except IndexError:
            return numpy.zeros((self._largest, *self._image_shape), numpy.uint8)


def runs_on(device: torch.device) -> bool:
    """Whether the installed ONNX Runtime, if there is one, was built for the kind of device."""
    try:
        import onnxruntime
    except ImportError:
        return False
    return (_CPU if device.type == "cpu" else _CUDA) in onnxruntime.get_available_providers()


def _providers(device: torch.device) -> list[Any]:
    if not runs_on(device):
        package = "onnxruntime" if device.type == "cpu" else "onnxruntime-gpu"
        raise ModelRefused(f"onnxruntime is not installed for {device}: pip install {package}")
    return [_CPU] if device.type == "cpu" else [(_CUDA, {"device_id": device.index or 0}), _CPU]


def _errors() -> tuple[type[Exception], ...]:
    """Returns what ONNX Runtime raises; its errors have no common base class."""
    from onnxruntime.capi import onnxruntime_pybind11_state

    found = vars(onnxruntime_pybind11_state).values()
    own = [each for each in found if isinstance(each, type) and issubclass(each, Exception)]
    return (*own, RuntimeError, MemoryError)


def _memory_error(error: Exception) -> OutOfMemory | None:
    """Returns the error as `OutOfMemory` if memory was short."""
    if isinstance(error, MemoryError) or names_memory(error):
        return OutOfMemory(error_summary(error))
    return None
