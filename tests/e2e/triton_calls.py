"""Calls a server with NVIDIA's tritonclient, and prints the results as JSON.

    python triton_calls.py TARGET PICTURES

A separate program that must not import `linnaeus`: tritonclient and `linnaeus` both define the protobuf package
`inference`, and a process can hold only one.
"""

import asyncio
import json
import queue
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from PIL import Image
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

OUTPUT = "probabilities"


def encoded(*pictures: bytes) -> list[triton.InferInput]:
    given = triton.InferInput("image", [len(pictures)], "BYTES")
    given.set_data_from_numpy(numpy.array(pictures, dtype=object))
    return [given]


def pixels(array: numpy.ndarray, datatype: str) -> list[triton.InferInput]:
    given = triton.InferInput("pixels", list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return [given]


def error(call: Callable[[], Any]) -> list[str]:
    """Returns the code and message of a failed call."""
    try:
        call()
    except InferenceServerException as failure:
        return [failure.status(), failure.message()]
    return ["OK", ""]


def best(result: triton.InferResult) -> list[str]:
    """Returns the best label of each image."""
    return [row[0].decode().split(":")[2] for row in result.as_numpy(OUTPUT)]


def one() -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(OUTPUT, class_count=1)]


def server_metadata(client: triton.InferenceServerClient) -> dict[str, Any]:
    metadata = client.get_server_metadata(as_json=True)
    index = client.get_model_repository_index(as_json=True)
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready(name) for name in ("lenet", "lenet.pixels", "nobody")],
        "metadata": metadata,
        "index": [[each["name"], each["version"], each["state"]] for each in index["models"]],
    }


def refused(client: triton.InferenceServerClient, digit: bytes) -> dict[str, list[str]]:
    floats = pixels(numpy.zeros((1, 1, 28, 28), numpy.float32), "FP32")
    return {
        "floats": error(lambda: client.infer("lenet.pixels", floats)),
        "nobody": error(lambda: client.infer("nobody", encoded(digit))),
        "damaged": error(lambda: client.infer("lenet", encoded(digit, digit[:50]))),
        "hurried": error(lambda: client.infer("lenet", encoded(digit), timeout=1)),
        "load": error(lambda: client.load_model("../lenet")),
        "shared_memory": error(client.get_system_shared_memory_status),
    }


def counted(client: triton.InferenceServerClient, digits: list[bytes]) -> list[dict[str, int]]:
    """Returns the statistics before and after classifying the digits."""

    def figures() -> dict[str, int]:
        (stats,) = client.get_inference_statistics("lenet").model_stats
        durations = stats.inference_stats
        names = ("success", "queue", "compute_input", "compute_infer", "compute_output")
        times = {name: getattr(durations, name).ns for name in names}
        counts = {f"{name}_count": getattr(durations, name).count for name in names}
        by_size = sum(each.batch_size * each.compute_infer.count for each in stats.batch_stats)
        return {"images": stats.inference_count, "batches": stats.execution_count, "by_size": by_size} | times | counts

    before = figures()
    client.infer("lenet", encoded(*digits))
    return [before, figures()]


async def asynchronous(target: str, digits: list[bytes]) -> list[str]:
    async with triton_aio.InferenceServerClient(target) as client:
        results = await asyncio.gather(*(client.infer("lenet", encoded(each), outputs=one()) for each in digits))
    return [label for result in results for label in best(result)]


def streamed(target: str, digits: list[bytes]) -> list[list[str]]:
    """Returns the id and label, or the error, of each answer in order; one request in the middle is invalid."""
    answers: queue.Queue[Any] = queue.Queue()
    sent = [*digits[:3], b"no picture", *digits[3:]]
    with triton.InferenceServerClient(target) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for place, picture in enumerate(sent):
            client.async_stream_infer("lenet", encoded(picture), request_id=str(place), outputs=one())
        pairs = [answers.get(timeout=60) for _ in sent]
        client.stop_stream()
    return [
        ["", problem.message()] if problem else [result.get_response().id, *best(result)] for result, problem in pairs
    ]


def prepared(client: triton.InferenceServerClient, model: str, paths: list[Path]) -> list[str]:
    """Classifies like an image client that has only the model's metadata and configuration."""
    metadata, config = client.get_model_metadata(model), client.get_model_config(model).config
    (input_,), (output,) = metadata.inputs, metadata.outputs
    assert config.max_batch_size > 0 and len(config.input) == len(config.output) == 1
    assert config.input[0].format == model_config_pb2.ModelInput.FORMAT_NCHW and output.datatype == "FP32"
    _, channels, height, width = input_.shape
    images = [Image.open(path).convert("L" if channels == 1 else "RGB").resize((width, height)) for path in paths]
    rows = [numpy.asarray(image).reshape(height, width, channels).transpose(2, 0, 1) for image in images]
    given = triton.InferInput(input_.name, [len(rows), channels, height, width], input_.datatype)
    given.set_data_from_numpy(numpy.stack(rows).astype(triton_to_np_dtype(input_.datatype)))
    wanted = triton.InferRequestedOutput(output.name, class_count=1)
    return best(client.infer(model, [given], outputs=[wanted]))


def numbers() -> dict[str, Any]:
    """Returns the fields of every message and the values of every enumeration in tritonclient."""
    files = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    found: dict[str, Any] = {}

    def note(message: Any) -> None:
        found[message.full_name] = {each.name: [each.number, each.type, each.is_repeated] for each in message.fields}
        for nested in message.nested_types:
            note(nested)
        for enumeration in message.enum_types:
            found[enumeration.full_name] = {each.name: each.number for each in enumeration.values}

    for file in files:
        for message in file.message_types_by_name.values():
            note(message)
        for enumeration in file.enum_types_by_name.values():
            found[enumeration.full_name] = {each.name: each.number for each in enumeration.values}
    return found


def main(target: str, pictures: Path) -> None:
    paths = sorted((pictures / "digits").glob("*.png"))
    digits = [path.read_bytes() for path in paths]
    coffee = pictures / "coffee.jpg"
    with triton.InferenceServerClient(target) as client:
        answer = client.infer("efficientnet_lite0", encoded(coffee.read_bytes()), request_id="mine")
        results = {
            "server": server_metadata(client),
            "loaded": [error(lambda: client.load_model("lenet")), client.is_model_ready("lenet")],
            "coffee": answer.as_numpy(OUTPUT)[0].tolist(),
            "id": answer.get_response().id,
            "refused": refused(client, digits[0]),
            "counted": counted(client, digits),
            "aio": asyncio.run(asynchronous(target, digits)),
            "streamed": streamed(target, digits),
            "prepared_digits": prepared(client, "lenet.pixels", paths),
            "prepared_coffee": prepared(client, "efficientnet_lite0.pixels", [coffee]),
        }
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    if sys.argv[1:] == ["--numbers"]:
        json.dump(numbers(), sys.stdout)
    else:
        main(sys.argv[1], Path(sys.argv[2]))
