"""The server says once, at its start, that it runs on a grpcio with a known fault."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grpc
import pytest
from tests.server.wrong_invocations import write_model

from linnaeus.server.rpc.grpc_release import fault_of, warn_of_grpc_release

ROOT = Path(__file__).resolve().parents[3]
# A server that ends by itself, since its repository's only model has no network.
START = """
import grpc
grpc.__version__ = {release!r}
from linnaeus.server.cli import main
main()
"""


CRASHES, IS_SLOW = "ends with a segmentation fault", "answers a tenth to a half fewer calls"


@pytest.mark.parametrize(
    ("release", "fault"),
    [("1.77.0", CRASHES), ("1.78.2", CRASHES)]
    + [(each, IS_SLOW) for each in ("1.80.0", "1.80.1", "1.83.2", "1.85.1", "1.85.0rc1")],
)
def test_the_releases_that_were_measured_to_be_slow_or_to_crash_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, release: str, fault: str
) -> None:
    monkeypatch.setattr(grpc, "__version__", release)
    warn_of_grpc_release()
    (record,) = caplog.records
    assert record.levelname == "WARNING" and record.getMessage().startswith(f"grpcio {release} {fault}")
    remedy = set(re.findall(r"'([a-z-]+)==1.76.\*'", record.getMessage()))
    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required_by_the_server = required["dependencies"] + required["optional-dependencies"]["server"]
    assert remedy == {name for each in required_by_the_server if (name := each.partition(">")[0]).startswith("grpcio")}


def test_nobodys_grpcio_is_capped_below_the_next_major_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    bounds = {bound for each in required if each.startswith("grpcio") for bound in re.findall(r"[<>=!]=?[\d.*]+", each)}
    assert bounds == {">=1.76", "!=1.77.*", "!=1.78.*", "<2"}


@pytest.mark.parametrize("release", ["1.76.0", "1.79.3", "1.86.0", "2.0.0", "1.8.0", "1.185.0", "unknown", ""])
def test_no_other_release_is_told(release: str) -> None:
    assert not fault_of(release)


@pytest.mark.parametrize(("release", "times"), [("1.84.0", 1), pytest.param("1.76.0", 0, marks=pytest.mark.slow)])
def test_the_server_says_it_once_at_its_start(tmp_path: Path, release: str, times: int) -> None:
    command = [sys.executable, "-c", START.format(release=release), "--repository", str(write_model(tmp_path))]
    ended = subprocess.run(
        [*command, "--port", "0", "--metrics-port", "0"], capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 1 and (ended.stdout + ended.stderr).count("grpcio==1.76") == times
