"""What is built from this checkout installs, and leaves out what belongs to the repository only."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment") / "new"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=100)
    return folder


def install(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the script that `make` installs with, without an index."""
    command = [sys.executable, str(ROOT / "scripts" / "install.py"), *arguments, "--no-index", "--no-deps"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_a_wheel_has_the_code_and_no_data_of_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "linnaeus/server/app.py" in names and "linnaeus/models/weights/lenet.pt" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"linnaeus"}
    assert not [name for name in names if "mnist/" in name or "test" in Path(name).name]


def test_the_installation_says_what_it_does_and_the_commands_are_there(wheel: Path, environment: Path) -> None:
    done = install(str(environment), str(wheel))
    assert done.returncode == 0, done.stderr
    unpacking, ready = (line.partition("] ")[2] for line in done.stdout.splitlines())
    assert unpacking.startswith("unpacking 1 packages") and ready == f"{environment} is ready"
    assert (environment / "bin" / "linnaeus-server").exists()


def test_an_installation_that_fails_repeats_what_pip_said(environment: Path) -> None:
    done = install(str(environment), "no-such-package-of-linnaeus")
    assert done.returncode != 0 and "ready" not in done.stdout
    assert "No matching distribution found for no-such-package-of-linnaeus" in done.stderr
