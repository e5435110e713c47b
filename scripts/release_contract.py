"""Writes the contract of a release, with which `make lint` compares every later one.

proto/released/ holds one buf image (the compiled .proto files without comments): that of the last release, with its
version in the name. It is committed because a clone may lack tags. One image suffices: no release breaks the one before
it, so what is compatible with the last release is compatible with all.
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
    """Replaces the last release's image by the current contract, if that breaks nothing.

    Raises:
        FileExistsError: if this version has been released before.
        subprocess.CalledProcessError: if the contract cannot be compiled, or breaks the last release; buf prints why.
    """
    image = RELEASED / f"linnaeus-{_version()}.binpb"
    if image.exists():
        raise FileExistsError(f"{image.name} is released and stays as it is; raise the version in pyproject.toml")
    earlier = list(RELEASED.glob("*.binpb"))
    for each in earlier:
        _buf("breaking", "--against", str(each))
    with _written_atomically(image) as unfinished:
        _buf("build", "--exclude-source-info", "--output", f"{unfinished}#format=binpb")
    for each in earlier:
        each.unlink()


def _version() -> str:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


@contextmanager
def _written_atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which is renamed to `path` on success and removed on failure."""
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
