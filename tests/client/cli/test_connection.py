"""The options of the connection: before and after a command's name, the last one wins."""

import pytest

from linnaeus.client.cli import connection

TOKEN_COMMANDS = (["models"], ["models", "list"], ["classify", "cat.jpg"])


def authorization(stub, make_answer) -> list[str]:
    sent: list[str] = []
    ordinary = stub.on_list

    def behaviour(request, context):
        sent.append(dict(context.invocation_metadata()).get("authorization", ""))
        return ordinary(request, context) if type(request).__name__ == "ListModelsRequest" else make_answer(request)

    stub.on_list = stub.on_classify = behaviour
    return sent


@pytest.mark.parametrize("command", TOKEN_COMMANDS, ids=" ".join)
@pytest.mark.parametrize("is_before", [True, False])
def test_credentials_may_stand_before_and_after_the_name(
    run_command, stub, make_answer, pictures, tmp_path, monkeypatch, command, is_before
):
    monkeypatch.chdir(tmp_path)
    pictures("cat.jpg")
    (tmp_path / "token").write_text("SECRET\n")
    sent, options = authorization(stub, make_answer), ["--token-file", "token"]
    ending = run_command(*options, *command) if is_before else run_command(*command, *options)
    assert (ending.exit_code, ending.errors, sent) == (0, "", ["Bearer SECRET"])


def test_what_stands_after_the_name_wins(run_command, stub, make_answer, tmp_path):
    sent = authorization(stub, make_answer)
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
    options = [["--token-file", str(tmp_path / name)] for name in ("one", "two", "three")]
    run_command(*options[0], "models", *options[1], "list", *options[2])
    run_command(*options[0], "models", *options[1], "list")
    assert sent == ["Bearer three", "Bearer two"]


def test_the_options_of_tls_after_the_name_are_read(run_command, stub):
    ending = run_command("models", "list", "--tls-ca", "nowhere.pem")
    assert (ending.exit_code, stub.requests) == (2, [])
    assert "the file for --tls-ca cannot be read: nowhere.pem: No such file" in ending.errors


def test_models_list_is_the_same_as_models(run_command):
    assert run_command("models", "list") == run_command("models")
    assert run_command("models", "list", "--json") == run_command("models", "--json")


def test_an_option_that_would_be_ignored_is_refused(run_command, stub):
    ending = run_command("models", "--json", "list")
    assert (ending.exit_code, stub.requests) == (2, []) and "models list --json" in ending.errors


def test_the_file_of_the_token_is_read_once_because_it_may_be_a_pipe(run_command, silent_target, monkeypatch, tmp_path):
    reads, ordinary = [], connection.read_credentials

    def read(*arguments):
        reads.append(arguments)
        return ordinary(*arguments)

    (tmp_path / "token").write_text("SECRET")
    monkeypatch.setattr(connection, "read_credentials", read)
    ending = run_command("models", "--server", silent_target, "--token-file", str(tmp_path / "token"))
    assert (ending.exit_code, len(reads)) == (1, 1) and "Connection refused" in ending.errors
