"""What the three commands have in common: the version, completion, help, and the extra that is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.blocked_packages import run_without
from tests.server.wrong_invocations import write_model

import linnaeus
from linnaeus.command_line import running

MODULES = {
    "linnaeus-client": "linnaeus.client.cli",
    "linnaeus-server": "linnaeus.server.cli",
    "linnaeus-zoo": "linnaeus.models.cli",
}
EXTRAS = {"linnaeus-client": "cli", "linnaeus-server": "server", "linnaeus-zoo": "zoo"}


def program(command: str, *arguments: str) -> str:
    return f"import sys; sys.argv = ['x', *{arguments!r}]; from {MODULES[command]} import main; main()"


def run(command: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    python = [sys.executable, "-c", program(command, *arguments)]
    return subprocess.run(python, env=environment | running_environment(), capture_output=True, text=True, timeout=60)


def running_environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "200"}


@pytest.mark.parametrize("command", MODULES)
def test_every_command_says_its_version(command: str) -> None:
    done = run(command, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{command} {linnaeus.__version__}\n", "")
    assert linnaeus.__version__[0].isdigit()


def test_the_package_has_no_other_attribute_than_its_version_and_its_parts() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = linnaeus.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", MODULES)
def test_flags_are_shown_as_flags(command: str) -> None:
    shown = run(command, "--help").stdout
    assert "--help" in shown and "--version" in shown
    assert "bool" not in shown.lower() and "--no-" not in shown


@pytest.mark.parametrize(
    ("command", "shell"),
    [*((command, "bash") for command in MODULES), ("linnaeus-client", "zsh"), ("linnaeus-client", "fish")],
)
def test_shells_complete_the_commands(command: str, shell: str) -> None:
    variable = f"_{command.replace('-', '_').upper()}_COMPLETE"
    script = run(command, **{variable: f"source_{shell}"})
    assert script.returncode == 0 and command in script.stdout and variable in script.stdout
    line = f"{command} --vers"
    completed = run(
        command,
        **{
            variable: f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": "1",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
    )
    assert "--version" in completed.stdout, completed.stderr


@pytest.mark.parametrize("command", MODULES)
def test_without_its_extra_a_command_names_it_in_one_line(command: str) -> None:
    status, output, errors = run_without({"typer", "rich", "torch", "pydantic"}, program(command, "--help"))
    assert (status, output) == (1, "")
    assert errors.startswith(f"{command} needs ") and errors.endswith(f": pip install 'linnaeus[{EXTRAS[command]}]'\n")
    assert errors.count("\n") == 1


def test_a_package_that_is_needed_later_is_named_too(tmp_path: Path) -> None:
    zoo = run_without({"torchvision"}, program("linnaeus-zoo", "list"))
    assert zoo == (1, "", "linnaeus-zoo needs torchvision: pip install 'linnaeus[zoo]'\n")
    models = str(write_model(tmp_path))
    server = run_without(
        {"torch"}, program("linnaeus-server", "--port", "0", "--metrics-port", "0", "--repository", models)
    )
    assert server == (1, "", "linnaeus-server needs torch: pip install 'linnaeus[server]'\n")


@pytest.mark.parametrize(("blocked", "said"), [(set(), False), ({"torchvision"}, True)])
def test_without_the_zoo_the_server_says_how_to_get_it_before_it_advises_it(blocked: set[str], said: bool) -> None:
    text = "from linnaeus.server.model_store.repository import ADVICE; print(ADVICE)"
    status, output, _ = run_without(blocked, f"import sys; sys.modules.update(dict.fromkeys({blocked})); {text}")
    assert status == 0 and ("pip install 'linnaeus[zoo]'" in output) is said


def test_an_error_of_a_file_has_its_name_and_no_number() -> None:
    assert running.message_of(FileNotFoundError(2, "No such file or directory", "a.txt")) == (
        "a.txt: No such file or directory"
    )
    assert running.message_of(ValueError("one\ntwo")) == "one two"
    assert running.message_of(RuntimeError()) == "RuntimeError"
