"""A model's own config.toml: what it names holds for that model, what it gets wrong is named."""

from pathlib import Path

import pytest

from linnaeus.server.config import Settings
from linnaeus.server.errors import ModelRefused
from linnaeus.server.model_settings import CONFIG_FILE, model_settings

SERVER = Settings(max_batch_size=4, max_queue_size=100, default_timeout_seconds=2.0)


def chosen(folder: Path, text: str | bytes) -> Settings:
    (folder / CONFIG_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    return model_settings(folder, SERVER)


def test_without_a_file_a_model_is_as_the_server_says(tmp_path: Path) -> None:
    assert model_settings(tmp_path, SERVER) == SERVER


def test_what_the_file_names_holds_and_the_rest_is_as_the_server_says(tmp_path: Path) -> None:
    settings = chosen(tmp_path, "max_queue_size = 7\ndefault_timeout_seconds = 1\n")
    assert (settings.max_queue_size, settings.default_timeout_seconds) == (7, 1)
    assert settings.max_batch_size == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch = 3", "config.toml: max_batch is no setting of a model; there are: max_batch_size, "),
        ("port = 3", "port is no setting of a model"),
        ("max_batch_size = 2.5", "config.toml: max_batch_size is 2.5, but must be a whole number"),
        ("max_queue_size = true", "max_queue_size is True, but must be a whole number"),
        ('default_timeout_seconds = "1s"', "default_timeout_seconds is '1s', but must be a number"),
        ("max_queue_size = 0", "config.toml: max_queue_size is 0, but must be at least 1"),
        ("default_timeout_seconds = -1", "default_timeout_seconds is -1, but must be at least 0"),
        ("default_timeout_seconds = nan", "default_timeout_seconds is nan, but must be at least 0"),
        ("max_queue_size = ", "config.toml cannot be read: "),
        (b"\xff\xfe", "config.toml cannot be read: "),
    ],
)
def test_what_is_wrong_is_named_with_its_key(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ModelRefused) as refusal:
        chosen(tmp_path, text)
    assert str(refusal.value).startswith("config.toml")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
