"""`make lint` accepts additions to the contract, and refuses changes that break the last release."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = Path("proto/linnaeus/v1/classifier.proto")

BREAKING = {
    "another number": ("string id = 3;", "string id = 4;"),
    "another type": ("int32 top_k = 4;", "int64 top_k = 4;"),
    "another name": ("string image_id = 6;", "string picture_id = 6;"),
    "a field gone": ("  Timings timings = 5;\n", ""),
    "a call gone": ("  rpc GetModel(GetModelRequest) returns (GetModelResponse);\n", ""),
    "a call of another service that is gone": ("  rpc LoadModel(LoadModelRequest) returns (LoadModelResponse);\n", ""),
    "an enum's value renamed": ("PRIORITY_LOW = 1;", "PRIORITY_LEAST = 1;"),
}
COMPATIBLE = {
    "nothing": ("", ""),
    "a field": ("  string id = 3;\n", "  string id = 3;\n  string note = 999;\n"),
    "a call": (
        "service ClassifierService {\n",
        "service ClassifierService {\n  rpc Ping(ListModelsRequest) returns (ListModelsResponse);\n",
    ),
}

Check = Callable[[], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that the contract's checks need, which the test may change."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("*.py", "*.pyi", "__pycache__"))
    (tmp_path / "scripts").mkdir()
    for name in ("buf.yaml", "pyproject.toml", "scripts/release_contract.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def lint(checkout: Path) -> Check:
    """Returns a function that runs the line of `make lint` that compares the contract with the last release."""

    def run() -> "subprocess.CompletedProcess[str]":
        make = ["make", "--dry-run", "--no-print-directory", f"--file={ROOT / 'Makefile'}"]
        make += [
            "--old-file=.venv/.installed",
            "--old-file=.venv/.developed",
            f"BIN={Path(sys.executable).parent}",
            "lint",
        ]
        recipe = subprocess.run(make, cwd=checkout, capture_output=True, text=True, check=True, timeout=60).stdout
        (line,) = (line for line in recipe.splitlines() if "/buf breaking " in line)
        return subprocess.run(line, cwd=checkout, shell=True, capture_output=True, text=True, timeout=60)

    return run


def _change(checkout: Path, old: str, new: str) -> None:
    contract = (checkout / CONTRACT).read_text(encoding="utf-8")
    assert old in contract
    (checkout / CONTRACT).write_text(contract.replace(old, new, 1), encoding="utf-8")


def _release(checkout: Path, version: str) -> "subprocess.CompletedProcess[str]":
    """Sets the version and releases the contract, with buf where the script expects it."""
    project = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    lines = [f'version = "{version}"' if line.startswith("version = ") else line for line in project.splitlines()]
    (checkout / "pyproject.toml").write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, str(checkout / "scripts" / "release_contract.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def _released(checkout: Path) -> list[str]:
    return sorted(path.name for path in (checkout / "proto" / "released").iterdir())


@pytest.mark.parametrize("change", BREAKING)
def test_a_breaking_change_to_the_contract_is_refused(checkout: Path, lint: Check, change: str) -> None:
    _change(checkout, *BREAKING[change])
    found = lint()
    assert found.returncode == 100 and str(CONTRACT) in found.stdout, found


@pytest.mark.parametrize("change", COMPATIBLE)
def test_an_addition_to_the_contract_is_accepted(checkout: Path, lint: Check, change: str) -> None:
    _change(checkout, *COMPATIBLE[change])
    found = lint()
    assert found.returncode == 0, found


def test_a_second_contract_in_another_folder_is_accepted(checkout: Path, lint: Check) -> None:
    folder = checkout / "proto" / "linnaeus" / "other"
    folder.mkdir()
    (folder / "other.proto").write_text('syntax = "proto3";\npackage inference;\nmessage Other {}\n', encoding="utf-8")
    assert lint().returncode == 0


def test_without_a_released_contract_the_check_fails(checkout: Path, lint: Check) -> None:
    shutil.rmtree(checkout / "proto" / "released")
    assert lint().returncode != 0


def test_later_contracts_are_compared_with_the_new_release(checkout: Path, lint: Check) -> None:
    _change(checkout, *COMPATIBLE["a field"])
    assert _release(checkout, "9.0.0").returncode == 0
    assert _released(checkout) == ["linnaeus-9.0.0.binpb"]
    _change(checkout, "string note = 999;", "string note = 998;")
    assert lint().returncode == 100


def test_a_breaking_release_is_refused_and_the_last_one_is_kept(checkout: Path) -> None:
    before = _released(checkout)
    _change(checkout, *BREAKING["another number"])
    assert _release(checkout, "9.0.0").returncode == 1
    assert _released(checkout) == before


def test_a_released_contract_is_not_replaced_by_one_of_the_same_version(checkout: Path) -> None:
    (name,) = _released(checkout)
    image = checkout / "proto" / "released" / name
    before = image.read_bytes()
    _change(checkout, *COMPATIBLE["a field"])
    refused = _release(checkout, name.removeprefix("linnaeus-").removesuffix(".binpb"))
    assert refused.returncode == 1 and "raise the version in pyproject.toml" in refused.stderr
    assert image.read_bytes() == before
