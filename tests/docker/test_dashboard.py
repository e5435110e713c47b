"""The dashboard is complete: its panels do not overlap, and every expression is valid PromQL."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

from tests.docker.dashboard import DASHBOARD, expressions, panels

COLUMNS = 24


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every) > 20
    assert all(0 <= panel["gridPos"]["x"] <= COLUMNS - panel["gridPos"]["w"] for panel in every)
    for one, other in combinations(every, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart or above, f"{one['title']} overlaps {other['title']}"


def test_panels_have_units_and_use_the_provisioned_data_source(docker_folder: Path) -> None:
    source = (docker_folder / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    for panel in panels():
        uids = {panel["datasource"]["uid"]} | {target["datasource"]["uid"] for target in panel["targets"]}
        assert uids == {"prometheus"} and "uid: prometheus " in source
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0


def test_every_variable_in_use_is_declared() -> None:
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert declared == {"instance", "model"}
    assert not [expression for each in expressions().values() for expression in each if "$" in expression]


def test_every_expression_is_valid_promql(tmp_path: Path, promtool: Callable[..., None]) -> None:
    every = [expression for each in expressions().values() for expression in each]
    rules = [{"record": f"panel:number{number}", "expr": expression} for number, expression in enumerate(every)]
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", str(path))
