"""Programs outside the virtual environment that some tests run: how each is found, and how a user gets it.

A test names the program in a marker, `@pytest.mark.needs(program="chromium")`, and is skipped where it is missing.
`make test` leaves all of these tests out; `make test-all` runs them.
"""

import ctypes.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.balance.balancers import ENVOY
from benchmarks.peers.triton_installation import TritonInstallation, Unavailable

ROOT = Path(__file__).resolve().parent.parent
TRITON_CLIENT_PYTHON = ROOT / ".venv" / "tritonclient" / "bin" / "python"
KSERVE_PYTHON = ROOT / ".venv" / "kserve" / "bin" / "python"
NODE_PACKAGES = ROOT / ".venv" / "node" / "node_modules"
AXE = NODE_PACKAGES / "axe-core" / "axe.min.js"
PLAYWRIGHT_PACKAGES = ROOT / ".venv" / "playwright"
TIMM_PACKAGES = ROOT / ".venv" / "timm"
HELM = ROOT / ".venv-helm" / "bin" / "helm"
RAY = ROOT / ".venv-ray" / "bin"
MOTO_PYTHON = ROOT / ".venv-moto" / "bin" / "python"
MOTO_INSTALLED = ROOT / ".venv-moto" / ".installed"
PERF_ANALYZER = Path(os.environ.get("PERF_ANALYZER") or ROOT / ".venv-triton" / "bin" / "perf_analyzer")


@dataclass(frozen=True, slots=True)
class Program:
    """Whether a program is installed, and the reason of the skip where it is not."""

    is_installed: Callable[[], bool]
    reason: str


def _on_path(command: str, package: str) -> Program:
    reason = f"{command} is not installed (Debian: apt install {package})"
    return Program(lambda: shutil.which(command) is not None, reason)


def _has_tritonserver() -> bool:
    try:
        TritonInstallation()
    except Unavailable:
        return False
    return True


PROGRAMS = {
    "package index": Program(lambda: True, "pip itself says what is wrong with the index (make test-install)"),
    "chromium": _on_path("chromium", "chromium"),
    "h2load": _on_path("h2load", "nghttp2-client"),
    "helm": Program(HELM.exists, "helm is not installed (make test-setup; Linux on x86-64)"),
    "kubectl": _on_path("kubectl", "kubernetes-client"),
    "nginx": _on_path("nginx", "nginx-light"),
    "prometheus": _on_path("prometheus", "prometheus"),
    "promtool": _on_path("promtool", "prometheus"),
    "node": Program(
        lambda: shutil.which("node") is not None and NODE_PACKAGES.is_dir(),
        "Node's gRPC packages are not installed (Debian: apt install nodejs npm; then make test-setup)",
    ),
    "playwright": Program(
        lambda: shutil.which("chromium") is not None and (PLAYWRIGHT_PACKAGES / "playwright").is_dir() and AXE.exists(),
        "Playwright or what it needs is not installed (Debian: apt install chromium nodejs npm; then make test-setup)",
    ),
    "envoy": Program(ENVOY.exists, "Envoy is not installed (make test-setup)"),
    "ray": Program((RAY / "serve").exists, "Ray Serve is not installed (make test-setup)"),
    "moto": Program(
        (MOTO_PYTHON.parent.parent / ".installed").exists, "moto and s3fs are not installed (make test-setup)"
    ),
    "timm": Program((TIMM_PACKAGES / "timm").is_dir, "timm is not installed (make test-setup)"),
    "tritonclient": Program(TRITON_CLIENT_PYTHON.exists, "tritonclient is not installed (make test-setup)"),
    "kserve": Program(KSERVE_PYTHON.exists, "kserve's Python SDK is not installed (make test-setup)"),
    "perf_analyzer": Program(
        lambda: PERF_ANALYZER.exists() and ctypes.util.find_library("b64") is not None,
        "perf_analyzer is not installed (make test-setup; Debian: apt install libb64-0d)",
    ),
    "tritonserver": Program(_has_tritonserver, "tritonserver is not installed (make test-setup)"),
    "grpcurl": Program(
        lambda: shutil.which("grpcurl") is not None,
        "not packaged: grpcurl, by Debian or a package registry (its releases have it; buf curl makes the same call)",
    ),
}
