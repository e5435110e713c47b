"""Where tritonserver is installed, and whether it can run here.

The program is in the wheel of nvidia-pytriton, which `make` installs into `.venv-peers` beside numpy 1.
"""

import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-peers"
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class Unavailable(Exception):
    """tritonserver cannot run here; the message is one sentence with the reason."""


class TritonInstallation:
    """An installation of tritonserver.

    Args:
        environment: the virtual environment that nvidia-pytriton was installed into.

    Raises:
        Unavailable: if it is not installed, or lacks something.
    """

    def __init__(self, environment: Path = ENVIRONMENT) -> None:
        if platform.machine() != "x86_64" or platform.system() != "Linux":
            raise Unavailable(f"tritonserver's wheel is for Linux on x86-64, this is {platform.platform()}")
        self.python = environment / "bin" / "python3"
        self.packages = environment / "lib" / f"python{PYTHON_VERSION}" / "site-packages"
        self.program = self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"
        self.backends = self.program.parent.parent / "backends"
        stubs = self.program.parent.parent / "python_backend_stubs"
        self.stub = stubs / PYTHON_VERSION / "triton_python_backend_stub"
        self._check_programs()
        self._check_libraries()
        self._check_packages()

    def environment(self) -> dict[str, str]:
        """Returns the environment variables that it is started with.

        The Python backend's interpreter is isolated: it ignores PYTHONPATH and takes its packages from those of the
        first python3 of the PATH.
        """
        libraries = [str(self.packages / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
        return {
            **os.environ,
            "PATH": _before(str(self.python.parent), "PATH"),
            "LD_LIBRARY_PATH": _before(os.pathsep.join(libraries), "LD_LIBRARY_PATH"),
        }

    def _check_programs(self) -> None:
        if not self.program.exists():
            raise Unavailable(f"there is no tritonserver below {self.packages}: nvidia-pytriton could not be installed")
        if not self.stub.exists():
            raise Unavailable(f"this tritonserver has no Python backend for Python {PYTHON_VERSION}: {self.stub}")

    def _check_libraries(self) -> None:
        """Asks the loader, as a program that lacks a library would fail only when it is started."""
        for program in (self.program, self.stub):
            listed = subprocess.run(["ldd", str(program)], env=self.environment(), capture_output=True, text=True)
            missing = sorted({line.split()[0] for line in listed.stdout.splitlines() if "not found" in line})
            if missing:
                raise Unavailable(f"{program.name} lacks {', '.join(missing)}")

    def _check_packages(self) -> None:
        """With numpy 2, the backend would crash at the first encoded image."""
        script = "import importlib.metadata as m; print(*(m.version(name) for name in ('numpy', 'torch', 'pillow')))"
        versions = subprocess.run([str(self.python), "-I", "-c", script], capture_output=True, text=True)
        if versions.returncode or not versions.stdout.startswith("1."):
            last = (versions.stderr or versions.stdout).strip().splitlines()[-1:]
            raise Unavailable(f"{self.python} must have numpy 1, torch and Pillow, but says: {' '.join(last)}")


def _before(first: str, variable: str) -> str:
    return os.pathsep.join([first, *filter(None, [os.environ.get(variable)])])
