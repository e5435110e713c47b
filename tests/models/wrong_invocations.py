"""What every wrong invocation of `linnaeus-zoo` must end in: one line, exit status 1 or 2, no traceback."""

from typing import Any

# Around the line of wrong usage, typer draws a box and says where help is.
_AROUND = ("Usage: ", "Try ", "╭", "╰")


def check(result: Any, *, said: str = "") -> None:
    """Checks how a wrong invocation ended.

    Args:
        result: its exit status, stdout and stderr, as `run_zoo` returns them.
        said: what its line must have.
    """
    lines = [line for line in result.errors.splitlines() if not line.startswith(_AROUND)]
    in_box = [line.strip("│ ") for line in lines if line.startswith("│")]
    text = " ".join(in_box) or result.errors
    assert result.exit_code in (1, 2), f"exit status {result.exit_code}: {result.errors}"
    assert len(lines) == max(1, len(in_box)), f"{len(lines)} lines on stderr: {result.errors}"
    assert said in text, f"{said!r} is not in: {text}"
    assert "Traceback" not in result.errors + result.output
