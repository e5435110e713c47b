"""The model that tritonserver's Python backend runs: Pillow decodes the images, TorchScript classifies them.

`triton_repository` copies this file into tritonserver's repository, where the backend's own interpreter imports it, so
it must not import anything of Linnaeus. As the backend's documentation recommends, the batch that the server has formed
is decoded, run as one tensor and split into responses. `parameters` in config.pbtxt has the settings.
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

# TorchScript compiles at the first calls with each batch size.
WARMUP_RUNS = 3


class TritonPythonModel:
    """The class that the backend requires; each instance of the model has one, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model and runs it with each batch size.

        Args:
            args: from the backend; `model_config` is the configuration as JSON.
        """
        config = json.loads(args["model_config"])
        parameters = {name: each["string_value"] for name, each in config["parameters"].items()}
        self._input = config["input"][0]["name"]
        self._spec = json.loads(Path(parameters["manifest"]).read_text(encoding="utf-8"))["input"]
        torch.set_num_threads(int(parameters["threads"]))
        self._decoders = ThreadPoolExecutor(int(parameters["decoders"]))
        self._module = load(parameters["artifact"], parameters["form"])
        self._warm_up(config["max_batch_size"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Returns the responses to the requests of one batch, in their order."""
        tensors = [triton.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        pixels = [self._pixels(tensor) for tensor in tensors]
        answers = self._run(numpy.concatenate(pixels) if len(pixels) > 1 else pixels[0])
        ends = numpy.cumsum([len(each) for each in pixels])[:-1]
        return [_response(part) for part in numpy.split(answers, ends)]

    def finalize(self) -> None:
        """Ends the decoder threads."""
        self._decoders.shutdown()

    def _pixels(self, tensor: NDArray[Any]) -> NDArray[numpy.uint8]:
        """Returns uint8 [N, C, H, W] of one request's images."""
        if tensor.dtype == numpy.uint8:
            return tensor
        return numpy.stack(list(self._decoded(tensor.ravel())))

    def _decoded(self, images: Iterable[bytes]) -> Iterable[NDArray[numpy.uint8]]:
        return self._decoders.map(lambda image: decode(image, self._spec), images)

    def _run(self, pixels: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
        with torch.inference_mode():
            probabilities: NDArray[numpy.float32] = self._module(torch.from_numpy(pixels)).numpy()
        return probabilities

    def _warm_up(self, largest_batch: int) -> None:
        shape = (self._spec["channels"], self._spec["height"], self._spec["width"])
        for size in range(1, largest_batch + 1):
            for _ in range(WARMUP_RUNS):
                self._run(numpy.zeros((size, *shape), numpy.uint8))


def load(artifact: str, form: str) -> Any:
    """Loads the TorchScript module.

    Args:
        artifact: its file.
        form: "plain", "frozen", "frozen, channels last" or "optimized".
    """
    module = torch.jit.load(artifact).eval()  # type: ignore[no-untyped-call]
    if form == "plain":
        return module
    if form == "frozen, channels last":
        module = module.to(memory_format=torch.channels_last)
    frozen = torch.jit.freeze(module)
    return torch.jit.optimize_for_inference(frozen) if form == "optimized" else frozen


def decode(encoded: bytes, spec: dict[str, Any]) -> NDArray[numpy.uint8]:
    """Returns uint8 [C, H, W]: the shorter side resized to `spec["resize"]`, then a center crop."""
    with Image.open(io.BytesIO(encoded)) as opened:
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
