"""Wrong invocations of `linnaeus-client`, of its options, files, servers and models: each ends with one line."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, ResourceInfo
from tests.client.listeners import (
    AUTHORITY,
    HOSTS,
    OTHER_AUTHORITY,
    free_port,
    grpc_server,
    silent_port,
    tls_server,
    web_server,
)
from tests.wrong_invocations import Result, check

from linnaeus.client.cli import connection_help

Code = grpc.StatusCode

# The arguments, with the names of files and ports in braces, and what the line says.
OPTIONS = (
    ("nothing", "No such command 'nothing'"),
    ("--nothing", "--nothing"),
    ("classify --nothing cat.jpg", "--nothing"),
    ("classify", "there is no picture"),
    ("classify cat.jpg --top-k -1", "--top-k"),
    ("classify cat.jpg --top-k two", "--top-k"),
    ("classify cat.jpg --top-k 3000000000", "--top-k"),
    ("classify cat.jpg --top-k", "--top-k"),
    ("classify cat.jpg --concurrency 0", "--concurrency"),
    ("classify cat.jpg --concurrency many", "--concurrency"),
    ("classify cat.jpg --output xml", "--output"),
    ("classify cat.jpg --json --output csv", "exclude each other"),
    ("classify cat.jpg --priority urgent", "priority must be high, normal or low, not 'urgent'"),
    ("classify cat.jpg --timeout 0", "--timeout"),
    ("classify cat.jpg --timeout -3", "--timeout"),
    ("classify cat.jpg --timeout nan", "--timeout"),
    ("classify cat.jpg --timeout soon", "--timeout"),
    ("--timeout 1e99 classify cat.jpg", "--timeout"),
    ("classify cat.jpg --tls=yes", "--tls"),
    ("classify - -", "standard input can be read once only"),
    ("classify - --from-file -", "standard input can be read once only"),
    ("models nothing", "No such command 'nothing'"),
    ("models list lenet", "lenet"),
    ("models --json list", "models list --json"),
    ("models load", "MODEL"),
    ("models load one two", "two"),
    ("models unload", "MODEL"),
    ("models unload lenet --version", "--version"),
    ("models default", "MODEL"),
    ("models default lenet 1 2", "2"),
    ("load", ""),
    ("load cat.jpg --rate 5 --concurrency 5", "exclude each other"),
    ("load cat.jpg --rate fast", "--rate"),
    ("load cat.jpg --ramp 1:2", "1:2"),
    ("load cat.jpg --duration later", "later"),
    ("load missing.jpg", "missing.jpg"),
    ("load --compare missing.json none.json", "missing.json"),
)
FILES = (
    ("classify missing.jpg", "missing.jpg: there is no such file"),
    ("classify empty.jpg", "empty.jpg"),
    ("classify empty", "empty"),
    ("classify --from-file missing.txt", "--from-file: missing.txt cannot be read"),
    ("classify --from-file utf16.txt", "utf16.txt"),
    ("classify --from-file empty", "--from-file: empty cannot be read"),
    ("classify cat.jpg --sort-into cat.jpg", "could not be copied"),
    ("models list --token-file missing", "--token-file cannot be read: missing: No such file or directory"),
    ("models list --token-file empty", "--token-file cannot be read: empty: Is a directory"),
    ("models list --token-file empty.jpg", "must hold one token and nothing else"),
    ("models list --token-file words.txt", "must hold one token and nothing else"),
    ("models list --tls-ca missing", "--tls-ca cannot be read: missing: No such file or directory"),
    ("models list --tls-ca cat.jpg", "--tls-ca holds no certificate in PEM"),
    ("models list --tls-ca empty", "--tls-ca cannot be read: empty: Is a directory"),
    ("models list --tls-key key.pem", "pass both or neither"),
    ("models list --tls-certificate ca.pem", "pass both or neither"),
    ("models list --tls-certificate cat.jpg --tls-key key.pem", "--tls-certificate holds no certificate in PEM"),
    ("models list --tls-certificate ca.pem --tls-key cat.jpg", "--tls-key holds no private key in PEM"),
)
SERVERS = (
    ("models list --server localhost", "HOST:PORT"),
    ("models list --server http://localhost:8001", "without a scheme"),
    ("models list --server localhost:99999", "must be from 1 to 65535"),
    ("models list --server ::1:8001", "brackets"),
    ("--server localhost:0 models list", "must be from 1 to 65535"),
    ("models list --server other.example:8001 --token-file token", "use --tls"),
    ("models list --server linnaeus.invalid:8001", "no machine is known by that name"),
    ("models list --server unix:missing.sock", "there is no such socket file"),
    ("models list --server {closed}", "Connection refused"),
    ("models load lenet --server {closed}", "Connection refused"),
    ("models unload lenet --server {closed}", "Connection refused"),
    ("models default lenet --server {closed}", "Connection refused"),
    ("classify cat.jpg --server {closed}", "Connection refused"),
    ("classify cat.jpg --stream --server {closed}", "Connection refused"),
    ("classify --from-file list.txt --server {closed}", "Connection refused"),
    ("models list --server {web}", "a web server"),
    ("models list --server {web} --tls", "a web server"),
    ("models list --server {silent} --timeout 0.2", "says nothing"),
    ("models list --server {tls}", "the server speaks TLS): use --tls"),
    ("classify cat.jpg --server {tls}", "the server speaks TLS): use --tls"),
    ("models list --server {tls} --tls", "certificate is not trusted"),
    ("models list --server {tls} --tls-ca other.pem", "use --tls-ca FILE"),
    ("models list --server {tls} --tls-ca ca.pem --tls-server-name other.example", "for another name"),
    ("models list --server {expired} --tls-ca ca.pem", "has expired"),
    ("models list --server {tls} --tls-ca ca.pem --tls-certificate client.pem --tls-key key.pem", "TLS failed"),
    ("models list --server {mutual} --tls-ca ca.pem", "--tls-certificate FILE"),
    ("models list --server {plain} --tls-ca ca.pem", "the server does not speak TLS): leave out --tls"),
)
# What the server answers, and what the line says.
REFUSALS = (
    ("classify cat.jpg --model alexnet", Code.NOT_FOUND, ResourceInfo(), "There is no model"),
    ("classify cat.jpg --model lenet --version 9", Code.NOT_FOUND, ResourceInfo(), "There is no model"),
    ("classify a.jpg cat.jpg --model alexnet --json", Code.NOT_FOUND, ResourceInfo(), "There is no model"),
    ("classify --from-file list.txt --model alexnet", Code.NOT_FOUND, ResourceInfo(), "There is no model"),
    ("models list", Code.UNAUTHENTICATED, ErrorInfo(), "use --token-file FILE"),
    ("models list --token-file token", Code.UNAUTHENTICATED, ErrorInfo(), "There is no model"),
    ("classify cat.jpg --token-file token", Code.PERMISSION_DENIED, ErrorInfo(), "There is no model"),
    ("classify cat.jpg", Code.INTERNAL, ErrorInfo(), "cat.jpg: There is no model"),
    ("models list", Code.UNIMPLEMENTED, ErrorInfo(), "is it a Linnaeus server"),
    ("models load lenet", Code.OK, ErrorInfo(), "is it a Linnaeus server"),  # the stub has no ModelService
    ("models reload lenet", Code.OK, ErrorInfo(), "is it a Linnaeus server"),
)
# As processes, where a line of gRPC's own would be seen.
PROCESSES = (
    "classify --nothing",
    "models list --server {closed}",
    "models list --server {misnamed} --tls-ca ca.pem",
    "classify cat.jpg --server {silent} --timeout 0.3",
)
Run = Callable[[str], Result]


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, str]]:
    """What listens where."""
    with ExitStack() as stack:
        found = {
            "closed": stack.enter_context(free_port()),
            "web": stack.enter_context(web_server()),
            "silent": stack.enter_context(silent_port()),
            "tls": stack.enter_context(tls_server(*HOSTS)()),
            "expired": stack.enter_context(tls_server(*HOSTS, expired=True)()),
            "mutual": stack.enter_context(grpc_server(AUTHORITY.issue(*HOSTS), AUTHORITY.certificate)),
            "misnamed": stack.enter_context(tls_server("other.example")()),
            "plain": stack.enter_context(grpc_server()),
        }
        yield {name: f"localhost:{port}" for name, port in found.items()}


@pytest.fixture
def run(run_command, ports, short_backoff, tmp_path: Path, monkeypatch) -> Run:
    """Runs a command line in this process, in a folder with the files that the tables name."""
    (tmp_path / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "token").write_text("SECRET\n")
    (tmp_path / "words.txt").write_text("two words\n")
    (tmp_path / "list.txt").write_text("cat.jpg\n" * 15)
    (tmp_path / "utf16.txt").write_bytes("cat.jpg\n".encode("utf-16"))
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate)
    (tmp_path / "other.pem").write_bytes(OTHER_AUTHORITY.certificate)
    (tmp_path / "client.pem").write_bytes(AUTHORITY.issue("client").certificate)
    (tmp_path / "key.pem").write_bytes(AUTHORITY.issue("other").key)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connection_help, "_PROBE_SECONDS", 0.4)

    def run(line: str) -> Result:
        ending = run_command(*shlex.split(line.format(**ports)))
        return Result(ending.exit_code, ending.output, ending.errors)

    return run


@pytest.mark.parametrize(("line", "said"), OPTIONS + FILES, ids=lambda value: value or "-")
def test_wrong_options_and_files_are_one_line(run: Run, line: str, said: str) -> None:
    check(run(line), said=said)


@pytest.mark.parametrize(("line", "said"), SERVERS, ids=lambda value: value)
def test_wrong_servers_are_one_line(run: Run, line: str, said: str) -> None:
    check(run(line), said=said)


@pytest.mark.parametrize(("line", "code", "detail", "said"), REFUSALS)
def test_what_a_server_refuses_is_one_line(run: Run, stub, line, code, detail, said) -> None:
    stub.fail(code, "There is no model alexnet.", detail, final=True)
    check(run(line), said=said)


@pytest.mark.parametrize("line", PROCESSES)
def test_a_process_writes_one_line_too(start_python, run: Run, ports, patience_seconds, line: str) -> None:
    program = "import sys; from linnaeus.client.cli import main; main(sys.argv[1:])"
    process = start_python("-c", program, *shlex.split(line.format(**ports)))
    output, errors = process.communicate(timeout=patience_seconds)
    check(Result(process.returncode, output, errors))
