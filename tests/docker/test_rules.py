"""The rules are valid, and every alert fires when it should and not when it should not."""

import re
from collections.abc import Callable
from pathlib import Path


def test_prometheus_takes_the_configuration_and_the_rules(promtool: Callable[..., None]) -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "--lint=all", "--lint-fatal", "recording.yml", "alerts.yml")


def test_each_alert_fires_when_it_should_and_not_when_it_should_not(promtool: Callable[..., None]) -> None:
    promtool("test", "rules", "alerts_test.yml", "budget_test.yml")


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(docker_folder: Path) -> None:
    folder = docker_folder / "prometheus"
    alerts = set(re.findall(r"- alert: (\w+)", (folder / "alerts.yml").read_text()))
    tests = "".join(path.read_text() for path in folder.glob("*_test.yml"))
    fires = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels", tests))
    silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", tests))
    assert fires == alerts
    # a queue and deadlines are tested with several models, of which only one may be told of
    assert silent | {"LinnaeusQueueGrowing", "LinnaeusDeadlineMisses"} == alerts
