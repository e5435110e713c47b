"""Imports between folders point downwards only, and no two files of the server import each other in a circle."""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STANDARD_LIBRARY = frozenset(sys.stdlib_module_names)
TORCH = {"torch", "torchvision"}
# Optional, so imported where traces are on and nowhere else.
KNOW_OPENTELEMETRY = {"linnaeus.server.observability.otlp_export", "linnaeus.server.observability.spans"}
GRPC = {"grpc", "grpc_health", "grpc_reflection", "grpc_status", "google"}

# The server's folders and files, from the top down: each may import itself and what stands below it. The packages that
# it must not import stand beside it; None allows the standard library only.
SERVER = "linnaeus.server"
LAYERS: dict[str, set[str] | None] = {
    "__main__": TORCH,
    "cli": TORCH,
    "app": TORCH,
    "observability": TORCH,
    "rpc": TORCH,
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
# What a layer may import of the other roots.
OTHER_ROOTS: dict[str, set[str]] = {
    "app": {"linnaeus.v1", "linnaeus.kserve"},
    "rpc": {"linnaeus.v1", "linnaeus.kserve", "linnaeus.models.manifest"},
    **dict.fromkeys(("model_store", "decoding", "requests", "runtime"), {"linnaeus.models.manifest"}),
}

# The other roots, and files stricter than their folder: what they may import of `linnaeus`, and what they must not
# import at all. The longest prefix that fits is the rule; None allows the standard library only.
RULES: dict[str, tuple[set[str], set[str] | None]] = {
    "linnaeus.v1": ({"linnaeus.v1"}, TORCH),
    "linnaeus.kserve": ({"linnaeus.kserve"}, TORCH),
    "linnaeus.models": ({"linnaeus.models"}, GRPC),
    "linnaeus.models.manifest": (set(), None),
    "linnaeus.client": ({"linnaeus.client", "linnaeus.v1"}, TORCH),
    "linnaeus.server.config.version_policy": (set(), None),
    "linnaeus.server.decoding.byte_resize": (set(), GRPC | {"torchvision"}),
    "linnaeus.server.observability.logs": (set(), None),
    "linnaeus.server.rpc.child_server": (set(), None),
}


def modules() -> dict[str, Path]:
    found = {}
    for root in ("proto", "server", "client", "models"):
        for path in sorted((ROOT / root).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def layer_of(module: str) -> str | None:
    """The folder or file of the server that a module belongs to; None for the package itself and for other roots."""
    return module.removeprefix(f"{SERVER}.").split(".")[0] if below(module, SERVER) and module != SERVER else None


def rule_of(module: str) -> tuple[set[str], set[str] | None]:
    """What a module may import of `linnaeus`, and which packages it must not import; see `RULES`."""
    strict = max((prefix for prefix in RULES if below(module, prefix)), key=len, default=None)
    layer = layer_of(module)
    if strict is not None or layer is None:
        return RULES[strict] if strict is not None else (set(), None)
    order = list(LAYERS)
    reachable = {f"{SERVER}.{each}" for each in order[order.index(layer) :]}
    return reachable | OTHER_ROOTS.get(layer, set()), LAYERS[layer]


def server_imports() -> dict[str, set[str]]:
    """The server's modules, each with those of them that it imports."""
    graph = {}
    for module, path in MODULES.items():
        if below(module, SERVER):
            named = {name if name in MODULES else name.rpartition(".")[0] for name in imports(path)}
            graph[module] = {name for name in named if name in MODULES and below(name, SERVER)}
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Every pair of modules that reach each other, as the path that leads from one back to itself."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for imported in sorted(graph[module]):
                visit(imported, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    return found


def upward_imports(graph: Mapping[str, set[str]]) -> list[str]:
    """The imports from a lower folder to a higher one."""
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
        assert package != "opentelemetry" or module in KNOW_OPENTELEMETRY, f"{module} must not import {name}"
        if package == "linnaeus":
            assert any(below(name, prefix) for prefix in allowed), f"{module} must not import {name}"
        elif forbidden is None:
            assert package in STANDARD_LIBRARY, f"{module} must not import {name}"
        else:
            assert package not in forbidden, f"{module} must not import {name}"


def test_every_folder_of_the_server_has_its_place_in_the_table() -> None:
    assert {layer for module in MODULES if (layer := layer_of(module))} == set(LAYERS)


def test_no_import_of_the_server_points_upwards_and_none_goes_in_a_circle(capsys: pytest.CaptureFixture[str]) -> None:
    graph = server_imports()
    upwards, round_about = upward_imports(graph), circles(graph)
    folders = {path.parent for module, path in MODULES.items() if below(module, SERVER)}
    with capsys.disabled():
        print(
            f"\nserver: {len(folders)} folders, {len(graph)} files, {len(upwards)} upward imports, "
            f"{len(round_about)} circles"
        )
    assert not upwards
    assert not round_about


def test_a_circle_and_an_upward_import_would_be_found() -> None:
    graph = {
        "linnaeus.server.rpc.server": {"linnaeus.server.engine.engine"},
        "linnaeus.server.engine.engine": {"linnaeus.server.rpc.server"},
    }
    assert upward_imports(graph) == ["linnaeus.server.engine.engine -> linnaeus.server.rpc.server"]
    assert circles(graph) == [
        ["linnaeus.server.rpc.server", "linnaeus.server.engine.engine", "linnaeus.server.rpc.server"]
    ]
