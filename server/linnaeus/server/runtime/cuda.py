"""The CUDA side of `pipeline`: streams, page-locked memory and CUDA graphs.

Only a runner's launcher thread calls CUDA; other threads only wait for events.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from linnaeus.models.manifest import Manifest
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.model_outputs import split_outputs
from linnaeus.server.runtime.pipeline import Answers, PipelinedRunner
from linnaeus.server.runtime.runner import BatchOutput, Pixels
from linnaeus.server.runtime.topk import device_top_k
from linnaeus.server.runtime.torch_module import TorchModule
from linnaeus.server.runtime.value_reads import value_reading_operation

# PyTorch captures one graph at a time in a process.
_capture_lock = threading.Lock()
# After a failed capture PyTorch's allocator still refers to the graph, so the graph must outlive its model.
_failed_captures: list[torch.cuda.CUDAGraph] = []


class CudaStream:
    """Implements `CommandQueue` with a CUDA stream."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Waiting threads sleep: by default they would spin on cores that the decoders need.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def enqueue(self, operation: Callable[[], object]) -> None:
        """Enqueues operations on the stream."""
        with torch.cuda.stream(self.stream):
            operation()

    def wait_for(self, other: "CudaStream") -> None:
        """Makes this stream wait for another one on the device, without blocking the thread."""
        self.stream.wait_stream(other.stream)

    def synchronize(self) -> None:
        """Blocks, sleeping, until the stream is done."""
        self._done.record(self.stream)
        self._done.synchronize()


class CudaAccelerator:
    """Implements `Accelerator` for one GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def set_current(self) -> None:
        """Makes this GPU the thread's current device, to which page-locked memory and events belong."""
        torch.cuda.set_device(self._device)

    def command_queue(self) -> CudaStream:
        """Returns a new stream."""
        return CudaStream(self._device)

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns page-locked memory; copies from other memory would not be asynchronous."""
        return torch.zeros(tuple(shape), dtype=dtype, pin_memory=True)

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns zeroed memory of the GPU. It waits for the zeroing, because other streams do not."""
        memory = torch.zeros(tuple(shape), dtype=dtype, device=self._device)
        torch.cuda.current_stream(self._device).synchronize()
        return memory


class _Graph:
    """A captured graph for one batch size.

    Only the launcher may replay it, on the compute stream only: it has one input buffer and one output buffer.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, pixels: Tensor, answers: Answers) -> None:
        self._graph = graph
        self._pixels = pixels
        self._answers = answers

    def __call__(self, pixels: Tensor, k: int) -> Answers:
        self._pixels.copy_(pixels)
        self._graph.replay()
        values, indices, features = self._answers
        # Always copies: the next replay overwrites the graph's output before it is fetched.
        return _copy(values[:, :k]), _copy(indices[:, :k]), None if features is None else _copy(features)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


class CudaForward:
    """Implements `Forward`: a module, and the graphs captured from it. Only the launcher may use it.

    Args:
        module: the model, on the device.
        classes: number of classes.
        layout: memory format of the model's input.
    """

    def __init__(
        self, module: TorchModule, classes: int, layout: torch.memory_format = torch.contiguous_format
    ) -> None:
        self._module = module
        self._classes = classes
        self._layout = layout
        self._graphs: dict[int, _Graph] = {}

    def __call__(self, pixels: Tensor, k: int) -> Answers:
        """Returns the top-k of a batch, and its features; replays the graph of its size if there is one."""
        with torch.inference_mode(), without_profiling():
            if graph := self._graphs.get(len(pixels)):
                return graph(pixels, k)
            values, indices, features = self._classify(pixels, k)
            return values.contiguous(), indices.contiguous(), None if features is None else features.contiguous()

    def capture(self, sizes: Sequence[int], image_shape: Sequence[int], device: torch.device) -> None:
        """Captures a graph for each size; batches of other sizes run without a graph.

        This thread must have run every size before. The graphs never overlap in time, so they share their memory and
        their input. The largest is captured first; the others fit into its memory.

        Raises:
            RuntimeError: if the model cannot be captured, because it reads a tensor's value (found beforehand) or
                because CUDA refuses.
        """
        if operation := value_reading_operation(self._module.graph):
            raise RuntimeError(f"it asks for a tensor's value on the way ({operation})")
        with _capture_lock, torch.inference_mode(), without_profiling():
            # PyTorch reuses a few streams, and whatever another model does on a capturing stream would be captured.
            # Streams of this priority are used for captures only.
            stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                pixels = torch.zeros((sizes[-1], *image_shape), dtype=torch.uint8, device=device)
                # libraries initialise their per-stream state in the first run
                self._classify(pixels[:1], self._classes)
            pool = torch.cuda.graph_pool_handle()
            self._graphs = {size: self._capture(pixels[:size], pool, stream) for size in reversed(sizes)}

    def close(self) -> None:
        """Frees the graphs, none of which may be running."""
        with _capture_lock:  # no graph memory is freed while another model is captured
            self._graphs.clear()

    def _capture(self, pixels: Tensor, pool: Any, stream: torch.cuda.Stream) -> _Graph:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other models may be serving: only this thread is restricted to operations that a capture allows.
            with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                answers = self._classify(pixels, self._classes)
        except BaseException:
            _failed_captures.append(graph)
            raise
        return _Graph(graph, pixels, answers)

    def _classify(self, pixels: Tensor, k: int) -> Answers:
        # Staged as [N, H, W, C]: permuted, this is [N, C, H, W] in channels-last memory format.
        images = pixels.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)
        probabilities, features = split_outputs(self._module(images))
        return *device_top_k(probabilities, k), features


class CudaRunner:
    """Implements `Runner` for a GPU.

    Args:
        module: the model, on the device.
        manifest: the model's input and classes.
        device: the GPU.
        sizes: batch sizes, ascending.
        layout: memory format of the model's input.
    """

    def __init__(
        self,
        module: TorchModule,
        manifest: Manifest,
        device: torch.device,
        sizes: Sequence[int],
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        spec = manifest.input
        self._image_shape = (spec.height, spec.width, spec.channels)
        self._sizes = list(sizes)
        self._device = device
        self._forward = CudaForward(module, manifest.classes, layout)
        self._pipeline = PipelinedRunner(
            CudaAccelerator(device),
            self._forward,
            self._image_shape,
            manifest.classes,
            self._sizes,
            features=manifest.features,
        )

    def run(self, images: Sequence[Pixels], k: int, want_features: bool = False) -> BatchOutput:
        """Runs one batch; see `Runner`."""
        return self._pipeline.run(images, k, want_features)

    def keep_sizes(self, sizes: Sequence[int]) -> None:
        """Restricts the runner to these sizes; see `Runner`."""
        self._sizes = list(sizes)
        self._pipeline.keep_sizes(sizes)

    def keep_cores(self, alone: int, beside: int) -> None:
        """Does nothing: a GPU computes; see `Runner`."""

    def settle(self) -> None:
        """Does nothing: the module is all that is held; see `Runner`."""

    def close(self) -> None:
        """Ends the launcher, and frees the graphs and the page-locked memory; see `Runner`."""
        self._pipeline.close(self._forward.close)

    def capture_graphs(self) -> None:
        """Captures a graph for every size, which must have been warmed up; later runs replay the graphs.

        Raises:
            RuntimeError: if the model cannot be captured; it then runs without graphs.
        """
        self._pipeline.run_on_launcher(partial(self._forward.capture, self._sizes, self._image_shape, self._device))
