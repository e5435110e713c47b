"""Imports between folders point downwards only, and the server has no import cycles."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.import_graph import MODULES, import_cycles, imports, imports_within, is_within

STANDARD_LIBRARY = frozenset(sys.stdlib_module_names)
TORCH = {"torch", "torchvision"}
# Optional, so only these modules may import it.
MAY_IMPORT_OPENTELEMETRY = {"linnaeus.server.observability.otlp_export", "linnaeus.server.observability.spans"}
GRPC = {"grpc", "grpc_health", "grpc_reflection", "grpc_status", "google"}

# The server's folders and files, from the top down: each may import itself and what is below it. The value lists
# packages that it must not import; None allows the standard library only.
SERVER = "linnaeus.server"
LAYERS: dict[str, set[str] | None] = {
    "__main__": TORCH,
    "cli": TORCH,
    "app": TORCH,
    "start_checks": TORCH,
    "observability": TORCH,
    "http": TORCH,
    "rpc": TORCH,
    "link": GRPC | TORCH,
    "engine": GRPC | TORCH,
    "model_store": GRPC | TORCH,
    "execution": GRPC | TORCH,
    "decoding": GRPC | TORCH,
    "requests": GRPC | TORCH,
    "security": TORCH,
    "runtime": GRPC | {"torchvision"},
    "config": GRPC | TORCH,
    "scheduling": None,
    "process": GRPC | TORCH,
    "errors": None,
}
# What a layer may import from the other roots.
OTHER_ROOTS: dict[str, set[str]] = {
    "cli": {"linnaeus.command_line"},
    "app": {"linnaeus.v1", "linnaeus.kserve"},
    **dict.fromkeys(("config", "security"), {"linnaeus.text_files"}),
    "start_checks": {"linnaeus.models.manifest"},
    "http": {"linnaeus.v1", "linnaeus.kserve"},
    "rpc": {"linnaeus.v1", "linnaeus.kserve", "linnaeus.models.manifest", "linnaeus.models.model_format"},
    "decoding": {"linnaeus.models.manifest"},
    **dict.fromkeys(
        ("model_store", "requests"),
        {"linnaeus.models.manifest", "linnaeus.models.model_format", "linnaeus.text_files"},
    ),
    "runtime": {
        "linnaeus.models.manifest",
        "linnaeus.models.model_format",
        "linnaeus.openvino_telemetry",
        "linnaeus.text_files",
    },
}

# The other roots, and files with stricter rules than their folder: what they may import from `linnaeus`, and what they
# must not import at all. The longest matching prefix applies; None allows the standard library only.
RULES: dict[str, tuple[set[str], set[str] | None]] = {
    "linnaeus.command_line": ({"linnaeus.__version__", "linnaeus.command_line"}, GRPC | TORCH),
    "linnaeus.v1": ({"linnaeus.v1"}, TORCH),
    "linnaeus.kserve": ({"linnaeus.kserve"}, TORCH),
    "linnaeus.ray": ({"linnaeus.ray", "linnaeus.server", "linnaeus.v1", "linnaeus.kserve"}, TORCH),
    "linnaeus.text_files": (set(), None),
    "linnaeus.openvino_telemetry": (set(), None),
    "linnaeus.models": (
        {"linnaeus.models", "linnaeus.command_line", "linnaeus.openvino_telemetry", "linnaeus.text_files"},
        GRPC,
    ),
    "linnaeus.models.manifest": (
        {"linnaeus.models.json_dataclass", "linnaeus.models.model_format", "linnaeus.text_files"},
        None,
    ),
    "linnaeus.models.json_dataclass": (set(), None),
    "linnaeus.models.model_format": (set(), None),
    "linnaeus.client": ({"linnaeus.client", "linnaeus.v1", "linnaeus.command_line", "linnaeus.text_files"}, TORCH),
    "linnaeus.server.config.version_policy": ({"linnaeus.server.config.shown_value"}, None),
    "linnaeus.server.decoding.byte_resize": (set(), GRPC | {"torchvision"}),
    "linnaeus.server.observability.logs": (set(), None),
    "linnaeus.server.rpc.child_server": (set(), None),
}


def layer_of(module: str) -> str | None:
    """Returns the server's folder or file that a module belongs to; None for the package itself and other roots."""
    return module.removeprefix(f"{SERVER}.").split(".")[0] if is_within(module, SERVER) and module != SERVER else None


def rule_of(module: str) -> tuple[set[str], set[str] | None]:
    """Returns what a module may import from `linnaeus`, and the packages it must not import; see `RULES`."""
    if module == "linnaeus":
        return set(), None
    strict = max((prefix for prefix in RULES if is_within(module, prefix)), key=len, default=None)
    layer = layer_of(module)
    if strict is not None or layer is None:
        return RULES[strict] if strict is not None else (set(), None)
    order = list(LAYERS)
    reachable = {f"{SERVER}.{each}" for each in order[order.index(layer) :]}
    return reachable | OTHER_ROOTS.get(layer, set()), LAYERS[layer]


def upward_imports(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns the imports from a lower folder to a higher one."""
    order = list(LAYERS)
    places = {module: order.index(layer) for module in graph if (layer := layer_of(module)) is not None}
    return [
        f"{module} -> {imported}"
        for module, named in graph.items()
        for imported in named
        if module in places and imported in places and places[imported] < places[module]
    ]


@pytest.mark.parametrize(("module", "path"), list(MODULES.items()), ids=list(MODULES))
def test_imports_point_downwards_only(module: str, path: Path) -> None:
    allowed, forbidden = rule_of(module)
    for name in imports(path):
        package = name.split(".")[0]
        assert package != "opentelemetry" or module in MAY_IMPORT_OPENTELEMETRY, f"{module} must not import {name}"
        if package == "linnaeus":
            assert any(is_within(name, prefix) for prefix in allowed), f"{module} must not import {name}"
        elif forbidden is None:
            assert package in STANDARD_LIBRARY, f"{module} must not import {name}"
        else:
            assert package not in forbidden, f"{module} must not import {name}"


def test_every_folder_of_the_server_is_in_the_layer_table() -> None:
    assert {layer for module in MODULES if (layer := layer_of(module))} == set(LAYERS)


def test_the_server_has_no_upward_imports_and_no_import_cycles(capsys: pytest.CaptureFixture[str]) -> None:
    graph = imports_within(SERVER)
    upwards, cycles = upward_imports(graph), import_cycles(graph)
    folders = {path.parent for module, path in MODULES.items() if is_within(module, SERVER)}
    with capsys.disabled():
        print(
            f"\nserver: {len(folders)} folders, {len(graph)} files, {len(upwards)} upward imports, "
            f"{len(cycles)} import cycles"
        )
    assert not upwards
    assert not cycles


def test_import_cycles_and_upward_imports_are_detected() -> None:
    graph = {
        "linnaeus.server.rpc.server": {"linnaeus.server.engine.engine"},
        "linnaeus.server.engine.engine": {"linnaeus.server.rpc.server"},
    }
    assert upward_imports(graph) == ["linnaeus.server.engine.engine -> linnaeus.server.rpc.server"]
    assert import_cycles(graph) == [
        ["linnaeus.server.rpc.server", "linnaeus.server.engine.engine", "linnaeus.server.rpc.server"]
    ]
