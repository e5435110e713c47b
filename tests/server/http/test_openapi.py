"""The OpenAPI document is valid, and describes every route of the application and nothing else."""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import BaseRoute

from linnaeus.server.app import http
from linnaeus.server.app.services import Servicers
from linnaeus.server.config.settings import Settings
from linnaeus.server.http.calls import HttpCalls
from linnaeus.server.http.kserve.unserved import unserved_routes
from linnaeus.server.http.openapi.document import document, methods_and_paths
from linnaeus.server.http.openapi.proto_comments import proto_comments
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.kserve.servicer import InferenceServicer
from linnaeus.server.rpc.model_service import ModelServicer
from linnaeus.server.security.charging import no_charge
from linnaeus.server.security.server_security import server_security
from linnaeus.v1 import classifier_pb2 as v1

DATA = Path(__file__).resolve().parent.parent.parent / "data"
UNASKED: Any = None  # no request is answered here
UNASKED_CALLS = HttpCalls(UNASKED, UNASKED)


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[BaseRoute]:
    """The routes of a server's application."""
    found, make = list[BaseRoute](), http.application

    def application(routes: list[BaseRoute], *arguments: Any) -> Any:
        found.extend(routes)
        return make(routes, *arguments)

    monkeypatch.setattr(http, "application", application)
    servicers = Servicers(
        ClassifierServicer(UNASKED, v1.ServerLimits(), "1"),
        InferenceServicer(UNASKED, UNASKED, "1", lambda: True, lambda: False, UNASKED),
        ModelServicer(UNASKED, UNASKED),
    )
    settings = Settings(repository=Path(), http_port=0)
    make_server = partial(http.http_server, settings, server_security(settings), servicers, UNASKED, no_charge)
    server = make_server(lambda: "", UNASKED, traces=False)
    assert server is not None
    server._reserved.release()
    return found


@pytest.fixture
def openapi(routes: list[BaseRoute]) -> dict[str, Any]:
    """The document, as it is after it was JSON."""
    made: dict[str, Any] = json.loads(json.dumps(document(routes, "1.2.3")))
    return made


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        part = list(part.values())
    for each in part if isinstance(part, list) else []:
        yield from references(each)


def operations(openapi: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, methods in openapi["paths"].items() for operation in methods.values()]


def test_the_document_is_what_the_specification_demands(openapi: dict[str, Any]) -> None:
    schema = json.loads((DATA / "openapi-3.1-schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(openapi)
    for each in openapi["components"]["schemas"].values():
        Draft202012Validator.check_schema(each)


def test_the_document_has_every_route_that_answers_and_nothing_else(
    routes: list[BaseRoute], openapi: dict[str, Any]
) -> None:
    served = {each for route in routes for each in methods_and_paths(route)}
    described = {(method.upper(), path) for path, methods in openapi["paths"].items() for method in methods}
    refused = {
        each for route in unserved_routes(UNASKED_CALLS, lambda endpoint: endpoint) for each in methods_and_paths(route)
    }
    assert described == served - refused and len(described) > 30


def test_every_reference_leads_to_a_part_of_the_document_and_every_part_is_used(openapi: dict[str, Any]) -> None:
    parts = {f"#/components/{kind}/{name}" for kind, named in openapi["components"].items() for name in named}
    assert set(references(openapi)) == parts - {"#/components/securitySchemes/token"}


def test_every_operation_has_a_name_of_its_own_and_the_parameters_of_its_path(openapi: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(openapi)]
    assert len(set(names)) == len(names)
    for path, operation in operations(openapi):
        of_path = {each["name"] for each in operation["parameters"] if each.get("in") == "path"}
        assert of_path == set(re.findall(r"\{(\w+)\}", path))


def test_changes_of_models_take_another_right_than_questions(openapi: dict[str, Any]) -> None:
    paths = openapi["paths"]
    assert "right admin" in paths["/v1/models/{model}:unload"]["post"]["description"]
    assert "right infer" in paths["/v1/models/{model}:classify"]["post"]["description"]
    assert paths["/readyz"]["get"]["security"] == []


def test_every_field_of_the_contract_says_what_the_contract_s_comment_says(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    assert schemas["Image"]["properties"]["encoded"]["description"].startswith("A whole JPEG, PNG")
    assert schemas["ModelState"]["enum"][2] == "MODEL_STATE_READY"
    assert "MODEL_STATE_READY: Served." in schemas["ModelState"]["description"]
    path = Path(v1.__file__).with_name("classifier.proto")
    comments, known = proto_comments(path), dict[str, str]()
    for name, schema in schemas.items():
        known |= {
            f"{name}.{field}": each.get("description", "") for field, each in schema.get("properties", {}).items()
        }
    fields = {name for name in known if name in comments}
    assert len(fields) > 40 and all(known[name] == comments[name] for name in fields)


def test_a_comment_belongs_to_what_stands_below_it(tmp_path: Path) -> None:
    path = tmp_path / "a.proto"
    path.write_text(
        "// The file.\npackage p;\n\n// A message,\n// of two lines.\n//\n// And a paragraph.\nmessage A {\n"
        "  oneof kind {\n    // One.\n    bytes one = 1;\n  }\n  // Not this.\n\n  int32 two = 2;\n}\n"
        "// Empty.\nmessage B {}\nservice S {\n  // Does.\n  rpc Do(A) returns (stream B);\n}\n"
        "enum E {\n  // None.\n  E_NONE = 0;\n}\n",
        encoding="utf-8",
    )
    assert proto_comments(path) == {
        "A": "A message, of two lines.\n\nAnd a paragraph.",
        "A.one": "One.",
        "B": "Empty.",
        "S.Do": "Does.",
        "E.E_NONE": "None.",
    }
