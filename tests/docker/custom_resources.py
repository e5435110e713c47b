"""The schemas of other projects' kinds, which scripts/kubernetes_schemas.py made, and what breaks them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).resolve().parents[1] / "data" / "kubernetes"


def violations(resource: dict[str, Any]) -> list[str]:
    """Returns what is wrong with a resource, each with its path; raises if there is no schema for its kind."""
    found = _validator(resource["kind"]).iter_errors(resource)
    return [f"{error.json_path}: {error.message}" for error in found]


@cache
def _validator(kind: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
