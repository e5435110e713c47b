"""What is built from this checkout installs, and leaves out what belongs to the repository only."""

import re
import subprocess
import sys
import tomllib
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
    assert "linnaeus/server/app/one_process.py" in names and "linnaeus/models/weights/lenet.pt" in names
    # what HTTP reads at its start: the console, and the contract with its comments
    assert "linnaeus/server/http/console/index.html" in names and "linnaeus/v1/classifier.proto" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"linnaeus"}
    assert not [name for name in names if "mnist/" in name or "test" in Path(name).name]


def test_a_wheel_has_every_file_of_the_console(wheel: Path) -> None:
    folder = ROOT / "server" / "linnaeus" / "server" / "http" / "console"
    names = {name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "/http/console/" in name}
    assert "index.html" in names and names == {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_the_installation_says_what_it_does_and_the_commands_are_there(wheel: Path, environment: Path) -> None:
    done = install(str(environment), str(wheel))
    assert done.returncode == 0, done.stderr
    unpacking, ready = (line.partition("] ")[2] for line in done.stdout.splitlines())
    assert unpacking.startswith("unpacking 1 packages") and ready == f"{environment} is ready (0 MB downloaded)"
    assert (environment / "bin" / "linnaeus-server").exists()


def test_an_installation_that_fails_repeats_what_pip_said(environment: Path) -> None:
    done = install(str(environment), "no-such-package-of-linnaeus")
    assert done.returncode != 0 and "ready" not in done.stdout
    assert "No matching distribution found for no-such-package-of-linnaeus" in done.stderr


def installed_by(target: str, *variables: str) -> list[str]:
    """The arguments of the installations that `make` runs for a target in a fresh checkout."""
    make = ["make", "--dry-run", "--no-print-directory", "--always-make", *variables, target]
    recipe = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    return re.findall(r"scripts/install\.py \.venv (.+)", recipe)


def test_the_demo_installs_no_tools_of_development() -> None:
    assert installed_by("demo") == ["-c .venv/constraints.txt -e '.[cli,load,server,zoo]'"]
    for target in ("test", "lint"):
        demo, development = installed_by(target)
        assert [demo] == installed_by("demo") and ",dev]" in development


def test_a_torch_without_cuda_comes_from_an_index_of_its_own_and_all_else_from_the_usual_one() -> None:
    torch, demo = installed_by("demo", "CPU=1", "TORCH_INDEX=https://localhost/cpu")
    pins = re.findall(r"^torch(?:vision)?==.+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert torch == f"--no-deps --index-url https://localhost/cpu {' '.join(pins)}"
    assert [demo] == installed_by("demo")


def test_the_progress_names_large_downloads_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from install import downloaded_megabytes, progress_of

    torch = "torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl"
    for line in (f"  Downloading {torch} (554.6 MB)", f"  Downloading https://localhost/cpu/{torch} (554.6 MB)"):
        assert progress_of(line) == "downloading torch-2.14.1 (554.6 MB)" and downloaded_megabytes(line) == 554.6
    small = f"  Downloading {torch}.metadata (30.0 kB)"
    assert (progress_of(small), downloaded_megabytes(small)) == ("", 0.03)


def test_the_page_on_installing_names_this_release_its_torch_and_the_index_that_make_takes() -> None:
    page, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/installation.md", "Makefile"))
    pins = re.findall(r"^torch(?:vision)?==.+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (index,) = re.findall(r"^TORCH_INDEX \?= (.+)$", makefile, re.MULTILINE)
    assert f"pip install {' '.join(pins)} --index-url {index}\n" in page
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"linnaeus-{project['version']}-py3-none-any.whl" in page
    extras = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert extras == project["optional-dependencies"].keys() - {"dev", "ship"}


def test_each_extra_that_users_install_is_tried_in_an_environment_of_its_own() -> None:
    tests = (ROOT / "tests" / "installation" / "test_extras.py").read_text(encoding="utf-8")
    assert set(re.findall(r'install\("(\w*)"', tests)) == {"", *installed_extras("demo")}


def installed_extras(target: str) -> list[str]:
    """The extras that `make` installs for a target."""
    return re.findall(r"\.\[(.+)\]", installed_by(target)[-1])[0].split(",")
