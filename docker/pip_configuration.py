"""Carries this machine's way to Python packages into an image build, without leaving a trace in the image.

    pip_configuration.py DESTINATION

Writes what `pip config` says here as one file, and prints a `--volume` option a line: that file as /etc/pip.conf, and
every file or folder of this machine that it names (certificates, constraints, folders of wheels), all read-only.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

# pip's own order of precedence, least first; sections of other commands do not concern an installation.
_SECTIONS = ("global", "install", ":env:")


def effective_options(listing: str) -> dict[str, str]:
    """Reads `pip config list`: the value that counts for each option of `pip install`."""
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, _, literal = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in _SECTIONS:
            candidate = (_SECTIONS.index(section), str(ast.literal_eval(literal)))
            found[option] = max(found.get(option, candidate), candidate, key=lambda each: each[0])
    return {option: value for option, (_, value) in sorted(found.items())}


def local_paths(values: list[str]) -> list[Path]:
    """The files and folders of this machine that the values name, none below another."""
    words = [word for value in values for word in value.split()]
    paths = {Path(unquote(urlsplit(word).path) if word.startswith("file:") else word) for word in words}
    there = {path for path in paths if path.is_absolute() and path.exists()}
    # an index made of files ("…/simple") keeps the packages it lists beside it
    there |= {path.parent for path in there if path.name == "simple" and (path.parent / "files").is_dir()}
    return sorted(path for path in there if not any(other in path.parents for other in there))


def main() -> None:
    """Writes the file and prints the options."""
    destination = Path(sys.argv[1])
    command = [sys.executable, "-m", "pip", "config", "list"]
    options = effective_options(subprocess.run(command, check=True, text=True, capture_output=True).stdout)
    lines = [f"{option} = " + "\n    ".join(value.split()) for option, value in options.items()]
    # an index may carry a password in its address
    with os.fdopen(os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(["[global]", *lines, ""]))
    print(f"--volume={destination}:/etc/pip.conf:ro")
    for path in local_paths(list(options.values())):
        print(f"--volume={path}:{path}:ro")


if __name__ == "__main__":
    main()
