"""Forms of files: whole ones are read as they were sent, and all others are refused with a plain sentence."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.bodies.multipart import FormFile, files_of_form

TYPE = "multipart/form-data; boundary=limit"
MANY = 16
PART = b'--limit\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\nContent-Type: image/png\r\n\r\n%b\r\n'
END = b"--limit--\r\n"
ONE = PART % (b"a.png", b"data") + END
NAMES = [
    ('"cat.jpg"', "cat.jpg"),
    ("cat.jpg", "cat.jpg"),
    ('""', ""),
    ('"../../etc/passwd"', "../../etc/passwd"),
    ('"C:\\\\pictures\\\\cat.jpg"', "C:\\pictures\\cat.jpg"),
    ('"a\\"b;c.jpg"', 'a"b;c.jpg'),
    ('"<script>alert(1)</script>"', "<script>alert(1)</script>"),
    ('"naïve 🦊.jpg"', "naïve 🦊.jpg"),
    ('"name=x; filename=y"', "name=x; filename=y"),
]
REFUSED = [
    ("multipart/form-data", ONE, "its content-type has no valid boundary"),
    ("multipart/form-data; boundary=", ONE, "its content-type has no valid boundary"),
    ("multipart/form-data; boundary=" + "x" * 71, ONE, "its content-type has no valid boundary"),
    ("multipart/form-data; boundary=é", ONE, "its content-type has no valid boundary"),
    ("multipart/form-data; boundary=other", ONE, "its boundary is not in the body"),
    (TYPE, b"", "its boundary is not in the body"),
    (TYPE, b"x--limit\r\n", "its boundary is not in the body"),
    (TYPE, ONE[: -len(END)], "it ends early"),
    (TYPE, b"--limit", "it ends early"),
    (TYPE, b"--limit-", "it ends early"),
    (TYPE, b"--limit\r\n--limit--", "part 1 has no content-disposition"),
    (TYPE, b"--limit\r\n\r\ndata\r\n--limit--", "part 1 has no content-disposition"),
    (TYPE, b"--limit\r\nX: y\r\n\r\ndata\r\n--limit--", "part 1 has no content-disposition of form-data"),
    (TYPE, b"--limit\r\n" + b"x" * 100_000 + b"\r\n\r\ndata\r\n--limit--", "the headers of part 1 do not end within"),
    (TYPE, b"--limit\r\nX: " + b"y" * 100_000 + b"\r\n--limit--", "the headers of part 1 do not end within"),
    (TYPE, b"--limitless\r\n\r\n\r\n--limit--", "a boundary is followed by something else"),
]


def encoded(files: Sequence[tuple[str, bytes]]) -> bytes:
    return b"".join(PART % (name.encode(), content) for name, content in files) + END


@pytest.mark.parametrize("written, name", NAMES)
def test_a_file_keeps_the_name_that_its_sender_gave_it(written: str, name: str) -> None:
    part = PART.replace(b'"%b"', b"%b") % (written.encode(), b"data")
    assert files_of_form(TYPE, part + END, MANY) == [FormFile(name, b"data")]


def test_a_name_as_old_releases_of_urllib3_write_it_is_read() -> None:
    part = PART.replace(b'filename="%b"', b"filename*=%b") % (b"utf-8''caf%C3%A9.jpg", b"data")
    assert files_of_form(TYPE, part + END, MANY)[0].name == "café.jpg"


def test_fields_that_are_no_files_are_left_out() -> None:
    field = b'--limit\r\nContent-Disposition: form-data; name="' + b"x" * 3000 + b'"\r\n\r\nvalue\r\n'
    assert files_of_form(TYPE, field + ONE, MANY) == [FormFile("a.png", b"data")]


@pytest.mark.parametrize("kind", ['multipart/form-data; boundary="limit"', "multipart/form-data;BOUNDARY=limit;x=y"])
def test_a_boundary_is_found_however_it_is_written(kind: str) -> None:
    assert len(files_of_form(kind, b"a preamble\r\n" + ONE + b"an epilogue", MANY)) == 1


def test_a_form_within_a_form_is_one_file() -> None:
    inner = ONE.replace(b"limit", b"inner")
    assert files_of_form(TYPE, PART % (b"a", inner) + END, MANY) == [FormFile("a", inner)]


@pytest.mark.parametrize("kind, body, reason", REFUSED, ids=[reason for *_, reason in REFUSED])
def test_what_is_no_whole_form_is_refused_with_a_plain_reason(kind: str, body: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        files_of_form(kind, body, MANY)
    assert str(refused.value).startswith(f"the body is no valid multipart form: {reason}")
    assert str(refused.value).endswith("; send each picture as a file (curl -F image=@cat.jpg)")


def test_a_form_without_a_file_and_one_with_too_many_parts_are_refused() -> None:
    field = b'--limit\r\nContent-Disposition: form-data; name="f"\r\n\r\nvalue\r\n'
    for body, sentence in (
        (END, "the form has no file"),
        (field + END, "the form has no file"),
        (encoded([("a", b"")] * 5_000), "the form has more than 16 parts; send fewer at once"),
        (field * 5_000 + END, "the form has more than 16 parts; send fewer at once"),
    ):
        with pytest.raises(InvalidArgument, match=sentence):
            files_of_form(TYPE, body, MANY)


NAME = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"], exclude_characters='"\\\x85'), max_size=20
)
CONTENT = st.binary(max_size=40).map(lambda content: content.replace(b"--limit", b""))
FILES = st.lists(st.tuples(NAME, CONTENT), min_size=1, max_size=5)


@settings(deadline=None)
@given(FILES)
def test_files_are_read_as_they_were_sent(files: list[tuple[str, bytes]]) -> None:
    assert files_of_form(TYPE, encoded(files), MANY) == [FormFile(*each) for each in files]


@settings(deadline=None)
@given(FILES, st.data())
def test_a_form_that_is_cut_off_loses_no_file_silently(files: list[tuple[str, bytes]], data: st.DataObject) -> None:
    body = encoded(files)
    with pytest.raises(InvalidArgument):
        files_of_form(TYPE, body[: data.draw(st.integers(0, len(body) - len(b"--\r\n") - 1))], MANY)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"--limit", b"\r\n", b"--", b"\r\n\r\n", b"Content-Disposition: form-data", b'; filename="a"'])
        | st.binary(max_size=5),
        max_size=15,
    )
)
def test_any_body_gives_files_or_one_refusal(pieces: list[bytes]) -> None:
    try:
        assert files_of_form(TYPE, b"".join(pieces), MANY)
    except InvalidArgument as refused:
        assert "\n" not in str(refused) and len(str(refused)) < 200
