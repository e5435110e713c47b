"""The same images as requests over HTTP: as the body itself, in JSON, and as KServe's binary tensors."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.request import Request, urlopen

import numpy

from benchmarks.common.h2load import CallTimes, HttpCall, http_closed_loop
from benchmarks.peers.measurement import Scenario, send_load
from benchmarks.peers.request_sets import RequestSet, Samples, WrongAnswer

_JSON = "content-type: application/json"
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HttpRequestSet(RequestSet):
    """Bodies of one path; `messages` are the bodies.

    Attributes:
        headers: of every request, NAME: VALUE.
    """

    headers: tuple[str, ...] = ()


def send(scenario: Scenario, seconds: float, number: int) -> Sequence[CallTimes]:
    """Sends load by HTTP or, where the scenario has requests of gRPC, by gRPC; see `send_load`."""
    requests = scenario.requests
    if not isinstance(requests, HttpRequestSet):
        return send_load(scenario, seconds, number)
    place = number % len(requests.messages)
    call = HttpCall(
        target=scenario.server.http_target,
        path=requests.path,
        body=requests.messages[place],
        headers=requests.headers,
    )
    requests.check(place, _answer(call))
    return http_closed_loop(call, scenario.concurrency, seconds).calls


def body_requests(samples: Samples) -> HttpRequestSet:
    """Returns requests whose body is the encoded image."""
    headers = ("content-type: application/octet-stream",)
    return HttpRequestSet(_path(samples), samples.images, 1, _checker(samples, _first_class), headers=headers)


def json_requests(samples: Samples) -> HttpRequestSet:
    """Returns requests in JSON, with base64."""
    messages = tuple(json.dumps({"image": _image(samples, each)}).encode() for each in samples.images)
    return HttpRequestSet(_path(samples), messages, 1, _checker(samples, _first_class), headers=(_JSON,))


def kserve_http_requests(samples: Samples) -> HttpRequestSet:
    """Returns requests of KServe over HTTP, with binary tensors both ways.

    Raises:
        ValueError: if the images are encoded, which would need another size in the header of each.
    """
    if samples.shape is None:
        raise ValueError(f"{samples.model} takes encoded images; their binary tensors differ in size")
    tensor: dict[str, object] = {"name": "pixels", "datatype": "UINT8", "shape": [1, *samples.shape]}
    tensor["parameters"] = {"binary_data_size": len(samples.images[0])}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return HttpRequestSet(
        f"/v2/models/{samples.model}.pixels/infer",
        tuple(head + image for image in samples.images),
        1,
        _checker(samples, _largest_probability),
        headers=("content-type: application/octet-stream", f"inference-header-content-length: {len(head)}"),
    )


def _path(samples: Samples) -> str:
    return f"/v1/models/{samples.model}:classify"


def _image(samples: Samples, image: bytes) -> dict[str, object]:
    text = base64.b64encode(image).decode()
    if samples.shape is None:
        return {"encoded": text}
    channels, height, width = samples.shape
    return {"pixels": {"data": text, "channels": channels, "height": height, "width": width}}


def _answer(call: HttpCall) -> bytes:
    headers = dict(each.split(": ", 1) for each in call.headers)
    request = Request(f"http://{call.target}{call.path}", call.body, headers)
    with urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
        body: bytes = answer.read()
    return body


def _checker(samples: Samples, read: Callable[[bytes], int]) -> Callable[[int, bytes], None]:
    def check(place: int, answer: bytes) -> None:
        found = read(answer)
        if found != samples.expected[place]:
            raise WrongAnswer(f"{samples.model}: the top class must be {samples.expected[place]}, but is {found}")

    return check


def _first_class(answer: bytes) -> int:
    return int(json.loads(answer)["classes"][0]["index"])


def _largest_probability(answer: bytes) -> int:
    head, _ = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    (size,) = (output["parameters"]["binary_data_size"] for output in head["outputs"])
    return int(numpy.frombuffer(answer[-size:], numpy.float32).argmax())
