"""Runs Python as if packages were not installed."""

import os
import subprocess
import sys
from collections.abc import Set

_PATIENCE_SECONDS = 60  # reached only if a test fails
_BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package in {blocked} or ({base} and package not in {base} | sys.stdlib_module_names):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run_without(blocked: Set[str], program: str, base: Set[str] | None = None) -> tuple[int, str, str]:
    """Runs a program.

    Args:
        blocked: packages that cannot be imported.
        program: Python.
        base: the only packages that can be, beside the standard library; None for all.

    Returns:
        Exit status, stdout and stderr.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LINNAEUS_")}
    done = subprocess.run(
        [sys.executable, "-c", _BLOCK.format(blocked=set(blocked) or "set()", base=base) + program],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
    )
    return done.returncode, done.stdout, done.stderr
