"""Generates the typed Python stubs of the contract into proto/, or into the folder given on the command line."""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent / "proto"


def generate(target: Path) -> int:
    """Writes `*_pb2.py`, `*_pb2.pyi`, `*_pb2_grpc.py` and `*_pb2_grpc.pyi`; returns protoc's exit code."""
    well_known = resources.files("grpc_tools") / "_proto"
    sources = sorted(str(path) for path in ROOT.rglob("*.proto"))
    arguments = [
        f"--proto_path={ROOT}",
        f"--proto_path={well_known}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out={target}",
        *sources,
    ]
    return int(protoc.main(["protoc", *arguments]))


if __name__ == "__main__":
    sys.exit(generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
