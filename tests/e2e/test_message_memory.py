"""A real server's memory stays bounded whatever callers send before they are known."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e.forked_server import ForkedServer

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

MEBIBYTE = 1 << 20
TOKEN = secrets.token_urlsafe(24)
BODY_BYTES = 30 * MEBIBYTE
CALLS = 20
# Less than three bodies, for what gRPC's windows and its threads take; 20 bodies are 600 MiB.
BOUND_BYTES = 80 * MEBIBYTE
SENDING = [("grpc.max_send_message_length", -1)]


def memory_before(server: ServerProcess) -> int:
    """Forgets the largest resident memory so far; returns the present one, in bytes."""
    Path(f"/proc/{server.child.pid}/clear_refs").write_text("5", encoding="ascii")
    return most_memory(server)


def most_memory(server: ServerProcess) -> int:
    """Returns the largest resident memory since `memory_before`, in bytes."""
    lines = Path(f"/proc/{server.child.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.fixture(scope="module")
def guarded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    tokens = tmp_path_factory.mktemp("guarded") / "tokens"
    tokens.write_text(f"camera infer {TOKEN}\n")
    arguments = ["--repository", str(repository), "--models", "lenet", "--token-file", str(tokens)]
    with ForkedServer(*arguments, "--insecure", "--max-bytes-in-flight", str(64 * MEBIBYTE)) as process:
        yield process


def classify(stub: v1_grpc.ClassifierServiceStub, digit: bytes) -> str:
    request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet")
    answer = stub.Classify(request, timeout=60, metadata=[("authorization", f"Bearer {TOKEN}")])
    return answer.classes[0].label


@pytest.mark.parametrize("method", ["Classify", "StreamClassify"])
@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer unknown-token-0123456789"),)])
def test_large_bodies_of_unknown_callers_are_not_read(
    guarded: ServerProcess, pictures: Path, method: str, metadata: Any
) -> None:
    digit = (pictures / "digits" / "7.png").read_bytes()
    body = v1.ClassifyRequest(image=v1.Image(encoded=bytes(BODY_BYTES))).SerializeToString()
    with grpc.insecure_channel(guarded.target, SENDING) as channel:
        stub = v1_grpc.ClassifierServiceStub(channel)
        classify(stub, digit)
        before = memory_before(guarded)
        path = f"/linnaeus.v1.ClassifierService/{method}"
        calls = [channel.stream_stream(path)(iter([body]), timeout=60, metadata=metadata) for _ in range(CALLS)]
        assert {call.code() for call in calls} == {grpc.StatusCode.UNAUTHENTICATED}
        assert classify(stub, digit) == "7"
    assert most_memory(guarded) - before < BOUND_BYTES


def test_health_checks_with_large_bodies_hold_a_few_at_most(guarded: ServerProcess, pictures: Path) -> None:
    """Nobody needs a token for them."""
    before = memory_before(guarded)
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(guarded.target, SENDING)) for _ in range(2)]
        calls = [
            channels[number % 2].stream_stream("/grpc.health.v1.Health/Check")(
                iter([b"\x0a\xff\xff\xff\x0e" + bytes(31 * MEBIBYTE)]), timeout=60
            )
            for number in range(CALLS)
        ]
        codes = {call.code() for call in calls}
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert most_memory(guarded) - before < 9 * 32 * MEBIBYTE


@pytest.mark.slow
def test_a_message_that_inflates_to_600_mb_costs_no_more_than_one_that_is_allowed(
    guarded: ServerProcess, pictures: Path
) -> None:
    digit = (pictures / "digits" / "7.png").read_bytes()
    with grpc.insecure_channel(guarded.target, SENDING) as channel:
        stub = v1_grpc.ClassifierServiceStub(channel)
        classify(stub, digit)
        before = memory_before(guarded)
        bomb = v1.ClassifyRequest(image=v1.Image(encoded=bytes(600_000_000)))
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as refused:
                stub.Classify(
                    bomb,
                    compression=grpc.Compression.Gzip,
                    timeout=60,
                    metadata=[("authorization", f"Bearer {TOKEN}")],
                )
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
        assert classify(stub, digit) == "7"
    assert most_memory(guarded) - before < BOUND_BYTES


def test_calls_that_begin_large_messages_hold_no_more_than_the_budget(guarded: ServerProcess, pictures: Path) -> None:
    """A budget of two messages, and 20 authorized calls with one of 30 MB each, on connections of their own."""
    digit = (pictures / "digits" / "7.png").read_bytes()
    bearer = [("authorization", f"Bearer {TOKEN}")]
    body = v1.ClassifyRequest(model="unknown", image=v1.Image(encoded=bytes(BODY_BYTES)))
    with ExitStack() as stack:
        options = [*SENDING, ("grpc.use_local_subchannel_pool", 1)]
        channels = [stack.enter_context(grpc.insecure_channel(guarded.target, options)) for _ in range(4)]
        stubs = [v1_grpc.ClassifierServiceStub(channel) for channel in channels]
        classify(stubs[0], digit)
        before = memory_before(guarded)
        calls = [stubs[number % 4].Classify.future(body, timeout=60, metadata=bearer) for number in range(CALLS)]
        codes = {call.code() for call in calls}
        assert codes <= {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert classify(stubs[0], digit) == "7"
    # Each message that is received is there three times for a moment: as gRPC's slices, as bytes and as a message.
    assert most_memory(guarded) - before < 3 * 64 * MEBIBYTE + BOUND_BYTES
