"""Checks of the image that do not need to build it; `make container-test` builds and runs it."""

import os
import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from linnaeus.server.config.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def argument(name: str) -> str:
    values = set(re.findall(rf"^ARG {name}=(.*)$", DOCKERFILE, re.MULTILINE))
    assert len(values) == 1, f"{name} has the defaults {values}"
    return values.pop()


def test_the_default_version_label_is_the_project_version() -> None:
    assert argument("VERSION") == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_default_torch_is_the_pinned_one() -> None:
    assert argument("TORCH") in (ROOT / "constraints.txt").read_text().split()


def test_the_build_context_contains_exactly_the_copied_files() -> None:
    copied = {
        source.split("/")[0]
        for line in INSTRUCTIONS
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
    }
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!") and "/" not in rule} == copied
    assert all((ROOT / rule[1:]).exists() for rule in rules if rule.startswith("!"))


def test_the_image_exposes_the_ports_that_are_opened_by_default() -> None:
    settings = Settings()
    (exposed,) = re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    assert exposed == f"{settings.http_port} {settings.port} {settings.metrics_port}"


def test_the_dockerfile_needs_no_buildkit() -> None:
    assert not re.search(r"^# *syntax=|<<|--mount|COPY .*--(link|parents|exclude)|ADD .*--", DOCKERFILE, re.MULTILINE)


def test_the_images_environment_has_only_known_settings_and_no_secrets() -> None:
    known = {f"{ENVIRONMENT_PREFIX}{setting.name.upper()}" for setting in fields(Settings)}
    baked = dict(re.findall(r"(LINNAEUS_[A-Z_]+)=(\S+)", DOCKERFILE))
    hosts = {baked[f"LINNAEUS_{name}"] for name in ("HOST", "HTTP_HOST", "METRICS_HOST")}
    assert hosts == {"::"}  # IPv6 and IPv4
    assert set(baked) <= known
    assert not [name for name in baked if re.search("TOKEN|KEY|SECRET|PASSWORD|CERT", name)]


@pytest.mark.parametrize(("required", "code"), [("", 0), ("require", 1)])
def test_the_container_test_skips_with_one_line_if_tools_are_missing(tmp_path: Path, required: str, code: int) -> None:
    for tool in ("bash", "env", "dirname", "sed", "id", "uname"):
        found = next(folder for folder in ("/usr/bin", "/bin") if Path(folder, tool).exists())
        (tmp_path / tool).symlink_to(Path(found, tool))
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "CONTAINER_SMOKE": required}
    script = ROOT / "docker" / "container-test.sh"
    done = subprocess.run([script], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("container test: SKIP: ") and done.stdout.count("\n") == 1
    assert "podman runc mmdebstrap" in done.stdout or os.getuid() != 0
