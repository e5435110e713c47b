"""Runs NVIDIA's perf_analyzer with the bundled digits: `make perf-analyzer`.

    python scripts/perf_analyzer.py [--target HOST:PORT] [flags of perf_analyzer]

Without a target it starts a server of its own. The program comes from `.venv-triton`, or is the one that the variable
PERF_ANALYZER names; it needs libb64 (Debian: apt install libb64-0d) and finds its CUDA library beside itself.
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
# Every window counts, stable or not: on a busy machine perf_analyzer would give up half way otherwise.
DEFAULTS = ("--concurrency-range", "1:64:9", "--measurement-interval", "2000", "--max-trials", "4")
ALWAYS = ("-m", MODEL, "-i", "grpc", "--async", "--stability-percentage", "999")


def program() -> Path:
    """Where perf_analyzer is, or should be."""
    return Path(os.environ.get("PERF_ANALYZER") or ROOT / ".venv-triton" / "bin" / "perf_analyzer")


def input_data() -> str:
    """The digits as perf_analyzer wants them: base64 of a tensor's raw contents, so each after its length."""
    digits = [path.read_bytes() for path in sorted((ROOT / "pictures" / "digits").glob("*.png"))]
    raw = (struct.pack("<I", len(digit)) + digit for digit in digits)
    return json.dumps({"data": [{"image": {"b64": base64.b64encode(each).decode()}} for each in raw]})


def environment(binary: Path) -> dict[str, str]:
    """Adds the folders of the CUDA runtime that was installed with the program."""
    folders = binary.parent.parent.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    known = os.environ.get("LD_LIBRARY_PATH", "")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join([*map(str, folders), *filter(None, [known])])}


def main(arguments: list[str]) -> int:
    """Returns perf_analyzer's exit code."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--target")
    options, flags = parser.parse_known_args(arguments)
    binary = program()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        (folder / "input.json").write_text(input_data(), encoding="utf-8")
        target = options.target or opened.enter_context(ServerProcess("--models", MODEL)).target
        command = [str(binary), *ALWAYS, "-u", target, "--input-data", str(folder / "input.json"), *(flags or DEFAULTS)]
        code = subprocess.run(command, env=environment(binary)).returncode
    if code == 127:
        print("perf_analyzer lacks a library; on Debian: apt install libb64-0d", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
