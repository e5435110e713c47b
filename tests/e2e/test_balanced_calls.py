"""A balancer changes neither answers nor errors: calls, streams, deadlines, cancellation, large messages, HTTP."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.e2e.balanced import BALANCERS, Servers, send, servers_behind
from tests.e2e.several_processes import metric, until

from benchmarks.balance.balancers import Balancer
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

MEBIBYTE = 1 << 20


class Balanced(NamedTuple):
    """A balancer, its servers, and stubs: through the balancer, and to the first server."""

    balancer: Balancer
    servers: Servers
    stub: ClassifierServiceStub
    direct: ClassifierServiceStub


@pytest.fixture(scope="module", params=BALANCERS)
def balanced(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Balanced]:
    folder = tmp_path_factory.mktemp("b")
    with ExitStack() as opened:
        options = ("--repository", str(repository), "--models", "lenet", "--rate-limit", "1000")
        balancer, servers = opened.enter_context(servers_behind(request.param, folder, options))
        sizes = [("grpc.max_send_message_length", 64 * MEBIBYTE)]
        targets = (balancer.target, servers.running[0].target)
        channels = [opened.enter_context(grpc.insecure_channel(target, sizes)) for target in targets]
        yield Balanced(balancer, servers, *map(ClassifierServiceStub, channels))


def counted(servers: Servers, name: str) -> float:
    return sum(metric(each, name) for each in servers.running)


@pytest.fixture
def request_(pictures: Path) -> v1.ClassifyRequest:
    image = v1.Image(encoded=(pictures / "digits" / "7.png").read_bytes())
    return v1.ClassifyRequest(image=image, model="lenet", top_k=3)


def test_single_calls_and_streams_have_the_same_answers(balanced: Balanced, request_: v1.ClassifyRequest) -> None:
    direct, proxied = (stub.Classify(request_, timeout=60) for stub in (balanced.direct, balanced.stub))
    assert [each.label for each in proxied.classes] == [each.label for each in direct.classes]
    asked = [
        v1.StreamClassifyRequest(correlation_id=number, image=request_.image, model="lenet") for number in range(20)
    ]
    streamed = list(balanced.stub.StreamClassify(iter(asked), timeout=60))
    assert sorted(each.correlation_id for each in streamed) == list(range(20))
    assert all(each.result.HasField("classification") for each in streamed)


def test_a_stream_is_answered_while_it_is_sent(balanced: Balanced, request_: v1.ClassifyRequest) -> None:
    """Nothing is held back until the caller has sent all."""
    answered = threading.Semaphore(0)

    def asked() -> Iterator[v1.StreamClassifyRequest]:
        for number in range(3):
            yield v1.StreamClassifyRequest(correlation_id=number, image=request_.image, model="lenet")
            answered.acquire()

    numbers = []
    for answer in balanced.stub.StreamClassify(asked(), timeout=60):
        numbers.append(answer.correlation_id)
        answered.release()
    assert numbers == [0, 1, 2]


def test_errors_keep_their_codes_and_details(balanced: Balanced) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        balanced.stub.Classify(v1.ClassifyRequest(image=v1.Image(encoded=b"no image"), model="lenet"), timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(raised.value)
    assert status is not None and any(each.Is(error_details_pb2.BadRequest.DESCRIPTOR) for each in status.details)


def test_deadlines_reach_the_servers(balanced: Balanced, request_: v1.ClassifyRequest) -> None:
    """The servers count the estimates of calls that have a deadline."""
    for timeout, more in ((None, 0), (60, 1)):
        before = counted(balanced.servers, "linnaeus_prediction_error_seconds_count")
        balanced.stub.Classify(request_, timeout=timeout)
        assert counted(balanced.servers, "linnaeus_prediction_error_seconds_count") == before + more


def test_a_call_that_its_caller_cancels_is_cancelled_at_its_server(
    balanced: Balanced, request_: v1.ClassifyRequest
) -> None:
    before = counted(balanced.servers, "linnaeus_cancelled_total")

    def one_was_cancelled() -> bool:
        """Cancels a call, which may be answered before."""
        balanced.stub.Classify.future(request_, timeout=60).cancel()
        return counted(balanced.servers, "linnaeus_cancelled_total") > before

    until(one_was_cancelled)


def test_messages_as_large_as_the_servers_take_pass(balanced: Balanced) -> None:
    side = 5000
    pixels = v1.RawPixels(data=bytes(side * side), height=side, width=side, channels=1)
    answer = balanced.stub.Classify(v1.ClassifyRequest(image=v1.Image(pixels=pixels), model="lenet"), timeout=60)
    assert answer.classes


def test_http_passes_pictures_errors_and_pages(balanced: Balanced, pictures: Path) -> None:
    def ask(path: str, *body: Any) -> tuple[int, Any]:
        answer = send(balanced.balancer.listen.http, path, "POST" if body else "GET", *body)
        return answer.status, answer.body

    status, body = ask("/v1/models/lenet:classify", (pictures / "digits" / "7.png").read_bytes())
    assert (status, b'"label":"7"' in body) == (200, True)
    status, body = ask("/v1/models/lenet:classify", b"no image")
    assert (status, b'"code":"INVALID_ARGUMENT"' in body) == (400, True)
    assert ask("/readyz")[0] == 200
    assert b"<html" in ask("/")[1]
