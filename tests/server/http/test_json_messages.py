"""Messages as JSON and back: what protobuf's own JSON means, and refusals that name the field."""

import base64
import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.bodies.json_messages import to_json
from linnaeus.server.http.bodies.json_reader import from_json, parse_json
from linnaeus.v1 import classifier_pb2 as v1

MESSAGES = list(v1.DESCRIPTOR.message_types_by_name.values())
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, (1 << 32) - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, (1 << 64) - 1),
    FieldDescriptor.TYPE_FLOAT: st.floats(-(2.0**127), 2.0**127, width=32),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
}
WRONG: list[tuple[Any, str, str]] = [
    ([], "body", "the body is an array, but must be an object, a ClassifyRequest"),
    ("x", "body", 'the body is "x", but must be an object, a ClassifyRequest'),
    ({"imag": {}}, "imag", "there is no field 'imag'; a ClassifyRequest has image, model"),
    ({"image": []}, "image", "image is an array, but must be an object, a Image"),
    ({"image": {"encoded": "!!!!"}}, "image.encoded", "image.encoded is no valid base64; encode the file anew"),
    ({"image": {"encoded": "YQ==YQ=="}}, "image.encoded", "image.encoded is no valid base64"),
    ({"image": {"encoded": "YWJj\n"}}, "image.encoded", "image.encoded is no valid base64"),
    ({"image": {"encoded": "é"}}, "image.encoded", "image.encoded is no valid base64"),
    ({"image": {"encoded": 3}}, "image.encoded", "image.encoded is 3, but must be base64 in a text"),
    ({"image": {"encoded": "", "pixels": {}}}, "image.pixels", "image.pixels and encoded exclude each other"),
    ({"image": {"pixels": {"height": 1.5}}}, "image.pixels.height", "must be an integer from -2147483648"),
    ({"image": {"pixels": {"height": 1 << 31}}}, "image.pixels.height", "must be an integer from -2147483648"),
    ({"top_k": True}, "top_k", "top_k is true, but must be an integer"),
    ({"top_k": "1_0"}, "top_k", 'top_k is "1_0", but must be an integer'),
    ({"top_k": "٣"}, "top_k", "must be an integer"),
    ({"model": 3}, "model", "model is 3, but must be a text"),
    ({"model": "\ud800"}, "model", "model has half of a surrogate pair; send valid Unicode"),
    (
        {"priority": "HIGHEST"},
        "priority",
        'priority is "HIGHEST", but must be one of PRIORITY_UNSPECIFIED, PRIORITY_LOW',
    ),
    ({"min_probability": "many"}, "min_probability", "must be a number"),
    ({"min_probability": 1e39}, "min_probability", "must be a number of 32 bits"),
    ({"min_probability": 10**400}, "min_probability", "must be a number"),
    ({"want_features": 1}, "want_features", "want_features is 1, but must be true or false"),
]
NO_JSON = [
    (b"", "Expecting value, line 1, column 1"),
    (b"{", "Expecting property name enclosed in double quotes, line 1, column 2"),
    (b"\xff\xfe", "it is not UTF-8"),
    ("{}".encode("utf-16"), "it is not UTF-8"),
    (b"[" * 100_000, "it is nested too deeply"),
    (b'{"a":' * 100_000, "it is nested too deeply"),
    (b"NaN", "NaN is no number in JSON"),
    (b'{"top_k": -Infinity}', "-Infinity is no number in JSON"),
    (b"9" * 5000, "a number in it has too many digits"),
    (b'{"a": 1, "b": 2, "a": 3}', "it has the key 'a' twice"),
    (b'{"a": {"\\u0061b": 1, "ab": 2}}', "it has the key 'ab' twice"),
]


def filled(descriptor: Descriptor, depth: int = 3) -> st.SearchStrategy[Any]:
    """Returns a strategy for messages of a kind."""

    @st.composite
    def draw_message(draw: st.DrawFn) -> Any:
        message: Any = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if draw(st.booleans()):
                fill(draw, message, field)
        return message

    def fill(draw: st.DrawFn, message: Any, field: FieldDescriptor) -> None:
        if field.message_type is None:
            values = scalar(field)
            if field.is_repeated:
                getattr(message, field.name).extend(draw(st.lists(values, max_size=3)))
            else:
                setattr(message, field.name, draw(values))
        elif depth and field.message_type.full_name != "google.protobuf.Any":
            children = filled(field.message_type, depth - 1)
            if field.is_repeated:
                getattr(message, field.name).extend(draw(st.lists(children, max_size=2)))
            else:
                getattr(message, field.name).CopyFrom(draw(children))

    return draw_message()


def scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return SCALARS[field.type]


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda descriptor: descriptor.name)
@given(data=st.data())
def test_every_message_of_the_contract_means_in_json_what_protobuf_says(
    descriptor: Descriptor, data: st.DataObject
) -> None:
    message = data.draw(filled(descriptor))
    kind: Any = GetMessageClass(descriptor)
    written = json.dumps(to_json(message), allow_nan=False)
    assert from_json(parse_json(written.encode()), kind()) == message
    assert json_format.Parse(written, kind()) == message
    for keep_names in (True, False):
        document = json_format.MessageToJson(message, preserving_proto_field_name=keep_names)
        assert from_json(parse_json(document.encode()), kind()) == message


def test_every_field_is_present_and_64_bits_are_numbers() -> None:
    written = to_json(v1.ClassifyResponse(version=1 << 40))
    assert written["version"] == 1 << 40 and written["model"] == "" and written["classes"] == []
    assert "classification" not in to_json(v1.ImageResult(image_id="a"))


def test_a_float_has_its_fewest_digits_and_what_is_no_number_is_a_text() -> None:
    assert to_json(v1.ScoredClass(probability=0.1))["probability"] == 0.1
    assert to_json(v1.ScoredClass(probability=math.nan))["probability"] == "NaN"
    assert to_json(v1.Timings(queue_seconds=-math.inf))["queue_seconds"] == "-Infinity"


def test_base64_is_taken_in_both_alphabets_and_without_padding() -> None:
    data = bytes(range(256)) + b"?"
    for text in (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.b64encode(data).rstrip(b"=")):
        assert from_json({"encoded": text.decode()}, v1.Image()).encoded == data


def test_null_stands_for_a_field_that_is_left_out() -> None:
    assert from_json({"image": None, "top_k": None}, v1.ClassifyRequest()) == v1.ClassifyRequest()


@pytest.mark.parametrize("document, field, sentence", WRONG, ids=lambda value: ascii(value)[:40])
def test_a_wrong_value_is_refused_with_its_field(document: Any, field: str, sentence: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        from_json(document, v1.ClassifyRequest())
    assert sentence in str(refused.value) and len(str(refused.value)) < 300
    assert refused.value.field == field


@pytest.mark.parametrize("body, reason", NO_JSON, ids=lambda value: ascii(value[:20]))
def test_what_is_no_json_is_refused_with_a_plain_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_json(body)
    assert str(refused.value) == f"the body is no valid JSON: {reason}; correct it"


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["image", "encoded", "pixels", "data", "height", "model", "top_k", "topK", "priority", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_gives_a_message_or_one_refusal(document: Any) -> None:
    try:
        from_json(document, v1.ClassifyRequest())
    except InvalidArgument as refused:
        assert len(str(refused)) < 400 and "\n" not in str(refused)
