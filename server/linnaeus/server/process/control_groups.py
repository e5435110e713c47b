"""The control groups of the process, of cgroup v1 and v2, and their files."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath


def groups(root: Path) -> Iterable[tuple[str, PurePosixPath]]:
    """Returns the controllers and the path of each control group of the process; version 2 has no controllers."""
    lines = (line.split(":", 2) for line in read(root / "proc/self/cgroup").splitlines())
    return [(line[1], PurePosixPath(line[2])) for line in lines if len(line) == 3]


def upwards(mount: Path, group: PurePosixPath) -> Iterator[Path]:
    """Yields the folders of a group and its ancestors; in a container the mounted root is often the group itself."""
    for part in (group, *group.parents):
        yield mount / str(part).lstrip("/")


def read(path: Path) -> str:
    """Returns the text of a file; empty if there is none."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
