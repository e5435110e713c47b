"""How messages show a value that is wrong: as TOML and JSON have it, never as Python does."""

import json
from typing import Any

_MOST_CHARACTERS = 100


def shown(value: Any) -> str:
    """Returns a value in one line of at most 100 characters; a text in single quotes."""
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, float):
        text = str(value)  # nan and inf are no JSON
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
