"""Runs NVIDIA's perf_analyzer with the bundled digits: `make perf-analyzer`.

    python scripts/perf_analyzer.py [-i grpc|http] [--target HOST:PORT] [flags of perf_analyzer]

Without a target it starts its own server. The program is in `.venv-triton`, or named by the variable PERF_ANALYZER; it
needs libb64 (Debian: apt install libb64-0d), and its CUDA library is installed beside it.
"""

import argparse
import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from linnaeus.server.rpc.child_server import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
MODEL = "lenet"
# Accepts unstable windows: on a busy machine perf_analyzer would otherwise stop early.
DEFAULTS = ("--concurrency-range", "1:64:9", "--measurement-interval", "2000", "--max-trials", "4")
ALWAYS = ("-m", MODEL, "--async", "--stability-percentage", "999")


def program() -> Path:
    """Returns the path of perf_analyzer, whether it is installed or not."""
    return Path(os.environ.get("PERF_ANALYZER") or ROOT / ".venv-triton" / "bin" / "perf_analyzer")


def input_data() -> str:
    """Returns the digits in perf_analyzer's format: base64 of the raw tensor, each element preceded by its length."""
    digits = [path.read_bytes() for path in sorted((ROOT / "pictures" / "digits").glob("*.png"))]
    raw = (struct.pack("<I", len(digit)) + digit for digit in digits)
    return json.dumps({"data": [{"image": {"b64": base64.b64encode(each).decode()}} for each in raw]})


def environment(binary: Path) -> dict[str, str]:
    """Returns the environment with the CUDA runtime that was installed with the program."""
    folders = binary.parent.parent.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    known = os.environ.get("LD_LIBRARY_PATH", "")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join([*map(str, folders), *filter(None, [known])])}


def own_server(opened: ExitStack, protocol: str) -> str:
    """Starts a server, and returns where it speaks the protocol."""
    server = opened.enter_context(ServerProcess("--models", MODEL, "--http-port", "0" if protocol == "http" else "-1"))
    return f"127.0.0.1:{server.http_port}" if protocol == "http" else server.target


def main(arguments: list[str]) -> int:
    """Runs perf_analyzer; returns its exit code."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--target")
    parser.add_argument("-i", dest="protocol", choices=("grpc", "http"), default="grpc")
    options, flags = parser.parse_known_args(arguments)
    binary = program()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        (folder / "input.json").write_text(input_data(), encoding="utf-8")
        target = options.target or own_server(opened, options.protocol)
        chosen = ["-i", options.protocol, "-u", target, "--input-data", str(folder / "input.json")]
        command = [str(binary), *ALWAYS, *chosen, *(flags or DEFAULTS)]
        code = subprocess.run(command, env=environment(binary)).returncode
    if code == 127:
        print("perf_analyzer lacks a library; on Debian: apt install libb64-0d", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
