"""A token file maps each token to its holder, and no token is shown."""

import hashlib
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.server.scheduling import Priority
from linnaeus.server.security.tokens import Right, TokenFileError, find_holder, read_tokens

PLAIN = "plain-token-0123456789"
HASHED = "another-token-0123456789"
FILE = f"""
# name     right   token
camera-3   infer   {PLAIN}   # a comment
operator   admin   sha256:{hashlib.sha256(HASHED.encode()).hexdigest()}
""".encode()

tokens = st.text("ABCabc019._~+/-", min_size=16, max_size=60)


def test_a_plain_or_hashed_token_gives_its_name_and_right() -> None:
    holders = read_tokens(FILE)
    camera, operator = find_holder(PLAIN.encode(), holders), find_holder(HASHED.encode(), holders)
    assert camera is not None and (camera.name, camera.right) == ("camera-3", Right.INFER)
    assert operator is not None and (operator.name, operator.right) == ("operator", Right.ADMIN)


def test_the_digest_in_the_file_is_not_a_valid_token() -> None:
    digest = hashlib.sha256(HASHED.encode()).hexdigest()
    for attempt in (digest, f"sha256:{digest}"):
        assert find_holder(attempt.encode(), read_tokens(FILE)) is None


@settings(deadline=None, derandomize=True)
@given(st.lists(tokens, min_size=1, max_size=8, unique=True), st.data())
def test_exactly_the_tokens_of_the_file_are_valid(written: list[str], data: st.DataObject) -> None:
    holders = read_tokens("".join(f"name-{number} infer {each}\n" for number, each in enumerate(written)).encode())
    for number, each in enumerate(written):
        found = find_holder(each.encode(), holders)
        assert found is not None and found.name == f"name-{number}"
    other = data.draw(st.one_of(tokens, st.sampled_from(written).map(lambda token: token[:-1]), st.text(max_size=20)))
    if other not in written:
        assert find_holder(other.encode("utf-8", "surrogatepass"), holders) is None


@pytest.mark.parametrize("name", ["high", "normal", "low"])
def test_a_token_may_have_a_highest_priority(name: str) -> None:
    lines = f"a infer {'x' * 16} max_priority={name}  # why\nb infer {'y' * 16}\n"
    capped, other = read_tokens(lines.encode())
    assert (capped.max_priority.name.lower(), other.max_priority) == (name, Priority.HIGH)


@pytest.mark.parametrize("word", ["max_priority", "max_priority=", "max_priority=urgent", "priority=low", "low"])
def test_a_wrong_fourth_word_is_refused(word: str) -> None:
    with pytest.raises(TokenFileError, match="line 1 has 4 words, but the last may only be one of max_priority=high"):
        read_tokens(f"a infer {'x' * 16} {word}".encode())


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_token_file_from_windows_is_read_as_it_is_meant(mark: bytes, end: bytes) -> None:
    holders = read_tokens(
        mark + end.join([b"camera infer one-token-0123456789", b"# end", b"x admin other-token-0123456"])
    )
    assert [holder.name for holder in holders] == ["camera", "x"]


def test_a_token_file_in_utf_16_is_refused_by_name() -> None:
    with pytest.raises(TokenFileError, match="it is UTF-16"):
        read_tokens("camera infer one-token-0123456789".encode("utf-16"))


def test_the_right_admin_includes_infer() -> None:
    assert Right.ADMIN > Right.INFER


def test_a_name_may_have_an_old_and_a_new_token() -> None:
    holders = read_tokens(b"camera infer old-token-0123456789\ncamera infer new-token-0123456789\n")
    assert {holder.name for holder in holders} == {"camera"} and len(holders) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("camera infer", "line 2 has 2 words, but must be NAME RIGHT TOKEN"),
        ("camera write SECRET-0123456789abc", "line 2: the right must be infer or admin"),
        ("cam/era infer SECRET-0123456789abc", "line 2: the name must be"),
        ("camera infer SECRET", "line 2: the token must be sha256:"),
        ("camera infer SECRET-0123456789!?", "line 2: the token must be sha256:"),
        ("camera infer sha256:SECRET0123", "line 2: the token must be sha256:"),
        ("camera infer SECRETé0123456789abc", "letters beyond ASCII"),
        ("one infer SECRET-0123456789abc\ntwo admin SECRET-0123456789abc", "one token twice"),
        ("", "it holds no token"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line_number_and_without_its_content(line: str, message: str) -> None:
    with pytest.raises(TokenFileError) as refused:
        read_tokens(f"# tokens\n{line}\n".encode())
    assert message in str(refused.value) and "SECRET" not in str(refused.value)


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_content_is_parsed_or_refused(content: bytes) -> None:
    try:
        read_tokens(content)
    except TokenFileError as error:
        assert str(error)


def test_the_representation_of_holders_shows_no_token() -> None:
    token = secrets.token_urlsafe(24)
    holders = read_tokens(f"camera infer {token}".encode())
    digest = hashlib.sha256(token.encode())
    assert token not in repr(holders) and digest.hexdigest() not in repr(holders)
    assert repr(digest.digest()) not in repr(holders)
