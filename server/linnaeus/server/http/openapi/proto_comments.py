"""The comments of a .proto file, which protobuf's generated code leaves out.

Understands proto3 as `buf lint` accepts it: one declaration a line, its comment right above it.
"""

import re
from pathlib import Path

_BLOCK = re.compile(r"(message|enum|service|oneof) (\w+) \{(\})?$")
_MEMBER = re.compile(r"(?:rpc (\w+)\(|(?:[\w.<>, ]+ )?(\w+) = \d+)")


def proto_comments(path: Path) -> dict[str, str]:
    """Returns the comments by the name of what they describe, without the package: `Image`, `Image.id`.

    A blank comment line parts paragraphs; other line ends are spaces.

    Raises:
        OSError: if the file cannot be read.
    """
    comments, blocks, lines = dict[str, str](), list[str](), list[str]()
    for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
        if line.startswith("//"):
            lines.append(line.removeprefix("//").strip())
            continue
        block = _BLOCK.match(line)
        name = block[2] if block else _member(line)
        if name and lines:
            comments[".".join([*filter(None, blocks), name])] = _paragraphs(lines)
        if block and not block[3]:
            blocks.append("" if block[1] == "oneof" else block[2])  # the members of a oneof are the message's
        elif line == "}":
            blocks.pop()
        lines = []
    return comments


def _member(line: str) -> str:
    member = _MEMBER.match(line)
    return (member[1] or member[2]) if member else ""


def _paragraphs(lines: list[str]) -> str:
    return "\n\n".join(part.replace("\n", " ") for part in "\n".join(lines).split("\n\n"))
