"""A run's options as people read them.

It must not know how they are laid out.
"""

from collections.abc import Mapping
from typing import Any

from linnaeus.client.load.report.metrics import UNKNOWN, load_of
from linnaeus.client.load.results import Run

_MOST_NAMED = 8


def told_options(run: Run) -> Mapping[str, Any]:
    """The options by name in words; of a ramp or search, where the rate changes, which rates were tried."""
    options = {name.replace("_", " "): value for name, value in run.options.items()}
    if run.kind == "single":
        return options
    kept = {name: value for name, value in options.items() if name not in ("rate", "concurrency")}
    objective = {} if run.objective is None else {"objective": run.objective}
    return {**kept, **objective, "steps": [load_of(spell) for spell in run.spells]}


def plain(value: Any) -> str:
    """An option's value as people write it."""
    if isinstance(value, list | tuple):
        shown = ", ".join(str(each) for each in value[:_MOST_NAMED])
        return shown if len(value) <= _MOST_NAMED else f"{shown} and {len(value) - _MOST_NAMED} more"
    return UNKNOWN if value is None or value == "" else str(value)
