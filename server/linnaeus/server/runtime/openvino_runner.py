"""Runs batches on the CPU by OpenVINO.

A model is compiled for a batch that runs alone, in one stream on all cores, and for two batches at once, in two streams
of half the cores each: on all cores, every layer would wait for the one that does something else meanwhile
(docs/decisions/0031-runtimes.md). Both take any batch size. A small model is also compiled for fixed batch sizes, which
run up to a tenth faster (`lenet` a third). Each compiled model holds a copy of the weights, and the activations of its
largest batch, so the memory limits how many there are.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import torch

from linnaeus.models.manifest import InputSpec
from linnaeus.server.runtime.openvino_conversion import OpenVinoModel, openvino_core
from linnaeus.server.runtime.out_of_memory import OutOfMemory, error_summary, is_out_of_memory
from linnaeus.server.runtime.runner import BatchOutput, Pixels
from linnaeus.server.runtime.staging import stage
from linnaeus.server.runtime.topk import top_k

logger = logging.getLogger(__name__)

# Below this much memory for all compiled models their number is no concern.
_SMALL_BYTES = 16 << 20
# What a compiled model holds besides the weights, at least.
_COMPILED_BYTES = 5 << 20
# The batch sizes, up to this one, that every model prepares before it serves; each takes up to 0.1 s.
_LARGEST_PREPARED = 16
# What is not int8 in an int8 model is float32.
_HINTS = {"float32": "f32", "int8": "f32", "bfloat16": "bf16", "float16": "f16"}
_ANY_SIZE = 0
# More batches at once wait for one another.
AT_ONCE = 2
# While OpenVINO reads or writes its cache, the locale of the process is C, and two at once leave it so: Python would
# then take what files and other programs say for ASCII.
_cache_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """How a model is compiled.

    Attributes:
        precision: float32, int8, bfloat16 or float16.
        weights_bytes: size of the model's weights.
        memory_factor: the compiled models' memory at most, as a multiple of the weights.
        cache_folder: where OpenVINO keeps compiled models between starts; empty for nowhere.
    """

    precision: str
    weights_bytes: int
    memory_factor: float
    cache_folder: str = ""

    @property
    def most_compiled(self) -> int:
        """How often the model may be compiled, at least once."""
        return max(1, int(max(self.memory_factor, _SMALL_BYTES / (self.weights_bytes + _COMPILED_BYTES))))


class _Form(NamedTuple):
    """What a model is compiled for: a batch size, or any, and so many streams of so many cores each."""

    size: int
    cores: int
    streams: int


class OpenVinoRunner:
    """Implements `Runner`; each concurrent run has its own staging buffer and requests.

    Until `keep_cores`, a batch uses as many cores as torch in the thread that creates the runner.

    Args:
        model: input uint8 [N, H, W, C], first output float32 [N, classes], second, if any, features float32 [N, d].
        spec: the model's input.
        largest: the largest batch size.
        options: how it is compiled.

    Raises:
        RuntimeError: if the model cannot be compiled.
    """

    def __init__(
        self,
        model: OpenVinoModel,
        spec: InputSpec,
        largest: int,
        options: CompileOptions,
    ) -> None:
        self._model = model
        self._has_features = len(model.outputs) > 1
        self._image_shape = (spec.height, spec.width, spec.channels)
        self._sizes = [largest]
        self._options = options
        self._alone = self._beside = torch.get_num_threads()
        self._compiled: dict[_Form, Any] = {}
        self._free: list[_Slot] = []
        self._compile()

    @property
    def memory_bytes(self) -> int:
        """The memory of the weights: as they were read, and in each compiled model."""
        return self._options.weights_bytes * (1 + len(self._compiled))

    def run(self, images: Sequence[Pixels], k: int, want_features: bool = False) -> BatchOutput:
        """Runs one batch, as one of two if torch may use fewer cores than a batch alone; see `Runner`."""
        cores = self._beside if torch.get_num_threads() < self._alone else self._alone
        with self._slot() as slot:
            stage(images, slot.rows)
            request = slot.infer(len(images), cores)
            values, indices = top_k(request.get_output_tensor(0).data, k)
            features = request.get_output_tensor(1).data.copy() if want_features and self._has_features else None
            return BatchOutput(indices, values, features)

    def keep_sizes(self, sizes: Sequence[int]) -> None:
        """Frees the buffers of larger batches; see `Runner`."""
        self._sizes = list(sizes)
        self._free.clear()
        self._release_activations()

    def keep_cores(self, alone: int, beside: int) -> None:
        """Compiles the model for these numbers of cores, and prepares all batch sizes; see `Runner`."""
        self._alone, self._beside = alone, beside
        self._compile()
        with self._slot() as slot:
            for cores in {alone, beside}:
                for count in range(1, min(self._sizes[-1], _LARGEST_PREPARED) + 1):
                    slot.infer(count, cores)
        self._release_activations()

    def settle(self) -> None:
        """Frees the model that is only needed for compiling; see `Runner`."""
        self._model = None

    def close(self) -> None:
        """Frees the compiled models and the buffers; see `Runner`."""
        self._free.clear()
        self._compiled.clear()
        self._model = None

    def _release_activations(self) -> None:
        """Frees the memory in which layers compute; as much as a batch needs is taken again when it runs."""
        for compiled in self._compiled.values():
            compiled.release_memory()

    def _compile(self) -> None:
        """Compiles the model for any size, and for the largest and the smallest sizes as far as memory allows."""
        self._free.clear()
        streams = [_Form(_ANY_SIZE, self._alone, 1)]
        if self._beside < self._alone:
            streams.append(_Form(_ANY_SIZE, self._beside, AT_ONCE))
        single_sizes = [_Form(size, self._alone, 1) for size in dict.fromkeys((self._sizes[-1], *self._sizes[:-1]))]
        kept = [*streams, *single_sizes][: self._options.most_compiled]
        self._compiled = {form: self._compiled.get(form) or self._compile_for(form) for form in kept}

    def _compile_for(self, form: _Form) -> Any:
        import openvino

        model = self._model.clone()
        model.reshape(openvino.PartialShape([form.size or -1, *self._image_shape]))
        settings = {
            "NUM_STREAMS": form.streams,
            "INFERENCE_NUM_THREADS": form.streams * form.cores,
            "ENABLE_CPU_PINNING": False,  # pinned threads wait for cores that others use, while some are free
            "INFERENCE_PRECISION_HINT": _HINTS[self._options.precision],
        }
        with _memory_errors():
            if self._options.cache_folder:
                try:
                    cached = settings | {"CACHE_DIR": self._options.cache_folder}
                    with _cache_lock:
                        return openvino_core().compile_model(model, "CPU", cached)
                except RuntimeError as error:  # the disk is full, or a file in it is damaged
                    logger.warning("compiled without the cache: %s", error_summary(error))
            return openvino_core().compile_model(model, "CPU", settings)

    @contextmanager
    def _slot(self) -> Iterator["_Slot"]:
        try:
            slot = self._free.pop()
        except IndexError:
            slot = _Slot((self._sizes[-1], *self._image_shape), self._compiled)
        try:
            yield slot
        finally:
            self._free.append(slot)


class _Slot:
    """A staging buffer and the requests of one batch at a time.

    Attributes:
        rows: uint8 [largest, H, W, C].
    """

    def __init__(self, shape: tuple[int, int, int, int], compiled: dict[_Form, Any]) -> None:
        self._compiled = {form[:2]: each for form, each in compiled.items()}
        self._any = next(iter(compiled.values()))
        self._requests: dict[tuple[int, int], Any] = {}  # by number of images and of cores
        self.rows: Pixels = numpy.zeros(shape, numpy.uint8)

    def infer(self, count: int, cores: int) -> Any:
        """Runs the first `count` rows; returns the request, whose outputs are valid until the slot's next run."""
        with _memory_errors():
            request = self._requests.get((count, cores)) or self._new_request(count, cores)
            request.infer()
            return request

    def _new_request(self, count: int, cores: int) -> Any:
        import openvino

        compiled = self._compiled.get((count, cores)) or self._compiled.get((_ANY_SIZE, cores), self._any)
        request = self._requests[count, cores] = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(self.rows[:count], shared_memory=True))
        return request


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turns a lack of memory into `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory(error_summary(error)) from error
        raise
