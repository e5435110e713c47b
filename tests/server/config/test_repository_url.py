"""A repository is a folder or a URL; what is wrong with a URL is said without showing it."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from linnaeus.server.config.repository_url import repository_url
from linnaeus.server.config.settings import Settings, read_settings
from linnaeus.server.errors import StartupError


@pytest.mark.parametrize("path", ["model-repository", "/models", "a:b", "C:\\models", "./s3/x", Path("/models"), ""])
def test_what_has_no_scheme_is_a_folder(path: str | Path) -> None:
    assert repository_url(Settings(repository=path).repository) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/models/", "s3://bucket/models"),
        ("S3://bucket", "s3://bucket"),
        ("gs://bucket/a/b", "gs://bucket/a/b"),
        ("az://container/models", "az://container/models"),
        ("az://container@account.blob.core.windows.net/models", "az://container@account.blob.core.windows.net/models"),
        ("hf://user/repo@main/models", "hf://user/repo@main/models"),
        ("https://example.org:8443/models", "https://example.org:8443/models"),
        ("https://user:secret@example.org/models", "https://example.org/models"),
    ],
)
def test_each_scheme_is_taken_and_shown_without_user_and_password(text: str, shown: str) -> None:
    found = repository_url(Settings(repository=text).repository)
    assert found is not None and found.shown == shown and "secret" not in found.shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://host/x", "repository begins with ftp://, but must be a folder or begin with one of s3://, gs://"),
        ("http://user:SECRET@host/x", "repository begins with http://, but must be"),
        ("s3://", "repository must be s3://NAME/FOLDER"),
        ("s3:/bucket/models", "repository must be s3://NAME/FOLDER"),
        ("s3://KEY:SECRET@bucket/x", "repository holds a password; s3:// takes credentials from the provider's"),
        ("https://host/x?sig=SECRET", "repository has a query or a fragment, with which no folder can be listed"),
        ("s3://bucket/x#SECRET", "repository has a query or a fragment"),
        ("https://host:SECRET/x", "repository must be https://NAME/FOLDER"),
        ("https://user:SECRET@host/a\nb", "repository must be https://NAME/FOLDER, without blanks and control"),
        ("s3://bucket/" + "SECRET" * 1000, "repository must be s3://NAME/FOLDER"),
    ],
)
def test_what_no_repository_can_be_is_refused_in_a_sentence_that_does_not_show_it(text: str, said: str) -> None:
    with pytest.raises(StartupError) as caught:
        read_settings(repository=text)
    assert str(caught.value).startswith(said) and "SECRET" not in str(caught.value)


def test_a_url_reaches_other_processes_as_it_is() -> None:
    settings = Settings(repository="https://user:pw@example.org//models/")
    adapter = TypeAdapter(Settings)
    assert adapter.validate_json(adapter.dump_json(settings)) == settings
