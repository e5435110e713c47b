"""Every shell command of the README and of docs/ runs unchanged in a checkout and ends with exit code 0.

Only addresses are replaced, and load tests are shortened. `tests/pages.py` lists the commands that no test can run,
with the reason; `test_readme_calls` runs grpcurl, buf and the programs.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from tests.certificates import Authority
from tests.e2e.forked_server import ForkedServer
from tests.pages import is_call, not_ignored, reason_not_to_run, shell_commands
from tests.repositories import add_version
from torchvision.models import resnet18

from linnaeus.server.rpc.child_server import ServerProcess

# Commands too slow for the fast suite: they build, trace or export networks, measure a server, or need one with TLS.
SLOW = re.compile(r"linnaeus-zoo (export|visualize|draw-regnet|inspect|list)\b|linnaeus-client load|--tls|--cacert")
# Commands that change what is served.
CHANGES = re.compile(r"models (load|reload|unload|default) |:(load|reload|unload|setDefault)$")
# The shortest duration with which a load test has results.
SHORT = "--duration 400ms --warmup 100ms"
TOKEN = secrets.token_hex(16)
RUN = [
    (page, command) for page, command in shell_commands() if reason_not_to_run(command) is None and not is_call(command)
]

Run = Callable[[str], "subprocess.CompletedProcess[str]"]


def marked(page: Path, command: str) -> ParameterSet:
    """Returns a command as test parameters, marked slow if it takes long."""
    marks = [pytest.mark.slow] if SLOW.search(command) else []
    return pytest.param(page, command, marks=marks, id=f"{page.stem}: {command}")


@pytest.fixture
def checkout(tmp_path: Path, pictures: Path) -> Path:
    """A folder like a checkout, in which the commands run."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    shutil.copytree(pictures, tmp_path / "pictures")
    return tmp_path


@pytest.fixture(scope="module")
def own_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for commands that change the served models: two versions of lenet, one with a label."""
    root = tmp_path_factory.mktemp("changing")
    for version in (1, 2):
        add_version(repository / "lenet" / "1", root, "lenet", version)
    (root / "lenet" / "config.toml").write_text("labels = { stable = 2 }\n", encoding="utf-8")
    with ForkedServer("--repository", str(root), "--http-port", "0") as process:
        yield process


@pytest.fixture(scope="module")
def secure(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Path]]:
    """A server with TLS and a token, and the certificate of its authority."""
    folder, authority = tmp_path_factory.mktemp("secure"), Authority()
    certificate, key = authority.issue("localhost").write(folder)
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "tokens").write_text(f"reader infer {TOKEN}\n", encoding="utf-8")
    tls = ["--tls-certificate", str(certificate), "--tls-key", str(key), "--token-file", str(folder / "tokens")]
    tls += ["--http-port", "0", "--models", "efficientnet_lite0", "--max-batch-size", "1"]  # all that the commands need
    with ForkedServer("--repository", str(repository), *tls) as process:
        yield process, folder / "ca.pem"


def write_weights(folder: Path) -> None:
    """Writes a state dict of a network with three classes, and its labels."""
    torch.save(resnet18(num_classes=3).state_dict(), folder / "birds.pth")
    (folder / "birds.txt").write_text("blackbird\nrobin\nwren\n", encoding="utf-8")


@pytest.fixture
def run(checkout: Path, server: ServerProcess, request: pytest.FixtureRequest) -> Run:
    """Returns a function that runs a command in the checkout, against the server that it needs."""

    def execute(command: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"no_proxy": "127.0.0.1,localhost", "HOME": str(checkout)}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        process = server
        if CHANGES.search(command):
            process = request.getfixturevalue("own_server")
        elif re.search("linnaeus:800[01]", command):
            process, authority = request.getfixturevalue("secure")
            environment |= give_access(checkout, authority)
        adapted, before = adapt(command, process), set(checkout.iterdir())
        done = subprocess.run(
            ["bash", "-ec", adapted],
            cwd=checkout,
            env=environment | {"LINNAEUS_SERVER": process.target},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert not_ignored(made_in(checkout, before)) == [], "git would take what the command made"
        return done

    return execute


def made_in(checkout: Path, before: set[Path]) -> list[str]:
    """What is new in a checkout, as git is asked for it; hidden files are those of programs that write to HOME."""
    new = [path for path in sorted(set(checkout.iterdir()) - before) if not path.name.startswith(".")]
    return [f"{path.name}/x" if path.is_dir() else path.name for path in new]


def give_access(checkout: Path, authority: Path) -> dict[str, str]:
    """Writes the secure server's credentials where commands expect them; returns variables that trust its CA."""
    shutil.copy(authority, checkout / "ca.pem")
    (checkout / ".linnaeus-token").write_text(TOKEN, encoding="utf-8")
    return {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority)}


def adapt(command: str, process: ServerProcess) -> str:
    """Returns the command with the test server's address and token, and a short duration."""
    command = command.replace("linnaeus:8001", f"localhost:{process.port}").replace("TOKEN=...", f"TOKEN={TOKEN}")
    command = re.sub(r"\b(linnaeus|localhost):8000\b", f"localhost:{process.http_port}", command)
    if " load pictures" in command:
        command = re.sub(r" --duration \w+", "", command) + f" {SHORT}"
    return command


@pytest.mark.parametrize(("page", "command"), [marked(page, command) for page, command in RUN])
def test_a_command_of_a_page_does_its_work(run: Run, checkout: Path, page: Path, command: str) -> None:
    if "birds.pth" in command:
        write_weights(checkout)
    if "--compare" in command:
        for name in ("before.json", "after.json"):
            done = run(f".venv/bin/linnaeus-client load pictures/digits --model lenet --json {name}")
            assert done.returncode == 0, done
    done = run(command)
    # A ramp and a search overload the machine, so refused calls are not an error of the command.
    overloads = "--ramp" in command or "--search" in command
    assert done.returncode == 0 or (overloads and done.returncode == 1), done
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()


def test_the_pages_have_commands() -> None:
    pages = {page.stem for page, _ in RUN}
    assert pages >= {"README", "clients", "http", "load-testing", "models", "operations", "troubleshooting"}
    assert len(RUN) > 25
