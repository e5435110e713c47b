"""Calls a server over HTTP with NVIDIA's tritonclient, and the same over gRPC; prints the results as JSON.

    python triton_http_calls.py HTTP GRPC PICTURES

A separate program that must not import `linnaeus`, see `triton_calls.py`.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

OUTPUT = "probabilities"
CODINGS = ("gzip", "deflate")


def inputs(kind: Any, model: str, array: numpy.ndarray, binary: bool = True) -> Any:
    """Returns the inputs of a request.

    Args:
        kind: the module of a protocol.
        model: the model: one that ends in `.pixels` takes pixels, every other one files.
        array: the pixels or files.
        binary: whether they are sent as binary data.
    """
    name, datatype = ("pixels", "UINT8") if model.endswith(".pixels") else ("image", "BYTES")
    given = kind.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, **({"binary_data": binary} if kind is triton else {}))
    return [given]


def error(call: Callable[[], Any]) -> list[str]:
    """Returns the status and message of a failed call."""
    try:
        call()
    except InferenceServerException as failure:
        return [failure.status(), failure.message()]
    return ["OK", ""]


def labels(result: Any) -> list[str]:
    """Returns the best label of each image."""
    return [row[0].decode().split(":")[2] for row in result.as_numpy(OUTPUT)]


def answers(client: Any, over_grpc: Any, model: str, array: numpy.ndarray) -> dict[str, list[float]]:
    """Returns the probabilities by the way they took."""
    results = {"grpc": over_grpc.infer(model, inputs(triton_grpc, model, array))}
    results["binary"] = client.infer(model, inputs(triton, model, array))
    wanted = [triton.InferRequestedOutput(OUTPUT, binary_data=False)]
    results["json answer"] = client.infer(model, inputs(triton, model, array), outputs=wanted)
    if model.endswith(".pixels"):
        results["json"] = client.infer(model, inputs(triton, model, array, binary=False), outputs=wanted)
    for coding in CODINGS:
        chosen = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
        results[coding] = client.infer(model, inputs(triton, model, array), **chosen)
    return {way: result.as_numpy(OUTPUT).ravel().tolist() for way, result in results.items()}


def asked(client: triton.InferenceServerClient) -> dict[str, Any]:
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready(name) for name in ("lenet", "lenet.pixels", "nobody")],
        "metadata": client.get_server_metadata(),
        "model": client.get_model_metadata("lenet.pixels"),
        "version": client.get_model_metadata("lenet", model_version="1"),
        "config": client.get_model_config("lenet"),
        "index": client.get_model_repository_index(),
        "loaded": [error(lambda: client.load_model("lenet")), client.is_model_ready("lenet")],
        "statistics": [client.get_inference_statistics("lenet"), client.get_inference_statistics()],
    }


def refused(client: triton.InferenceServerClient, digit: numpy.ndarray) -> dict[str, list[str]]:
    floats = triton.InferInput("pixels", [1, 1, 28, 28], "FP32")
    floats.set_data_from_numpy(numpy.zeros((1, 1, 28, 28), numpy.float32))
    damaged = numpy.array([digit[0], digit[0][:50]], dtype=object)
    return {
        "floats": error(lambda: client.infer("lenet.pixels", [floats])),
        "nobody": error(lambda: client.infer("nobody", inputs(triton, "nobody", digit))),
        "damaged": error(lambda: client.infer("lenet", inputs(triton, "lenet", damaged))),
        "hurried": error(lambda: client.infer("lenet", inputs(triton, "lenet", digit), timeout=1)),
        "load": error(lambda: client.load_model("../lenet".replace("/", "%2F"))),
        "config": error(lambda: client.load_model("lenet", config="{}")),
        "shared_memory": error(client.get_system_shared_memory_status),
        "cuda": error(client.get_cuda_shared_memory_status),
        "trace": error(client.get_trace_settings),
        "log": error(lambda: client.update_log_settings({"log_verbose_level": 1})),
    }


async def asynchronous(target: str, digits: list[bytes]) -> list[str]:
    wanted = [triton_aio.InferRequestedOutput(OUTPUT, class_count=1)]
    async with triton_aio.InferenceServerClient(target) as client:
        calls = [
            client.infer("lenet", inputs(triton, "lenet", numpy.array([digit], dtype=object)), outputs=wanted)
            for digit in digits
        ]
        results = await asyncio.gather(*calls)
        try:
            await client.infer("nobody", inputs(triton, "nobody", numpy.array(digits, dtype=object)))
        except InferenceServerException as failure:
            return [*(label for result in results for label in labels(result)), str(failure.message())]
    return []


def main(http: str, grpc: str, pictures: Path) -> None:
    digits = [path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))]
    files = numpy.array(digits, dtype=object)
    coffee = numpy.array([(pictures / "coffee.jpg").read_bytes()], dtype=object)
    pixels = numpy.random.default_rng(1).integers(0, 256, (3, 1, 28, 28), dtype=numpy.uint8)
    wanted = [triton.InferRequestedOutput(OUTPUT, class_count=1)]
    with triton.InferenceServerClient(http) as client, triton_grpc.InferenceServerClient(grpc) as over_grpc:
        answer = client.infer("lenet", inputs(triton, "lenet", files), request_id="mine", outputs=wanted, priority=1)
        # Its result is fetched at once: until then it holds the client's only connection, unless the answer's body came
        # with its head, and the next call would end with gevent's LoopExit.
        later = client.async_infer("lenet", inputs(triton, "lenet", files), outputs=wanted).get_result()
        results = {
            "asked": asked(client),
            "id": answer.get_response()["id"],
            "labels": labels(answer),
            "later": labels(later),
            "refused": refused(client, files[:1]),
            "answers": {
                "digits": answers(client, over_grpc, "lenet", files),
                "coffee": answers(client, over_grpc, "efficientnet_lite0", coffee),
                "pixels": answers(client, over_grpc, "lenet.pixels", pixels),
            },
            "aio": asyncio.run(asynchronous(http, digits)),
        }
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
