"""A repository on a website, by https with a password: nginx's listings, and a server that has no parts of files."""

import base64
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.certificates import Authority
from tests.e2e.bucket_server import BucketServer, text_of_log, wait_until
from tests.repositories import add_version

from linnaeus.client import Client

pytestmark = [pytest.mark.needs(program="moto"), pytest.mark.needs(program="nginx")]
USER, PASSWORD = "reader", "TOPSECRET"
CONFIGURATION = """
daemon off; master_process off; user root root; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server-key.pem;
    root {root}; autoindex on; auth_basic "models"; auth_basic_user_file {folder}/users;
  }}
}}
"""


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Writes a certificate for 127.0.0.1, and returns the file with the authority's."""
    made = Authority()
    made.issue("127.0.0.1").write(tmp_path)
    (tmp_path / "ca.pem").write_bytes(made.certificate)
    return tmp_path / "ca.pem"


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[int]:
    """Runs nginx on a port that was free a moment ago; takes another one if it is not any more."""
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, root=root, port=port))
        command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: process.poll() is not None or is_open(port))  # noqa: B023
                if process.poll() is None:
                    yield port
                    return
            finally:
                process.terminate()
    raise RuntimeError((folder / "error.log").read_text())


def is_open(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


class Handler(SimpleHTTPRequestHandler):
    """Python's own server of files, which knows no ranges, behind a password."""

    def do_GET(self) -> None:  # noqa: N802
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == wanted:
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


@contextmanager
def python_server(folder: Path, root: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("website", [nginx, python_server])
def test_versions_on_a_website_are_served_and_followed(
    repository: Path,
    authority: Path,
    tmp_path: Path,
    website: Callable[[Path, Path], AbstractContextManager[int]],
) -> None:
    root = tmp_path / "site"
    models = root / "all models"
    add_version(repository / "lenet" / "1", models, "m", 1, "v1 ")
    (models / "m" / "config.toml").write_text('versions = "latest"')
    with website(tmp_path, root) as port:
        url = f"https://{USER}:{PASSWORD}@127.0.0.1:{port}/all%20models"
        trusted = {"SSL_CERT_FILE": str(authority)}
        with BucketServer("", url, tmp_path / "copy", "--log-level", "debug", environment=trusted) as server:

            def served() -> str:
                with Client(server.target) as client:
                    return client.classify(numpy.zeros((28, 28), numpy.uint8)).top.label.split()[0]

            assert served() == "v1"
            add_version(repository / "lenet" / "1", models, "m", 2, "v2 ")
            wait_until(lambda: served() == "v2")
            (models / "m" / "config.toml").write_text("versions = [1]")
            wait_until(lambda: served() == "v1")
            (models / "m" / "1").rename(models / "m" / "old")
            (models / "m" / "config.toml").unlink()
            wait_until(lambda: served() == "v2" and not (tmp_path / "copy" / "m" / "1").exists())
            assert "failed" not in text_of_log(server)
    log = text_of_log(server)
    assert PASSWORD not in log and base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in log
