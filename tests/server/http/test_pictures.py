"""What a request to classify says by its path, query, headers and body becomes one message, or one refusal."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.bodies.pictures import to_messages
from linnaeus.server.http.call_context import HttpContext
from linnaeus.server.http.calls import Call
from linnaeus.v1 import classifier_pb2 as v1

MANY = 4
JSON = {"content-type": "application/json"}


def message(body: bytes = b"", headers: dict[str, str] | None = None, query: bytes = b"", **path: str) -> Any:
    """Returns the message of a request."""
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": query, "path_params": path}
    request = Request(scope)
    return to_messages(Call(request, HttpContext(request), body), MANY)


@pytest.mark.parametrize("kind", ["", "image/jpeg", "application/x-www-form-urlencoded", "application/octet-stream"])
def test_a_body_of_any_other_type_is_the_picture(kind: str) -> None:
    assert message(b"\xff\xd8", {"content-type": kind}).image.encoded == b"\xff\xd8"


def test_path_query_and_headers_precede_json_and_the_query_precedes_headers() -> None:
    body = json.dumps({"image": {"encoded": base64.b64encode(b"x").decode()}, "top_k": 1, "model": "a"}).encode()
    made = message(body, JSON | {"X-Top-K": "2", "X-Priority": "LOW"}, b"top_k=3&want_features=true", model="b")
    assert made == v1.ClassifyRequest(
        image=v1.Image(encoded=b"x"), top_k=3, model="b", priority=v1.PRIORITY_LOW, want_features=True
    )


def test_images_of_json_and_files_of_a_form_are_a_batch() -> None:
    assert len(message(b'{"images": [{}, {"id": "b"}]}', JSON).images) == 2
    form = b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\ndata\r\n--x--'
    made = message(form, {"content-type": "multipart/form-data; boundary=x"})
    assert made == v1.ClassifyBatchRequest(images=[v1.Image(encoded=b"data", id="a")])


@pytest.mark.parametrize(
    "query, field",
    [
        (b"top_k=many", "top_k"),
        (b"top_k=", "top_k"),
        (b"top_k=1_0", "top_k"),
        (b"top_k=%D9%A3", "top_k"),
        (b"top_k=+3", "top_k"),
        (b"top_k=1.5", "top_k"),
        (b"top_k=99999999999", "top_k"),
        (b"top_k=" + b"9" * 6000, "top_k"),
        (b"min_probability=nan", "min_probability"),
        (b"min_probability=inf", "min_probability"),
        (b"min_probability=1e999", "min_probability"),
        (b"priority=highest", "priority"),
        (b"want_features=perhaps", "want_features"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(query: bytes, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        message(b"x", query=query)
    assert refused.value.field == field and str(refused.value).startswith(f"{field} is '")
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize("text", ["", "soon", "-1", "0", "nan", "inf", "1e400", "1_0", "\xb2", "1, 2"])
def test_a_wrong_timeout_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="must be a number of seconds above 0"):
        message(b"x", {"X-Timeout-Seconds": text})


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"images":[' + b"{}," * 100_000 + b"{}]}", b"[" + b"1," * 9999 + b"1]"]
)
def test_json_of_very_many_values_is_refused_before_it_is_read(body: bytes) -> None:
    with pytest.raises(InvalidArgument, match="too many parts for 4 images"):
        message(body, JSON)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60),
    st.dictionaries(
        st.sampled_from(["content-type", "x-top-k", "x-priority", "x-timeout-seconds"]),
        st.text(st.characters(max_codepoint=255), max_size=30)
        | st.sampled_from(["application/json", "multipart/form-data; boundary=x", "APPLICATION/JSON; charset=latin-1"]),
    ),
    st.binary(max_size=60) | st.sampled_from([b"top_k=%ff", b"top_k=1&top_k=2", b"priority=%00", b"a=b&&&==="]),
    st.text(max_size=10),
)
def test_any_request_is_a_message_or_one_refusal(
    body: bytes, headers: dict[str, str], query: bytes, model: str
) -> None:
    try:
        made = message(body, headers, query, model=model.encode(errors="replace").decode())
    except InvalidArgument as refused:
        assert len(str(refused)) < 400 and "\n" not in str(refused)
    else:
        assert isinstance(made, v1.ClassifyRequest | v1.ClassifyBatchRequest)
