"""Where `make test` puts the clients of other makers that our own environment has no room for."""

from pathlib import Path

_VENV = Path(__file__).resolve().parent.parent.parent / ".venv"

NODE_PACKAGES = _VENV / "node" / "node_modules"
TRITON_PYTHON = _VENV / "tritonclient" / "bin" / "python"
