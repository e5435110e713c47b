"""`linnaeus-zoo` reads its command line without torch, which takes seconds to import."""

import subprocess
import sys

import pytest

HEAVY = {"matplotlib", "numpy", "PIL", "torch", "torchvision"}
PROGRAM = f"""
import sys
from linnaeus.models.cli import main
try:
    main()
finally:
    print({HEAVY} & set(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--help"], 0), (["--version"], 0), (["export", "--help"], 0), (["train", "--no"], 2)]
)
def test_help_and_wrong_usage_import_no_torch(arguments: list[str], status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, encoding="utf-8", timeout=100
    )
    assert done.returncode == status, done.stderr
    assert done.stderr.endswith("set()\n")
