"""The token and the TLS options of the command line."""

import pytest

from linnaeus.client.cli.credentials import Credentials, read_credentials

TOKEN = "abc.DEF-123_~+/=="


def test_the_command_line_takes_the_token_from_a_file_before_the_environment(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("LINNAEUS_TOKEN", "from-the-environment")
    nothing = dict(tls=False, ca=None, certificate=None, key=None, server_name=None)
    assert read_credentials(None, **nothing).token == "from-the-environment"
    assert read_credentials(str(tmp_path / "token"), **nothing).token == TOKEN
    assert TOKEN not in repr(read_credentials(str(tmp_path / "token"), **nothing))
    monkeypatch.delenv("LINNAEUS_TOKEN")
    assert read_credentials(None, **nothing) == Credentials()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--token-file", "nowhere"], "--token-file cannot be read: nowhere: No such file"),
        (["--tls-certificate", "a.pem"], "pass both or neither"),
        (["--tls-ca", "nowhere.pem"], "the file for --tls-ca cannot be read"),
        (["--server", "linnaeus.example:1"], "would travel readable by all"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(run_command, monkeypatch, options, said):
    monkeypatch.setenv("LINNAEUS_TOKEN", "SECRET")
    ending = run_command(*options, "models")
    assert ending.exit_code == 2 and said in " ".join(ending.errors.split()) and "SECRET" not in ending.errors
