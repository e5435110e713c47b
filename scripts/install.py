"""Installs packages with pip and reports progress: `python scripts/install.py ENVIRONMENT ARGUMENT...`.

pip prints several hundred lines, or with `--quiet` nothing for minutes. This prints a line for each large download, a
line when pip starts to unpack, and at the end the duration and the size of the downloads; if pip fails, its whole
output. Uses the standard library only.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

_LARGE_MEGABYTES = 20
_MEGABYTES = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}
# "  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (899.7 MB)"; of some indexes with the address
_DOWNLOAD = re.compile(r"Downloading (?:\S+/)?([^\s/]+?-[^-\s/]+)-[^\s/]+ \(([\d.]+) (kB|MB|GB)\)")


def main() -> int:
    """Returns pip's exit status."""
    environment, *arguments = sys.argv[1:]
    python = str(Path(environment) / "bin" / "python")
    started, output = time.monotonic(), []
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            output.append(line)
            if progress := progress_of(line):
                print(f"  [{time.monotonic() - started:4.0f} s] {progress}", flush=True)
    if pip.returncode:
        sys.stderr.write("".join(output))
    else:
        seconds, megabytes = time.monotonic() - started, sum(map(downloaded_megabytes, output))
        print(f"  [{seconds:4.0f} s] {environment} is ready ({megabytes:,.0f} MB downloaded)", flush=True)
    return pip.returncode


def progress_of(line: str) -> str:
    """Returns the progress in a line of pip's output, a large download or the start of unpacking; empty if none."""
    if download := _DOWNLOAD.search(line):
        package, size, unit = download.groups()
        return f"downloading {package} ({size} {unit})" if downloaded_megabytes(line) >= _LARGE_MEGABYTES else ""
    if line.startswith("Installing collected packages:"):
        return f"unpacking {line.count(',') + 1} packages, which takes a minute or two"
    return ""


def downloaded_megabytes(line: str) -> float:
    """Returns the size of the download in a line of pip's output; 0 if there is none."""
    download = _DOWNLOAD.search(line)
    return float(download[2]) * _MEGABYTES[download[3]] if download else 0


if __name__ == "__main__":
    sys.exit(main())
