"""CUDA, as far as it is not like other devices: streams, page-locked memory and recorded graphs.

The order of things is `pipeline`'s. No thread but a runner's launcher enters CUDA, except to wait.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from linnaeus.models.manifest import Manifest
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.pipeline import PipelinedRunner
from linnaeus.server.runtime.runner import Pixels, TopK
from linnaeus.server.runtime.topk import top_k

# What brings a tensor's value to the processor, in TorchScript's words; a recording cannot wait for it.
_SYNCHRONIZING = (
    *(f"aten::{name}" for name in ("item", "Int", "Float", "Bool", "is_nonzero", "equal", "nonzero", "masked_select")),
    *(f"aten::{name}" for name in ("IntImplicit", "FloatImplicit", "ScalarImplicit", "tolist")),
)
# PyTorch records one graph at a time in a process.
_capture_lock = threading.Lock()
# A recording that broke off leaves PyTorch's allocator with a reference to its graph, so that must outlive its model.
_failed_captures: list[torch.cuda.CUDAGraph] = []


class CudaStream:
    """Implements `CommandQueue`: a stream."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Its waiters sleep: by default they would spin, on cores that decoders want.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def enqueue(self, order: Callable[[], object]) -> None:
        """Puts operations on the stream."""
        with torch.cuda.stream(self.stream):
            order()

    def wait_for(self, other: "CudaStream") -> None:
        """Waits for another stream on the device, not here."""
        self.stream.wait_stream(other.stream)

    def synchronize(self) -> None:
        """Sleeps until the stream is done."""
        self._done.record(self.stream)
        self._done.synchronize()


class CudaAccelerator:
    """Implements `Accelerator`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def set_current(self) -> None:
        """Page-locked memory and events belong to the thread's current device."""
        torch.cuda.set_device(self._device)

    def command_queue(self) -> CudaStream:
        """A stream of its own."""
        return CudaStream(self._device)

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Page-locked memory: from any other, copies would not be asynchronous."""
        return torch.zeros(tuple(shape), dtype=dtype, pin_memory=True)

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The device's memory, zeroed by the time this returns: other streams do not wait for the filling."""
        made = torch.zeros(tuple(shape), dtype=dtype, device=self._device)
        torch.cuda.current_stream(self._device).synchronize()
        return made


class _Graph:
    """One batch size's kernels, recorded once and launched together ever after.

    Belongs to the launcher, which runs it on the computing line only: it has one place for its input and its answers.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, pixels: Tensor, answers: tuple[Tensor, Tensor]) -> None:
        self._graph = graph
        self._pixels = pixels
        self._answers = answers

    def __call__(self, pixels: Tensor, k: int) -> tuple[Tensor, Tensor]:
        self._pixels.copy_(pixels)
        self._graph.replay()
        values, indices = self._answers
        # Copies, always: the next batch overwrites the graph's own before these are fetched.
        whole = torch.contiguous_format
        return values[:, :k].clone(memory_format=whole), indices[:, :k].clone(memory_format=whole)


class CudaForward:
    """Implements `Forward`: a module, and the graphs recorded of it. Belongs to the launcher.

    Args:
        module: the model, on the device.
        classes: that it tells apart.
        layout: the memory format of what it takes.
    """

    def __init__(
        self, module: torch.jit.ScriptModule, classes: int, layout: torch.memory_format = torch.contiguous_format
    ) -> None:
        self._module = module
        self._classes = classes
        self._layout = layout
        self._graphs: dict[int, _Graph] = {}

    def __call__(self, pixels: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Ranks a batch, by its graph if there is one."""
        with torch.inference_mode(), without_profiling():
            if graph := self._graphs.get(len(pixels)):
                return graph(pixels, k)
            values, indices = self._rank(pixels, k)
            return values.contiguous(), indices.contiguous()

    def capture(self, sizes: Sequence[int], image_shape: Sequence[int], device: torch.device) -> None:
        """Records a graph for each size, all of which this thread has run; a batch of any other is run as before.

        The graphs run one after the other, so they share their memory, and their input. The largest comes first: the
        others fit into what it took.

        Raises:
            RuntimeError: the model cannot be recorded: it asks for a value on the way, which is seen beforehand, or
                CUDA refuses.
        """
        if asked := _synchronizing_operation(self._module.graph):
            raise RuntimeError(f"it asks for a tensor's value on the way ({asked})")
        with _capture_lock, torch.inference_mode(), without_profiling():
            # PyTorch hands the same few streams out again and again, and whatever another model does on a stream that
            # records would be recorded: streams of this priority are for recordings alone.
            stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                pixels = torch.zeros((sizes[-1], *image_shape), dtype=torch.uint8, device=device)
                self._rank(pixels[:1], self._classes)  # libraries set themselves up for a stream in the first run
            pool = torch.cuda.graph_pool_handle()
            self._graphs = {size: self._capture(pixels[:size], pool, stream) for size in reversed(sizes)}

    def close(self) -> None:
        """Frees the graphs; none of them runs any more."""
        with _capture_lock:  # nobody frees memory of one model's graphs while another's are made
            self._graphs.clear()

    def _capture(self, pixels: Tensor, pool: Any, stream: torch.cuda.Stream) -> _Graph:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other models may be serving meanwhile: only this thread is held to what a recording allows.
            with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                answers = self._rank(pixels, self._classes)
        except BaseException:
            _failed_captures.append(graph)
            raise
        return _Graph(graph, pixels, answers)

    def _rank(self, pixels: Tensor, k: int) -> tuple[Tensor, Tensor]:
        # Staged as height, width, channels: to torch this is [N, C, H, W] in channels-last order.
        return top_k(self._module(pixels.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)), k)


def _synchronizing_operation(graph: Any) -> str:
    """The first operation in a module's graph that brings a tensor's value to the processor; empty for none."""
    for kind in _SYNCHRONIZING:
        given = (value for node in graph.findAllNodes(kind) for value in node.inputs())
        if any(map(_is_on_the_device, given)):
            return kind
    return ""


def _is_on_the_device(value: Any) -> bool:
    """Whether it is a tensor, and none that tracing made of a number, which stays with the processor."""
    is_tensor: bool = value.type().kind() == "TensorType"
    return is_tensor and value.node().kind() != "prim::NumToTensor"


class CudaRunner:
    """Implements `Runner`.

    Args:
        module: the model, on the device.
        manifest: what it takes and gives.
        device: a GPU.
        sizes: of batches, growing.
        layout: the memory format of what the model takes.
    """

    def __init__(
        self,
        module: torch.jit.ScriptModule,
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
            CudaAccelerator(device), self._forward, self._image_shape, manifest.classes, self._sizes
        )

    def run(self, images: Sequence[Pixels], k: int) -> TopK:
        """Runs one batch to its end; see `Runner`."""
        return self._pipeline.run(images, k)

    def keep(self, sizes: Sequence[int]) -> None:
        """Runs no others from now on; see `Runner`."""
        self._sizes = list(sizes)
        self._pipeline.keep(sizes)

    def close(self) -> None:
        """Ends the launcher, which frees the graphs and the page-locked memory; see `Runner`."""
        self._pipeline.close(self._forward.close)

    def capture_graphs(self) -> None:
        """Runs every size it keeps by a recorded graph from now on; they must have been warmed up.

        Raises:
            RuntimeError: the model cannot be recorded; it runs as before.
        """
        self._pipeline.run_on_launcher(partial(self._forward.capture, self._sizes, self._image_shape, self._device))
