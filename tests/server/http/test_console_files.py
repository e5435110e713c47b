"""The console's files are served with their policy, cached by their tags, and no path reaches anything else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.server.http.served_routes import ask, served

from linnaeus.server.http.console_files import FOLDER, MEDIA_TYPES, POLICY, console_routes, read_files

MODULE = b"export {};"


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    folder = tmp_path / "console"
    (folder / "parts").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Linnaeus</title>")
    (folder / "docs.html").write_text("<!doctype html><title>HTTP</title>")
    (folder / "parts" / "main.js").write_bytes(MODULE)
    (folder / "notes.txt").write_text("of a type that is not served")
    (tmp_path / "secret.js").write_text("outside of the folder")
    async with served(lambda calls: console_routes(calls, folder)) as number:
        yield number


@pytest.mark.parametrize(
    ("path", "title"), [("/", b"Linnaeus"), ("/docs", b"HTTP"), ("/console/index.html", b"Linnaeus"), ("/?a=b", b"L")]
)
async def test_a_page_comes_with_a_policy_that_lets_it_load_from_its_own_server_only(
    port: int, path: str, title: bytes
) -> None:
    answer = await ask(port, path)
    assert answer.status == 200 and title in answer.body
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY and "http" not in POLICY and POLICY.startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_module_is_served_as_one(port: int) -> None:
    answer = await ask(port, "/console/parts/main.js")
    assert (answer.status, answer.body) == (200, MODULE)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("tag", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_file_that_the_browser_has_is_not_sent_again(port: int, tag: str) -> None:
    first = await ask(port, "/console/parts/main.js")
    headers = {"If-None-Match": tag.format(first.headers["etag"])}
    again = await ask(port, "/console/parts/main.js", headers=headers)
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"] and again.headers["cache-control"] == "no-cache"


async def test_a_file_that_has_changed_is_sent(port: int) -> None:
    answer = await ask(port, "/console/parts/main.js", headers={"If-None-Match": '"other"'})
    assert (answer.status, answer.body) == (200, MODULE)


async def test_head_tells_the_length_and_sends_nothing(port: int) -> None:
    answer = await ask(port, "/console/parts/main.js", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(MODULE))


@pytest.mark.parametrize(
    "name",
    [
        "../secret.js",
        "%2e%2e/secret.js",
        "parts/../../secret.js",
        "..%2fsecret.js",
        "..%5csecret.js",
        "/etc/passwd",
        "%2fetc/passwd",
        "parts/main.js%00",
        "parts//main.js",
        "parts/",
        "",
        "notes.txt",
        "INDEX.HTML",
        "a" * 5000,
    ],
)
async def test_no_path_reaches_anything_but_the_files(port: int, name: str) -> None:
    answer = await ask(port, f"/console/{name}")
    assert answer.status == 404 and answer.headers["content-type"] == "application/problem+json"
    assert b"outside" not in answer.body


async def test_files_are_not_written_to(port: int) -> None:
    answer = await ask(port, "/console/parts/main.js", "PUT")
    assert answer.status == 405 and "GET" in answer.headers["allow"]


def test_every_file_of_the_console_has_a_type_that_is_served() -> None:
    paths = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} <= MEDIA_TYPES.keys()
    assert len(read_files()) == len(paths)
