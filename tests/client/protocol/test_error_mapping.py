"""Every failure of a call becomes one type of error with one sentence and the server's details."""

import pickle
import threading
import traceback

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, DebugInfo, ErrorInfo, ResourceInfo, RetryInfo

import linnaeus.client as package
from linnaeus.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidImage,
    InvalidRequest,
    LinnaeusError,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ServerFailure,
    Unauthenticated,
    Unavailable,
    errors,
)
from linnaeus.client.protocol.error_mapping import error_from_rpc
from linnaeus.v1 import classifier_pb2 as messages

Code = grpc.StatusCode


def violation(field: str) -> BadRequest:
    return BadRequest(field_violations=[BadRequest.FieldViolation(field=field, description="it is bad")])


def violation_dict(field: str) -> dict:
    return {"type": "BadRequest", "field_violations": [{"field": field, "description": "it is bad"}]}


RETRY = RetryInfo(retry_delay=Duration(seconds=1, nanos=250_000_000))
RETRY_DICT = {"type": "RetryInfo", "retry_delay_seconds": 1.25}
RESOURCE = ResourceInfo(resource_type="model", resource_name="lenet/9", owner="", description="no such version")
RESOURCE_DICT = {
    "type": "ResourceInfo",
    "resource_type": "model",
    "resource_name": "lenet/9",
    "owner": "",
    "description": "no such version",
}
ERROR = ErrorInfo(reason="TOO_LATE", domain="linnaeus", metadata={"predicted_wait_seconds": "2.5"})
ERROR_DICT = {
    "type": "ErrorInfo",
    "reason": "TOO_LATE",
    "domain": "linnaeus",
    "metadata": {"predicted_wait_seconds": "2.5"},
}

SPOKEN = [
    (Code.INVALID_ARGUMENT, [violation("image")], InvalidImage, (violation_dict("image"),)),
    (
        Code.INVALID_ARGUMENT,
        [violation("image.pixels.data")],
        InvalidImage,
        (violation_dict("image.pixels.data"),),
    ),
    (Code.INVALID_ARGUMENT, [violation("top_k")], InvalidRequest, (violation_dict("top_k"),)),
    (Code.INVALID_ARGUMENT, [], InvalidRequest, ()),
    (Code.NOT_FOUND, [RESOURCE], ModelNotFound, (RESOURCE_DICT,)),
    (Code.RESOURCE_EXHAUSTED, [RETRY, ERROR], Overloaded, (RETRY_DICT, ERROR_DICT)),
    (Code.RESOURCE_EXHAUSTED, [], Overloaded, ()),
    (Code.DEADLINE_EXCEEDED, [ERROR], DeadlineExceeded, (ERROR_DICT,)),
    (Code.UNAVAILABLE, [RETRY], Unavailable, (RETRY_DICT,)),
    (Code.INTERNAL, [ERROR], ServerFailure, (ERROR_DICT,)),
    (Code.INTERNAL, [DebugInfo(detail="secret")], ServerFailure, ({"type": "DebugInfo"},)),
    (Code.UNKNOWN, [], ServerFailure, ()),
    (Code.DATA_LOSS, [], ServerFailure, ()),
    (Code.CANCELLED, [], ServerFailure, ()),
    (Code.UNAUTHENTICATED, [], Unauthenticated, ()),
    (Code.PERMISSION_DENIED, [], PermissionDenied, ()),
]


def error_of(stub) -> LinnaeusError:
    with Client(stub.target) as client, pytest.raises(LinnaeusError) as raised:
        client.classify(b"a picture")
    return raised.value


async def error_of_async(stub) -> LinnaeusError:
    async with AsyncClient(stub.target) as client:
        with pytest.raises(LinnaeusError) as raised:
            await client.classify(b"a picture")
    return raised.value


@pytest.mark.parametrize(("code", "details", "kind", "decoded"), SPOKEN)
def test_a_status_becomes_its_error_with_the_servers_sentence_and_details(stub, code, details, kind, decoded):
    stub.fail(code, "The server's own sentence.", *details, final=True)
    error = error_of(stub)
    assert (type(error), str(error), error.details) == (kind, "The server's own sentence.", decoded)


@pytest.mark.parametrize(("code", "details", "kind", "decoded"), SPOKEN)
async def test_the_asyncio_client_reads_a_status_alike(stub, code, details, kind, decoded):
    stub.fail(code, "The server's own sentence.", *details, final=True)
    error = await error_of_async(stub)
    assert (type(error), str(error), error.details) == (kind, "The server's own sentence.", decoded)


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE])
def test_the_server_says_when_to_try_again(stub, code):
    stub.fail(code, "Later.", RETRY, final=True)
    assert error_of(stub).retry_after_seconds == 1.25


def test_without_retry_info_there_is_no_retry_after(stub):
    stub.fail(Code.RESOURCE_EXHAUSTED, "Later.", final=True)
    assert error_of(stub).retry_after_seconds is None


def test_listing_and_describing_models_fail_with_the_same_message(stub):
    stub.fail(Code.NOT_FOUND, "There is no model lenet.", RESOURCE)
    with Client(stub.target) as client:
        for call in (client.models, lambda: client.model("lenet")):
            with pytest.raises(ModelNotFound, match=r"^There is no model lenet\.$"):
                call()


def test_malformed_details_do_not_hide_the_error(stub):
    def behaviour(request, context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(Code.INTERNAL, "Reference 7f.")

    stub.on_classify = behaviour
    error = error_of(stub)
    assert (type(error), str(error), error.details) == (ServerFailure, "Reference 7f.", ())


def test_a_failure_without_a_message_names_its_code(stub):
    stub.fail(Code.INTERNAL, "")
    assert str(error_of(stub)) == f"the server at {stub.target} failed with INTERNAL and no reason"


def test_a_server_of_another_kind_is_recognised(stub):
    stub.fail(Code.UNIMPLEMENTED, "Method not found!")
    error = error_of(stub)
    assert isinstance(error, ServerFailure)
    assert "is it a Linnaeus server of this release?" in str(error)


def test_an_answer_without_classes_is_a_failure(stub, make_answer):
    stub.on_classify = lambda request, context: type(make_answer(request))()
    assert isinstance(error_of(stub), ServerFailure)


def unreachable(target: str) -> str:
    return f"no server answers at {target} (Connection refused): check the address, and that linnaeus-server runs there"


def test_an_unreachable_server_is_unavailable_and_named(silent_target):
    with Client(silent_target) as client, pytest.raises(Unavailable) as raised:
        client.classify(b"a picture")
    assert str(raised.value) == unreachable(silent_target)


async def test_an_unreachable_server_is_unavailable_to_the_asyncio_client(silent_target):
    async with AsyncClient(silent_target) as client:
        with pytest.raises(Unavailable) as raised:
            await client.models()
    assert str(raised.value) == unreachable(silent_target)


class NeverConnected(grpc.RpcError):
    def __init__(self, text: str) -> None:
        self._text = text

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> None:
        return None


@pytest.mark.parametrize("cause", ["Connection refused", "Connection refused (111)"])
def test_an_unreachable_server_has_the_same_message_with_every_release_of_grpc(cause):
    text = f"failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: connect: {cause}"
    assert str(error_from_rpc(NeverConnected(text), target="here:1", timeout_seconds=1.0)) == unreachable("here:1")


def test_a_passed_deadline_names_the_address_and_the_time(stub):
    stub.on_classify = lambda request, context: stub_waits(context)
    with Client(stub.target, timeout_seconds=0.05) as client, pytest.raises(DeadlineExceeded) as raised:
        client.classify(b"a picture")
    assert str(raised.value).startswith(f"no answer from {stub.target} within 0.05 s: ")


def stub_waits(context: grpc.ServicerContext) -> None:
    """Blocks a call until its caller has cancelled it."""
    gone = threading.Event()
    if context.add_callback(gone.set):
        gone.wait()
    context.abort(Code.CANCELLED, "")


def test_a_message_above_the_servers_limit_is_an_invalid_image_not_an_overload(stub):
    with Client(stub.target) as client, pytest.raises(InvalidImage, match="takes no message this large"):
        client.classify(bytes(9 * 1024 * 1024))
    assert stub.images == []


def test_an_answer_above_the_clients_limit_is_no_overload_either(stub, make_answer):
    def behaviour(request, context):
        response = make_answer(request)
        response.image_id = "x" * (5 * 1024 * 1024)
        return response

    stub.on_classify = behaviour
    with Client(stub.target, max_message_bytes=1024) as client, pytest.raises(ServerFailure, match="max_message_bytes"):
        client.classify(b"a picture")


def test_a_low_limit_for_images_does_not_exclude_labels(stub, make_model):
    labels = ["x" * 1024] * 1024
    stub.on_get = lambda request, context: messages.GetModelResponse(model=make_model(), labels=labels)
    with Client(stub.target, max_message_bytes=1024) as client:
        assert client.model("lenet").labels == tuple(labels)


def test_a_traceback_shows_nothing_of_grpc(stub):
    stub.fail(Code.NOT_FOUND, "There is no model lenet.")
    error = error_of(stub)
    shown = "".join(traceback.format_exception(error))
    assert "_InactiveRpcError" not in shown
    assert "During handling" not in shown
    assert shown.endswith("linnaeus.client.errors.ModelNotFound: There is no model lenet.\n")


async def test_a_traceback_of_the_asyncio_client_shows_nothing_of_grpc(stub):
    stub.fail(Code.NOT_FOUND, "There is no model lenet.")
    shown = "".join(traceback.format_exception(await error_of_async(stub)))
    assert "AioRpcError" not in shown
    assert "During handling" not in shown


def test_errors_survive_a_process_boundary():
    error = pickle.loads(pickle.dumps(Overloaded("Later.", details=(RETRY_DICT,))))
    assert (str(error), error.retry_after_seconds) == ("Later.", 1.25)


@pytest.mark.parametrize("kind", LinnaeusError.__subclasses__())
def test_the_tree_in_the_docstring_names_every_error(kind):
    assert f"── {kind.__name__} " in errors.__doc__
    assert getattr(package, kind.__name__) is kind
    assert kind.__name__ in package.__all__
