"""What tritonserver's Python backend runs: a model of Linnaeus's repository, decoded by Pillow, run by TorchScript.

`peers_repository` puts a copy of this file into tritonserver's repository, and the backend's own interpreter imports it
there, so it must know nothing of Linnaeus. Written as its documentation has it: the batch that the server has formed is
decoded, runs as one tensor, and is cut into answers again. config.pbtxt says how, in `parameters`.
"""

import io
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import torch
import triton_python_backend_utils as triton
from numpy.typing import NDArray
from PIL import Image

# TorchScript compiles anew at the first calls with every batch size.
WARMING_RUNS = 3


class TritonPythonModel:
    """The class that the backend looks for; each instance of the model has one, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model and runs it at every batch size.

        Args:
            args: as the backend passes it; `model_config` is the configuration as JSON.
        """
        config = json.loads(args["model_config"])
        told = {name: each["string_value"] for name, each in config["parameters"].items()}
        self._input = config["input"][0]["name"]
        self._spec = json.loads(Path(told["manifest"]).read_text(encoding="utf-8"))["input"]
        torch.set_num_threads(int(told["threads"]))
        self._decoders = ThreadPoolExecutor(int(told["decoders"]))
        self._module = load(told["artifact"], told["form"])
        self._warm_up(config["max_batch_size"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers the requests of one batch, in their order."""
        tensors = [triton.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        pixels = [self._pixels(tensor) for tensor in tensors]
        answers = self._run(numpy.concatenate(pixels) if len(pixels) > 1 else pixels[0])
        ends = numpy.cumsum([len(each) for each in pixels])[:-1]
        return [_response(part) for part in numpy.split(answers, ends)]

    def finalize(self) -> None:
        """Ends the decoders."""
        self._decoders.shutdown()

    def _pixels(self, tensor: NDArray[Any]) -> NDArray[numpy.uint8]:
        """uint8 [n, C, H, W] of one request's images."""
        if tensor.dtype == numpy.uint8:
            return tensor
        return numpy.stack(list(self._decoded(tensor.ravel())))

    def _decoded(self, pictures: Iterable[bytes]) -> Iterable[NDArray[numpy.uint8]]:
        return self._decoders.map(lambda picture: decode(picture, self._spec), pictures)

    def _run(self, pixels: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
        with torch.inference_mode():
            probabilities: NDArray[numpy.float32] = self._module(torch.from_numpy(pixels)).numpy()
        return probabilities

    def _warm_up(self, largest_batch: int) -> None:
        shape = (self._spec["channels"], self._spec["height"], self._spec["width"])
        for size in range(1, largest_batch + 1):
            for _ in range(WARMING_RUNS):
                self._run(numpy.zeros((size, *shape), numpy.uint8))


def load(artifact: str, form: str) -> Any:
    """The TorchScript module, "plain", "frozen", "frozen, channels last" or "optimized"."""
    module = torch.jit.load(artifact).eval()  # type: ignore[no-untyped-call]
    if form == "plain":
        return module
    if form == "frozen, channels last":
        module = module.to(memory_format=torch.channels_last)
    frozen = torch.jit.freeze(module)
    return torch.jit.optimize_for_inference(frozen) if form == "optimized" else frozen


def decode(picture: bytes, spec: dict[str, Any]) -> NDArray[numpy.uint8]:
    """uint8 [C, H, W]: the shorter side resized to `spec["resize"]`, the middle cut out."""
    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB" if spec["channels"] == 3 else "L")
    shorter = min(image.size)
    if shorter != spec["resize"]:
        size = (image.width * spec["resize"] // shorter, image.height * spec["resize"] // shorter)
        image = image.resize(size, Image.Resampling[spec["interpolation"].upper()])
    left, top = round((image.width - spec["width"]) / 2), round((image.height - spec["height"]) / 2)
    image = image.crop((left, top, left + spec["width"], top + spec["height"]))
    pixels = numpy.asarray(image).reshape(spec["height"], spec["width"], spec["channels"])
    return pixels.transpose(2, 0, 1)


def _response(probabilities: NDArray[numpy.float32]) -> Any:
    return triton.InferenceResponse([triton.Tensor("probabilities", probabilities)])
