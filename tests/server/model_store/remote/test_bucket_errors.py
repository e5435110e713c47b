"""No message about a bucket holds a secret."""

import pytest

from linnaeus.server.config.repository_url import RepositoryUrl, repository_url
from linnaeus.server.model_store.remote.errors import BucketError, reading, without_secrets

URL = "https://someone:pa%24%24word@models.example.org/zoo"


def the_url() -> RepositoryUrl:
    found = repository_url(URL)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"503, message='Busy', url='{URL}/m/'", "503, message='Busy', url='https://models.example.org/zoo/m/'"),
        ("GET https://a.b/c?X-Amz-Signature=12ab&X-Amz-Credential=AKIA failed", "GET https://a.b/c failed"),
        ("the password is pa$$word or pa%24%24word", "the password is *** or ***"),
        ("Authorization: Bearer abc.def is wrong", "Authorization: *** is wrong"),
        ("<AWSAccessKeyId>AKIA123</AWSAccessKeyId> of someone", "<AWSAccessKeyId>***</AWSAccessKeyId> of ***"),
        ("'x-amz-security-token': 'FwoG'", "'x-amz-security-token': '***'"),
        ("two\nlines", "two lines"),
    ],
)
def test_what_a_library_says_is_shown_without_secrets(said: str, shown: str) -> None:
    assert without_secrets(said, the_url()) == shown


def test_a_long_text_is_cut() -> None:
    assert len(without_secrets("x" * 10_000, the_url())) == 300


def test_whatever_a_library_raises_becomes_one_error_without_its_cause() -> None:
    with pytest.raises(BucketError, match="^KeyError: |^'secret'$|.") as caught, reading(the_url()):
        raise KeyError(URL)
    assert "pa" not in str(caught.value).replace("zoo", "") and caught.value.__suppress_context__
    with pytest.raises(BucketError, match="it does not answer in time"), reading(the_url()):
        raise TimeoutError
    with pytest.raises(BucketError, match="ZeroDivisionError"), reading(the_url()):
        raise ZeroDivisionError


def test_neither_the_url_s_repr_nor_its_name_has_the_password() -> None:
    assert the_url().shown == "https://models.example.org/zoo"
    assert "word" not in repr(the_url()) and "someone" not in repr(the_url())
