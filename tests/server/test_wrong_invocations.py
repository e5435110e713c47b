"""Whatever is wrong with an invocation of `linnaeus-server` is one line for the operator, before torch is imported."""

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.wrong_invocations import MACHINE, SETTINGS, Wrong, write_model, wrong_files
from tests.wrong_invocations import Result, check

from linnaeus.server import cli
from linnaeus.server.cli import commands
from linnaeus.server.config.settings import read_settings
from linnaeus.server.errors import StartupError
from linnaeus.server.model_store import repository
from linnaeus.server.start_checks import check_start

# Ports that are free, so that only what the row says is wrong.
FREE = ("--port", "0", "--metrics-port", "0")
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with wrong_files(tmp_path_factory.mktemp("wrong")) as made:
        yield made


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Result]]:
    """Returns a function that runs the command in this process, up to the import of torch."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def reached(settings: Any) -> None:
        raise AssertionError("nothing was found wrong")

    def run(arguments: list[str], environment: dict[str, str]) -> Result:
        for name in [each for each in os.environ if each.startswith("LINNAEUS_")]:
            monkeypatch.delenv(name)
        for name, value in {"GRPC_VERBOSITY": "NONE", "GOMP_SPINCOUNT": "1", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["linnaeus-server", *arguments])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which typer replaces
        monkeypatch.setattr(commands, "_run_server", reached)
        monkeypatch.setattr(cli, "end_process_if_threads_remain", lambda code: None)
        with pytest.raises(SystemExit) as exited:
            cli.main()
        written = capsys.readouterr()
        assert written.out == ""
        return Result(int(exited.value.code or 0), written.out, written.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


def words(wrong: Wrong, names: dict[str, str]) -> list[str]:
    return [each.format(**names) for each in wrong.arguments.split()]


@pytest.mark.parametrize("wrong", SETTINGS, ids=str)
def test_wrong_options_are_one_line(wrong: Wrong, invoke: Callable[..., Result], names: dict[str, str]) -> None:
    ending = invoke(words(wrong, names), dict(wrong.environment))
    check(ending)
    assert ending.status == wrong.code and wrong.said in ending.errors


@pytest.mark.parametrize("wrong", MACHINE, ids=str)
def test_files_and_ports_that_cannot_be_used_are_one_line(
    wrong: Wrong, invoke: Callable[..., Result], names: dict[str, str]
) -> None:
    given = [*FREE, "--repository", names["models"], *words(wrong, names)]
    ending = invoke(given, dict(wrong.environment))
    check(ending)
    assert ending.status == wrong.code and wrong.said.format(**names) in ending.errors


def test_what_a_path_holds_never_makes_a_second_line(invoke: Callable[..., Result]) -> None:
    ending = invoke([*FREE, "--repository", "no\nwhere\x1b[31m"], {})
    check(ending)
    assert "repository no where\N{REPLACEMENT CHARACTER}[31m is not a folder" in ending.errors


def test_a_repository_that_may_not_be_read_says_whose_right_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(root: Path, model_name: str) -> None:
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(repository, "list_model_folders", refused)
    said = "cannot be read: permission denied; let this program's user have the right to it$"
    with pytest.raises(StartupError, match=said):
        check_start(read_settings(repository=tmp_path, port=0, metrics_port=0))


def test_the_checks_let_a_right_invocation_pass_and_change_nothing(tmp_path: Path, names: dict[str, str]) -> None:
    trace = tmp_path / "trace"
    models = write_model(tmp_path / "models")
    chosen = {"repository": models, "port": 0, "metrics_port": 0, "health_port": 0}
    check_start(read_settings(trace=str(trace), **chosen))
    assert not trace.exists()
    trace.write_text("of the last run\n")
    check_start(read_settings(trace=str(trace), otel_endpoint="http://here:4317", **chosen))
    assert trace.read_text() == "of the last run\n"
    check_start(read_settings(tls_certificate=names["certificate"], tls_key=names["key"], **chosen))
    check_start(read_settings(model_control="explicit", repository=tmp_path / "models", port=0, metrics_port=0))


def test_one_version_that_can_be_served_is_enough(tmp_path: Path) -> None:
    models = write_model(tmp_path / "models")
    (models / "broken" / "1").mkdir(parents=True)
    check_start(read_settings(repository=models, port=0, metrics_port=0))


def test_a_version_whose_file_is_a_pipe_is_left_to_the_loader(tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", labels=None)
    os.mkfifo(models / "tiny" / "1" / "labels.txt")
    check_start(read_settings(repository=models, port=0, metrics_port=0))


# Runs the command and says at its end whether torch was imported.
PROGRAM = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules))
from linnaeus.server.cli import main
sys.argv = ["linnaeus-server", *sys.argv[1:]]
main()
"""


def as_process(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--port x", 1),
        ("--nothing", 2),
        ("--repository {config_1}", 1),
        ("--port {taken}", 1),
        ("--tls-certificate {certificate} --tls-key {other_key}", 1),
        ("--insecure --token-file {missing}", 1),
    ],
)
def test_a_process_ends_with_one_line_and_without_torch(arguments: str, code: int, names: dict[str, str]) -> None:
    given = [*FREE, "--repository", names["models"], *shlex.split(arguments.format(**names))]
    done = as_process(*given, COLUMNS="40")
    assert done.stdout == "False\n", "torch takes seconds"
    check(Result(done.returncode, "", done.stderr))
    assert done.returncode == code


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_one_line_too(names: dict[str, str]) -> None:
    done = as_process(*FREE, "--repository", names["models"], "--device", "cuda:99")
    check(Result(done.returncode, "", done.stderr))
    assert "device cuda:99 is not there" in done.stderr


def test_the_version_is_told_without_torch() -> None:
    done = as_process("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("linnaeus-server ") and done.stdout.endswith("\nFalse\n")
