"""`linnaeus-client load` makes one call before any load; what that call meets, the whole test would meet."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2
from tests.certificates import Authority

from linnaeus.client.cli.load.result_files import read_run
from linnaeus.client.load import scenarios
from linnaeus.v1 import classifier_pb2 as messages
from linnaeus.v1.classifier_pb2_grpc import add_ClassifierServiceServicer_to_server

TOKEN = "abc.DEF-123"
NAME = "linnaeus.example"
SHORT = ("--concurrency", 2, "--duration", "200ms", "--warmup", 0, "--metrics", "")


@pytest.fixture
def picture(pictures):
    return pictures("cat.jpg")[0]


@pytest.fixture
def no_load(monkeypatch):
    """Fails the test if a measurement is begun."""

    def begun(*arguments):
        pytest.fail("a load was sent after a first call that had no answer")

    monkeypatch.setattr(scenarios, "run_single", begun)


def rows(ending):
    return [line.split() for line in ending.output.splitlines()]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (grpc.StatusCode.NOT_FOUND, "there is no model resnet: the server has lenet"),
        (grpc.StatusCode.UNAUTHENTICATED, "the call has no token"),
        (grpc.StatusCode.PERMISSION_DENIED, "this token may not classify"),
        (grpc.StatusCode.INTERNAL, "the server failed, reference 1a2b"),
    ],
)
def test_a_refusal_ends_it_at_once_in_the_servers_own_words(
    run_command, stub, picture, tmp_path, no_load, code, sentence
):
    stub.fail(code, sentence, final=True)
    report = tmp_path / "run.html"
    ending = run_command("load", picture, "--model", "resnet", "--report", report, "--json", tmp_path / "run.json")
    assert (ending.exit_code, ending.output, ending.errors) == (1, "", f"linnaeus-client: {sentence}\n")
    assert len(stub.requests) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cat.jpg"]


def test_a_picture_that_the_server_cannot_read_is_named(run_command, stub, picture, no_load):
    violation = error_details_pb2.BadRequest.FieldViolation(field="image.encoded")
    details = error_details_pb2.BadRequest(field_violations=[violation])
    stub.fail(grpc.StatusCode.INVALID_ARGUMENT, "the image has no known format", details)
    ending = run_command("load", picture)
    assert (ending.exit_code, ending.errors) == (1, f"linnaeus-client: {picture}: the image has no known format\n")


def test_a_server_that_is_down_ends_it_at_once_with_its_address(run_command, picture, silent_target, no_load):
    ending = run_command("--server", silent_target, "load", picture)
    assert (ending.exit_code, ending.output, ending.errors.count("\n")) == (1, "", 1)
    assert f"no server answers at {silent_target} (Connection refused): check the address" in ending.errors
    assert "--processes" not in ending.errors


def test_a_server_that_has_too_much_to_do_is_measured_all_the_same(run_command, stub, picture, tmp_path):
    stub.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", final=True)
    ending = run_command("load", picture, *SHORT, "--json", tmp_path / "run.json")
    (reason,) = read_run(tmp_path / "run.json").measurements[0].failures
    assert (reason.code, reason.sentence) == ("RESOURCE_EXHAUSTED", "the queue is full")
    assert (ending.exit_code, ending.errors) == (1, "")
    assert [f"{reason.calls:,}", "RESOURCE_EXHAUSTED", "the", "queue", "is", "full"] in rows(ending)


def test_failures_during_a_run_are_shown_with_their_reason(run_command, stub, picture, make_answer, tmp_path):
    answers = iter([make_answer])

    def behaviour(request, context):
        if (answer := next(answers, None)) is None:
            context.abort(grpc.StatusCode.INTERNAL, f"the model failed, reference {len(stub.requests):x}9")
        return answer(request)

    stub.on_classify = behaviour
    files = ("--json", tmp_path / "run.json", "--report", tmp_path / "run.html")
    ending = run_command("load", picture, *SHORT, *files)
    measurement = read_run(tmp_path / "run.json").measurements[0]
    (reason,) = measurement.failures
    assert (reason.code, reason.calls) == ("INTERNAL", measurement.counts.failed)
    assert measurement.counts.sent == measurement.counts.failed > 1
    assert reason.sentence.startswith("the model failed, reference ")
    assert reason.sentence in ending.output and reason.sentence in (tmp_path / "run.html").read_text()
    assert not measurement.tester.was_the_limit and "--processes" not in ending.output
    assert ending.exit_code == 1


@pytest.fixture
def locked_server(stub, tmp_path):
    """A server that speaks TLS and answers calls with the token; yields its address."""

    def locked(behaviour):
        def check(request, context):
            if dict(context.invocation_metadata()).get("authorization") != f"Bearer {TOKEN}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is unknown")
            return behaviour(request, context)

        return check

    stub.on_classify, stub.on_batch, stub.on_stream = map(locked, (stub.on_classify, stub.on_batch, stub.on_stream))
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    identity = authority.issue(NAME)
    with ThreadPoolExecutor(max_workers=8) as threads:
        server = grpc.server(threads)
        add_ClassifierServiceServicer_to_server(stub, server)
        credentials = grpc.ssl_server_credentials([(identity.key, identity.certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(grace=None).wait()


@pytest.mark.parametrize("rpc", ["unary", "batch", "stream"])
def test_a_locked_server_is_measured_with_the_options_of_classify(
    run_command, locked_server, picture, tmp_path, monkeypatch, rpc
):
    monkeypatch.setenv("LINNAEUS_TOKEN", TOKEN)
    options = ("--server", locked_server, "--tls-ca", tmp_path / "ca.pem", "--tls-server-name", NAME)
    ending = run_command(*options, "load", picture, *SHORT, "--rpc", rpc, "--json", tmp_path / "run.json")
    assert (ending.exit_code, ending.errors) == (0, "")
    text = (tmp_path / "run.json").read_text()
    assert TOKEN not in text and '"tls": true' in text
    monkeypatch.setenv("LINNAEUS_TOKEN", "another")
    refused = run_command(*options, "load", picture, *SHORT)
    assert (refused.exit_code, refused.errors) == (1, "linnaeus-client: the token is unknown\n")


def test_a_token_that_would_travel_readable_is_wrong_usage(run_command, picture, no_load, monkeypatch):
    monkeypatch.setenv("LINNAEUS_TOKEN", TOKEN)
    ending = run_command("--server", "linnaeus.example:1", "load", picture)
    assert ending.exit_code == 2 and "would travel readable by all" in ending.errors and TOKEN not in ending.errors


def test_several_addresses_take_turns(run_command, stub, make_answer, picture, tmp_path):
    peers = set()

    def behaviour(request, context):
        peers.add(dict(context.invocation_metadata()).get("x", context.peer()))
        return make_answer(request)

    stub.on_classify = behaviour
    with ThreadPoolExecutor(max_workers=8) as threads:
        other = grpc.server(threads)
        add_ClassifierServiceServicer_to_server(stub, other)
        port = other.add_insecure_port("127.0.0.1:0")
        other.start()
        target = f"ipv4:{stub.target},127.0.0.1:{port}"
        ending = run_command("--server", target, "load", picture, *SHORT, "--processes", 1, "--connections", 1)
        other.stop(grace=None).wait()
    assert (ending.exit_code, ending.errors) == (0, "")
    # The client of the first call and the tester's one connection each call both servers.
    assert len(peers) >= 3


@pytest.mark.parametrize(
    ("options", "connections"), [((), 3), (("--connections", "auto"), 3), (("--connections", 2), 2)]
)
def test_as_many_connections_are_used_as_the_server_tells_or_as_is_said(
    run_command, stub, make_answer, picture, tmp_path, options, connections
):
    peers = set()

    def behaviour(request, context):
        peers.add(context.peer())
        return make_answer(request)

    stub.on_classify = behaviour
    limits = messages.ServerLimits(connections=3)
    stub.on_list = lambda request, context: messages.ListModelsResponse(limits=limits)
    load = ("--concurrency", 6, "--duration", "300ms", "--warmup", 0, "--metrics", "", "--processes", 1)
    files = ("--json", tmp_path / "run.json", "--report", tmp_path / "run.html")
    assert run_command("load", picture, *load, *files, *options).exit_code == 0
    assert len(peers) == connections + 1, "the first call has a connection of its own"
    assert read_run(tmp_path / "run.json").options["connections"] == connections
    assert f"<td>connections</td><td>{connections}</td>" in (tmp_path / "run.html").read_text()


def test_a_server_that_tells_no_connections_gets_what_the_calls_in_flight_need(run_command, stub, picture, tmp_path):
    stub.on_list = lambda request, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
    ending = run_command("load", picture, *SHORT, "--processes", 1, "--json", tmp_path / "run.json")
    assert ending.exit_code == 0
    assert read_run(tmp_path / "run.json").options["connections"] == 1


def test_connections_that_are_no_number_are_wrong_usage(run_command, picture, no_load):
    ending = run_command("load", picture, "--connections", "many")
    assert ending.exit_code == 2 and "--connections is 'many': it is auto, or a number" in ending.errors
