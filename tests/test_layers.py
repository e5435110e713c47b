"""Who may import whom: the imports are walked, so the plan of the house stays true."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STANDARD_LIBRARY = frozenset(sys.stdlib_module_names)
TORCH = {"torch", "torchvision"}
# Optional, so imported where traces are on and nowhere else.
KNOW_OPENTELEMETRY = {"linnaeus.server.otlp", "linnaeus.server.spans"}
GRPC = {"grpc", "grpc_health", "grpc_reflection", "grpc_status", "google"}

# A module prefix, then what modules below it may import of `linnaeus`, and what they may not import at all. The
# longest prefix that fits is the rule; None means that only the standard library is allowed besides.
RULES: dict[str, tuple[set[str], set[str] | None]] = {
    "linnaeus.v1": ({"linnaeus.v1"}, TORCH),
    "linnaeus.kserve": ({"linnaeus.kserve"}, TORCH),
    "linnaeus.models": ({"linnaeus.models"}, GRPC),
    "linnaeus.models.manifest": (set(), None),
    "linnaeus.client": ({"linnaeus.client", "linnaeus.v1"}, TORCH),
    "linnaeus.server.batching": ({"linnaeus.server.batching"}, None),
    "linnaeus.server.errors": (set(), None),
    "linnaeus.server.config": ({"linnaeus.server.errors"}, None),
    "linnaeus.server.model_settings": (
        {"linnaeus.server.config", "linnaeus.server.errors", "linnaeus.server.version_settings"},
        None,
    ),
    "linnaeus.server.version_settings": (set(), None),
    "linnaeus.server.logs": (set(), None),
    "linnaeus.server.process": (set(), None),
    "linnaeus.server.runtime": (
        {"linnaeus.server.runtime", "linnaeus.server.errors", "linnaeus.models.manifest"},
        GRPC | {"torchvision"},
    ),
    "linnaeus.server.engine": (
        {
            "linnaeus.server.engine",
            "linnaeus.server.batching",
            "linnaeus.server.runtime",
            "linnaeus.server.errors",
            "linnaeus.server.config",
            "linnaeus.server.model_settings",
            "linnaeus.models.manifest",
        },
        GRPC | TORCH,
    ),
    "linnaeus.server.rpc": (
        {
            "linnaeus.server.rpc",
            "linnaeus.server.engine",
            "linnaeus.server.errors",
            "linnaeus.models.manifest",
            "linnaeus.v1",
            "linnaeus.kserve",
        },
        TORCH,
    ),
    "linnaeus.server": ({"linnaeus.server", "linnaeus.v1", "linnaeus.kserve"}, TORCH),
}


def modules() -> Iterator[tuple[str, Path]]:
    for root in ("proto", "server", "client", "models"):
        for path in sorted((ROOT / root).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / root).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_downwards_only(module: str, path: Path) -> None:
    allowed, forbidden = RULES[max((prefix for prefix in RULES if below(module, prefix)), key=len)]
    for name in imports(path):
        package = name.split(".")[0]
        assert package != "opentelemetry" or module in KNOW_OPENTELEMETRY, f"{module} must not import {name}"
        if package == "linnaeus":
            assert any(below(name, prefix) for prefix in allowed), f"{module} must not import {name}"
        elif forbidden is None:
            assert package in STANDARD_LIBRARY, f"{module} must not import {name}"
        else:
            assert package not in forbidden, f"{module} must not import {name}"
