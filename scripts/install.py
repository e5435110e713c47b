"""Installs packages with pip and says what it does: `python scripts/install.py ENVIRONMENT ARGUMENT...`.

pip prints several hundred lines, or with `--quiet` nothing for minutes. This prints a line for each large download, one
when pip begins to unpack, and how long it took; if pip fails, all that it said. It needs the standard library only.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

_LARGE_MEGABYTES = 20
# "  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (899.7 MB)"
_DOWNLOAD = re.compile(r"Downloading (\S+?-[^-\s]+)-\S+ \(([\d.]+) (kB|MB|GB)\)")


def main() -> int:
    """Returns pip's exit status."""
    environment, *arguments = sys.argv[1:]
    python = str(Path(environment) / "bin" / "python")
    began, said = time.monotonic(), []
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            said.append(line)
            if news := news_of(line):
                print(f"  [{time.monotonic() - began:4.0f} s] {news}", flush=True)
    if pip.returncode:
        sys.stderr.write("".join(said))
    else:
        print(f"  [{time.monotonic() - began:4.0f} s] {environment} is ready", flush=True)
    return pip.returncode


def news_of(line: str) -> str:
    """What a line of pip's says that a user waits for: a large download, or that unpacking begins; else nothing."""
    if download := _DOWNLOAD.search(line):
        package, size, unit = download.groups()
        return (
            f"downloading {package} ({size} {unit})"
            if unit == "GB" or (unit == "MB" and float(size) >= _LARGE_MEGABYTES)
            else ""
        )
    if line.startswith("Installing collected packages:"):
        return f"unpacking {line.count(',') + 1} packages, which takes a minute or two"
    return ""


if __name__ == "__main__":
    sys.exit(main())
