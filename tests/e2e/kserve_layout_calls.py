"""Asks a server for one model, over HTTP and gRPC, with KServe's Python SDK, and prints the results as JSON.

    python kserve_layout_calls.py URL TARGET MODEL PICTURE

A separate program, since the SDK has an environment of its own.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(url: str, target: str, model: str, picture: Path) -> None:
    image = InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(numpy.array([picture.read_bytes()], dtype=object), binary_data=True)
    wanted = InferRequest(model_name=model, infer_inputs=[image], request_id="1")
    results: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as rest:
        results["http"] = [await rest.is_model_ready(url, model), top(await rest.infer(url, wanted, model_name=model))]
    async with InferenceGRPCClient(target) as client:
        answer = await client.infer(wanted)
        results["grpc"] = [await client.is_model_ready(model), top(answer)]
        results["answered by"] = [answer.model_name, answer.model_version]
    json.dump(results, sys.stdout)


def top(answer: Any) -> int:
    return int(answer.outputs[0].as_numpy().argmax())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], Path(sys.argv[4])))
