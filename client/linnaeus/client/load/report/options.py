"""Formats the options of a run."""

from collections.abc import Mapping
from typing import Any

from linnaeus.client.load.report.metrics import UNKNOWN, load_of
from linnaeus.client.load.results import Run

_MAX_LISTED = 8


def displayed_options(run: Run) -> Mapping[str, Any]:
    """Returns the options by their displayed names; for a ramp or a search, the rates that were tried."""
    options = {name.replace("_", " "): value for name, value in run.options.items()}
    if run.kind == "single":
        return options
    fixed = {name: value for name, value in options.items() if name not in ("rate", "concurrency")}
    objective = {} if run.objective is None else {"objective": run.objective}
    return {**fixed, **objective, "steps": [load_of(each) for each in run.measurements]}


def format_option(value: Any) -> str:
    """Formats the value of an option."""
    if isinstance(value, list | tuple):
        listed = ", ".join(str(each) for each in value[:_MAX_LISTED])
        return listed if len(value) <= _MAX_LISTED else f"{listed} and {len(value) - _MAX_LISTED} more"
    return UNKNOWN if value is None or value == "" else str(value)
