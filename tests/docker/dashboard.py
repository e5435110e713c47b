"""Reads the dashboard and the rules: their expressions, and the metrics and labels that these name."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docker/grafana/dashboards/linnaeus.json").read_text())
# Values for the variables that Grafana replaces.
_VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$model": ".*"}
_METRIC = re.compile(r"(?<![:\w])((?:linnaeus|grpc_server|process|python)_\w+)(?:\{([^}]*)\})?")


def panels() -> list[dict[str, Any]]:
    """Returns the panels that show data, without the rows."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, list[str]]:
    """Returns the expressions of each panel by its title, with the variables replaced."""
    return {panel["title"]: [_filled(target["expr"]) for target in panel["targets"]] for panel in panels()}


def rule_expressions() -> list[str]:
    """Returns the expressions of the recording rules and the alerts, each on one line."""
    found = []
    for name in ("recording.yml", "alerts.yml"):
        text = re.sub(r"\n {10,}", " ", (ROOT / "docker/prometheus" / name).read_text())
        found += re.findall(r"^ +expr: (?:>- )?(.+)$", text, re.MULTILINE)
    return found


def metrics_of(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Returns the metrics in an expression, each with its label selectors."""
    return [
        (name, dict(re.findall(r'(\w+)(?:=~|=)"([^"]*)"', selector))) for name, selector in _METRIC.findall(expression)
    ]


def groupings_of(expression: str) -> set[str]:
    """Returns the labels that an expression aggregates by."""
    return {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}


def _filled(expression: str) -> str:
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression
