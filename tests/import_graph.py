"""The imports of the project's modules, read from their source."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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


def is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def imports_within(package: str) -> dict[str, set[str]]:
    """Returns the imports of each module of a package within the package."""
    graph = {}
    for module, path in MODULES.items():
        if is_within(module, package):
            named = {name if name in MODULES else name.rpartition(".")[0] for name in imports(path)}
            graph[module] = {name for name in named if name in MODULES and is_within(name, package)}
    return graph


def import_cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Returns the import cycles, each as a path from a module back to itself."""
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
