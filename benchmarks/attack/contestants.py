"""The servers that are attacked: Linnaeus from one or more source trees, and the control."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.attack.control_server import control_server
from benchmarks.attack.paced_calls import Message
from linnaeus.server.rpc.child_server import ServerProcess

ATTACKER = "attacker"
_SOURCES = ("proto", "server", "client", "models")


class Tokens:
    """A token for each good caller and one for an attacker, and the file that tells the server.

    Args:
        good: how many good callers there are.
        file: where the file is written; the folder must exist.
    """

    def __init__(self, good: int, file: Path) -> None:
        self.file = file
        self.good = tuple(secrets.token_hex(16) for _ in range(good))
        self.attacker = secrets.token_hex(16)
        holders = [(f"good-{number}", token) for number, token in enumerate(self.good)] + [(ATTACKER, self.attacker)]
        file.write_text("".join(f"{name} infer {token}\n" for name, token in holders), encoding="ascii")
        file.chmod(0o600)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that runs: its address and its process id."""

    address: str
    pid: int


Start: TypeAlias = Callable[[Tokens | None], AbstractContextManager[RunningServer]]


class Contestant:
    """A server that is attacked; it runs on from attack to attack as long as none leaves damage.

    Args:
        name: as it is printed.
        start: starts it with tokens or without any, until the context ends.
    """

    def __init__(self, name: str, start: Start) -> None:
        self.name = name
        self._start = start
        self._opened = ExitStack()
        self._running: RunningServer | None = None
        self._tokens: Tokens | None = None

    def running(self, tokens: Tokens | None) -> tuple[RunningServer, bool]:
        """Returns the running server, and whether it has just been started."""
        if self._running is not None and tokens is self._tokens:
            return self._running, False
        self.stop()
        self._running = self._opened.enter_context(self._start(tokens))
        self._tokens = tokens
        return self._running, True

    def stop(self) -> None:
        """Stops the server, so that the next attack finds a new one."""
        self._running = None
        self._opened.close()


def linnaeus(tree: Path, repository: Path, models: Sequence[str]) -> Start:
    """Returns how `linnaeus-server` starts from a source tree.

    Args:
        tree: the folder with proto/, server/, client/ and models/.
        repository: where the models are.
        models: which of them are served.
    """
    sources = os.pathsep.join(str(tree.resolve() / each) for each in _SOURCES)
    arguments = ["--repository", str(repository), "--models", ",".join(models)]

    @contextmanager
    def start(tokens: Tokens | None) -> Iterator[RunningServer]:
        security = [] if tokens is None else ["--token-file", str(tokens.file), "--insecure"]
        with _environment("PYTHONPATH", sources):
            server = ServerProcess(*arguments, *security)
        try:
            server.wait_for("serving")
            yield RunningServer(server.target, server.child.pid)
        finally:
            server.kill()  # its hostile calls need no answers

    return start


def control(version: Path, good: Message) -> Start:
    """Returns how the control starts, which knows no tokens; see `control_server`."""

    @contextmanager
    def start(tokens: Tokens | None) -> Iterator[RunningServer]:
        with control_server(version, good) as (address, pid):
            yield RunningServer(address, pid)

    return start


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Sets a variable for the child processes that are started meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
