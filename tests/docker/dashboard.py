"""Reads the dashboard and the rules: which expressions they have, and which metrics and labels those name."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docker/grafana/dashboards/linnaeus.json").read_text())
# What Grafana fills in.
_VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$model": ".*"}
_METRIC = re.compile(r"(?<![:\w])((?:linnaeus|grpc_server|process|python)_\w+)(?:\{([^}]*)\})?")


def panels() -> list[dict[str, Any]]:
    """The panels that show something, rows left out."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, list[str]]:
    """The expressions of each panel, as Prometheus gets them."""
    return {panel["title"]: [_filled(target["expr"]) for target in panel["targets"]] for panel in panels()}


def rule_expressions() -> list[str]:
    """The expressions of the recording rules and the alerts, each on one line."""
    found = []
    for name in ("recording.yml", "alerts.yml"):
        text = re.sub(r"\n {10,}", " ", (ROOT / "docker/prometheus" / name).read_text())
        found += re.findall(r"^ +expr: (?:>- )?(.+)$", text, re.MULTILINE)
    return found


def metrics_of(expression: str) -> list[tuple[str, dict[str, str]]]:
    """The metrics that are named, with the labels they are asked for and the values."""
    return [
        (name, dict(re.findall(r'(\w+)(?:=~|=)"([^"]*)"', selector))) for name, selector in _METRIC.findall(expression)
    ]


def groupings_of(expression: str) -> set[str]:
    """The labels by which an expression adds up."""
    return {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}


def _filled(expression: str) -> str:
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression
