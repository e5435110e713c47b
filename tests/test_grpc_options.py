"""gRPC ignores an option that it does not know without a word, so every name that is used must be in the library."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grpc
import pytest
from grpc._cython import cygrpc
from tests.pages import PAGES, ROOT

FOLDERS = ("server", "client", "models", "benchmarks", "scripts", "tests", "docker")
# Files that may hold options in another language, such as a program for Node or a probe of a container.
OTHERS = (".md", ".js", ".json", ".yaml", ".yml", ".toml", ".sh")
# In prose and in other languages an option is a word of this form; grpc.insecure_channel and the like are Python.
OPTION = re.compile(r"(?<![\w./-])grpc\.(?:http2\.)?[a-z0-9]+(?:_[a-z0-9]+)+(?![\w(.])")
QUOTED = re.compile("""["']grpc\\.""")


def options_of_python(text: str) -> Iterator[str]:
    """Yields the options in a module: the first of a pair, or the key of a dict, that has an option's form."""
    if not QUOTED.search(text):  # parsing all our files takes seconds, at each start of the tests
        return
    for node in ast.walk(ast.parse(text)):
        keys: list[ast.expr | None] = []
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            keys = [node.elts[0]]
        elif isinstance(node, ast.Dict):
            keys = [*node.keys]
        for key in keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and OPTION.fullmatch(key.value):
                yield key.value


def options_of_text(text: str) -> Iterator[str]:
    """Yields the words of a text that look like an option."""
    return (name for name in OPTION.findall(text) if not hasattr(grpc, name.removeprefix("grpc.")))


def used() -> dict[str, list[str]]:
    """Returns the files of every option."""
    found: dict[str, list[str]] = {}
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted({*paths, *PAGES, *(ROOT / "docs").rglob("*.md")}):
        if path.suffix not in (".py", *OTHERS) or ".venv" in path.parts or "node_modules" in path.parts:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for name in options_of_python(text) if path.suffix == ".py" else options_of_text(text):
            found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return found


@cache
def library() -> bytes:
    return Path(cygrpc.__file__).read_bytes()


def is_known(name: str) -> bool:
    """Whether gRPC's library holds the name as a whole string."""
    return f"{name}\0".encode() in library()


USED = used()


@pytest.mark.parametrize("name", sorted(USED))
def test_an_option_is_one_that_grpc_knows(name: str) -> None:
    assert is_known(name), f"{', '.join(USED[name])}: gRPC {grpc.__version__} knows no option {name}"


def test_the_options_of_server_client_load_tester_and_pages_are_found() -> None:
    for name, file in {
        "grpc.http2.min_ping_interval_without_data_ms": "server/linnaeus/server/rpc/connection_options.py",
        "grpc.max_connection_age_grace_ms": "server/linnaeus/server/rpc/connection_age.py",
        "grpc.keepalive_time_ms": "client/linnaeus/client/transport/channel_options.py",
        "grpc.ssl_target_name_override": "client/linnaeus/client/transport/channel_options.py",
        "grpc.use_local_subchannel_pool": "client/linnaeus/client/load/generator/unary_calls.py",
        "grpc.enable_retries": "docs/kubernetes.md",
    }.items():
        assert file in USED[name]


def test_a_misspelt_option_is_noticed() -> None:
    misspelt = "grpc.http2.min_recv_ping_" + "interval_without_data_ms"
    assert list(options_of_python(f"options = [({misspelt!r}, 5)]")) == [misspelt]
    assert list(options_of_python(f"options = {{{misspelt!r}: 5}}")) == [misspelt]
    assert list(options_of_text(f'{{"{misspelt}": 5}} and `{misspelt}`, not grpc.insecure_channel()')) == [misspelt] * 2
    assert not is_known(misspelt)
    assert not is_known("grpc.max_connection_" + "age")  # the beginning of two names
