"""`linnaeus-client classify`: many files at once, answers in order, one line for every failure."""

import json
import signal
import threading
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from rich.console import Console

from linnaeus.v1 import classifier_pb2 as messages

TOP_CLASS = {"index": 281, "label": "tabby, tabby cat", "probability": 0.75}


def cells(output: str) -> list[list[str]]:
    """Splits a printed table into rows of cells."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines()]


def refuse(names: str, stub, make_answer, make_status) -> None:
    """Makes the stub server refuse images by their content."""
    violation = BadRequest(field_violations=[BadRequest.FieldViolation(field="image", description="no picture")])

    def behaviour(request, context):
        if request.image.encoded.decode() in names:
            status = make_status(grpc.StatusCode.INVALID_ARGUMENT, "This is no picture.", violation)
            context.abort_with_status(rpc_status.to_status(status))
        return make_answer(request)

    stub.on_classify = behaviour


def test_one_image_is_one_row(run_command, pictures, stub):
    ending = run_command("classify", *pictures("cat.jpg"), "--model", "lenet")
    heading, rule, row = cells(ending.output)
    assert heading == ["picture", "model", "label", "probability", "milliseconds", "batch size"]
    assert set("".join(rule)) == {"─"}
    assert row[0].endswith("cat.jpg")
    assert row[1:4] == ["lenet v3", "tabby, tabby cat", "75.0%"]
    assert float(row[4]) > 0
    assert row[5] == "4"
    assert (ending.exit_code, ending.errors) == (0, "")


def test_options_arrive_at_the_server(run_command, pictures, stub):
    run_command("classify", *pictures("cat.jpg"), "--model", "lenet", "--version", "2", "--top-k", "3")
    assert stub.requests[0] == messages.ClassifyRequest(
        image=messages.Image(encoded=b"cat.jpg"), model="lenet", version="2", top_k=3
    )


@pytest.mark.parametrize("output", ["table", "csv", "jsonl"])
def test_with_min_probability_all_that_reach_it_are_asked_for_and_none_is_a_row_without_label(
    run_command, pictures, stub, output
):
    stub.on_classify = lambda request, context: messages.ClassifyResponse(model="lenet", version=3)
    ending = run_command("classify", *pictures("cat.jpg"), "--min-probability", "0.25", "--output", output)
    assert stub.requests[0] == messages.ClassifyRequest(image=messages.Image(encoded=b"cat.jpg"), min_probability=0.25)
    assert ending.exit_code == 0 and "cat.jpg" in ending.output and "lenet" in ending.output


def test_a_stream_shows_the_same(run_command, pictures, stub):
    stub.errors = {b"bad.jpg": messages.ImageError(code=3, message="This is no picture.")}
    files = pictures("cat.jpg", "bad.jpg", "dog.jpg")
    ending = run_command("classify", *files, "--model", "lenet", "--stream", "--output", "jsonl")
    asked = [request for request in stub.requests if isinstance(request, messages.StreamClassifyRequest)]
    assert sorted(request.image.encoded for request in asked) == [b"bad.jpg", b"cat.jpg", b"dog.jpg"]
    assert not any(isinstance(request, messages.ClassifyRequest) for request in stub.requests)
    cat, bad, dog = map(json.loads, ending.output.splitlines())
    assert cat["classes"][0] == dog["classes"][0] == TOP_CLASS and "This is no picture." in str(bad)
    assert ending.exit_code == 1


def test_more_classes_are_more_rows_with_the_image_shown_once(run_command, pictures):
    ending = run_command("classify", *pictures("cat.jpg", "dog.jpg"), "--top-k", "2")
    rows = [row for row in cells(ending.output)[2:] if row]
    assert [row[-1] for row in rows[1::2]] == ["12.5%", "12.5%"]
    assert [row[0] for row in rows[1::2]] == ["tiger cat", "tiger cat"]
    assert ending.output.count("cat.jpg") == ending.output.count("dog.jpg") == 1


def test_images_are_sent_at_the_same_time(run_command, pictures, stub, make_answer, patience_seconds):
    together = threading.Barrier(5)

    def behaviour(request, context):
        together.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify = behaviour
    assert run_command("classify", *pictures(*"abcde")).exit_code == 0


def test_sixteen_images_are_in_flight_by_default(run_command, pictures, stub, make_answer, patience_seconds):
    together = threading.Barrier(16)

    def behaviour(request, context):
        together.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify = behaviour
    assert run_command("classify", *pictures(*(f"{number}.jpg" for number in range(32)))).exit_code == 0


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_answers_are_in_the_order_of_the_files(run_command, pictures, stub, make_answer, patience_seconds, form):
    last_is_done = threading.Event()

    def behaviour(request, context):
        if request.image.encoded == b"first.jpg":
            last_is_done.wait(patience_seconds)
        else:
            context.add_callback(last_is_done.set)
        return make_answer(request)

    stub.on_classify = behaviour
    output = run_command("classify", *pictures("first.jpg", "second.jpg"), *form).output
    assert output.index("first.jpg") < output.index("second.jpg")


def test_json_is_one_array_with_everything_of_the_answer(run_command, pictures):
    files = pictures("cat.jpg", "dog.jpg")
    ending = run_command("classify", *files, "--json")
    answers = json.loads(ending.output)
    assert [answer.pop("picture") for answer in answers] == files
    assert all(answer.pop("milliseconds") > 0 for answer in answers)
    assert answers[0] == answers[1]
    assert answers[0] == {
        "model": "lenet",
        "version": 3,
        "trained": True,
        "classes": [TOP_CLASS],
        "batch_size": 4,
        "timings": {"decode_seconds": 0.25, "queue_seconds": 0.5, "inference_seconds": 1.0},
    }
    assert (ending.exit_code, ending.errors) == (0, "")


def test_an_image_that_fails_is_one_line_and_does_not_affect_the_others(
    run_command, pictures, stub, make_answer, make_status
):
    refuse("cat.txt", stub, make_answer, make_status)
    cat, text, dog = pictures("cat.jpg", "cat.txt", "dog.jpg")
    ending = run_command("classify", cat, text, f"{dog}.missing", dog)
    assert [row[0] for row in cells(ending.output)[2:]] == [cat, dog]
    assert ending.errors.splitlines() == [
        f"linnaeus-client: {text}: This is no picture.",
        f"linnaeus-client: {dog}.missing: there is no such file",
    ]
    assert ending.exit_code == 1


def test_an_image_that_fails_keeps_its_position_in_json(run_command, pictures, stub, make_answer, make_status):
    refuse("cat.txt", stub, make_answer, make_status)
    cat, text, dog = pictures("cat.jpg", "cat.txt", "dog.jpg")
    ending = run_command("classify", cat, text, dog, "--json")
    first, failed, last = json.loads(ending.output)
    assert (first["picture"], last["picture"]) == (cat, dog)
    assert failed == {"picture": text, "error": {"type": "InvalidImage", "message": "This is no picture."}}
    assert ending.errors == f"linnaeus-client: {text}: This is no picture.\n"
    assert ending.exit_code == 1


def test_without_any_answer_there_is_no_table(run_command, pictures, stub):
    stub.fail(grpc.StatusCode.NOT_FOUND, "There is no model alexnet.")
    (cat,) = pictures("cat.jpg")
    ending = run_command("classify", cat, "--model", "alexnet")
    assert (ending.exit_code, ending.output) == (1, "")
    assert ending.errors == "linnaeus-client: There is no model alexnet.\n"


def test_a_message_of_several_lines_is_printed_on_one(run_command, pictures, stub):
    stub.fail(grpc.StatusCode.INTERNAL, "One.\nTwo.\x1b[2J")
    (cat,) = pictures("cat.jpg")
    ending = run_command("classify", cat)
    assert ending.errors == "linnaeus-client: One. Two.\N{REPLACEMENT CHARACTER}[2J\n"


def untrained(make_model):
    weights = messages.WeightsDescription(source="random", trained=False)
    return lambda request, context: messages.GetModelResponse(model=make_model(weights=weights))


def test_an_untrained_model_says_so(run_command, pictures, stub, make_model):
    stub.on_get = untrained(make_model)
    ending = run_command("classify", *pictures("cat.jpg", "dog.jpg"))
    assert [row[1] for row in cells(ending.output)[2:]] == ["lenet v3 (untrained)"] * 2
    asked = [request for request in stub.requests if isinstance(request, messages.GetModelRequest)]
    assert asked == [messages.GetModelRequest(model="lenet", version="3")]


def test_an_untrained_model_says_so_in_json(run_command, pictures, stub, make_model):
    stub.on_get = untrained(make_model)
    assert [answer["trained"] for answer in json.loads(run_command("classify", *pictures("a"), "--json").output)] == [
        False
    ]


def test_an_answer_is_shown_even_if_the_model_cannot_be_described(run_command, pictures, stub):
    stub.on_get = lambda request, context: context.abort(grpc.StatusCode.INTERNAL, "No.")
    ending = run_command("classify", *pictures("cat.jpg"), "--json")
    assert ending.exit_code == 0
    assert json.loads(ending.output)[0]["trained"] is None


def test_a_pipe_gets_complete_labels_and_no_colours(run_command, pictures, stub, make_answer, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    label = "a label that " + "goes on and " * 30 + "ends"

    def behaviour(request, context):
        response = make_answer(request)
        response.classes[0].label = label
        return response

    stub.on_classify = behaviour
    output = run_command("classify", *pictures("cat.jpg")).output
    assert label in output
    assert len(output.splitlines()) == 3
    assert "\x1b" not in output


def test_names_are_printed_as_they_are(run_command, pictures):
    (name,) = pictures("[bold]cat  :cat: \x1b[31m.jpg")
    output = run_command("classify", name).output
    assert "[bold]cat  :cat: \N{REPLACEMENT CHARACTER}[31m.jpg" in output


def test_an_unreachable_server_is_one_line(run_command, pictures, silent_target):
    (cat,) = pictures("cat.jpg")
    ending = run_command("classify", cat, "--server", silent_target)
    assert ending.exit_code == 1
    assert ending.errors.startswith(f"linnaeus-client: no server answers at {silent_target} (Connection refused)")
    assert ending.errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        lambda target: ["--server", target, "--timeout", "90", "classify"],
        lambda target: ["classify", "--server", target, "--timeout", "90"],
        lambda target: ["--server", "localhost:1", "--timeout", "1", "classify", "--server", target, "--timeout", "90"],
    ],
)
def test_server_and_timeout_may_be_given_anywhere_and_the_last_one_wins(
    run_command, pictures, stub, monkeypatch, arguments
):
    monkeypatch.delenv("LINNAEUS_SERVER")
    assert run_command(*arguments(stub.target), *pictures("cat.jpg")).exit_code == 0
    assert 80 < stub.seconds_remaining[0] < 91


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["classify"], "FILE"),
        (["classify", "cat.jpg", "--top-k", "-1"], "--top-k"),
        (["classify", "cat.jpg", "--concurrency", "0"], "--concurrency"),
        (["classify", "cat.jpg", "--timeout", "0"], "--timeout"),
        (["classify", "cat.jpg", "--timeout", "nan"], "--timeout"),
        (["classify", "cat.jpg", "--server", "localhost"], "HOST:PORT"),
        (["--server", "http://localhost:1", "models"], "scheme"),
        (["name", "cat.jpg"], "name"),
    ],
)
def test_wrong_usage_is_reported_with_status_two(run_command, stub, arguments, named):
    ending = run_command(*arguments)
    assert ending.exit_code == 2
    assert named in ending.errors
    assert "Traceback" not in ending.errors
    assert stub.requests == []


def test_a_bug_is_one_line_too(run_command, pictures, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("one\ntwo")

    monkeypatch.setattr("linnaeus.client.images.image_source.read_file", broken)
    ending = run_command("classify", *pictures("cat.jpg"))
    assert (ending.exit_code, ending.errors) == (1, "linnaeus-client: unexpected RuntimeError: one two\n")


def test_an_interrupt_ends_quietly_with_status_130(start_python, pictures, stub, patience_seconds):
    arrived, gone = threading.Event(), threading.Event()

    def behaviour(request, context):
        context.add_callback(gone.set)
        arrived.set()
        gone.wait(patience_seconds)

    stub.on_classify = behaviour
    command = start_python(
        "-c",
        "import sys; from linnaeus.client.cli import main; main(sys.argv[1:])",
        *["--server", stub.target, "classify", *pictures("cat.jpg")],
    )
    assert arrived.wait(patience_seconds)
    command.send_signal(signal.SIGINT)
    output, errors = command.communicate(timeout=patience_seconds)
    assert (command.returncode, output, errors) == (130, "", "")
    assert gone.wait(patience_seconds)


def test_an_interrupt_while_starting_ends_quietly_too(run_command, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("linnaeus.client.cli._application", interrupted)
    ending = run_command("models")
    assert (ending.exit_code, ending.output, ending.errors) == (130, "", "")


def test_a_narrow_terminal_shows_complete_names_and_labels(run_command, pictures, monkeypatch):
    narrow = Console(width=80, markup=False, emoji=False, highlight=False)
    monkeypatch.setattr("linnaeus.client.cli.output._console", lambda: narrow)
    cat = Path(*pictures("cat.jpg"))
    monkeypatch.chdir(cat.parent)
    ending = run_command("classify", cat.name, "--model", "efficientnet_lite0")
    *_, row, below = cells(ending.output)
    assert row[:4] == ["cat.jpg", "efficientnet_lite0", "tabby, tabby cat", "75.0%"]
    assert below == ["v3"]
    assert max(len(line) for line in ending.output.splitlines()) <= 80


def test_a_character_that_the_encoding_lacks_does_not_end_the_program(start_python, pictures, stub, patience_seconds):
    command = start_python(
        "-c",
        "import sys; from linnaeus.client.cli import main; main(sys.argv[1:])",
        *["--server", stub.target, "classify", *pictures("kätzchen.jpg")],
        PYTHONIOENCODING="ascii",
    )
    output, errors = command.communicate(timeout=patience_seconds)
    assert (command.returncode, errors) == (0, "")
    assert r"k\xe4tzchen.jpg" in output
