"""The README and the pages of docs/ tell the truth about what can be checked."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from tests.pages import (
    FOLLOWED,
    NOT_RUN,
    PAGES,
    PROGRAMS,
    README,
    ROOT,
    blocks,
    is_call,
    reason_not_to_run,
    shell_commands,
)

import linnaeus.client.cli.load  # noqa: F401  # adds its command to the application
from linnaeus.client.cli.commands import app as client_app
from linnaeus.models.cli.commands import app as zoo_app
from linnaeus.server.config.model_settings import KEYS, ModelSettings, model_settings
from linnaeus.server.config.settings import Settings, help_texts

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
MODELS = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
LINKING = sorted({*PAGES, ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")})
MOST_LINES_OF_README = 200
# Flags of other programs that the pages name.
FOREIGN_FLAGS = {
    "apply": "kubectl",
    "async": "perf_analyzer",
    "build": "docker compose",
    "build-arg": "docker build",
    "cap-drop": "docker run",
    "cacert": "curl",
    "cpus": "docker run",
    "create-namespace": "helm",
    "data": "buf curl",
    "data-binary": "curl",
    "entrypoint": "docker run",
    "follow": "git log",
    "gpus": "docker run",
    "help": "all",
    "http2-prior-knowledge": "buf curl",
    "index-url": "pip",
    "namespace": "helm",
    "no-deps": "pip",
    "model": "benchmarks.overload",
    "protocol": "buf curl",
    "read-only": "docker run",
    "rm": "docker run",
    "security-opt": "docker run",
    "set": "helm",
    "tmpfs": "docker run",
    "wheel-dir": "pip",
}

Row = tuple[str, str, str]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def listed(page: str) -> list[Row]:
    """The rows of a page's tables of settings: name, default, meaning."""
    return re.findall(r"^\| `--([a-z-]+)` \| (.+?) \| (.+) \|$", page, re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert len(text_of(README).splitlines()) <= MOST_LINES_OF_README


def test_every_setting_is_listed_with_its_default_and_meaning() -> None:
    expected = []
    for setting in fields(Settings):
        empty = "all" if setting.name == "models" else "none"
        default = f"`{setting.default}`" if str(setting.default) else empty
        expected.append((setting.name.replace("_", "-"), default, help_texts()[setting.name]))
    assert listed(OPERATIONS) == expected


def flags_of(app: typer.Typer) -> Iterator[str]:
    group = typer.main.get_command(app)
    for command in (group, *getattr(group, "commands", {}).values()):
        for parameter in command.params:
            yield from (option.removeprefix("--") for option in parameter.opts if option.startswith("--"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_and_variable_that_is_named_exists(page: Path) -> None:
    settings = {setting.name.replace("_", "-") for setting in fields(Settings)}
    known = settings | {*flags_of(client_app), *flags_of(zoo_app)} | FOREIGN_FLAGS.keys()
    assert set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", text_of(page))) <= known
    variables = {"SERVER", "TOKEN", "TLS", "TLS_CA"} | {name.replace("-", "_").upper() for name in settings}
    assert set(re.findall(r"LINNAEUS_([A-Z_]+)", text_of(page))) <= variables


def test_a_model_s_own_settings_are_listed_with_what_holds_where_they_are_missing(tmp_path: Path) -> None:
    section = OPERATIONS.partition("### A model's own settings\n")[2]
    toml = section.partition("```toml\n")[2].partition("```")[0]
    keys = re.findall(r"^(?:# )?([a-z_]+) = ", toml, re.MULTILINE)
    assert sorted(keys) == sorted(KEYS)
    assert settings_of(tmp_path, toml) == settings_of(tmp_path, "")


def test_the_versions_and_labels_that_are_shown_are_such_as_a_model_may_have(tmp_path: Path) -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", MODELS, re.MULTILINE | re.DOTALL)
    assert set(tomllib.loads(toml)) == {"versions", "default_version", "labels"}
    assert settings_of(tmp_path, toml).default_version == "stable"


def settings_of(folder: Path, toml: str) -> ModelSettings:
    (folder / "config.toml").write_text(toml, encoding="utf-8")
    return model_settings(folder, Settings())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = {"".join(pair) for pair in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text_of(page), re.MULTILINE)}
    assert named <= targets
    assert named or page != README


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_heading_that_exist(page: Path) -> None:
    text = text_of(page)
    for path, heading in re.findall(r"\]\(([^)#:]*)(?:#([^):]+))?\)", text):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not heading or heading in headings(text_of(target)), heading
    for source in re.findall(r"src=\"([^\"]+)\"", text):
        assert (page.parent / source).exists(), source


def headings(page: str) -> set[str]:
    """What a page's headings are called in links to them."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_that_is_named_is_in_the_list_of_all(page: Path) -> None:
    ends = "seconds|total|depth|flight|ready|size|bytes"
    named = re.findall(rf"\b((?:linnaeus|grpc_server)_[a-z_]+(?:{ends}))\b", text_of(page))
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", OPERATIONS.partition("\n## Metrics\n")[2], re.MULTILINE))
    assert set(named) <= rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_program_that_is_shown_is_run_by_a_test(page: Path) -> None:
    programs = [block.text for block in blocks(page) if block.language in PROGRAMS]
    assert all(map(is_call, programs))


def test_every_reason_not_to_run_a_command_is_still_needed() -> None:
    commands = [command for _, command in shell_commands()]
    for begins in NOT_RUN:
        assert any(re.match(begins, command) for command in commands), begins
    run = [command for command in commands if reason_not_to_run(command) is None or re.match(FOLLOWED, command)]
    assert len(run) > len(commands) / 2


# What stands for something that differs, in the messages of the page on troubleshooting.
PLACEHOLDERS = (
    r"…|[;:] |model\.pt|config\.toml|\b(?:ADDRESS|HOST|PORT|PATH|NAMES?|REASONS?|RIGHT|VALUE|KIND|FILE|DEVICE|FORMAT"
    r"|CAUSE|WAS SOMEWHERE|FP32|UINT8|[A-Z])\b"
)
SHORTEST_FRAGMENT = 6


def test_every_message_that_is_explained_is_one_that_is_given() -> None:
    rows = re.findall(r"^\| ([^|]*`[^|]+) \| ", text_of(ROOT / "docs" / "troubleshooting.md"), re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row) if " " in message]
    given = "\n".join(literals())
    for message in messages:
        for fragment in re.split(PLACEHOLDERS, message):
            if len(fragment.strip(" :,;.()")) >= SHORTEST_FRAGMENT:
                assert fragment.strip(" :,;.()") in given, message
    assert len(messages) > 50


def literals() -> Iterator[str]:
    """What stands between quotes in the server, the client, what both share with the zoo, and the Makefile."""
    yield text_of(ROOT / "Makefile")
    for root in ("server", "client", "models"):
        for path in sorted((ROOT / root).rglob("*.py")):
            for node in ast.walk(ast.parse(text_of(path))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
