"""Real answers over HTTP are what the OpenAPI document says of them."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.e2e.forked_server import ForkedServer
from tests.repositories import add_version


@pytest.fixture(scope="module")
def address(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with two versions of lenet."""
    root = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        add_version(repository / "lenet" / "1", root, "lenet", version)
    (root / "lenet" / "config.toml").write_text('versions = "all"\nlabels = { stable = 2 }\n', encoding="utf-8")
    with ForkedServer("--repository", str(root), "--http-port", "0") as server:
        yield f"http://127.0.0.1:{server.wait_for('listening')['http_port']}"


@pytest.fixture(scope="module")
def openapi(address: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ask(address, "/openapi.json")[2])
    return document


def ask(address: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str, bytes]:
    """Returns status, media type and body of the answer; POST if there is a body."""
    request = urllib.request.Request(address + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read()


def schema_of(openapi: dict[str, Any], path: str, method: str, status: int, media_type: str) -> dict[str, Any]:
    """The schema of an answer, with the parts that it refers to."""
    responses = openapi["paths"][path][method]["responses"]
    response = responses.get(str(status), responses["default"])
    if "$ref" in response:
        response = openapi["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema: dict[str, Any] = response["content"][media_type]["schema"]
    return schema | {"components": openapi["components"]}


def form(*pictures: bytes) -> bytes:
    head = b'--B\r\ncontent-disposition: form-data; name="image"; filename="%d"\r\n\r\n%s\r\n'
    return b"".join(head % each for each in enumerate(pictures)) + b"--B--\r\n"


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return sorted((pictures / "digits").iterdir())[0].read_bytes()


MODEL, VERSION = "/v1/models/{model}", "/v1/models/{model}/versions/{version}"


@pytest.mark.parametrize(
    ("template", "path", "status"),
    [
        ("/v1/models", "/v1/models", 200),
        (MODEL, "/v1/models/lenet", 200),
        (VERSION, "/v1/models/lenet/versions/stable", 200),
        (VERSION, "/v1/models/lenet/versions/9", 404),
        (MODEL, "/v1/models/alexnet", 404),
        ("/livez", "/livez", 200),
        ("/readyz", "/readyz", 200),
        ("/docs", "/docs", 200),
    ],
)
def test_an_answer_to_a_question_fits_its_schema(
    address: str, openapi: dict[str, Any], template: str, path: str, status: int
) -> None:
    answered, media_type, body = ask(address, path)
    assert answered == status
    validate(openapi, template, "get", answered, media_type, body)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/lenet:load", 200),
        ("/v1/models/lenet:reload", 200),
        ("/v1/models/lenet/versions/1:setDefault", 200),
        ("/v1/models/alexnet:load", 404),
    ],
)
def test_an_answer_to_a_change_fits_its_schema(address: str, openapi: dict[str, Any], path: str, status: int) -> None:
    answered, media_type, body = ask(address, path, b"")
    assert answered == status
    template = path.replace("/lenet", "/{model}").replace("/alexnet", "/{model}").replace("/1:", "/{version}:")
    validate(openapi, template, "post", answered, media_type, body)


def test_an_answer_to_a_picture_fits_its_schema_however_it_was_sent(
    address: str, openapi: dict[str, Any], digit: bytes
) -> None:
    image = {"encoded": base64.b64encode(digit).decode(), "id": "digit"}
    batch = {"images": [image, {"encoded": ""}], "top_k": 2, "priority": "PRIORITY_LOW"}
    json_type, form_type = "application/json", "multipart/form-data; boundary=B"
    bodies = {
        "image/png": digit,
        json_type: json.dumps({"image": image}).encode(),
        f"{json_type}; charset=utf-8": json.dumps(batch).encode(),
        form_type: form(digit, b"no picture"),
    }
    for media_type, body in bodies.items():
        answered, answer_type, answer = ask(address, "/v1/models/lenet:classify", body, **{"Content-Type": media_type})
        assert answered == 200, answer
        validate(openapi, f"{MODEL}:classify", "post", answered, answer_type, answer)
        assert json.loads(answer).get("classes") or json.loads(answer)["results"][1]["error"]["details"]


def test_a_document_that_is_sent_fits_its_schema_or_is_refused(address: str, openapi: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/ClassifyRequest", "components": openapi["components"]}
    for document, fits in (({"image": {"encoded": ""}, "top_k": 3}, True), ({"picture": {}}, False)):
        assert Draft202012Validator(schema).is_valid(document) is fits
        body = json.dumps(document).encode()
        answered, media_type, answer = ask(
            address, "/v1/models/lenet:classify", body, **{"Content-Type": "application/json"}
        )
        assert answered == 400
        validate(openapi, f"{MODEL}:classify", "post", answered, media_type, answer)
        assert ("no field 'picture'" in json.loads(answer)["detail"]) is not fits


def validate(openapi: dict[str, Any], template: str, method: str, status: int, media_type: str, body: bytes) -> None:
    """Raises an error if an answer is not what the document says, or has members that it does not name."""
    schema = without_others(schema_of(openapi, template, method, status, media_type))
    answer = json.loads(body) if media_type.endswith("json") else body.decode()
    Draft202012Validator(schema).validate(answer)


def without_others(schema: Any) -> Any:
    """The schema, which then refuses members that it does not name; the details of errors have any."""
    if isinstance(schema, list):
        return [without_others(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: without_others(part) for name, part in schema.items()}
    is_closed = isinstance(schema.get("required"), list) and "@type" not in schema["required"]
    return parts | ({"additionalProperties": False} if is_closed else {})
