"""`linnaeus-client classify`: inputs (files, folders, lists, standard input) and output formats."""

import csv
import io
import json
import os
import signal
import sys
import threading
from types import SimpleNamespace

import grpc
import pytest

from linnaeus.client.cli.classify import name_list, output_formats
from linnaeus.client.cli.classify.progress_bar import progress_bar

PROGRAM = "import sys; from linnaeus.client.cli import main; main(sys.argv[1:])"


def rows(output: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output)))


@pytest.fixture
def feed(tmp_path, monkeypatch):
    """Replaces standard input by a file or a pipe with these bytes."""

    def put(content: bytes, *, pipe: bool = False) -> None:
        if pipe:
            ours, theirs = os.pipe()
            os.write(theirs, content)
            os.close(theirs)
            file = os.fdopen(ours)
        else:
            (tmp_path / "input").write_bytes(content)
            file = (tmp_path / "input").open()
        opened.append(file)
        monkeypatch.setattr(sys, "stdin", file)

    opened: list = []
    yield put
    for file in opened:
        file.close()


def test_csv_is_one_row_a_class_and_one_a_failure(run_command, pictures):
    cat, dog = pictures('a "cat", tabby.jpg', "dog.jpg")
    ending = run_command("classify", cat, f"{dog}.missing", dog, "--top-k", "2", "--output", "csv")
    heading, first, second, failed, *_ = list(csv.reader(io.StringIO(ending.output)))
    assert heading == ["file", "rank", "index", "label", "probability", "model", "version", "error"]
    assert first == [cat, "1", "281", "tabby, tabby cat", "0.75", "lenet", "3", ""]
    assert second == [cat, "2", "282", "tiger cat", "0.125", "lenet", "3", ""]
    assert failed == [f"{dog}.missing", "", "", "", "", "", "", "there is no such file"]
    assert [row["file"] for row in rows(ending.output)] == [cat, cat, f"{dog}.missing", dog, dog]
    assert (ending.exit_code, ending.errors) == (1, f"linnaeus-client: {dog}.missing: there is no such file\n")


def test_csv_without_an_answer_still_has_its_heading(run_command, pictures, stub):
    stub.fail(grpc.StatusCode.NOT_FOUND, "There is no model alexnet.")
    ending = run_command("classify", *pictures("cat.jpg"), "--output", "csv")
    assert [row["error"] for row in rows(ending.output)] == ["There is no model alexnet."]


def test_json_lines_are_the_elements_of_the_array(run_command, pictures):
    files = pictures("cat.jpg", "dog.jpg")
    lines = [json.loads(line) for line in run_command("classify", *files, "--output", "jsonl").output.splitlines()]
    array = json.loads(run_command("classify", *files, "--output", "json").output)
    for answer in (*lines, *array):
        assert answer.pop("milliseconds") > 0
    assert lines == array


def test_json_without_outcomes_is_an_empty_array(run_command, tmp_path):
    ending = run_command("classify", "--from-file", os.devnull, "--json")
    assert (ending.exit_code, json.loads(ending.output)) == (0, [])


def test_many_images_are_several_tables(run_command, pictures, monkeypatch):
    monkeypatch.setattr(output_formats, "_IMAGES_PER_TABLE", 2)
    files = pictures(*"abcde")
    output = run_command("classify", *files).output
    assert output.count("probability") == 3
    assert [line.split()[0] for line in output.splitlines() if line.startswith("/")] == files


def test_results_are_written_as_they_come(start_python, pictures, stub, make_answer, patience_seconds):
    seen, in_time = threading.Event(), []

    def behaviour(request, context):
        if request.image.encoded == b"b":
            in_time.append(seen.wait(patience_seconds))
        return make_answer(request)

    stub.on_classify = behaviour
    arguments = ["--server", stub.target, "classify", *pictures("a", "b"), "--output", "jsonl"]
    command = start_python("-c", PROGRAM, *arguments, PYTHONUNBUFFERED="")
    assert json.loads(command.stdout.readline())["picture"].endswith("a")
    seen.set()
    assert json.loads(command.stdout.readline())["picture"].endswith("b")
    assert in_time == [True]


def test_a_folder_stands_for_its_images_in_order(run_command, pictures, tmp_path):
    (tmp_path / "below").mkdir()
    expected = pictures("a.jpg", "b.png", "below/c.gif")
    pictures("notes.txt", ".hidden.jpg")
    flat = run_command("classify", tmp_path, "--output", "csv")
    deep = run_command("classify", tmp_path, "--recursive", "--output", "csv")
    assert [row["file"] for row in rows(flat.output)] == expected[:2]
    assert [row["file"] for row in rows(deep.output)] == expected


def test_a_folder_without_images_is_one_line_and_does_not_affect_the_others(run_command, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    (cat,) = pictures("cat.jpg")
    ending = run_command("classify", tmp_path / "empty", cat, "--output", "csv")
    assert [row["file"] for row in rows(ending.output)] == [cat, str(tmp_path / "empty")]
    assert ending.exit_code == 1
    assert ending.errors.startswith(f"linnaeus-client: {tmp_path / 'empty'}: there is no picture (.bmp,")
    assert ending.errors.count("\n") == 1


def test_a_dash_is_one_image_from_standard_input(run_command, pictures, stub, feed):
    feed(b"a picture")
    (cat,) = pictures("cat.jpg")
    answers = json.loads(run_command("classify", "-", cat, "--json").output)
    assert [answer["picture"] for answer in answers] == ["-", cat]
    assert sorted(image.encoded for image in stub.images) == [b"a picture", b"cat.jpg"]


def test_an_empty_standard_input_is_one_line(run_command, feed):
    feed(b"")
    ending = run_command("classify", "-")
    assert (ending.exit_code, ending.output) == (1, "")
    assert ending.errors == "linnaeus-client: -: the picture is empty: there are no bytes in it\n"


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize("last_line_ends", [False, True])
def test_a_list_on_standard_input_names_one_image_a_line(run_command, pictures, feed, pipe, last_line_ends):
    files = pictures("a b.jpg", "kätzchen.jpg", "c.jpg")
    feed(("\r\n\n".join(files) + "\n" * last_line_ends).encode(), pipe=pipe)
    answers = json.loads(run_command("classify", "--from-file", "-", "--json").output)
    assert [answer["picture"] for answer in answers] == files


def test_a_list_comes_after_the_files_and_may_name_folders(run_command, pictures, tmp_path):
    first, second, third = pictures("a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "list").write_text(f"{third}\n\n{tmp_path}\n")
    output = run_command("classify", first, "--from-file", tmp_path / "list", "--output", "csv").output
    assert [row["file"] for row in rows(output)] == [first, third, first, second, third]


@pytest.mark.parametrize("pipe", [False, True])
def test_a_list_from_windows_is_read_as_it_is_meant(run_command, pictures, feed, pipe):
    files = pictures("a.jpg", "b\u2028c.jpg")
    feed(("\ufeff" + "".join(f"{file}\r\n" for file in files)).encode(), pipe=pipe)
    answers = json.loads(run_command("classify", "--from-file", "-", "--json").output)
    assert [answer["picture"] for answer in answers] == files


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("cat.jpg\ndog.jpg\n".encode("utf-16"), "NUL, as UTF-16"),
        (b"cat.jpg\0dog.jpg\0", "NUL, as UTF-16 and find -print0"),
        ("c\n".encode("utf-16")[:2] + b"at.jpg\n", "it is UTF-16"),
        (b"c" * 101, "a line of more than 100 bytes"),
    ],
)
def test_a_list_that_is_none_is_one_line_and_does_not_affect_the_files(
    run_command, pictures, feed, pipe, content, said, monkeypatch
):
    monkeypatch.setattr(name_list, "_MAX_NAME_BYTES", 100)
    (cat,) = pictures("cat.jpg")
    feed(content, pipe=pipe)
    ending = run_command("classify", cat, "--from-file", "-", "--output", "csv")
    assert ending.exit_code == 1 and [row["file"] for row in rows(ending.output)] == [cat, "-"]
    assert ending.errors.startswith("linnaeus-client: -: it ") and said in ending.errors
    assert ending.errors.count("\n") == 1


STRANGE = ["new\nline.jpg", "return\r.jpg", "-dash.jpg", "-", 'quote".jpg', "\udcff.jpg", "\u2028.jpg", "\ufeff.jpg"]


@pytest.mark.parametrize("stream", [[], ["--stream"]], ids=["calls", "stream"])
@pytest.mark.parametrize("output", ["table", "csv", "jsonl", "json"])
def test_a_strange_file_name_is_one_row_in_every_form(run_command, pictures, tmp_path, monkeypatch, stream, output):
    pictures(*STRANGE)
    monkeypatch.chdir(tmp_path)
    ending = run_command("classify", "--output", output, *stream, "--", *(f"./{name}" for name in STRANGE))
    assert (ending.exit_code, ending.errors) == (0, "")
    if output == "csv":
        names = [row["file"] for row in csv.DictReader(io.StringIO(ending.output, newline=""))]
    elif output == "table":
        names = ending.output.split("\n")[2:-1]
        assert len(names) == len(STRANGE)
        return
    else:
        text = ending.output if output == "json" else f"[{','.join(ending.output.splitlines())}]"
        names = [answer["picture"] for answer in json.loads(text)]
    assert [name.replace("\\", "") for name in names] == [
        f"./{name}".replace("\udcff", "udcff" if output == "csv" else "\udcff") for name in STRANGE
    ]


def test_a_dash_in_a_list_is_a_file(run_command, pictures, tmp_path, monkeypatch):
    pictures("-", "-dash.jpg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names").write_text("-\n-dash.jpg\n")
    ending = run_command("classify", "--from-file", "names", "--output", "csv", "--sort-into", "sorted")
    assert [row["file"] for row in rows(ending.output)] == ["./-", "-dash.jpg"]
    for row in rows(ending.output):
        assert (tmp_path / row["copied_to"]).read_bytes() == (tmp_path / row["file"]).read_bytes() != b""


def test_the_names_of_a_pipe_are_classified_before_it_ends(stub, pictures, start_python, patience_seconds):
    answered = threading.Event()
    answer = stub.on_classify

    def behaviour(request, context):
        context.add_callback(answered.set)
        return answer(request, context)

    stub.on_classify = behaviour
    (cat,) = pictures("cat.jpg")
    program = "import os, sys; pipe, sys.stdin = os.pipe(), None; sys.stdin = os.fdopen(pipe[0]);"
    program += f"os.write(pipe[1], {cat.encode()!r} + b'\\n');" + PROGRAM
    command = start_python("-c", program, "--server", stub.target, "classify", "--from-file", "-", "--output", "jsonl")
    assert json.loads(command.stdout.readline())["picture"] == cat
    assert answered.wait(patience_seconds)
    command.send_signal(signal.SIGINT)
    output, errors = command.communicate(timeout=patience_seconds)
    assert (command.returncode, output, errors) == (130, "", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["classify"], "FILE"),
        (["classify", "-", "-"], "standard input"),
        (["classify", "-", "--from-file", "-"], "standard input"),
        (["classify", "--from-file", "/no/such/list"], "/no/such/list"),
        (["classify", "cat.jpg", "--json", "--output", "csv"], "--json"),
        (["classify", "cat.jpg", "--output", "xml"], "xml"),
    ],
)
def test_contradicting_arguments_are_reported_with_status_two(run_command, stub, arguments, named):
    ending = run_command(*arguments)
    assert (ending.exit_code, ending.output, stub.requests) == (2, "", [])
    assert named in ending.errors


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("total", "writes_at_once", "stderr", "stdout", "shown"),
    [
        (100, False, Terminal, Terminal, True),
        (None, False, Terminal, Terminal, True),
        (100, True, Terminal, io.StringIO, True),
        (100, True, Terminal, Terminal, False),
        (3, False, Terminal, Terminal, False),
        (100, False, io.StringIO, Terminal, False),
    ],
)
def test_a_progress_bar_is_shown_for_many_images_on_a_terminal_only(
    monkeypatch, total, writes_at_once, stderr, stdout, shown
):
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stderr())
    monkeypatch.setattr(sys, "stdout", stdout())
    written_to = sys.stderr
    with progress_bar(total, writes_at_once=writes_at_once) as advance:
        advance(False)
        advance(True)
    assert ("classifying" in written_to.getvalue()) is shown
    assert ("2/" in written_to.getvalue() and "1 failed" in written_to.getvalue()) is shown


def test_a_closed_pipe_ends_the_command_silently(stub, pictures, start_python, patience_seconds):
    names = pictures(*(f"{number}.jpg" for number in range(40)))
    command = start_python("-c", PROGRAM, "--server", stub.target, "classify", *names, "--output", "jsonl")
    command.stdout.readline()
    command.stdout.close()
    assert command.stderr.read() == ""
    assert command.wait(patience_seconds) != 0


def test_a_list_that_cannot_be_read_is_a_failure_and_no_endless_wait(run_command, tmp_path, monkeypatch):
    descriptor = os.open(tmp_path, os.O_RDONLY)  # reading a folder fails
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: descriptor))
    ending = run_command("classify", "--from-file", "-")
    os.close(descriptor)
    assert (ending.exit_code, ending.errors) == (1, "linnaeus-client: -: Is a directory\n")
