"""One definition of each setting gives flag, environment variable, help and check."""

import os
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from linnaeus.server.config.settings import Settings, help_texts, read_settings
from linnaeus.server.errors import StartupError


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "linnaeus.server", *arguments],
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_tells_every_setting_with_its_flag_variable_and_meaning() -> None:
    shown = " ".join(run("--help").stdout.split())
    for setting in fields(Settings):
        assert f"--{setting.name.replace('_', '-')}" in shown
        assert f"LINNAEUS_{setting.name.upper()}" in shown
        assert help_texts()[setting.name] in shown


def test_a_wrong_value_is_one_clear_line_and_exit_code_1() -> None:
    for arguments, environment in ((["--max-image-pixels", "0"], {}), ([], {"LINNAEUS_MAX_IMAGE_PIXELS": "0"})):
        done = run(*arguments, **environment)
        assert (done.returncode, done.stderr) == (
            1,
            "linnaeus-server: max_image_pixels is 0, but must be at least 1\n",
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"port": -1}, "port is -1, but must be at least 0"),
        ({"port": 70000}, "port is 70000, but must be at most 65535"),
        ({"metrics_port": 65536}, "metrics_port is 65536, but must be at most 65535"),
        ({"metrics_port": -1}, "metrics_port is -1, but must be at least 0"),
        ({"health_port": 70000}, "health_port is 70000, but must be at most 65535"),
        ({"health_port": -2}, "health_port is -2, but must be at least -1"),
        ({"port": 8002}, "port and metrics_port are both 8002, but must be different ports"),
        (
            {"port": 9, "health_port": 9, "host": "0.0.0.0"},
            "port and health_port are both 9, but must be different ports",
        ),
        ({"health_port": 8002}, "metrics_port and health_port are both 8002, but must be different ports"),
        ({"http_port": 8001}, "port and http_port are both 8001, but must be different ports"),
        (
            {"http_port": 8002, "metrics_host": "0.0.0.0"},
            "metrics_port is http_port, 8002, so metrics_host must be http_host, 127.0.0.1, not 0.0.0.0",
        ),
        (
            {"http_port": 9, "metrics_port": 9, "port": 9, "http_host": "0.0.0.0", "host": "127.0.0.2"},
            "port and http_port are both 9, but must be different ports",
        ),
        ({"max_queue_delay_seconds": float("nan")}, "max_queue_delay_seconds is nan"),
        ({"max_queue_delay_seconds": float("inf")}, "max_queue_delay_seconds is inf"),
        ({"default_timeout_seconds": float("inf")}, "default_timeout_seconds is inf"),
        ({"log_format": "xml"}, "log_format is 'xml', but must be 'text' or 'json'"),
    ],
)
def test_a_wrong_setting_names_itself(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError, match=message):
        read_settings(**wrong)


def test_ports_may_be_equal_where_they_are_free_ones_unused_or_of_different_addresses() -> None:
    Settings(port=0, metrics_port=0, health_port=0)
    Settings(health_port=-1)
    Settings(port=9, metrics_port=9, metrics_host="127.0.0.2")


@pytest.mark.parametrize(
    ("http_host", "metrics_host", "is_one"),
    [
        ("127.0.0.1", "localhost", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("::", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
    ],
)
def test_the_metrics_may_have_the_port_of_http_and_then_share_it_if_the_address_is_the_same(
    http_host: str, metrics_host: str, is_one: bool
) -> None:
    settings = Settings(http_port=9, metrics_port=9, http_host=http_host, metrics_host=metrics_host)
    assert settings.has_metrics_on_http is is_one
    assert not Settings(http_port=0, metrics_port=0).has_metrics_on_http, "free ports are two"


NUMBERS = [each.name for each in fields(Settings) if type(each.default) in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [10**22, -2, float("nan"), float("inf"), 1e300, True, "1"])
def test_no_setting_takes_a_number_out_of_range_or_something_else(name: str, value: object) -> None:
    with pytest.raises(StartupError, match=rf"^{name} is .{{1,200}}$"):
        read_settings(**{name: value})


def test_models_are_separated_by_commas() -> None:
    assert Settings(models=" a, b ,").wanted_models == {"a", "b"}
    assert Settings().wanted_models == frozenset()
