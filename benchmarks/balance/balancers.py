"""Envoy and nginx on this machine, with the configurations of docker/ in which only addresses are replaced.

with envoy(folder, [server.address for server in servers], Listen.sockets(folder)) as balancer:
channel = grpc.insecure_channel(balancer.target)
"""

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

ROOT = Path(__file__).resolve().parent.parent.parent
ENVOY = ROOT / ".venv-envoy" / "bin" / "envoy"
ENVOY_FILE = ROOT / "docker" / "envoy" / "envoy.yaml"
NGINX_FILE = ROOT / "docker" / "nginx" / "nginx.conf"
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server behind the balancer, by its ports on this machine."""

    grpc_port: int
    http_port: int


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a balancer listens: each a path of a socket, or a HOST:PORT.

    Attributes:
        grpc: for gRPC.
        http: for HTTP.
        admin: for Envoy's own pages.
    """

    grpc: str
    http: str
    admin: str

    @classmethod
    def sockets(cls, folder: Path) -> "Listen":
        """Returns sockets in a folder, which need no free port; its path must be short."""
        return cls(f"{folder}/grpc", f"{folder}/http", f"{folder}/admin")


@dataclass(frozen=True, slots=True)
class Balancer:
    """A balancer that runs.

    Attributes:
        target: for gRPC clients.
        listen: where it listens.
        process: its process.
    """

    target: str
    listen: Listen
    process: "subprocess.Popen[bytes]"


Balance: TypeAlias = Callable[..., AbstractContextManager[Balancer]]
Change: TypeAlias = Callable[[str], str]


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Replaces each text that stands exactly once.

    Raises:
        LookupError: if one does not.
    """
    for old, new in replacements.items():
        if text.count(old) != 1:
            raise LookupError(f"{old!r} stands {text.count(old)} times in the configuration, not once")
        text = text.replace(old, new)
    return text


def envoy_configuration(text: str, servers: Sequence[Upstream], listen: Listen) -> str:
    """Returns Envoy's configuration with these addresses."""
    own = {
        _socket_address("127.0.0.1:9901"): _envoy_address(listen.admin),
        _socket_address("0.0.0.0:8001"): _envoy_address(listen.grpc),
        _socket_address("0.0.0.0:8000"): _envoy_address(listen.http),
    }
    theirs = {
        _socket_address(f"server-{number}:{port}"): _envoy_address(f"127.0.0.1:{actual}")
        for number, server in enumerate(servers, 1)
        for port, actual in ((8001, server.grpc_port), (8000, server.http_port))
    }
    return replaced(text, own | theirs)


def nginx_configuration(text: str, servers: Sequence[Upstream], listen: Listen, folder: Path) -> str:
    """Returns nginx's configuration with these addresses, and with its files in the folder."""
    own = {
        "listen 8001 ": f"listen {_nginx_address(listen.grpc)} ",
        "listen 8000;": f"listen {_nginx_address(listen.http)};",
    }
    theirs = {
        f"server server-{number}:{port} ": f"server 127.0.0.1:{actual} "
        for number, server in enumerate(servers, 1)
        for port, actual in ((8001, server.grpc_port), (8000, server.http_port))
    }
    return replaced(text.replace("/tmp/nginx", f"{folder}/nginx"), own | theirs)


@contextmanager
def envoy(
    folder: Path, servers: Sequence[Upstream], listen: Listen, change: Change = lambda text: text
) -> Iterator[Balancer]:
    """Runs Envoy before two servers; `change` changes its configuration first."""
    file, text = folder / "envoy.yaml", change(ENVOY_FILE.read_text(encoding="utf-8"))
    file.write_text(envoy_configuration(text, servers, listen), encoding="utf-8")
    options = ["--disable-hot-restart", "--log-level", "error"]
    with _running([str(ENVOY), "--config-path", str(file), *options], listen) as balancer:
        yield balancer


@contextmanager
def nginx(
    folder: Path, servers: Sequence[Upstream], listen: Listen, change: Change = lambda text: text
) -> Iterator[Balancer]:
    """Runs nginx before two servers; `change` changes its configuration first."""
    file, text = folder / "nginx.conf", change(NGINX_FILE.read_text(encoding="utf-8"))
    file.write_text(nginx_configuration(text, servers, listen, folder), encoding="utf-8")
    # Its workers may be of another user than root only where there are others, as in no container of CI's.
    command = [str(shutil.which("nginx")), "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    with _running([*command, "-g", "daemon off; user root root;"], listen) as balancer:
        yield balancer


@contextmanager
def _running(command: Sequence[str], listen: Listen) -> Iterator[Balancer]:
    target = listen.grpc if ":" in listen.grpc else f"unix:{listen.grpc}"
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            grpc.channel_ready_future(channel).result(timeout=_START_SECONDS)
        yield Balancer(target, listen, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_START_SECONDS)


def _socket_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"socket_address: {{address: {host}, port_value: {port}}}"


def _envoy_address(address: str) -> str:
    return _socket_address(address) if ":" in address else f"pipe: {{path: {address}}}"


def _nginx_address(address: str) -> str:
    return address if ":" in address else f"unix:{address}"
