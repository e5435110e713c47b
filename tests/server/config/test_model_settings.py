"""A model's own config.toml: what it names holds for that model, what it gets wrong is named."""

from dataclasses import fields
from pathlib import Path

import pytest

from linnaeus.server.config.model_settings import CONFIG_FILE, KEYS, ModelSettings, model_settings
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import ModelRefused

SERVER = Settings(
    max_batch_size=4,
    max_queue_size=100,
    max_queue_delay_seconds=0.5,
    default_timeout_seconds=2.0,
    device="cpu,cuda:0",
)
INHERITED = ModelSettings(
    max_batch_size=4,
    max_queue_size=100,
    max_queue_delay_seconds=0.5,
    default_timeout_seconds=2.0,
    devices=("cpu,cuda:0",),
    instances=0,
    weight=1.0,
    priority_weights=(10.0, 1.0, 0.1),
)


def chosen(folder: Path, text: str | bytes) -> ModelSettings:
    (folder / CONFIG_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    return model_settings(folder, SERVER)


def test_every_setting_of_a_model_is_a_key() -> None:
    assert set(KEYS) == {each.name for each in fields(ModelSettings)}


def test_without_a_file_or_with_an_empty_one_a_model_is_as_the_server_says(tmp_path: Path) -> None:
    assert model_settings(tmp_path, SERVER) == INHERITED
    assert chosen(tmp_path, "") == INHERITED


def test_every_key_holds(tmp_path: Path) -> None:
    text = """
        max_batch_size = 3
        max_queue_size = 7
        max_queue_delay_seconds = 0.25
        default_timeout_seconds = 1
        devices = ["cuda:0", "cuda:1"]
        instances = 2
        weight = 3
        cuda_graphs = true
        precision = "auto"
        [priority_weights]
        low = 1
        normal = 2.5
        high = 5
    """
    assert chosen(tmp_path, text) == ModelSettings(
        max_batch_size=3,
        max_queue_size=7,
        max_queue_delay_seconds=0.25,
        default_timeout_seconds=1,
        devices=("cuda:0", "cuda:1"),
        instances=2,
        weight=3.0,
        priority_weights=(5.0, 2.5, 1.0),
        cuda_graphs=True,
        precision="auto",
    )


def test_what_the_file_does_not_name_is_as_the_server_says(tmp_path: Path) -> None:
    settings = chosen(tmp_path, "max_queue_size = 7\n")
    assert (settings.max_queue_size, settings.max_batch_size, settings.default_timeout_seconds) == (7, 4, 2.0)
    assert settings.devices == ("cpu,cuda:0",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch = 3", f"config.toml: max_batch is no setting of a model; there are: {', '.join(KEYS)}"),
        ("port = 3", "port is no setting of a model"),
        ("max_batch_size = 2.5", "config.toml: max_batch_size is 2.5, but must be a whole number"),
        ("max_batch_size = -1", "config.toml: max_batch_size is -1, but must be at least 0"),
        ("max_queue_size = true", "max_queue_size is true, but must be a whole number"),
        ("max_queue_size = 0", "config.toml: max_queue_size is 0, but must be at least 1"),
        ("max_queue_delay_seconds = -0.5", "max_queue_delay_seconds is -0.5, but must be at least 0"),
        ("max_queue_delay_seconds = []", "max_queue_delay_seconds is [], but must be a number"),
        ("max_queue_delay_seconds = inf", "max_queue_delay_seconds is inf"),
        ('default_timeout_seconds = "1s"', "default_timeout_seconds is '1s', but must be a number"),
        ("default_timeout_seconds = -1", "default_timeout_seconds is -1, but must be at least 0"),
        ("default_timeout_seconds = nan", "default_timeout_seconds is nan, but must be finite"),
        ("default_timeout_seconds = inf", "default_timeout_seconds is inf"),
        ('devices = "cuda:0"', "config.toml: devices is 'cuda:0', but must be a list of names, such as"),
        ("devices = []", "devices is [], but must be a list of names"),
        ('devices = ["cpu", 1]', 'devices is ["cpu", 1], but must be a list of names'),
        ('devices = [""]', 'devices is [""], but must be a list of names'),
        (
            'devices = ["cpu", "gpu"]',
            "config.toml: devices: device is 'gpu', but must be auto, cpu or cuda:N, or",
        ),
        ('devices = ["mps"]', "config.toml: devices: device is 'mps', but must be auto"),
        ("instances = -1", "config.toml: instances is -1, but must be at least 0"),
        ("instances = 1.0", "instances is 1.0, but must be a whole number"),
        ("instances = true", "instances is true, but must be a whole number"),
        (
            'precision = "int8"',
            "precision is 'int8', but must be 'float32', 'bfloat16', 'float16' or 'auto'",
        ),
        ("precision = 16", "config.toml: precision is 16, but must be 'float32', 'bfloat16', 'float16' or 'auto'"),
        ("cuda_graphs = 1", "config.toml: cuda_graphs is 1, but must be true or false"),
        ("weight = 0", "config.toml: weight is 0, but must be at least 0.000001"),
        ("weight = -2.5", "weight is -2.5, but must be at least 0.000001"),
        ("weight = inf", "weight is inf, but must be finite"),
        ("weight = nan", "weight is nan, but must be finite"),
        ("weight = '1'", "weight is '1', but must be a number"),
        ("priority_weights = 3", "config.toml: priority_weights is 3, but must be a table of high, normal and low"),
        ("priority_weights = {high = 3}", "priority_weights.normal is missing"),
        ("priority_weights = {high=3,normal=2,low=1,other=1}", "priority_weights.other is unknown"),
        ("priority_weights = {high=3,normal=2,low=0}", "priority_weights.low is 0, but must be at least 0.000001"),
        ("priority_weights = {high=3,normal=true,low=1}", "priority_weights.normal is true, but must be a number"),
        ("max_queue_size = ", "config.toml cannot be read: "),
        (b"\xff\xfe", "config.toml cannot be read: it is UTF-16"),
        (b"m\0a\0x\0", "config.toml cannot be read: it holds NUL"),
        (f"max_batch_size = {10**22}", f"config.toml: max_batch_size is {10**22}, but must be at most 1024"),
        ("max_batch_size = 20_000", "config.toml: max_batch_size is 20000, but must be at most 1024"),
        (
            f"max_batch_size = 0x{'f' * 9_000}",
            "config.toml: max_batch_size has a number of more than a thousand digits",
        ),
        (f"versions = [0x{'f' * 9_000}]", "config.toml: versions has a number of more than a thousand digits"),
        (f"max_batch_size = {'9' * 5_000}", "config.toml cannot be read: a number has too many digits"),
        (f"versions = {'[' * 5_000}", "config.toml cannot be read: it nests too deeply"),
        ("versions = 2020-01-02", 'versions is "2020-01-02", but must be "all"'),
        ("max_queue_delay_seconds = 1e300", "max_queue_delay_seconds is 1e+300, but must be at most 31536000"),
        (f"default_timeout_seconds = {'9' * 400}", "default_timeout_seconds is 999"),
        ("weight = 1e-320", "weight is 1e-320, but must be at least 0.000001"),
        ("priority_weights = {high=1e300,normal=2,low=1}", "priority_weights.high is 1e+300, but must be at most"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ModelRefused) as refusal:
        chosen(tmp_path, text)
    assert str(refusal.value).startswith("config.toml")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


NOT_NUMBERS = {"devices", "priority_weights", "cuda_graphs", "precision", "versions", "labels", "default_version"}
NUMBERS = [key for key in KEYS if key not in NOT_NUMBERS]


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [str(10**22), "-1", "nan", "inf", "1e999", "true", '"1"', "[]"])
def test_no_key_takes_a_number_out_of_range_or_something_else(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ModelRefused, match=rf"^config\.toml: {key}[. ].{{1,200}}$"):
        chosen(tmp_path, f"{key} = {value}")


@pytest.mark.parametrize("value", [10**22, "nan", "inf", "-1", '"1"', "true"])
def test_no_version_is_a_number_out_of_range(tmp_path: Path, value: object) -> None:
    for text in (f"versions = [{value}]", f"default_version = {value}", f"labels = {{ stable = {value} }}"):
        with pytest.raises(ModelRefused, match=rf"^config\.toml: {text.split()[0]}[. ].{{1,200}}$"):
            chosen(tmp_path, text)


def test_a_file_from_windows_is_read_as_it_is_meant(tmp_path: Path) -> None:
    written = b"\xef\xbb\xbfmax_batch_size = 3\r\nversions = [1]\r\n"
    settings = chosen(tmp_path, written)
    assert settings.max_batch_size == 3 and settings.versions.listed == {1}


def test_a_file_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).mkdir()
    with pytest.raises(ModelRefused, match=r"config\.toml cannot be read: "):
        model_settings(tmp_path, SERVER)


@pytest.mark.parametrize(
    ("text", "candidates", "enough_at"),
    [
        ("", [1, 2, 5, 9], None),
        ('versions = "all"', [1, 2, 5, 9], None),
        ('versions = "latest"', [9, 5, 2, 1], 1),
        ('versions = "latest:2"', [9, 5, 2, 1], 2),
        ("versions = [5, 1, 7]", [1, 5], None),
    ],
)
def test_versions_says_which_are_tried_in_which_order_and_when_it_is_enough(
    tmp_path: Path, text: str, candidates: list[int], enough_at: int | None
) -> None:
    policy = chosen(tmp_path, text).versions
    assert list(policy.candidates({9, 2, 1, 5})) == candidates
    assert [count for count in range(4) if policy.is_enough(count)][:1] == ([] if enough_at is None else [enough_at])
    assert policy.missing({9, 2, 1, 5}) == ([7] if "7" in text else [])


def test_labels_and_the_default_version_are_read(tmp_path: Path) -> None:
    settings = chosen(tmp_path, 'default_version = "stable"\n[labels]\nstable = 3\ncanary-2 = 4\n')
    assert (settings.labels, settings.default_version) == ({"stable": 3, "canary-2": 4}, "stable")
    assert chosen(tmp_path, "default_version = 3").default_version == "3"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('versions = "newest"', "versions is 'newest', but must be \"all\""),
        ('versions = "latest:0"', "versions is 'latest:0'"),
        ("versions = []", r"versions is \[\]"),
        ("versions = [0]", r"versions is \[0\]"),
        ("versions = [true]", "versions is"),
        ("versions = 2", "versions is 2"),
        ("labels = 3", "labels is 3, but must be a table"),
        ('labels = { stable = "3" }', "labels.stable is '3', but must be a version number"),
        ("labels = { 3 = 3 }", "labels.3 must begin with a letter"),
        ("labels = { Stable = 3 }", "labels.Stable must begin with a letter"),
        ("default_version = 0", "default_version is 0, but must be a version number or a label"),
        ('default_version = "3"', "default_version is '3'"),
    ],
)
def test_what_versions_labels_and_the_default_may_not_be_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ModelRefused, match=r"config\.toml: " + named):
        chosen(tmp_path, text)


def test_only_what_a_version_runs_with_asks_for_loading_it_anew(tmp_path: Path) -> None:
    before = chosen(tmp_path, "max_batch_size = 4")
    assert chosen(tmp_path, 'versions = "latest"\ndefault_version = 1\nlabels = { a = 1 }').runs_like(before)
    for other in ("max_batch_size = 5", "weight = 2", "instances = 1", "default_timeout_seconds = 1"):
        assert not chosen(tmp_path, other).runs_like(before)
