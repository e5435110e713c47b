"""The README tells the truth about what can be checked."""

import re
from dataclasses import fields
from pathlib import Path

from linnaeus.server.config import Settings
from linnaeus.server.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_listed_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \| (.+?) \| (.+) \|$", README, re.MULTILINE)
    expected = []
    for setting in fields(Settings):
        empty = "all" if setting.name == "models" else "none"
        default = f"`{setting.default}`" if str(setting.default) else empty
        expected.append((setting.name.replace("_", "-"), default, setting.metadata["help"]))
    assert rows == expected


def test_every_make_target_and_every_linked_file_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", README, re.MULTILINE)) != set()
    for pair in re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", README, re.MULTILINE):
        assert "".join(pair) in targets
    for link in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\"]+)\"", README):
        assert (ROOT / "".join(link)).exists(), link


def test_every_metric_that_is_named_is_exposed() -> None:
    metrics = Metrics("0")
    exposed = {metric.name for metric in metrics.registry.collect()}
    gauges = {
        "linnaeus_queue_depth",
        "linnaeus_in_flight",
        "linnaeus_device_ready",
        "linnaeus_model_ready",
        "linnaeus_model_load_seconds",
        "linnaeus_prediction_margin_seconds",
        "linnaeus_batch_expected_seconds",
    }
    section = README.partition("## Health and metrics")[2].partition("\n## ")[0]
    for name in re.findall(r"`((?:linnaeus|grpc_server)_[a-z_]+)`", section):
        assert {name, name.removesuffix("_total"), name.removesuffix("_info")} & (exposed | gauges), name
