"""What every wrong invocation of a command must end in: one line, exit status 1 or 2, no traceback."""

import re
from dataclasses import dataclass

# A second line may say where help is, as command line libraries do.
_HINT = re.compile(r"Try '?[\w -]+ --help'? for help\.")
# What belongs to a library, not to somebody at a command line.
_LEAKS = (
    re.compile(r"Traceback|\bFile \"|unexpected \w*(?:Error|Exception)"),
    re.compile(r"\[Errno|\berrno\b"),
    re.compile(r"\bValue error,|\bInput should\b|\bpydantic\b"),
    re.compile(r"\bor None\b|\bNoneType\b|<class |\bobject at 0x"),
    re.compile(r"\bthe metadata\b|\b\w+=True\b|\btoken_file\b"),
    re.compile(r"^[EWIF]\d{4} ", re.MULTILINE),  # gRPC's own log
)
_MOST_CHARACTERS = 1000  # the longest names all models of the zoo


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    output: str
    errors: str


def check(result: Result, *, said: str = "") -> None:
    """Checks how a wrong invocation ended.

    Args:
        result: its exit status, stdout and stderr.
        said: what its line must have.
    """
    lines = result.errors.splitlines()
    if len(lines) == 2 and _HINT.fullmatch(lines[1]):
        lines.pop()
    assert len(lines) == 1, f"{len(lines)} lines on stderr: {result.errors}"
    assert result.status in (1, 2), f"exit status {result.status}: {result.errors}"
    assert re.match(r"linnaeus-\w+:? \S", lines[0]), f"the line does not begin with the command: {result.errors}"
    assert lines[0].isprintable() and len(lines[0]) <= _MOST_CHARACTERS, f"no short line: {result.errors}"
    assert said in lines[0], f"{said!r} is not in: {result.errors}"
    for leak in _LEAKS:
        assert not leak.search(result.errors), f"{leak.pattern} is in: {result.errors}"
    assert "Traceback" not in result.output
