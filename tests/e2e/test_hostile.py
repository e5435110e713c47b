"""Malicious or broken callers: the server neither crashes, hangs nor leaks, and still answers others."""

import io
import os
import random
import resource
import selectors
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from PIL import Image
from tests.e2e.forked_server import ForkedServer
from tests.e2e.process_counts import descriptors, threads

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

Metric = Callable[..., float]

IDLE_CONNECTIONS = 10_000
OTHER_DESCRIPTORS = 500  # descriptors needed for other purposes by this process and the server
SLOW_SENDERS = 200
STEPS = 40
TEXT = FieldDescriptor.TYPE_STRING
MUTATIONS = 1_000
CALLERS = 16
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
# A HEADERS frame that announces 100 bytes of header block, with END_HEADERS set, on stream 1.
HEADERS = b"\x00\x00\x64\x01\x04\x00\x00\x00\x01"


def _literal(name: bytes, value: bytes) -> bytes:
    """Returns a header as an HPACK literal without indexing (RFC 7541, 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


_BLOCK = b"".join(
    _literal(*header)
    for header in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/linnaeus.v1.ClassifierService/Classify"),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
)
# A call with complete headers; its message, announced with 1000 bytes, is sent byte by byte.
CALL = len(_BLOCK).to_bytes(3, "big") + b"\x01\x04\x00\x00\x00\x01" + _BLOCK
DATA = (1005).to_bytes(3, "big") + b"\x00\x00\x00\x00\x00\x01" + b"\x00" + (1000).to_bytes(4, "big")
BAD_CODES = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
NAMES = [
    "../lenet",
    "../../../../etc/passwd",
    "..",
    ".",
    "/",
    "/etc",
    "lenet/../lenet",
    "lenet/1",
    "lenet/",
    "./lenet",
    "lenet\x00",
    "\x00",
    "lenet\n",
    "LENET",
    "lenet ",
    "l\u200benet",
    "ｌｅｎｅｔ",
    "\u202etenel",
    "..\\lenet",
    "%2e%2e%2flenet",
    "~",
    "$HOME",
    "x" * 1_000_000,
    "🦊" * 1000,
]
VERSIONS = ["../1", "/1", "1/../1", "1\x00", "-1", "+1", "１", "1e0", "0x1", " 1", "9" * 100_000, "..", "\u0661"]


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "7.png").read_bytes()


def assert_still_serves(stub: ClassifierServiceStub, digit: bytes) -> None:
    request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet")
    assert stub.Classify(request, timeout=30).classes[0].label == "7"


def methods(*services: str) -> list[MethodDescriptor]:
    """Returns the methods of these services that take a model name, including those not served in this release."""
    found = [method for name in services for method in v1.DESCRIPTOR.services_by_name[name].methods]
    return [method for method in found if any(True for _ in text_fields(method.input_type))]


def kserve_methods() -> list[MethodDescriptor]:
    """Returns the KServe methods that refuse an unknown model."""
    service = kserve.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    names = ("ModelMetadata", "ModelConfig", "ModelInfer", "RepositoryModelLoad", "RepositoryModelUnload")
    return [service.methods_by_name[name] for name in names]


def text_fields(message: Descriptor) -> Iterator[str]:
    """Yields the names of the string fields."""
    return (field.name for field in message.fields if field.type == TEXT)


def request_of(channel: grpc.Channel, method: MethodDescriptor, **fields: object) -> Callable[[], object]:
    """Returns a function that calls a method with those of these fields that its request has."""
    message: Any = GetMessageClass(method.input_type)()
    for name, value in fields.items():
        if name in method.input_type.fields_by_name and method.input_type.fields_by_name[name].type == TEXT:
            setattr(message, name, value)
    path, body = f"/{method.containing_service.full_name}/{method.name}", message.SerializeToString()
    if method.server_streaming:
        return lambda: _raise_errors(channel.stream_stream(path)(iter([body]), timeout=30))
    return lambda: channel.unary_unary(path)(body, timeout=30)


class ImageRefused(grpc.RpcError):
    """An image of a stream was refused; the stream continues."""

    def __init__(self, error: v1.ImageError) -> None:
        self._error = error

    def code(self) -> grpc.StatusCode:
        return next(code for code in grpc.StatusCode if code.value[0] == self._error.code)

    def details(self) -> str:
        return self._error.message


def _raise_errors(answers: Iterator[bytes]) -> None:
    for answer in answers:
        result = v1.StreamClassifyResponse.FromString(answer).result
        if result.HasField("error"):
            raise ImageRefused(result.error)


def refusal(request: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        request()
    return raised.value


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_no_model_name_escapes_the_repository(
    channel: grpc.Channel, stub: ClassifierServiceStub, digit: bytes, name: str
) -> None:
    served = 0
    for method in methods("ClassifierService", "ModelService") + kserve_methods():
        every_text = dict.fromkeys(text_fields(method.input_type), name) | {"version": "", "model_version": ""}
        error = refusal(request_of(channel, method, **every_text))
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            served += 1
            assert error.code() in BAD_CODES
            assert len(error.details()) < 400 and "Traceback" not in error.details() and "/tmp" not in error.details()
    assert served >= 12
    assert_still_serves(stub, digit)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: ascii(version[:20]))
def test_no_version_escapes_the_repository(
    channel: grpc.Channel, stub: ClassifierServiceStub, digit: bytes, version: str
) -> None:
    for method in methods("ClassifierService"):
        error = refusal(request_of(channel, method, model="lenet", version=version))
        assert error.code() in BAD_CODES | {grpc.StatusCode.UNIMPLEMENTED} and len(error.details()) < 400
    assert_still_serves(stub, digit)


def test_a_name_that_is_not_utf8_is_refused(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/linnaeus.v1.ClassifierService/GetModel")
    assert refusal(lambda: call(b"\x0a\x02\xff\xfe", timeout=30)).code() is not grpc.StatusCode.OK
    assert refusal(lambda: call(os.urandom(64) + b"\xff", timeout=30)).code() is not grpc.StatusCode.OK


def test_thousands_of_idle_connections_disturb_no_call_and_leak_no_descriptors(
    server: ServerProcess, stub: ClassifierServiceStub, digit: bytes
) -> None:
    assert_still_serves(stub, digit)
    before = descriptors(server)
    with raised_descriptor_limit(IDLE_CONNECTIONS + OTHER_DESCRIPTORS) as limit, ExitStack() as stack:
        opened = min(IDLE_CONNECTIONS, (limit - OTHER_DESCRIPTORS) // 2)  # the other half is for HTTP
        for number in range(opened):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            if number % 2:
                idle.sendall(PREFACE + SETTINGS)
            if number % 1000 == 0:
                assert_still_serves(stub, digit)
        assert_still_serves(stub, digit)
        with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as newcomer:
            assert_still_serves(ClassifierServiceStub(newcomer), digit)
        most = descriptors(server)
    assert most - before > opened * 0.9  # the connections were open
    wait_until(lambda: descriptors(server) <= before + 5)
    assert_still_serves(stub, digit)


def test_senders_of_single_bytes_do_not_delay_other_calls(
    server: ServerProcess, stub: ClassifierServiceStub, metric: Metric, digit: bytes
) -> None:
    assert_still_serves(stub, digit)
    before = descriptors(server)
    senders = [
        PREFACE,
        PREFACE + SETTINGS,
        PREFACE + SETTINGS + HEADERS + b"\x00" * 100,
        PREFACE + SETTINGS + CALL + DATA + b"\x00" * 1000,
    ]
    heads = [1, len(PREFACE), len(PREFACE + SETTINGS + HEADERS), len(PREFACE + SETTINGS + CALL + DATA)]
    started = metric("grpc_server_started_total", grpc_method="Classify")
    with socket.create_connection(("127.0.0.1", server.port)) as complete:  # the same call sent at once
        complete.sendall(PREFACE + SETTINGS + CALL + b"\x00\x00\x05\x00\x01\x00\x00\x00\x01" + bytes(5))
        wait_until(lambda: metric("grpc_server_started_total", grpc_method="Classify") == started + 1)
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(SLOW_SENDERS)]
        for number, connection in enumerate(slow):
            connection.sendall(senders[number % 4][: heads[number % 4]])
        for step in range(STEPS):
            for number, connection in enumerate(slow):
                place = heads[number % 4] + step
                send_byte(connection, senders[number % 4][place : place + 1])
            assert_still_serves(stub, digit)
    wait_until(lambda: descriptors(server) <= before + 5)
    assert_still_serves(stub, digit)
    # Calls that never arrived completely are counted, too: they are judged before their message comes.
    assert metric("grpc_server_started_total", grpc_method="Classify") == started + STEPS + 2 + SLOW_SENDERS // 4


def test_mutated_pictures_are_answered_or_refused_without_leaks(
    server: ServerProcess,
    channel: grpc.Channel,
    stub: ClassifierServiceStub,
    metric: Metric,
    pictures: Path,
    digit: bytes,
) -> None:
    originals, chance = encodings(pictures), random.Random(20)
    for original in originals:
        stub.Classify(v1.ClassifyRequest(image=v1.Image(encoded=original), model="lenet"), timeout=30)

    def classify_mutated(number: int) -> grpc.StatusCode:
        if number % 20 == 0:
            assert_still_serves(stub, digit)
        data = mutated[number]
        try:
            stub.Classify(v1.ClassifyRequest(image=v1.Image(encoded=data), model="lenet"), timeout=60)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    mutated = [mutation(originals[number % len(originals)], chance) for number in range(MUTATIONS)]
    before_descriptors, before_threads = descriptors(server), threads(server).total()
    with ThreadPoolExecutor(CALLERS) as callers:
        warm = set(callers.map(classify_mutated, range(MUTATIONS // 4)))
        memory = metric("process_resident_memory_bytes")
        codes = list(callers.map(classify_mutated, range(MUTATIONS // 4, MUTATIONS)))
    assert warm | set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
    assert metric("process_resident_memory_bytes") - memory < 64 << 20
    assert metric("linnaeus_in_flight") == metric("linnaeus_queue_depth") == 0
    assert server.child.poll() is None and descriptors(server) <= before_descriptors + 5
    # OpenMP may have started helper threads meanwhile: fewer than one for each core and worker.
    assert threads(server).total() <= before_threads + 2 * (os.cpu_count() or 1)


def test_connections_beyond_max_connections_are_closed(repository: Path, digit: bytes) -> None:
    arguments = ["--repository", str(repository), "--models", "lenet", "--max-connections", "8"]
    with (
        ForkedServer(*arguments) as server,
        grpc.insecure_channel(server.target) as channel,
        ExitStack() as stack,
    ):
        stub = ClassifierServiceStub(channel)
        assert_still_serves(stub, digit)
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(30)]
        wait_until(lambda: len(closed(connections)) >= 23)
        assert_still_serves(stub, digit)
        assert len(closed(connections)) == 23


def encodings(pictures: Path) -> list[bytes]:
    """Returns small, valid pictures in every format that the server reads."""
    made = [(pictures / "digits" / "7.png").read_bytes()]
    with Image.open(pictures / "chelsea.jpg") as complete:
        small = complete.convert("RGB").resize((96, 64))
    frames = [small.rotate(angle) for angle in (90, 180)]
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("GIF", {"save_all": True, "append_images": frames}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"save_all": True, "append_images": frames}),
    ):
        file = io.BytesIO()
        small.save(file, kind, **options)  # type: ignore[arg-type]
        made.append(file.getvalue())
    for mode in ("L", "P", "RGBA", "I;16"):
        file = io.BytesIO()
        small.convert("L").convert("I").point(lambda value: value * 256).convert(mode).save(file, "PNG") if (
            mode == "I;16"
        ) else small.convert(mode).save(file, "PNG")
        made.append(file.getvalue())
    return made


def mutation(original: bytes, chance: random.Random) -> bytes:
    """Damages a file with flipped bits, changed, removed, repeated and foreign bytes, mostly near the header."""
    data = bytearray(original)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        reach = chance.choice((32, 256, len(data)))
        place = chance.randrange(max(1, min(reach, len(data))))
        kind = chance.randrange(6)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place : place + 4] = chance.choice((b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"))
        elif kind == 2:
            del data[place : place + chance.randrange(1, 64)]
        elif kind == 3:
            data[place:place] = data[place : place + chance.randrange(1, 64)]
        elif kind == 4:
            data[place:place] = chance.randbytes(chance.randrange(1, 64))
        else:
            del data[max(1, len(data) - chance.randrange(1, max(2, len(data)))) :]
    return bytes(data)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Polls until the condition holds; the test's timeout bounds the wait."""
    while not is_so():
        pass


def closed(connections: list[socket.socket]) -> list[socket.socket]:
    """Returns the connections that the server has closed."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(0) if _ended(key.fileobj)]


def _ended(connection: Any) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def send_byte(sender: socket.socket, drop: bytes) -> None:
    """Sends a byte; ignores an error, as the server may have closed the connection."""
    try:
        sender.sendall(drop)
    except OSError:
        return


@contextmanager
def raised_descriptor_limit(wanted: int) -> Iterator[int]:
    """Raises this process's limit of descriptors as far as allowed, yields it, and restores it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = max(soft, wanted if hard == resource.RLIM_INFINITY else min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    try:
        yield raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
