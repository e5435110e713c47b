"""A run of many images: one line for each cause, an end when all is lost, a summary, an exit status."""

import re

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from tests.client.listeners import AUTHORITY, HOSTS, OTHER_AUTHORITY, silent_port, tls_server, web_server

from linnaeus.client.cli import connection_help
from linnaeus.client.cli.classify.outcomes import Failed
from linnaeus.client.cli.classify.run_report import RunReport
from linnaeus.client.cli.connection_help import Explanation
from linnaeus.client.errors import InvalidImage, ServerFailure, Unavailable

pytestmark = pytest.mark.usefixtures("short_backoff")

Code = grpc.StatusCode
MANY = 5_000


@pytest.fixture
def many(pictures, tmp_path) -> list[str]:
    """The arguments for a list of 5,000 pictures."""
    (cat,) = pictures("cat.jpg")
    (tmp_path / "list").write_text(f"{cat}\n" * MANY)
    return ["classify", "--from-file", str(tmp_path / "list")]


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
@pytest.mark.parametrize("way", [[], ["--stream"]])
def test_a_wrong_model_is_one_line_and_ends_the_run(run_command, stub, many, form, way):
    stub.fail(Code.NOT_FOUND, "There is no model alexnet.", final=True)
    stub.on_stream = lambda requests, context: context.abort(Code.NOT_FOUND, "There is no model alexnet.")
    ending = run_command(*many, "--output", form, *way)
    cause, summary = ending.errors.splitlines()
    assert (ending.exit_code, cause) == (1, "linnaeus-client: There is no model alexnet.")
    assert re.fullmatch(
        r"linnaeus-client: 0 of 5,000 pictures classified, 1 failed, 4,999 not sent, in \d+\.\d s", summary
    )
    assert len(stub.requests) < 200


def test_a_dead_server_is_one_line_and_ends_the_run(run_command, silent_target, many):
    ending = run_command(*many, "--server", silent_target)
    cause, summary = ending.errors.splitlines()
    assert cause.startswith(f"linnaeus-client: no server answers at {silent_target} (Connection refused): check")
    assert ending.exit_code == 1 and "0 of 5,000 pictures classified" in summary


def test_a_server_that_is_lost_ends_the_run_too(run_command, stub, many, make_answer):
    def behaviour(request, context):
        if len(stub.requests) > 100:
            context.set_trailing_metadata([("grpc-retry-pushback-ms", "-1")])
            context.abort(Code.UNAVAILABLE, "Socket closed")
        return make_answer(request)

    stub.on_classify = behaviour
    ending = run_command(*many, "--output", "jsonl")
    cause, summary = ending.errors.splitlines()
    assert ending.exit_code == 1 and "Socket closed" in cause
    # Answers that were under way may come between the failures, which are then counted anew.
    failed = re.search(r" of 5,000 pictures classified, (\d+) failed, .* not sent", summary)
    assert failed is not None and 33 <= int(failed[1]) < 100
    assert 90 < ending.output.count('"classes"') <= 101


def test_a_few_failures_in_a_row_do_not_end_a_run(run_command, stub, pictures, make_answer):
    def behaviour(request, context):
        if request.image.encoded.decode() in ("08.jpg", "09.jpg", "10.jpg"):
            context.set_trailing_metadata([("grpc-retry-pushback-ms", "-1")])
            context.abort(Code.UNAVAILABLE, "Socket closed")
        return make_answer(request)

    stub.on_classify = behaviour
    ending = run_command("classify", *pictures(*(f"{number:02}.jpg" for number in range(25))))
    cause, summary = ending.errors.splitlines()
    assert "Socket closed" in cause and "22 of 25 pictures classified, 3 failed, in" in summary


def test_what_is_wrong_with_pictures_is_a_line_for_each(run_command, pictures):
    files = pictures(*(f"{number}.jpg" for number in range(18)))
    ending = run_command("classify", *files, "one.missing", "two.missing")
    assert ending.exit_code == 1
    one, two, summary = ending.errors.splitlines()
    assert (one, two) == tuple(f"linnaeus-client: {name}.missing: there is no such file" for name in ("one", "two"))
    assert summary.startswith("linnaeus-client: 18 of 20 pictures classified, 2 failed, in ")


def test_a_run_without_a_failure_has_a_summary_and_status_0(run_command, pictures):
    ending = run_command("classify", *pictures(*(f"{number}.jpg" for number in range(20))))
    assert ending.exit_code == 0
    assert re.fullmatch(r"linnaeus-client: 20 of 20 pictures classified, in \d+\.\d s\n", ending.errors)


def test_failures_that_differ_in_a_number_are_ten_lines(monkeypatch):
    report, lines = RunReport(MANY, patience=32), []
    monkeypatch.setattr("linnaeus.client.cli.output.write_error", lines.append)
    for number in range(100):
        explanation = Explanation(f"see {number}", concerns_all=False)
        report.write_failure(Failed("cat.jpg", ServerFailure("see the log"), explanation))
    report.write_failure(Failed("dog.jpg", InvalidImage("no picture")))
    assert lines == [*(f"cat.jpg: see {number}" for number in range(10)), "dog.jpg: no picture"]


def test_a_run_that_had_answers_has_patience():
    report = RunReport(None, patience=2)
    lost = Failed("cat.jpg", Unavailable("gone"), Explanation("gone", concerns_all=True))
    report.count(Failed("a.txt", InvalidImage("no picture")))
    assert not report.is_hopeless
    report.count(lost)
    assert report.is_hopeless
    report.count(object())  # an answer
    for hopeless in (False, False, True):
        report.count(lost)
        assert report.is_hopeless is hopeless


TROUBLES = {
    "a web server": (web_server, "a web server is there that speaks no gRPC): check the port"),
    "TLS": (tls_server(*HOSTS), "the server speaks TLS): use --tls"),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("listener", "said"), TROUBLES.values(), ids=TROUBLES)
def test_the_cause_is_told_with_a_hint_whichever_way_the_host_is_written(run_command, many, listener, said, host):
    with listener() as port:
        ending = run_command(*many, "--server", f"{host}:{port}")
        models = run_command("models", "--server", f"{host}:{port}")
    cause, _ = ending.errors.splitlines()
    assert cause.startswith(f"linnaeus-client: no server answers at {host}:{port} ({said}")
    assert models.errors == f"{cause}\n" and models.exit_code == 1


def test_trouble_with_a_certificate_is_told_with_a_hint(run_command, tmp_path):
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate)
    (tmp_path / "other.pem").write_bytes(OTHER_AUTHORITY.certificate)
    with tls_server("linnaeus.example")() as port:
        target = ["models", "--server", f"localhost:{port}"]
        name = run_command(*target, "--tls-ca", str(tmp_path / "ca.pem"))
        authority = run_command(*target, "--tls-ca", str(tmp_path / "other.pem"))
        answered = run_command(*target, "--tls-ca", str(tmp_path / "ca.pem"), "--tls-server-name", "linnaeus.example")
    assert "certificate is for another name): use an address that is in it, or --tls-server-name NAME" in name.errors
    assert "certificate is not trusted: " in authority.errors and "use --tls-ca FILE with" in authority.errors
    assert (answered.exit_code, answered.errors) == (0, "")


def test_a_port_that_says_nothing_is_told_and_ends_the_run(run_command, many, monkeypatch):
    monkeypatch.setattr(connection_help, "_PROBE_SECONDS", 0.2)
    with silent_port() as port:
        ending = run_command(*many, "--server", f"127.0.0.1:{port}", "--timeout", "0.3")
    cause, summary = ending.errors.splitlines()
    assert "the port takes connections and says nothing" in cause and "0 of 5,000 pictures classified" in summary


def test_a_missing_token_is_told_in_the_words_of_the_command_line(run_command, stub, pictures):
    stub.fail(Code.UNAUTHENTICATED, "this server asks for a token: send it as the metadata", ErrorInfo(reason="x"))
    for command in (["models"], ["classify", *pictures("cat.jpg")]):
        ending = run_command(*command)
        assert ending.errors == (
            f"linnaeus-client: the server at {stub.target} asks for a token: use --token-file FILE, or set "
            "LINNAEUS_TOKEN\n"
        )
