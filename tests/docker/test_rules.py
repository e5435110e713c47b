"""The rules are valid, and every alert has tests in which it fires and in which it does not."""

import re
from collections.abc import Callable
from pathlib import Path


def test_promtool_accepts_the_configuration_and_the_rules(promtool: Callable[..., None]) -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", "recording.yml", "alerts.yml")


def test_alerts_fire_as_their_tests_expect(promtool: Callable[..., None]) -> None:
    promtool("test", "rules", "alerts_test.yml", "budget_test.yml")


def test_each_alert_has_a_firing_and_a_silent_test(docker_folder: Path) -> None:
    folder = docker_folder / "prometheus"
    alerts = set(re.findall(r"- alert: (\w+)", (folder / "alerts.yml").read_text()))
    tests = "".join(path.read_text() for path in folder.glob("*_test.yml"))
    fires = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels", tests))
    silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", tests))
    assert fires == alerts
    # these two are tested with several models, of which only one may fire
    assert silent | {"LinnaeusQueueGrowing", "LinnaeusDeadlineMisses"} == alerts
