"""Calls a server over HTTP with KServe's Python SDK, and prints the results as JSON.

    python kserve_sdk_calls.py URL PICTURES

A separate program, since the SDK has an environment of its own.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

OUTPUT = "probabilities"


def request(model: str, name: str, datatype: str, array: numpy.ndarray, binary: bool, **more: Any) -> InferRequest:
    given = InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[given], **more)


def probabilities(outputs: list[InferOutput]) -> list[float]:
    return list(outputs[0].as_numpy().ravel().tolist())


async def main(url: str, pictures: Path) -> None:
    digits = [path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))]
    files = numpy.array(digits, dtype=object)
    pixels = numpy.random.default_rng(1).integers(0, 256, (3, 1, 28, 28), dtype=numpy.uint8)
    best = [RequestedOutput(OUTPUT, {"classification": 1, "binary_data": True})]
    results: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        results["live"] = await client.is_server_live(url)
        results["ready"] = await client.is_server_ready(url)
        results["model_ready"] = [await client.is_model_ready(url, name) for name in ("lenet", "nobody")]
        wanted = request("lenet", "image", "BYTES", files, True, request_id="mine", request_outputs=best)
        answer = await client.infer(url, wanted, model_name="lenet")
        results["id"] = answer.id
        results["labels"] = [text.split(":")[2] for text in answer.outputs[0].as_numpy().ravel().tolist()]
        for name, binary in (("binary", True), ("json", False)):
            wanted = request("lenet.pixels", "pixels", "UINT8", pixels, binary)
            results[name] = probabilities((await client.infer(url, wanted, model_name="lenet.pixels")).outputs)
        wanted = request("lenet.pixels", "pixels", "UINT8", pixels, True, parameters={"binary_data_output": True})
        results["binary answer"] = probabilities((await client.infer(url, wanted, model_name="lenet.pixels")).outputs)
        try:
            await client.infer(url, request("nobody", "image", "BYTES", files, True), model_name="nobody")
        except Exception as failure:  # whatever the SDK makes of it
            results["refused"] = str(failure)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
