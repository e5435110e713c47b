"""The client's folders import each other downwards only, and no two modules import each other in a circle."""

import pytest
from tests.import_graph import import_cycles, imports_within

CLIENT = "linnaeus.client"
GRAPH = imports_within(CLIENT)

# From the top down. Folders in one set must not import each other.
LAYERS = (
    {"cli.commands"},
    {"cli.classify", "cli.load", "cli.models"},
    {"cli.app", "cli.connection_help", "cli.output"},
    {"cli.connection"},
    {"cli.credentials", "cli.option_names"},
    {"load.scenarios", "load.first_call"},
    {"load.report", "load.analysis"},
    {"load.measurement"},
    {"load.generator", "load.progress"},
    {"load.results", "load.plan"},
    {"aio", "sync"},
    {"bulk"},
    {"config"},
    {"protocol"},
    {"images"},
    {"transport"},
    {"results", "errors"},
    {"features"},
)
PLACES = {layer: place for place, layers in enumerate(LAYERS) for layer in layers}


def layer_of(module: str) -> str | None:
    """Returns the folder or file that a module belongs to; None for a package's own `__init__`."""
    parts = module.removeprefix(CLIENT).strip(".").split(".")
    if parts[0] in ("cli", "load"):
        return ".".join(parts[:2]) if len(parts) > 1 else None
    return parts[0] or None


def test_every_folder_of_the_client_is_in_the_table() -> None:
    assert {layer for module in GRAPH if (layer := layer_of(module))} == set(PLACES)


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_the_client_imports_downwards_only(module: str) -> None:
    layer = layer_of(module)
    for imported in GRAPH[module]:
        other = layer_of(imported)
        if layer is not None and other is not None and other != layer:
            assert PLACES[other] > PLACES[layer], f"{module} must not import {imported}"


def test_no_import_of_the_client_goes_in_a_circle() -> None:
    assert import_cycles(GRAPH) == []
