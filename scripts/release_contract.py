"""Writes the contract of a release, which `make lint` compares every later one with.

proto/released/ holds one buf image (the compiled .proto files without their comments): that of the last release, with
its version in its name. It lies in the repository because a fresh clone need not have any tags. One image is enough:
no release breaks the one before it, so what fits the last fits them all.
"""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASED = ROOT / "proto" / "released"
BUF = Path(sys.executable).with_name("buf")


def release() -> None:
    """Replaces the last release's image by one of the contract as it is, if that breaks nothing.

    Raises:
        FileExistsError: this version has been released.
        subprocess.CalledProcessError: the contract cannot be compiled, or breaks the last release's; buf says how.
    """
    image = RELEASED / f"linnaeus-{_version()}.binpb"
    if image.exists():
        raise FileExistsError(f"{image.name} is released and stays as it is; raise the version in pyproject.toml")
    earlier = list(RELEASED.glob("*.binpb"))
    for each in earlier:
        _buf("breaking", "--against", str(each))
    with _whole(image) as unfinished:
        _buf("build", "--exclude-source-info", "--output", f"{unfinished}#format=binpb")
    for each in earlier:
        each.unlink()


def _version() -> str:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write to; what stands there at the end of a good run appears at `path`."""
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    try:
        yield unfinished
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _buf(*arguments: str) -> None:
    subprocess.run([BUF, *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    try:
        release()
    except (FileExistsError, subprocess.CalledProcessError) as error:
        sys.exit(f"release_contract: {error}")
